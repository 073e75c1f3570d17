"""A product of matrices without offsets, as libraries and printed kernels take it: as few batches as strides allow."""

from dataclasses import dataclass

from flame.ir.library import MatmulSpec


@dataclass(frozen=True)
class Product:
    """A MatmulSpec without offsets; strides in elements are (row, column, *batch), in the order of `batch`."""

    dtype: str
    m: int
    n: int
    k: int
    batch: tuple[int, ...]
    a_strides: tuple[int, ...]
    b_strides: tuple[int, ...]
    tf32: bool = False

    @staticmethod
    def of(spec: MatmulSpec) -> "Product":
        """The product that a spec means, its views' offsets aside."""
        a, b = ((*view.strides[-2:], *view.strides[:-2]) for view in (spec.a, spec.b))
        return Product(spec.dtype, spec.m, spec.n, spec.k, tuple(spec.batch), a, b, spec.tf32)


def orient(rows: int, columns: int, row: int, column: int) -> tuple[bool, int] | None:
    """(transposed, leading dimension) of a row-major reading, or None; an extent of 1 has any stride."""
    if (column == 1 or columns == 1) and (row >= columns or rows == 1):
        return False, max(row if rows > 1 else columns, columns, 1)
    if (row == 1 or rows == 1) and (column >= rows or columns == 1):
        return True, max(column if columns > 1 else rows, rows, 1)
    return None


def simplify(spec: Product) -> Product:
    """The same product with as few batch dimensions as its strides allow; rows of one `b` become rows of `a`."""
    dims = [d for d in zip(spec.batch, spec.a_strides[2:], spec.b_strides[2:], strict=True) if d[0] != 1]
    merged: list[tuple[int, int, int]] = []
    for size, a, b in dims:
        if merged and merged[-1][1] == a * size and merged[-1][2] == b * size:
            merged[-1] = (merged[-1][0] * size, a, b)
        else:
            merged.append((size, a, b))
    m, (row, column) = spec.m, spec.a_strides[:2]
    while merged and merged[-1][2] == 0:
        size, a, _ = merged[-1]
        if m != 1 and a != m * row:
            break
        taller = (m * size, spec.k, a if m == 1 else row, column)
        if orient(*taller) is None:
            break
        m, row = taller[0], taller[2]
        merged.pop()
    sizes, a, b = zip(*merged, strict=True) if merged else ((), (), ())
    return Product(spec.dtype, m, spec.n, spec.k, sizes, (row, column, *a), (*spec.b_strides[:2], *b), spec.tf32)
