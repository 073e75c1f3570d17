"""Every environment knob of FLAME: typed, documented, scoped.

Each knob is one line of `Config`: its environment variable, its default, how its text is read, what it does.
The environment is read once, when FLAME is imported. Afterwards:

    from flame.config import config

    config.threads                                  # the value now
    with config(show="plan", validate=True): ...    # changed inside the block, in this thread alone
    config.threads = 4                              # changed for the whole process
"""

import contextlib
import difflib
import os
import re
import warnings
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar, overload

from flame.errors import ConfigError

STAGES = ("graph", "optimized", "kernels", "plan", "choices", "source", "ptx")  # of `show` and `flame dump --stage`
UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}

Value = TypeVar("Value")
Scope = dict[str, Any]

PROCESS: Scope = {}  # the values outside every `with config(...)`: defaults, then the environment, then assignments
SCOPES: ContextVar[Scope | None] = ContextVar("flame_config", default=None)


class Row(NamedTuple):
    """One knob as `flame info` and the docs show it."""

    name: str
    variable: str
    value: Any
    default: Any
    doc: str


class Knob(Generic[Value]):
    """A typed attribute of `Config`; `read` turns text or a Python value into the knob's type or raises ValueError."""

    def __init__(self, variable: str, read: Callable[[Any], Value], default: Callable[[], Value], doc: str):
        self.variable, self.read, self.default, self.doc = variable, read, default, doc
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        if instance is None:
            return self
        scope = SCOPES.get()
        return PROCESS[self.name] if scope is None else scope.get(self.name, PROCESS[self.name])

    def __set__(self, instance: object, value: Any) -> None:
        PROCESS[self.name] = self.checked(value, f"config.{self.name}")

    def checked(self, value: Any, where: str) -> Value:
        """The value in the knob's type; `where` names who gave it, for the error."""
        try:
            return self.read(value)
        except ValueError as problem:
            raise ConfigError(f"{where} is {value!r}: {problem}") from None

    def from_environment(self, environment: Mapping[str, str]) -> Value:
        """The variable's value, or the default where it is unset or empty."""
        text = environment.get(self.variable, "")
        return self.checked(text, f"environment variable {self.variable}") if text.strip() else self.default()


def read_switch(value: Any) -> bool:
    """1/0, true/false, yes/no or on/off."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    word = str(value).strip().lower()
    if word not in words:
        raise ValueError("use 1, true, yes or on; or 0, false, no or off")
    return words[word]


def read_tune(value: Any) -> str | int:
    """A switch, or the number of a candidate: "off", "measure" or that number."""
    if isinstance(value, str | bool) and str(value).strip().lower() in ("off", "measure"):
        return str(value).strip().lower()
    if not isinstance(value, bool) and re.fullmatch(r"#[0-9]+", str(value).strip()):
        return int(str(value).strip()[1:])
    try:
        return "measure" if read_switch(value) else "off"
    except ValueError:
        raise ValueError("use on (or True) to time layouts, off, or #2 for every kernel's third candidate") from None


def read_whole(least: int) -> Callable[[Any], int]:
    """A reader of whole numbers not below `least`."""

    def read(value: Any) -> int:
        if not re.fullmatch(r"[0-9][0-9_]*", str(value).strip()) or int(value) < least:
            raise ValueError(f"use a whole number, {least} or more")
        return int(value)

    return read


def read_bytes(value: Any) -> int | None:
    """A number of bytes with or without a unit (512MB, 8GiB); `none` lifts the limit."""
    text = str(value).strip().lower()
    if value is None or text == "none":
        return None
    parts = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kmgt]?i?)b?", text)
    if not parts or parts[2] not in UNITS:
        raise ValueError("use a number of bytes such as 2000000000, 512MB or 8GiB, or none for no limit")
    return int(float(parts[1]) * UNITS[parts[2]]) if "." in parts[1] else int(parts[1]) * UNITS[parts[2]]


def read_device(value: Any) -> str | None:
    """cpu, cuda, cuda:N, or none for the best there is."""
    text = str(value).strip().lower()
    if value is None or text == "none":
        return None
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", text):
        raise ValueError("use cpu, cuda, cuda:0 (or another number), or none for the best device there is")
    return text


def read_show(value: Any) -> frozenset[str]:
    """A comma list (or an iterable) of stages."""
    words = value.split(",") if isinstance(value, str) else value
    try:
        stages = frozenset(str(word).strip().lower() for word in words) - {""}
    except TypeError:
        raise ValueError(f"use a comma list of {', '.join(STAGES)}") from None
    unknown = sorted(stages - set(STAGES))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no stage; use a comma list of {', '.join(STAGES)}")
    return stages


def read_path(value: Any) -> Path:
    """An absolute path, `~` understood; nothing is created here."""
    try:
        return Path(value).expanduser().absolute()
    except (TypeError, RuntimeError) as problem:
        raise ValueError(f"use the path of a directory ({problem})") from None


def default_cache() -> Path:
    """$XDG_CACHE_HOME/flame, else ~/.cache/flame, else (a user without a home) a directory under /tmp."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return Path(base) / "flame" if os.path.isabs(base) else Path.home() / ".cache" / "flame"
    except RuntimeError:
        return Path(f"/tmp/flame-{os.getuid()}")


def available_cpus() -> int:
    """CPUs this process may run on, which under a container or taskset is fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Config:
    """The knobs themselves: read as attributes, scoped by `with config(name=value):`, set by assignment."""

    __slots__ = ()

    cache_dir = Knob("FLAME_CACHE", read_path, default_cache, "Directory of compiled kernels and tuned choices.")
    show = Knob("FLAME_SHOW", read_show, frozenset[str], f"Print each program's stages: {', '.join(STAGES)}.")
    validate = Knob("FLAME_VALIDATE", read_switch, lambda: False, "Check each kernel and plan against the oracle.")
    device = Knob("FLAME_DEVICE", read_device, lambda: None, "cpu, cuda or cuda:N; none takes a GPU where one is.")
    memory_limit = Knob("FLAME_MEMORY_LIMIT", read_bytes, lambda: None, "Most bytes a device's pool takes (8GiB).")
    threads = Knob("FLAME_THREADS", read_whole(1), available_cpus, "CPU threads that run kernels.")
    compile_workers = Knob(
        "FLAME_COMPILE_WORKERS", read_whole(1), lambda: min(available_cpus(), 8), "Kernels compiled side by side."
    )
    fuse = Knob("FLAME_FUSE", read_switch, lambda: True, "Fuse operations into kernels; off: one kernel each.")
    reuse = Knob("FLAME_REUSE", read_switch, lambda: True, "Let values of a plan share memory when lives allow.")
    tf32 = Knob("FLAME_TF32", read_switch, lambda: False, "Round float32 operands of products to tf32: faster, 1e-3.")
    deterministic = Knob(
        "FLAME_DETERMINISTIC",
        read_switch,
        lambda: True,
        "The same bits every time; off: attention's gradient is faster.",
    )
    choices = Knob(
        "FLAME_CHOICES", str, lambda: "measure", "How libraries' algorithms are chosen: measure, first, or a table."
    )
    tune = Knob("FLAME_TUNE", read_tune, lambda: "off", "Time kernels' layouts once, remember the best on disk.")
    anomaly = Knob("FLAME_ANOMALY", read_switch, lambda: False, "Raise where a nan is made, naming its line; slow.")
    poison = Knob("FLAME_POISON", read_switch, lambda: False, "Fill freed memory with NaN, so that stale reads show.")
    pending_limit = Knob(
        "FLAME_PENDING_LIMIT", read_whole(0), lambda: 100_000, "Nodes pending unrealized before a warning; 0: never."
    )

    def __call__(self, **values: Any) -> "Scoped":
        """A `with` block (or decorator) inside which the named knobs have these values, in this thread alone."""
        return Scoped({name: knob(name).checked(value, f"config({name}=...)") for name, value in values.items()})

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(unknown(name))

    def describe(self) -> tuple[Row, ...]:
        """Every knob with its value here and now, in the order of the class."""
        return tuple(
            Row(each.name, each.variable, getattr(self, each.name), each.default(), each.doc) for each in KNOBS.values()
        )


class Scoped(contextlib.ContextDecorator):
    """What `config(...)` returns: enters and leaves one set of values; may be entered again."""

    def __init__(self, values: Scope):
        self.values = values
        self.tokens: list[Token[Scope | None]] = []

    def __enter__(self) -> "Config":
        self.tokens.append(SCOPES.set({**(SCOPES.get() or {}), **self.values}))
        return config

    def __exit__(self, *_: object) -> None:
        SCOPES.reset(self.tokens.pop())


KNOBS: dict[str, Knob[Any]] = {name: value for name, value in vars(Config).items() if isinstance(value, Knob)}


def knob(name: str) -> Knob[Any]:
    """The knob of that name, or an error that lists the names there are."""
    if name not in KNOBS:
        raise ConfigError(unknown(name))
    return KNOBS[name]


def unknown(name: str) -> str:
    """The message for a name that is no knob, with the nearest one that is."""
    near = difflib.get_close_matches(name, KNOBS, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KNOBS)}"
    return f"{name} is no knob of FLAME; {hint}"


def load_environment(environment: Mapping[str, str]) -> None:
    """Every knob has its value of the environment; a variable that only resembles a knob's is pointed out."""
    PROCESS.update({each.name: each.from_environment(environment) for each in KNOBS.values()})
    endings = [each.variable.removeprefix("FLAME_") for each in KNOBS.values()]
    for name in environment:
        ending = name.removeprefix("FLAME_")
        near = difflib.get_close_matches(ending, endings, 1, cutoff=0.7)
        if name != ending and ending not in endings and near:
            warnings.warn(f"FLAME does not know {name}; did you mean FLAME_{near[0]}?", stacklevel=2)


config = Config()
load_environment(os.environ)
