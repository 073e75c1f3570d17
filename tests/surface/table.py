"""docs/operators.md: every public operation with what it passes; `python -m tests.surface.table` writes it.

Nothing is listed that does not pass: a row's dtypes are those in which every case of the name gave PyTorch's values
(and gradients); "gradient" and "second" say that finite differences in float64 agree.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.surface.case import ALL, FLOATS, INTS, Case, families

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
HEAD = """\
# Every operation

Written by `python -m tests.surface.table`, which runs every row; do not edit. Names are PyTorch's: `cumsum` is
`flame.cumsum` and, where PyTorch has the method, `Tensor.cumsum`; `nn.functional.` names live there only.

- **dtypes**: where value, shape, dtype and gradient equal PyTorch's, over operands of many shapes and memory layouts.
- **gradient**, **second**: gradients, and gradients of gradients, agree with finite differences in float64.
- **cases**: ways to call it that are tested.
"""


def rows() -> Iterator[tuple[str, list[tuple[str, list[Case]]]]]:
    """The families' first sentences, and the cases of each name in them."""
    for family in families().values():
        names: dict[str, list[Case]] = {}
        for c in family.CASES:
            names.setdefault(c.name, []).append(c)
        yield (family.__doc__ or "").strip().splitlines()[0].rstrip("."), list(names.items())


def passes(check, *args) -> bool:
    """True if a test function passes; a skip is no pass."""
    try:
        check(*args)
    except (AssertionError, Exception, pytest.skip.Exception) as problem:  # noqa: BLE001  whatever fails is not listed
        print(f"  {args[0]}: {str(problem).splitlines()[0] if str(problem) else problem!r}", file=sys.stderr)
        return False
    return True


def in_dtype(c: Case, dtype: str) -> bool | None:
    """Whether a case passes in a dtype; None where PyTorch has no such call."""
    from tests.surface.sides import Sides, interpreted

    with interpreted():
        sides = Sides(c)
        found = [sides.run(dtype, operands) for operands in (c.operands, *c.also)]
        sides.close()
    return True if any(found) else None


def dtypes_of(cases: list[Case]) -> list[str]:
    """The dtypes in which every case that PyTorch has passes, and at least one is there."""
    out = []
    for dtype in ALL:
        results: list[bool | None] = []
        for c in (c for c in cases if dtype in c.dtypes and dtype not in c.raises):
            try:
                results.append(in_dtype(c, dtype))
            except Exception as problem:  # noqa: BLE001
                print(f"  {c} {dtype}: {str(problem).splitlines()[:2]}", file=sys.stderr)
                results.append(False)
        if any(results) and False not in results:
            out.append(dtype)
    return out


def spelled(dtypes: list[str]) -> str:
    """Long lists by their groups."""
    out, rest = [], list(dtypes)
    for name, group in (("floats", FLOATS), ("integers", INTS)):
        if set(group) <= set(rest):
            out.append(name)
            rest = [d for d in rest if d not in group]
    return ", ".join([*out, *rest])


def page() -> str:
    """The whole page; takes minutes."""
    from tests.surface.test_surface import test_gradients_and_their_gradients_are_differences as differences

    lines = [HEAD]
    for title, names in rows():
        lines += [f"## {title}", "", "| Operation | dtypes | gradient | second | cases |", "|---|---|---|---|---|"]
        for name, cases in names:
            dtypes = dtypes_of(cases)
            if not dtypes:
                continue
            smooth = [c for c in cases if c.grad]
            first = bool(smooth) and all(passes(differences, Case(**{**vars(c), "second": False})) for c in smooth)
            twice = [c for c in smooth if c.second]
            second = first and bool(twice) and all(passes(differences, c) for c in twice)
            count = sum(1 + len(c.also) for c in cases)
            marks = " | ".join("yes" if x else "" for x in (first, second))
            lines.append(f"| `{name}` | {spelled(dtypes)} | {marks} | {count} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
