"""The kernel IR: loops and stores around scalar Nodes.

A scalar expression is a Node of shape (): the same operators, the same interning and the same simplification rules
serve tensors and index arithmetic. A kernel is written for ONE element. How many elements a lane holds, and which of
them one 16-byte access brings, are numbers of its `Layout`: the printer unrolls, the IR does not.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Union

from flame.ir.dtype import DType
from flame.ir.graph import toposort
from flame.ir.node import Node


class Role(Enum):
    """What runs the iterations of a loop. Printers spell it; nothing else differs between targets."""

    GRID = "grid"  # independent items, each given to the lanes of one block (a row)
    ROW = "row"  # the elements of a row, visited together by the lanes of one block
    SPREAD = "spread"  # independent elements, divided among all lanes of all blocks
    SERIAL = "serial"  # one after the other, in each lane


@dataclass(frozen=True, slots=True)
class Param:
    """An address, or one number passed `by_value`."""

    name: str
    dtype: DType
    written: bool = False
    by_value: bool = False


@dataclass(frozen=True, slots=True)
class Loop:
    """`body` for each value of `var` below `extent`; `role` says what runs the iterations.

    With `bounds`, which only SERIAL loops have, each element has a beginning and an end of its own.
    """

    var: Node
    extent: int
    role: Role
    body: tuple["Statement", ...]
    bounds: tuple[Node, Node] | None = None


@dataclass(frozen=True, slots=True)
class Init:
    """acc = value"""

    acc: Node
    value: Node


@dataclass(frozen=True, slots=True)
class Fold:
    """acc = combine(acc, value)"""

    acc: Node
    combine: str
    value: Node


@dataclass(frozen=True, slots=True)
class Gather:
    """acc = combine over all lanes of acc: the one collective."""

    acc: Node
    combine: str


@dataclass(frozen=True, slots=True)
class Scan:
    """acc = what the values of this element and of all before it in the row fold to.

    `both` is what `left` and then `right` fold to. The `carry` begins as `neutral`, and becomes what all fold to.
    """

    acc: Node
    carry: Node
    value: Node
    left: Node
    right: Node
    both: Node
    neutral: Node
    reverse: bool = False  # from the end of the row


@dataclass(frozen=True, slots=True)
class Keep:
    """var = value, for this element: a later loop over the same row reads it from its register."""

    var: Node
    value: Node


@dataclass(frozen=True, slots=True)
class Store:
    """param[index] = value, where the element exists: `guard` says so of a tile that reaches beyond the edge."""

    param: str
    index: Node
    value: Node
    guard: Node | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """tile[index] = value: one of `size` places that the lanes of a block share; loads name the tile as their param.

    Each loop that stages ends when all lanes are through: what comes behind it may read what any lane has written.
    """

    tile: str
    size: int
    index: Node
    value: Node


Statement = Union[Loop, Init, Fold, Gather, Scan, Keep, Store, Stage]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the elements lie on the machine. A CPU has one lane, one row, one item, vector 1."""

    lanes: int = 1  # threads of a block that share a row (ROW) or a tile (SPREAD)
    rows: int = 1  # rows side by side in one block; where folds over rows are carried, all of one part
    across: bool = False  # neighbouring threads hold neighbouring rows, not neighbouring elements (a column fold)
    items: int = 1  # vectors that a lane holds at once
    vector: int = 1  # neighbouring elements that one access brings
    kept: bool = False  # the row fits in registers: lanes * items * vector covers it
    cluster: int = 1  # blocks that share a row, each with `lanes` threads
    ahead: int = 0  # rows that wait in shared memory before their turn, where a block takes one after another
    ragged: bool = False  # vectors do not divide the free elements: the last one is cut off

    @property
    def span(self) -> int:
        """Elements of a row that the lanes visit at once."""
        return self.lanes * self.cluster * self.items * self.vector


@dataclass(frozen=True, slots=True)
class Kernel:
    """One outer loop over independent items or elements, and what is done for each."""

    name: str
    params: tuple[Param, ...]
    body: tuple[Loop]
    layout: Layout = Layout()
    many: bool = False  # serves many tensors in one launch: arguments and extent come from a table, by member

    @property
    def outer(self) -> Loop:
        return self.body[0]


def free_stores(kernel: "Kernel") -> list[Store]:
    """The stores of a kernel of free elements that does nothing else; none where it does."""
    outer = kernel.outer
    stores = [s for s in outer.body if isinstance(s, Store)]
    return stores if outer.role is Role.SPREAD and len(stores) == len(outer.body) else []


def statements(body: Iterable[Statement]) -> Iterator[Statement]:
    for s in body:
        yield s
        if isinstance(s, Loop):
            yield from statements(s.body)


def scalars(s: Statement) -> tuple[Node, ...]:
    """The expressions a statement reads."""
    match s:
        case Init() | Fold() | Scan() | Keep():
            return (s.value,)
        case Store():
            return (s.index, s.value, *((s.guard,) if s.guard is not None else ()))
        case Stage():
            return (s.index, s.value)
        case Loop():
            return s.bounds or ()
        case _:
            return ()


def accesses(kernel: Kernel) -> list[tuple[str, Node, bool]]:
    """Every (param, index, written) that the kernel touches in memory, once."""
    found: dict[tuple[str, Node, bool], None] = {}
    memory = {p.name for p in kernel.params}
    for s in statements(kernel.body):
        for n in toposort(scalars(s)):
            if n.op.name == "load" and n.src and n["param"] in memory:
                found[n["param"], n.src[0], False] = None
        if isinstance(s, Store):
            found[s.param, s.index, True] = None
    return list(found)


def map_scalars(kernel: Kernel, f: Callable[[Node], Node]) -> Kernel:
    """The same kernel with every scalar expression passed through `f`."""

    def statement(s: Statement) -> Statement:
        match s:
            case Loop():
                bounds = s.bounds and (f(s.bounds[0]), f(s.bounds[1]))
                return replace(s, body=tuple(map(statement, s.body)), bounds=bounds)
            case Init() | Fold() | Scan() | Keep():
                return replace(s, value=f(s.value))
            case Store():
                return replace(s, index=f(s.index), value=f(s.value), guard=s.guard and f(s.guard))
            case Stage():
                return replace(s, index=f(s.index), value=f(s.value))
            case Gather():
                return s

    (outer,) = kernel.body
    return replace(kernel, body=(replace(outer, body=tuple(map(statement, outer.body))),))
