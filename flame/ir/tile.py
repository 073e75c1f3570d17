"""How a matrix product lies on tensor cores: plain numbers, which the printer reads and the runtime times."""

from dataclasses import dataclass
from math import prod

from flame.ir.library import MatmulSpec
from flame.ir.product import Product, simplify

BLOCK = 16  # bytes: what tensor maps want of addresses and of the way from row to row
LEAST = 1 << 27  # multiplications from which on a product fills the machine
ATOM = 64  # elements of 16 bits that one swizzled row of shared memory holds
GROUPS = 2  # groups of 128 threads that multiply; one more brings operands


@dataclass(frozen=True, slots=True)
class Tile:
    """A block computes `rows` x `columns` of the result at a time, `ATOM` deep, with operands of `stages` steps ahead.

    With `alternate` each group of threads has a tile of its own, and stores it while the other multiplies; else both
    share one. A `cluster` of blocks reads the columns' operand together. `group` tiles of rows follow one another
    before the next column of tiles, so that their operands stay in the cache.
    """

    rows: int
    columns: int
    stages: int
    staging: int = 2  # 64 x 64 pieces of the result that a group keeps on their way to memory
    alternate: bool = False
    cluster: int = 1
    group: int = 16

    @property
    def high(self) -> int:
        """Pieces of 64 rows that each group of threads has."""
        return self.rows // 64 // (1 if self.alternate else GROUPS)

    @property
    def left(self) -> int:
        """Bytes of the left operand in one stage."""
        return self.rows * ATOM * 2

    @property
    def stage(self) -> int:
        return self.left + self.columns * ATOM * 2

    @property
    def piece(self) -> int:
        """Bytes of a 64 x 64 piece of the result."""
        return 64 * ATOM * 2

    @property
    def shared(self) -> int:
        """Bytes of shared memory: stages, pieces on their way out, and two barriers a stage."""
        return self.stages * self.stage + GROUPS * self.staging * self.piece + 16 * self.stages

    @property
    def name(self) -> str:
        how = "alternate" if self.alternate else "together"
        return f"{self.rows}x{self.columns} {self.stages} stages {how}" + (" cluster" if self.cluster > 1 else "")


TILES = (
    Tile(128, 128, 6, alternate=True),
    Tile(128, 192, 4, staging=4),
    Tile(128, 256, 4),
    Tile(128, 256, 4, cluster=2),
    Tile(128, 128, 6, alternate=True, cluster=2),
)


@dataclass(frozen=True)
class Shape:
    """A product that tensor cores can do: its matrices' forms and extents."""

    product: Product
    left: str  # the axis along which an operand lies side by side
    right: str

    @property
    def batch(self) -> int:
        return prod(self.product.batch)


def shape(spec: MatmulSpec) -> Shape | None:
    """The product as printed kernels see it, or None where tensor maps cannot say where its matrices lie."""
    if spec.dtype not in ("bfloat16", "float16") or prod((*spec.batch, spec.m, spec.n, spec.k)) < LEAST:
        return None
    p = simplify(Product.of(spec))
    left, right = _along(p.a_strides, p.m, p.k, "mk"), _along(p.b_strides, p.k, p.n, "kn")
    offsets = (spec.a.offset, spec.b.offset)
    if left is None or right is None or len(p.batch) > 1 or any(2 * o % BLOCK for o in offsets):
        return None
    steps = [p.n, *(s for s in (*p.a_strides[:2], *p.b_strides[:2]) if s != 1), *p.a_strides[2:], *p.b_strides[2:]]
    return Shape(p, left, right) if all(2 * s % BLOCK == 0 for s in steps) else None


def _along(strides: tuple[int, ...], rows: int, columns: int, axes: str) -> str | None:
    """The axis along which a matrix lies side by side; None where neither does, or rows overlap."""
    row, column = strides[:2]
    if column == 1 and row >= columns:
        return axes[1]
    return axes[0] if row == 1 and column >= rows else None


def fits(tile: Tile, shape: Shape) -> bool:
    """Whether a tile serves a product: the blocks of a cluster share rows of the right operand that lie along k."""
    return tile.cluster == 1 or shape.right == "k"
