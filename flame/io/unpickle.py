"""Reading pickles as data: an interpreter that knows the few instructions tensors and plain containers need.

A pickle is a program for a stack machine, and Python's own machine calls what the program names. This one imports
nothing: a global is an entry of a table that the caller gives, and an instruction or a global outside the tables ends
the reading, by name. What it builds is bounded by the length of the program.
"""

import pickletools
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flame.errors import CheckpointError

MOST_STEPS = 1 << 22  # instructions of one pickle: each may make a Python object, which is larger than the instruction
MOST_DIGITS = 255  # bytes of an integer
KEYS = (str, int, float, bool, type(None), bytes)
NAMES = {ord(op.code): op.name for op in pickletools.opcodes}


@dataclass(frozen=True, slots=True)
class Call:
    """What a global stands for where the program calls it: a function of ours, given the arguments in the file."""

    name: str
    function: Callable[..., Any]


_MARK = object()


class Machine:
    """One run over `data` from `at`; `lookup` holds the globals by dotted name, `persistent` resolves storages."""

    def __init__(
        self, data: memoryview, name: str, lookup: Mapping[str, Any], persistent: Callable[[Any], Any]
    ) -> None:
        self.data, self.name, self.lookup, self.persistent = data, name, lookup, persistent
        self.at = self.copied = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, at: int = 0) -> Any:
        """The object of the pickle that starts at a byte; afterwards `at` is the byte behind it."""
        self.at, self.copied, self.stack, self.memo = at, 0, [], {}
        for _ in range(MOST_STEPS):
            code = self.take(1)[0]
            if code == STOP:
                return self.finish()
            step = STEPS.get(code)
            if step is None:
                raise self.refuse(f"uses the instruction {NAMES.get(code, hex(code))}")
            try:
                step(self)
            except (IndexError, TypeError, ValueError, KeyError, OverflowError) as problem:
                if isinstance(problem, CheckpointError):
                    raise
                raise self.damaged(f"{NAMES[code]} at byte {self.at} fails: {str(problem)[:80]!r}") from None
        raise self.refuse(f"has more than {MOST_STEPS} instructions; keep long lists of numbers in tensors")

    def finish(self) -> Any:
        """The one object left."""
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise self.damaged(f"leaves {len(self.stack)} objects")
        return self.stack.pop()

    # --- complaints ------------------------------------------------------------------------------------------------
    def refuse(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.name}: its pickle {what}; FLAME reads tensors and plain containers only, and has executed nothing"
        )

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.name}: its pickle is damaged: {what}")

    # --- the program -----------------------------------------------------------------------------------------------
    def take(self, count: int) -> bytes:
        """The next bytes of the program."""
        end = self.at + count
        if not self.at <= end <= len(self.data):
            raise self.damaged(f"it wants {count} bytes at byte {self.at} of {len(self.data)}")
        found = bytes(self.data[self.at : end])
        self.at = end
        return found

    def number(self, form: str) -> Any:
        """The next bytes as a number."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """The next bytes up to the end of the line; those of globals are short."""
        found = bytes(self.data[self.at : self.at + 1024])
        length = found.find(b"\n")
        if length < 0:
            raise self.damaged(f"a line at byte {self.at} has no end")
        self.at += length + 1
        return found[:length].decode("utf-8")

    # --- the stack -------------------------------------------------------------------------------------------------
    def pop(self) -> Any:
        found = self.stack.pop()
        if found is _MARK:
            raise IndexError("a mark stands where an object should")
        return found

    def top(self, *kinds: type) -> Any:
        """The uppermost object, which must be of exactly one of these types."""
        found = self.stack[-1]
        if type(found) not in kinds:
            raise TypeError(f"{type(found).__name__} is no {' or '.join(kind.__name__ for kind in kinds)}")
        return found

    def group(self) -> list[Any]:
        """The objects above the last mark, taken off with it."""
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                found = self.stack[start + 1 :]
                del self.stack[start:]
                return found
        raise IndexError("there is no mark")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    # --- instructions ----------------------------------------------------------------------------------------------
    def pack(self, count: int) -> None:
        """Make a tuple of the uppermost objects."""
        found = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(found)))

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def update(self, items: list[Any]) -> None:
        """Enter keys and values, alternating, into the uppermost dictionary."""
        if len(items) % 2:
            raise ValueError("a key has no value")
        target = self.top(dict, OrderedDict)
        for key, value in zip(items[::2], items[1::2]):
            parts = key if type(key) is tuple else (key,)  # flat tuples only: hashing deep ones may take forever
            if any(type(part) not in KEYS for part in parts):
                raise TypeError(f"a {type(key).__name__} is no key")
            target[key] = value

    def long(self) -> None:
        count = self.number("<B")
        if count > MOST_DIGITS:
            raise ValueError("the integer is too long")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def remember(self, place: int) -> None:
        if self.stack[-1] is _MARK:
            raise IndexError("a mark cannot be remembered")
        self.memo[place] = self.stack[-1]

    def name_global(self, module: str, name: str) -> None:
        """Look a global up; nothing is imported."""
        full = f"{module}.{name}"
        if full not in self.lookup:
            raise self.refuse(f"asks for {full[:200]}")
        self.push(self.lookup[full])

    def stacked_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:  # and never str(): shared tuples print without end
            raise TypeError("a global has no name")
        self.name_global(module, name)

    def reduce(self) -> None:
        """Call one of our functions."""
        given, target = self.pop(), self.pop()
        if not isinstance(target, Call) or type(given) is not tuple:
            raise self.refuse(f"calls {getattr(target, 'name', f'a {type(target).__name__}')}")
        self.copied += sum(len(one) for one in given if isinstance(one, (list, str)))
        if self.copied > len(self.data):
            raise self.refuse(f"copies one object again and again with {target.name}")
        try:
            self.push(target.function(*given))
        except CheckpointError as problem:
            raise CheckpointError(f"{self.name}: {problem}") from None

    def build(self) -> None:
        """Set the state of an object: only the `_metadata` of a state_dict is known."""
        state = self.pop()
        target = self.top(OrderedDict)
        if type(state) is not dict or set(state) - {"_metadata"}:
            raise self.refuse("hangs attributes on a dictionary")
        vars(target).update(state)

    def resolve(self) -> None:
        self.push(self.persistent(self.pop()))

    def protocol(self) -> None:
        version = self.number("<B")
        if version > 5:
            raise ValueError(f"there is no protocol {version}")

    def skip_frame(self) -> None:
        self.number("<Q")


def _text(form: str) -> Callable[[Machine], None]:
    return lambda m: m.push(m.take(m.number(form)).decode("utf-8", "surrogatepass"))


def _bytes(form: str) -> Callable[[Machine], None]:
    return lambda m: m.push(m.take(m.number(form)))


def _ascii(form: str) -> Callable[[Machine], None]:
    return lambda m: m.push(m.take(m.number(form)).decode("ascii"))  # a string of Python 2


STOP = ord(".")
STEPS: dict[int, Callable[[Machine], None]] = {
    ord(code): step
    for code, step in {
        "\x80": Machine.protocol,
        "\x95": Machine.skip_frame,
        "(": lambda m: m.push(_MARK),
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "K": lambda m: m.push(m.number("<B")),
        "M": lambda m: m.push(m.number("<H")),
        "J": lambda m: m.push(m.number("<i")),
        "\x8a": Machine.long,
        "G": lambda m: m.push(m.number(">d")),
        "X": _text("<I"),
        "\x8c": _text("<B"),
        "\x8d": _text("<Q"),
        "U": _ascii("<B"),
        "T": _ascii("<i"),
        "C": _bytes("<B"),
        "B": _bytes("<I"),
        "\x8e": _bytes("<Q"),
        "}": lambda m: m.push({}),
        "]": lambda m: m.push([]),
        ")": lambda m: m.push(()),
        "\x85": lambda m: m.pack(1),
        "\x86": lambda m: m.pack(2),
        "\x87": lambda m: m.pack(3),
        "t": lambda m: m.push(tuple(m.group())),
        "a": lambda m: m.extend([m.pop()]),
        "e": lambda m: m.extend(m.group()),
        "s": lambda m: m.update([m.pop(), m.pop()][::-1]),
        "u": lambda m: m.update(m.group()),
        "q": lambda m: m.remember(m.number("<B")),
        "r": lambda m: m.remember(m.number("<I")),
        "\x94": lambda m: m.remember(len(m.memo)),
        "h": lambda m: m.push(m.memo[m.number("<B")]),
        "j": lambda m: m.push(m.memo[m.number("<I")]),
        "c": lambda m: m.name_global(m.line(), m.line()),
        "\x93": Machine.stacked_global,
        "R": Machine.reduce,
        "b": Machine.build,
        "Q": Machine.resolve,
    }.items()
}
