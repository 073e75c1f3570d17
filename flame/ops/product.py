"""Products of vectors and matrices: PyTorch's rules for ranks, one matrix product below."""

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from flame.errors import DTypeError, ShapeError
from flame.ir import dtype as dt
from flame.ir import node as nd
from flame.ir.node import Node, apply
from flame.ops.elementwise import to_dtype
from flame.ops.join import stack
from flame.ops.method import axis, method
from flame.ops.shape import cut, expand, permute, reshape, unsqueeze
from flame.tensor import Tensor, new, same_device

__all__ = [
    "addbmm",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "bmm",
    "chain_matmul",
    "cross",
    "dot",
    "ger",
    "inner",
    "kron",
    "matmul",
    "mm",
    "mv",
    "outer",
    "tensordot",
    "vander",
    "vdot",
]


def _met(name: str, *tensors: Any) -> None:
    """Products take tensors of one dtype, as PyTorch's: a hidden cast would be a hidden copy."""
    for t in tensors:
        if not isinstance(t, Tensor):
            raise DTypeError(f"{name}: needs tensors, got {type(t).__name__}")
        if t.dtype is not tensors[0].dtype:
            raise DTypeError(
                f"{name}: operands are {tensors[0].dtype} and {t.dtype}; cast one of them, e.g. .to({t.dtype!r})"
            )
        if t.dtype is dt.boolean:
            raise DTypeError(f"{name}: needs numbers, got bool; cast first, e.g. .float()")


def _ranks(name: str, wanted: Sequence[int], *tensors: Tensor) -> None:
    kinds = {1: "a vector", 2: "a matrix", 3: "a batch of matrices"}
    if [t.ndim for t in tensors] != list(wanted):
        raise ShapeError(
            f"{name}: needs {', '.join(kinds[r] for r in wanted)}, got {', '.join(str(t.shape) for t in tensors)}"
        )


@method
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """(…, m, k) by (…, k, n) to (…, m, n); leading dimensions broadcast; a 1-d operand is a row on the left, a column
    on the right, and its dimension leaves the result. Half precisions are summed in float32.
    """
    _met("matmul", input, other)
    return _multiplied("matmul", input, other)


def _multiplied(name: str, input: Tensor, other: Tensor) -> Tensor:
    device = same_device(name, input, other)
    if not input.ndim or not other.ndim:
        raise ShapeError(
            f"{name}: needs at least one dimension each, got {input.shape} and {other.shape}; use * for scalars"
        )
    a, b = input.node, other.node
    row, column = len(a.shape) == 1, len(b.shape) == 1
    a = nd.reshape(a, (1, *a.shape)) if row else a
    b = nd.reshape(b, (*b.shape, 1)) if column else b
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"{name}: cannot multiply {input.shape} by {other.shape}: inner sizes {a.shape[-1]} and {b.shape[-2]} must "
            "agree; transpose one of them?"
        )
    out = _product(name, a, b)
    shape = tuple(n for i, n in enumerate(out.shape) if not (row and i == len(out.shape) - 2))
    shape = shape[:-1] if column else shape
    return new(nd.reshape(out, shape), device, input, other)


def _product(name: str, a: Node, b: Node) -> Node:
    """One matrix on the right serves all rows on the left: a single product instead of a batch."""
    if len(b.shape) == 2 and len(a.shape) > 2:
        rows = nd.reshape(a, (prod(a.shape[:-1]), a.shape[-1]))
        return nd.reshape(apply("matmul", rows, b), (*a.shape[:-1], b.shape[-1]))
    try:
        batch = nd.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ShapeError as problem:
        raise ShapeError(f"{name}: batches of {a.shape} and {b.shape}: {problem}") from None
    return apply("matmul", nd.expand(a, (*batch, *a.shape[-2:])), nd.expand(b, (*batch, *b.shape[-2:])))


@method
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """(m, k) by (k, n) to (m, n)."""
    _met("mm", input, mat2)
    _ranks("mm", (2, 2), input, mat2)
    return _multiplied("mm", input, mat2)


@method
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """(b, m, k) by (b, k, n) to (b, m, n)."""
    _met("bmm", input, mat2)
    _batches("bmm", input, mat2)
    return _multiplied("bmm", input, mat2)


def _batches(name: str, a: Tensor, b: Tensor) -> None:
    _ranks(name, (3, 3), a, b)
    if a.shape[0] != b.shape[0]:
        raise ShapeError(f"{name}: batches of {a.shape[0]} and {b.shape[0]} matrices must be as many")


@method
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """(m, k) by (k) to (m)."""
    _met("mv", input, vec)
    _ranks("mv", (2, 1), input, vec)
    return _multiplied("mv", input, vec)


def _dot(name: str, input: Tensor, other: Tensor) -> Tensor:
    _met(name, input, other)
    _ranks(name, (1, 1), input, other)
    return _multiplied(name, input, other)


@method
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of products of two vectors."""
    return _dot("dot", input, tensor)


@method
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """As `dot`: real vectors are their own conjugates."""
    return _dot("vdot", input, other)


def _outer(name: str, a: Tensor, b: Tensor) -> Tensor:
    _ranks(name, (1, 1), a, b)
    return unsqueeze(a, 1) * unsqueeze(b, 0)


@method
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """(m) and (n) to their products (m, n); dtypes are promoted."""
    return _outer("outer", input, vec2)


@method
def ger(input: Tensor, vec2: Tensor) -> Tensor:
    """As `outer`."""
    return _outer("ger", input, vec2)


@method
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimension of both: (*a, k) and (*b, k) to (*a, *b); a 0-d operand scales."""
    if not input.ndim or not other.ndim:
        return input * other
    _met("inner", input, other)
    return _contracted("inner", input, other, (input.ndim - 1,), (other.ndim - 1,))


# --- a product and a sum ----------------------------------------------------------------------------------------------
def _added(name: str, input: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """beta · input + alpha · product; with beta = 0 the input, and a nan in it, is ignored."""
    if input.dtype is not product.dtype:
        raise DTypeError(f"{name}: the input is {input.dtype} and the product {product.dtype}; cast one of them")
    if not product.dtype.is_float and any(isinstance(x, (float, np.floating)) for x in (beta, alpha)):
        raise DTypeError(f"{name}: beta {beta} and alpha {alpha} must be integers for {product.dtype} tensors")
    try:
        wide = expand(input, product.shape)
    except ShapeError:
        raise ShapeError(f"{name}: the input {input.shape} does not broadcast to the product {product.shape}") from None
    out = product if alpha == 1 else product * alpha
    if beta != 0:
        out = (wide if beta == 1 else wide * beta) + out
    return new(out.node, out.device, input, product)


@method
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · input + alpha · (mat1 @ mat2) of matrices; the input broadcasts."""
    _met("addmm", mat1, mat2)
    _ranks("addmm", (2, 2), mat1, mat2)
    return _added("addmm", input, _multiplied("addmm", mat1, mat2), beta, alpha)


@method
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · input + alpha · (mat @ vec) of a matrix and a vector; the input broadcasts."""
    _met("addmv", mat, vec)
    _ranks("addmv", (2, 1), mat, vec)
    return _added("addmv", input, _multiplied("addmv", mat, vec), beta, alpha)


@method
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · input + alpha · (vec1 outer vec2); the input broadcasts."""
    return _added("addr", input, _outer("addr", vec1, vec2), beta, alpha)


@method
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · input + alpha · (batch1 @ batch2), matrix by matrix; the input broadcasts."""
    _met("baddbmm", batch1, batch2)
    _batches("baddbmm", batch1, batch2)
    return _added("baddbmm", input, _multiplied("baddbmm", batch1, batch2), beta, alpha)


@method
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · input + alpha · the sum of batch1 @ batch2 over the batch: one product with a long inner dimension."""
    _met("addbmm", batch1, batch2)
    _batches("addbmm", batch1, batch2)
    if batch1.shape[2] != batch2.shape[1]:
        raise ShapeError(f"addbmm: cannot multiply {batch1.shape} by {batch2.shape}: inner sizes must agree")
    return _added("addbmm", input, _contracted("addbmm", batch1, batch2, (0, 2), (0, 1)), beta, alpha)


# --- other dimensions -------------------------------------------------------------------------------------------------
def _contracted(name: str, a: Tensor, b: Tensor, over: Sequence[int], with_: Sequence[int]) -> Tensor:
    """Sums of products over dimensions of both as one matrix product: the others of a, then those of b."""
    if [a.shape[d] for d in over] != [b.shape[d] for d in with_]:
        raise ShapeError(f"{name}: dims {tuple(over)} of {a.shape} and {tuple(with_)} of {b.shape} must agree in size")
    left = [d for d in range(a.ndim) if d not in over]
    right = [d for d in range(b.ndim) if d not in with_]
    k = prod(a.shape[d] for d in over)
    shape = [*(a.shape[d] for d in left), *(b.shape[d] for d in right)]
    rows = reshape(permute(a, (*left, *over)), (prod(a.shape[d] for d in left), k))
    columns = reshape(permute(b, (*with_, *right)), (k, prod(b.shape[d] for d in right)))
    return reshape(_multiplied(name, rows, columns), shape)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over dimensions of both: the last `dims` of a with the first of b, or two lists of them."""
    _met("tensordot", a, b)
    dims = dims.tolist() if isinstance(dims, Tensor) else dims
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: {dims} dims are not common to {a.shape} and {b.shape}")
        dims = (range(a.ndim - dims, a.ndim), range(dims))
    over, with_ = (tuple(d) if not isinstance(d, int) else (d,) for d in dims)
    over = tuple(axis("tensordot", d, a.ndim) for d in over)
    with_ = tuple(axis("tensordot", d, b.ndim) for d in with_)
    if len(over) != len(with_) or len(set(over)) < len(over) or len(set(with_)) < len(with_):
        raise ShapeError(f"tensordot: dims {over} and {with_} must be as many, each named once")
    return _contracted("tensordot", a, b, over, with_)


@method
def kron(input: Tensor, other: Tensor) -> Tensor:
    """Kronecker's product: every element of the input times the whole other tensor; dtypes are promoted."""
    rank = max(input.ndim, other.ndim)
    a, b = ((1,) * (rank - t.ndim) + t.shape for t in (input, other))
    left = reshape(input, tuple(x for n in a for x in (n, 1)))
    right = reshape(other, tuple(x for n in b for x in (1, n)))
    return reshape(left * right, tuple(m * n for m, n in zip(a, b, strict=True)))


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices, multiplied in the order that needs the fewest operations."""
    return chain("chain_matmul", matrices)


def chain(name: str, matrices: Sequence[Tensor]) -> Tensor:
    """Matrices, the first or last of which may be vectors, by the order of least work (dynamic programming)."""
    given = list(matrices)
    if not given:
        raise ShapeError(f"{name}: needs at least one matrix")
    _met(name, *given)
    row, column = given[0].ndim == 1 and len(given) > 1, given[-1].ndim == 1 and len(given) > 1
    given[0] = unsqueeze(given[0], 0) if row else given[0]
    given[-1] = unsqueeze(given[-1], 1) if column else given[-1]
    for a in given:
        if a.ndim != 2:
            raise ShapeError(f"{name}: needs matrices, got {a.shape}")
    for a, b in itertools.pairwise(given):
        if a.shape[1] != b.shape[0]:
            raise ShapeError(f"{name}: cannot multiply {a.shape} by {b.shape}: inner sizes must agree")
    best = _order([a.shape[0] for a in given] + [given[-1].shape[1]])

    def multiplied(i: int, j: int) -> Tensor:
        return given[i] if i == j else _multiplied(name, multiplied(i, best[i, j]), multiplied(best[i, j] + 1, j))

    out = multiplied(0, len(given) - 1)
    return reshape(out, out.shape[row : 2 - column])


def _order(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Where to split each range of matrices (i..j), the k-th being (sizes[k], sizes[k + 1])."""
    cost: dict[tuple[int, int], int] = {(i, i): 0 for i in range(len(sizes) - 1)}
    best: dict[tuple[int, int], int] = {}
    for span in range(1, len(sizes) - 1):
        for i in range(len(sizes) - 1 - span):
            j = i + span
            tries = {k: cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)}
            best[i, j] = min(tries, key=tries.__getitem__)
            cost[i, j] = tries[best[i, j]]
    return best


@method
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product along a dimension of size 3, the first such one without `dim`; the others broadcast."""
    if dim is None:
        found = [d for d, n in enumerate(input.shape) if n == 3]
        if not found:
            raise ShapeError(f"cross: no dimension of {input.shape} has size 3")
        dim = found[0]
    return crossed("cross", input, other, dim)


def crossed(name: str, input: Tensor, other: Tensor, dim: int) -> Tensor:
    if input.ndim != other.ndim:
        raise ShapeError(f"{name}: needs tensors of as many dimensions, got {input.shape} and {other.shape}")
    at = axis(name, dim, input.ndim)
    if not input.ndim or input.shape[at] != 3 or other.shape[at] != 3:
        raise ShapeError(f"{name}: dim {dim} of {input.shape} and {other.shape} must have size 3")
    a, b = ([cut(t, at, i, i + 1) for i in range(3)] for t in (input, other))
    parts = [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]
    return reshape(stack(parts, at), (*parts[0].shape[:at], 3, *parts[0].shape[at + 1 :]))


@method
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The matrix of powers of a vector, (n) to (n, N): x^(N-1) … x^0 a row, or the other way round."""
    if x.ndim != 1:
        raise ShapeError(f"vander: needs a vector, got {x.shape}")
    return powers("vander", x, x.shape[0] if N is None else N, increasing)


def powers(name: str, x: Tensor, count: int, increasing: bool) -> Tensor:
    """Powers 0 to count - 1 as a new last dimension."""
    if count < 0:
        raise ShapeError(f"{name}: the number of columns must be at least 0, got {count}")
    wide = x if x.dtype.is_float else to_dtype(x, dt.int64)
    columns = [new(nd.like(wide.node, 1), x.device)]
    for _ in range(count - 1):
        columns.append(columns[-1] * wide)
    columns = columns[:count] if increasing else columns[:count][::-1]
    if not columns:
        return new(nd.like(reshape(wide, (*x.shape, 1)).node, 0), x.device)[..., :0]
    return stack(columns, -1)


def _matmul(self: Tensor, other: Tensor) -> Tensor:
    return matmul(self, other)


Tensor.__matmul__ = _matmul
