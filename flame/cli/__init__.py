"""The command line: `flame dump`, `flame info`, `flame cache`, `flame demo`. `python -m flame` is the same."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flame.cli import dump, info
from flame.config import STAGES
from flame.errors import FlameError

DUMP_HELP = """\
examples:
  flame dump train.py                                  the fused kernels of every program train.py realizes
  flame dump train.py:loss --stage graph               the graph of what the function `loss` returns
  flame dump train.py:loss --format svg -o loss.svg    as a picture (needs graphviz)
  flame dump train.py -- --epochs 1                    what follows -- goes to the script
"""


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="flame", description="FLAME: a tensor compiler that shows every kernel it writes."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser(
        "dump",
        help="show what a script or function becomes, at any stage",
        description="Run FILE.py, or call FUNCTION of it without arguments, and show every program that it compiles.",
        epilog=DUMP_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("where", metavar="FILE.py[:FUNCTION]")
    add.add_argument("--stage", choices=STAGES, default="kernels", help="default: kernels")
    add.add_argument("--format", choices=dump.FORMATS, default="text", help="default: text")
    add.add_argument(
        "--target", choices=dump.TARGETS, help="show what it would be there, device or not (default: as it ran)"
    )
    add.add_argument("-o", "--output", type=Path, metavar="FILE", help="write there instead of standard output")
    commands.add_parser("info", help="versions, devices, cache, knobs, what is missing and how to get it")
    add = commands.add_parser("cache", help="what the disk cache of compiled kernels holds")
    add.add_argument("--clear", action="store_true", help="remove every entry, of all versions")
    commands.add_parser(
        "demo", help="train a diffusion transformer on handwritten digits and draw some", add_help=False
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 after an error that FLAME explains."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    given, rest = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    options, unknown = parser().parse_known_args(given)
    if unknown and options.command != "demo":
        parser().error(f"{options.command} does not know {' '.join(unknown)}")
    try:
        return run(options, unknown + rest)
    except FlameError as error:
        print(f"flame {options.command}: {error}", file=sys.stderr)
        return 1
    except (
        BrokenPipeError
    ):  # `flame dump ... | head` has seen enough; Python must not flush into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run(options: argparse.Namespace, rest: list[str]) -> int:
    """The command chosen."""
    if options.command == "demo":
        from flame.demo import main as demo  # needs the demo extra, which the other commands do not

        return demo(rest) or 0
    if options.command == "info":
        return info.info()
    if options.command == "cache":
        return info.clean(options.clear)
    text = dump.dump(options.where, rest, options.stage, options.format, options.target)
    if options.output:
        try:
            options.output.write_text(text + "\n")
        except OSError as problem:
            raise FlameError(f"cannot write {options.output}: {problem.strerror}") from problem
    else:
        print(text, flush=True)
    return 0
