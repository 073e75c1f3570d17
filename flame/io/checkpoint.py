"""Whole training states in one file: saved so that a kill at any moment leaves the last one, resumed to the bit."""

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from flame.errors import CheckpointError
from flame.io.atomic import flush_folder, sweep
from flame.io.plain import Maker, convert, stored_in
from flame.io.reading import parse, reader, state_of
from flame.io.stored import read
from flame.io.torchsave import save
from flame.io.weights import FilePath, fill, planned
from flame.nn.module import Module
from flame.ops import random as streams
from flame.ops.create import Where

MARK, VERSION = "flame_checkpoint", 1
OWN = (MARK, "step", "extra", "random")  # what a checkpoint holds beside the parts
NAME = re.compile(r"step-(\d{9,})\.pt")


class Checkpoint(NamedTuple):
    """What `load_checkpoint` read beside the parts."""

    step: int | None
    extra: Any
    path: Path


def save_checkpoint(
    path: FilePath,
    *,
    step: int | None = None,
    extra: Any = None,
    rng: bool = True,
    keep: int | None = None,
    **parts: Any,
) -> Path:
    """Write the state of every part, such as model=, optimizer=, scheduler=, scaler=, to a file; returns its path.

    A part has `state_dict`, or `get_state` as a generator has. `extra` is anything that `flame.save` takes. With `rng`
    the random numbers of FLAME, of Python's `random` and of `numpy.random` go on where they stopped.

    The file is written beside its place, flushed to the disk and renamed: whatever ends the process, the last
    checkpoint is whole. With `keep`, `path` is a folder whose newest so many checkpoints stay, and `step` names them.
    """
    state: dict[str, Any] = {MARK: VERSION, "step": step, "extra": extra}
    for name, part in parts.items():
        if part is None:
            continue
        if name in OWN:
            raise CheckpointError(f"save_checkpoint: a part cannot be called {name!r}")
        state[name] = _state(name, part)
    if rng:
        state["random"] = _random()
    goal = Path(path)
    if keep is None:
        save(state, goal)
        return goal
    if keep < 1 or type(step) is not int or step < 0:
        raise CheckpointError(f"save_checkpoint: keep={keep} needs 1 or more, and step= to name the file, not {step}")
    goal.mkdir(parents=True, exist_ok=True)
    sweep(goal)
    made = goal / f"step-{step:09}.pt"
    save(state, made)
    for old in _checkpoints(goal)[keep:]:
        old.unlink(missing_ok=True)
    flush_folder(goal)
    return made


def load_checkpoint(
    path: FilePath, *, strict: bool = True, rng: bool = True, map_location: Where = None, **parts: Any
) -> Checkpoint:
    """Give every part the state it had, from a file or from the newest checkpoint of a folder.

    Parts are named as they were saved; what the file holds beside them is left alone. The parameters of a module are
    read straight into it. Other tensors go to `map_location`, or where the first module is. Raises CheckpointError for
    a damaged file and for one without a part that is asked for, and StateError where a module or the first of the other
    parts does not fit, before anything has changed.
    """
    goal = latest_checkpoint(path) if Path(path).is_dir() else Path(path)
    if goal is None:
        raise CheckpointError(f"load_checkpoint: the folder {path} holds no checkpoint")
    memory, name = read(goal)
    found = parse(memory, name)
    if not isinstance(found, dict) or found.get(MARK) != VERSION:
        raise CheckpointError(f"{name} is no checkpoint of this version of FLAME; flame.load shows what it holds")
    wanted = {key: part for key, part in parts.items() if part is not None}
    missing = [key for key in (*wanted, *(["random"] if rng else [])) if key not in found]
    if missing:
        held = ", ".join(key for key in found if key not in OWN)
        raise CheckpointError(f"{name} holds no {missing[0]!r}; it holds {held}, and rng=False leaves random numbers")
    models = {key: part for key, part in wanted.items() if isinstance(part, Module)}
    plans = {
        key: planned(model, state_of(found[key], f"{name}: {key!r}"), strict, reader(name))
        for key, model in models.items()
    }
    device = map_location or next((p.device for m in models.values() for p in m.state_dict().values()), None)

    def made(value: Any) -> Any:
        return convert(value, Maker(stored_in(value, name), device), name)

    for key in (key for key in wanted if key not in models):
        _restore(key, wanted[key], made(found[key]))
    for plan in plans.values():
        fill(plan)
    if rng:
        _set_random(made(found["random"]))
    return Checkpoint(found["step"], made(found["extra"]), goal)


def latest_checkpoint(folder: FilePath) -> Path | None:
    """The newest checkpoint of a folder, by its step; None where there is none yet, or no such folder."""
    return next(iter(_checkpoints(Path(folder))), None)


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first; unfinished files have other names."""
    found = [(int(match[1]), path) for path in folder.glob("step-*.pt") if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


# --- parts ------------------------------------------------------------------------------------------------------------
def _state(name: str, part: Any) -> Any:
    for method in ("state_dict", "get_state"):
        if hasattr(part, method):
            return getattr(part, method)()
    raise CheckpointError(
        f"save_checkpoint: {name} is a {type(part).__name__} without state_dict(); give plain values as extra="
    )


def _restore(name: str, part: Any, state: Any) -> None:
    for method in ("load_state_dict", "set_state"):
        if hasattr(part, method):
            getattr(part, method)(state)
            return
    raise CheckpointError(f"load_checkpoint: {name} is a {type(part).__name__} without load_state_dict()")


def _random() -> dict[str, Any]:
    """The three streams that training code draws from."""
    drawn = cast(Any, np.random.get_state())  # noqa: NPY002  what users draw from, whether they should or not
    kind, keys, *rest = drawn
    return {
        "flame": streams.default_generator.get_state(),
        "python": random.getstate(),
        "numpy": (str(kind), keys.tobytes(), *rest),
    }


def _set_random(state: Mapping[str, Any]) -> None:
    streams.default_generator.set_state(state["flame"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))  # noqa: NPY002
