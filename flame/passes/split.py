"""Tall folds in stages: what few results would fold alone, many partial results fold first.

A run of folded axes is (before, row, behind): `before` independent folds of `row` rows, `behind` of them side by side.
Its rows are dealt out to equal parts; the few that are left over join the partial results in the next stage. Columns
that no wide access fits are folded several rows at a time, so that w rows of `behind` are one row of w * behind. Half
precisions are folded in float32 from the first stage to the last.
"""

from dataclasses import dataclass
from math import gcd, prod

from flame.ir.graph import toposort, transform
from flame.ir.group import COLUMNS, FREE, KEPT
from flame.ir.node import Node, apply, cast, const, expand, reshape
from flame.ir.op import Kind, Op
from flame.ir.target import Target

TALL = 1 << 10  # a fold of fewer elements is left alone, unless all of them together are MANY
SOME = 1 << 16  # and one of fewer together, whatever its height: a block folds them in no time
MANY = 1 << 22
LONG = 1 << 17  # a trailing fold of fewer elements stays in its row kernel
ALONE = 1 << 14  # a fold to one number of fewer elements is one block's
BYTES = 1 << 21  # in flight they keep a GPU busy
CARRIED = 256  # partial results of each when the fold is carried by a row kernel: all its blocks run at once
BLOCKS = 512  # partial results of each at most
CROWD = (
    128  # rows from which on a block for each keeps a GPU busy; where blocks can share a row, an eighth of them does
)
LEAST = 16  # elements that a lane folds in the first stage
FEW = 16  # parts that serve the cores of a CPU
BESIDE = 64  # a trailing run of as many elements is read by a row kernel, whatever else is folded
IDLE = 256  # with fewer results than that, blocks of one result each leave a GPU idle
LINE = 32  # lanes of a warp, and columns that they read side by side
WIDE = 16  # bytes of one access


@dataclass(frozen=True, slots=True)
class Run:
    """The extents of a run of folded axes, and of what lies around it."""

    before: int
    row: int
    behind: int

    @property
    def grid(self) -> int:
        return self.before * self.behind


def split(roots: tuple[Node, ...], target: Target) -> tuple[Node, ...]:
    """No fold leaves most of the machine idle."""
    beside = _beside_rows(roots)

    def step(n: Node) -> Node:
        return _Splitting(n, target, beside).node() if n.op.kind is Kind.REDUCE and prod(n.src[0].shape) else n

    return transform(roots, step)


def _beside_rows(roots: tuple[Node, ...]) -> set[tuple[int, int]]:
    """The (row, columns) of leading folds of what reads a fold along its columns: row kernels carry these."""
    over: dict[Node, bool] = {}
    found: set[tuple[int, int]] = set()
    for n in toposort(roots):
        below = n.op.kind is not Kind.CALL and any(over[s] for s in n.src)
        if n.op.kind is Kind.REDUCE:
            runs = _runs(n)
            if below and [folded for _, folded in runs] == [True, False]:
                found.add((runs[0][0], runs[1][0]))
            below = below or (bool(runs) and runs[-1][1])
        over[n] = below
    return found


def _runs(n: Node) -> list[tuple[int, bool]]:
    """The source's axes as runs that are folded or not, each with its extent."""
    runs: list[tuple[int, bool]] = []
    for a, size in enumerate(n.src[0].shape):
        folded = a in n["axes"]
        if runs and runs[-1][1] == folded:
            runs[-1] = runs[-1][0] * size, folded
        elif size != 1:
            runs.append((size, folded))
    return runs


class _Splitting:
    """The state of splitting one fold."""

    def __init__(self, n: Node, target: Target, beside: set[tuple[int, int]]):
        self.n, self.target, self.beside = n, target, beside
        self.op: Op = n.op
        self.size = n.src[0].dtype.size

    def node(self) -> Node:
        """The fold, in stages if that is better."""
        n, runs = self.n, _runs(self.n)
        folded = [i for i, (_, f) in enumerate(runs) if f]
        if not folded:
            return n
        sizes = [size for size, _ in runs]
        wide = reshape(cast(n.src[0], n.src[0].dtype.register), tuple(sizes))
        if len(folded) > 1:
            made = self.mixed(wide, runs, folded)
        else:
            (i,) = folded
            run = Run(prod(sizes[:i]), sizes[i], prod(sizes[i + 1 :]))
            made = self.staged(reshape(wide, (run.before, run.row, run.behind)), run)
        return n if made is None else cast(reshape(made, n.shape), n.dtype)

    def mixed(self, a: Node, runs: list[tuple[int, bool]], folded: list[int]) -> Node | None:
        """Several runs, one after the other, where one block a result would be too few or read across memory."""
        grid = prod(size for size, f in runs if not f)
        trailing = folded[-1] == len(runs) - 1 and runs[-1][0] >= BESIDE
        if self.target.max_lanes == 1 or not (grid < IDLE or (trailing and grid * runs[-1][0] >= MANY)):
            return None
        first = (folded[-1],) if trailing else tuple(folded[:-1])
        inner = apply(self.op, a, axes=first)
        axes = tuple(i - sum(j < i for j in first) for i in folded if i not in first)
        return self.again(apply(self.op, self.again(inner), axes=axes))

    def again(self, n: Node) -> Node:
        return _Splitting(n, self.target, self.beside).node()

    def carried(self, run: Run) -> bool:
        """True if a row kernel folds it over the rows that each of its blocks takes."""
        beside = run.before == 1 and (run.row, run.behind) in self.beside
        return beside and self.tall(run) and run.behind <= self.target.carry

    def in_parts(self, a: Node, run: Run) -> Node:
        """The fold of equal parts, the last of them filled up with what changes nothing."""
        assert self.op.identity is not None
        steps = -(-run.row // min(CARRIED, run.row // LEAST))
        parts = -(-run.row // steps)
        a = reshape(a, (run.row, run.behind))
        if more := parts * steps - run.row:
            a = apply("pad", a, low=(0, 0), high=(more, 0), step=(1, 1), fill=self.op.identity(a.dtype))
        return self.again(self.over(self.over(a, 1, (parts, steps), run.behind), 1, (parts,), run.behind))

    def staged(self, a: Node, run: Run) -> Node | None:
        """The fold of a (before, row, behind) as (before, behind), or None where one stage serves."""
        if self.carried(run):
            return self.in_parts(a, run)
        if not self.tall(run) or self.enough(run):
            return None
        together = self.together(run)
        parts = self.parts(Run(run.before, run.row // together, run.behind * together))
        if parts <= 1:
            return None
        steps = run.row // (parts * together)
        if run.behind == 1 and run.before == 1:
            steps -= steps % (WIDE // min(self.size, WIDE))
        main = parts * steps * together
        found = self.over(_rows(a, 0, main), run.before, (parts, steps), together * run.behind)
        found = reshape(found, (run.before, parts * together, run.behind))
        if main < run.row:
            found = _joined(found, _rows(a, main, run.row))
        return self.again(self.over(found, run.before, (found.shape[1],), run.behind))

    def over(self, a: Node, before: int, rows: tuple[int, ...], behind: int) -> Node:
        """The fold of the last of some axes between others; axes of size 1 are none, as row kernels know them."""
        front = (before,) if before > 1 else ()
        shape = (*front, *rows, *((behind,) if behind > 1 else ()))
        return apply(self.op, reshape(a, shape), axes=(len(front) + len(rows) - 1,))

    def together(self, run: Run) -> int:
        """How many rows are one, so that wide accesses, or all lanes of a warp, fit their columns."""
        if run.behind == 1 or self.target.max_lanes == 1:
            return 1
        unit = LINE if run.behind < COLUMNS // 2 else max(1, WIDE // self.size)
        w = unit // gcd(run.behind, unit)
        return w if run.before == 1 or run.row % w == 0 else 1

    def tall(self, run: Run) -> bool:
        """True if the fold is worth a second stage."""
        if run.behind == 1:
            enough = CROWD // 8 if self.target.cc >= (9, 0) else CROWD
            return run.before < enough and run.row >= (ALONE if run.before == 1 else LONG)
        together = run.grid * run.row
        return together >= MANY or (run.row >= TALL and together >= SOME)

    def enough(self, run: Run) -> bool:
        """True if blocks that keep columns, or lanes that fold their own, are many enough for one stage."""
        columns = self.target.max_lanes > 1 and run.behind > 1
        return columns and (run.row <= KEPT[1] or run.grid * self.size >= FREE)

    def parts(self, run: Run) -> int:
        """How many partial results of each there are, or 1."""
        if self.target.max_lanes == 1:
            few = run.before == 1 and run.grid < MANY if run.behind > 1 else run.before < FEW
            return min(FEW, run.row // LEAST) if few else 1
        if run.behind == 1:
            return min(BLOCKS, 2 * BLOCKS // run.before, run.row // TALL)
        enough = BYTES // self.size
        if run.behind <= COLUMNS:  # a block folds its columns, a warp 32 of them
            wanted = 2 * BLOCKS * LINE // run.grid
        else:
            wanted = -(-enough // run.grid)
        return min(wanted, run.row // LEAST)


def _rows(a: Node, start: int, stop: int) -> Node:
    """Some rows of (before, row, behind)."""
    if (start, stop) == (0, a.shape[1]):
        return a
    return apply("slice", a, start=(0, start, 0), stop=(a.shape[0], stop, a.shape[2]), step=(1, 1, 1))


def _joined(a: Node, b: Node) -> Node:
    """The rows of a, then those of b."""
    (before, first, behind), more = a.shape, b.shape[1]
    zeros, ones, shape = (0, 0, 0), (1, 1, 1), (before, first + more, behind)
    a = apply("pad", a, low=zeros, high=(0, more, 0), step=ones, fill=0)
    b = apply("pad", b, low=(0, first, 0), high=zeros, step=ones, fill=0)
    here = expand(reshape(apply("iota", n=first + more), (1, first + more, 1)), shape)
    return apply("where", apply("lt", here, expand(const(first), shape)), a, b)
