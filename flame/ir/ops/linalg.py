# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# The entries of a table are lambdas, which cannot say their types.
"""Linear algebra by LAPACK, through NumPy in the host's memory, whatever the device.

Operators with several results (qr, svd, eigh) give one vector with all of them flat behind one another; `parts` cuts
it again. Gradient rules are built of products and of these operators, so that they have gradients themselves.
References: Giles, "Collected matrix derivative results" (2008); Walter and Lehmann (2010) for qr; Golub and Pereyra
(1973) for pinv; Murray, arXiv:1602.07527, for cholesky.
"""

from collections.abc import Sequence
from functools import wraps
from math import prod
from typing import Any

import numpy as np

from flame.errors import DTypeError, GradError, LinAlgError, ShapeError
from flame.ir import dtype as dt
from flame.ir import rules
from flame.ir.dtype import DType
from flame.ir.node import Node, Shape, apply, expand, like, reshape, where
from flame.ir.op import Grads, Kind, Op, define
from flame.ir.ops.contract import transpose

WAY_OUT = "add a small multiple of the identity, or use linalg.pinv or linalg.lstsq"


# --- shapes and dtypes ------------------------------------------------------------------------------------------------
def lapack(*dtypes: DType, **_: Any) -> DType:
    if rules.keep(*dtypes) not in (dt.float32, dt.float64):
        raise DTypeError(f"needs float32 or float64, got {dtypes[0].name}; cast it first, e.g. .float()")
    return dtypes[0]


def matrices(shape: Shape, **_: Any) -> Shape:
    if len(shape) < 2:
        raise ShapeError(f"needs a matrix, or a batch of them, got {shape}")
    return shape


def square(shape: Shape, **_: Any) -> Shape:
    if matrices(shape)[-1] != shape[-2]:
        raise ShapeError(f"needs square matrices, got {shape}")
    return shape


def solved(a: Shape, b: Shape) -> Shape:
    if len(matrices(b)) != len(square(a)) or a[:-2] != b[:-2] or a[-1] != b[-2]:
        raise ShapeError(f"cannot solve {a} for {b}: leading axes must agree, and as many rows be on both sides")
    return b


def qr_parts(shape: Shape, complete: bool) -> list[Shape]:
    *lead, m, n = matrices(shape)
    k = m if complete else min(m, n)
    return [(*lead, m, k), (*lead, k, n)]


def svd_parts(shape: Shape, full: bool) -> list[Shape]:
    *lead, m, n = matrices(shape)
    k = min(m, n)
    return [(*lead, m, m if full else k), (*lead, k), (*lead, n if full else k, n)]


def eigh_parts(shape: Shape, upper: bool) -> list[Shape]:
    return [square(shape)[:-1], shape]


# --- several results in one -------------------------------------------------------------------------------------------
def together(lead: Shape, shapes: Sequence[Shape]) -> Shape:
    """The shape of several results of one batch as one flat vector each."""
    return (*lead, sum(prod(s[len(lead) :]) for s in shapes))


def flat(arrays: Sequence[Any], rank: int) -> Any:
    """Results of one batch, of `rank` leading axes, flat behind one another."""
    return np.concatenate([a.reshape(*a.shape[:rank], prod(a.shape[rank:])) for a in arrays], -1)


def parts(packed: Node, shapes: Sequence[Shape]) -> list[Node]:
    """The results that `flat` put together."""
    rank, start, out = len(packed.shape) - 1, 0, []
    for shape in shapes:
        stop = start + prod(shape[rank:])
        cut = apply(
            "slice",
            packed,
            start=(0,) * rank + (start,),
            stop=(*packed.shape[:-1], stop),
            step=(1,) * (rank + 1),
        )
        out.append(reshape(cut, shape))
        start = stop
    return out


# --- matrices as nodes ------------------------------------------------------------------------------------------------
def mm(*factors: Node) -> Node:
    """The product of matrices from the left."""
    out = factors[0]
    for f in factors[1:]:
        out = apply("matmul", out, f)
    return out


def compared(relation: str, a: Node) -> Node:
    """Where row and column number of the matrices of `a` are in a relation."""
    m, n = a.shape[-2:]
    rows = expand(reshape(apply("iota", n=m), (m, 1)), (m, n))
    columns = expand(apply("iota", n=n), (m, n))
    return expand(apply(relation, rows, columns), a.shape)


def kept(relation: str, a: Node) -> Node:
    """The elements where row and column number are in a relation, else 0."""
    return where(compared(relation, a), a, like(a, 0))


def diagonals(v: Node) -> Node:
    """Vectors as diagonal matrices."""
    n = v.shape[-1]
    return apply("on_diagonal", v, offset=0, rows=n, columns=n, fill=0)


def over(a: Node, b: Node) -> Node:
    """a / b, and 0 where b is 0: there nothing that is invariant depends on the quotient."""
    none = apply("eq", b, like(b, 0))
    return where(none, like(a, 0), a / where(none, like(b, 1), b))


def row(v: Node, shape: Shape) -> Node:
    """A vector for each matrix, the same in each row."""
    return expand(reshape(v, (*v.shape[:-1], 1, v.shape[-1])), shape)


def column(v: Node, shape: Shape) -> Node:
    """A vector for each matrix, the same in each column."""
    return expand(reshape(v, (*v.shape, 1)), shape)


def apart(v: Node) -> Node:
    """v[j] - v[i] at row i and column j."""
    square = (*v.shape, v.shape[-1])
    return row(v, square) - column(v, square)


def identity_less(a: Node, b: Node, of: Node) -> Node:
    """(I - a b) of, without forming the identity."""
    return of - mm(a, mm(b, of))


# --- values -----------------------------------------------------------------------------------------------------------
def svd_numpy(a: Any, full: bool) -> Any:
    return flat(np.linalg.svd(a, full_matrices=full), a.ndim - 2)


def slogdet_numpy(a: Any) -> Any:
    return np.stack(np.linalg.slogdet(a), -1)


def cofactor_numpy(a: Any) -> Any:
    """det(a) a⁻ᵀ, by singular values, so that it exists for singular matrices too."""
    u, s, vh = np.linalg.svd(a)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return (sign[..., None, None] * (u * others[..., None, :]) @ vh).astype(a.dtype)


def pinv_numpy(a: Any, rtol: float, atol: float) -> Any:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    cutoff = np.maximum(atol, rtol * s.max(-1, keepdims=True, initial=0))
    inverse = np.where(s > cutoff, 1 / np.where(s > cutoff, s, 1), 0).astype(a.dtype)
    return np.swapaxes(vh, -1, -2) @ (inverse[..., :, None] * np.swapaxes(u, -1, -2))


PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
    670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
REACH = {np.dtype(np.float64): 5.37, np.dtype(np.float32): 3.9}  # the norm up to which the approximant is exact


def matrix_exp_numpy(a: Any) -> Any:
    """Higham, "The scaling and squaring method for the matrix exponential revisited" (2005)."""
    if not a.size:
        return a
    norms = np.abs(a).sum(-2).max(-1)
    times = np.ceil(np.log2(np.maximum(norms / REACH[a.dtype], 1)))
    times = np.where(np.isfinite(times), times, 0).astype(int)
    a = a / (2.0**times).astype(a.dtype)[..., None, None]
    eye = np.eye(a.shape[-1], dtype=a.dtype)
    b = [c / PADE[-1] for c in PADE]
    b = [c / b[0] for c in b]
    a2 = a @ a
    a4, a6 = a2 @ a2, a2 @ a2 @ a2
    odd = a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye
    u = a @ odd
    v = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + eye
    out = np.linalg.solve(v - u, v + u)
    for i in range(times.max(initial=0)):
        out = np.where((times > i)[..., None, None], out @ out, out)
    return out.astype(a.dtype)


# --- gradients --------------------------------------------------------------------------------------------------------
def solve_grad(g: Node, y: Node, a: Node, b: Node) -> Grads:
    gb = apply("solve", transpose(a), g)
    return -mm(gb, transpose(y)), gb


def cholesky_grad(g: Node, y: Node, a: Node) -> Grads:
    """L⁻ᵀ Φ(Lᵀ ḡ) L⁻¹, made symmetric; Φ is the lower triangle with half the diagonal."""
    inner = mm(transpose(y), kept("ge", g))
    lower = kept("gt", inner) + kept("eq", inner) * 0.5
    left = apply("solve", transpose(y), lower)
    both = transpose(apply("solve", transpose(y), transpose(left)))
    return ((both + transpose(both)) * 0.5,)


def cofactor_grad(g: Node, y: Node, a: Node) -> Grads:
    """As of det(a) a⁻ᵀ: where `a` is singular there is no second gradient of its determinant here."""
    inverse = apply("inv", a)
    axes = (len(a.shape) - 2, len(a.shape) - 1)
    along = apply("sum", g * transpose(inverse), axes=axes)
    det = apply("det", a)
    wide = expand(reshape(along, (*along.shape, 1, 1)), a.shape)
    scaled = g * expand(reshape(det, (*det.shape, 1, 1)), a.shape)
    return (y * wide - transpose(mm(inverse, scaled, inverse)),)


def pinv_grad(g: Node, y: Node, a: Node) -> Grads:
    """The adjoint of dP = -P dA P + P Pᵀ dAᵀ (I - A P) + (I - P A) dAᵀ Pᵀ P, at constant rank."""
    yt, gt = transpose(y), transpose(g)
    first = mm(yt, g, yt)
    second = mm(identity_less(a, y, gt), mm(y, yt))
    inner = mm(yt, y, gt)
    third = inner - mm(mm(inner, y), a)
    return (second + third - first,)


def matrix_exp_grad(g: Node, y: Node, a: Node) -> Grads:
    """The upper right block of the exponential of ((aᵀ, g), (0, aᵀ)) (Mathias, 1996)."""
    n, lead = a.shape[-1], (0,) * (len(a.shape) - 2)
    step = (1,) * len(a.shape)

    def placed(x: Node, i: int, j: int) -> Node:
        low, high = (*lead, i * n, j * n), (*lead, (1 - i) * n, (1 - j) * n)
        return apply("pad", x, low=low, high=high, step=step, fill=0)

    at = transpose(a)
    whole = apply("matrix_exp", placed(at, 0, 0) + placed(g, 0, 1) + placed(at, 1, 1))
    stop = (*a.shape[:-2], n, 2 * n)
    return (apply("slice", whole, start=(*lead, 0, n), stop=stop, step=step),)


def qr_grad(g: Node, y: Node, a: Node) -> Grads:
    shapes = qr_parts(a.shape, y["complete"])
    (q, r), (gq, gr) = parts(y, shapes), parts(g, shapes)
    *_, m, n = a.shape
    if y["complete"] and m > n:
        raise GradError("qr: mode 'complete' has no gradient where there are more rows than columns; use 'reduced'")
    gr = kept("le", gr)
    if m >= n:
        return (_tall(q, r, gq, gr),)
    square = (*a.shape[:-1], m)
    first, rest = _columns(r, 0, m), _columns(gr, m, n)
    flow = gq + mm(_columns(a, m, n), transpose(rest))
    left = _tall(q, first, flow, _columns(gr, 0, m))
    return (_beside(reshape(left, square), mm(q, rest), n),)


def _tall(q: Node, r: Node, gq: Node, gr: Node) -> Node:
    """(gQ + Q copyltu(R gRᵀ - gQᵀ Q)) R⁻ᵀ, where copyltu mirrors the lower triangle."""
    inner = mm(r, transpose(gr)) - mm(transpose(gq), q)
    mirrored = kept("ge", inner) + transpose(kept("gt", inner))
    return transpose(apply("solve", r, transpose(gq + mm(q, mirrored))))


def _columns(a: Node, start: int, stop: int) -> Node:
    rank = len(a.shape)
    return apply("slice", a, start=(0,) * (rank - 1) + (start,), stop=(*a.shape[:-1], stop), step=(1,) * rank)


def _beside(a: Node, b: Node, n: int) -> Node:
    """The columns of a, then those of b."""
    none = (0,) * (len(a.shape) - 1)
    step = (1,) * len(a.shape)
    left = apply("pad", a, low=(*none, 0), high=(*none, b.shape[-1]), step=step, fill=0)
    return left + apply("pad", b, low=(*none, a.shape[-1]), high=(*none, 0), step=step, fill=0)


def svd_grad(g: Node, y: Node, a: Node) -> Grads:
    """Of the first min(m, n) vectors on either side; equal singular values are taken as not told apart."""
    shapes = svd_parts(a.shape, y["full"])
    k = min(a.shape[-2:])
    (u, s, vh), (gu, gs, gvh) = parts(y, shapes), parts(g, shapes)
    u, gu = _columns(u, 0, k), _columns(gu, 0, k)
    v, gv = (_columns(transpose(x), 0, k) for x in (vh, gvh))
    squares = apart(s * s)
    turn_u, turn_v = (over(x - transpose(x), squares) for x in (mm(transpose(u), gu), mm(transpose(v), gv)))
    core = turn_u * row(s, turn_u.shape) + column(s, turn_v.shape) * turn_v + diagonals(gs)
    out = mm(u, core, transpose(v))
    if a.shape[-2] > k:
        out = out + mm(over(identity_less(u, transpose(u), gu), row(s, gu.shape)), transpose(v))
    if a.shape[-1] > k:
        out = out + mm(u, transpose(over(identity_less(v, transpose(v), gv), row(s, gv.shape))))
    return (out,)


def eigh_grad(g: Node, y: Node, a: Node) -> Grads:
    """V (diag(gw) + Vᵀ gV / (wⱼ - wᵢ)) Vᵀ; equal eigenvalues as in `svd_grad`."""
    shapes = eigh_parts(a.shape, y["upper"])
    (w, v), (gw, gv) = parts(y, shapes), parts(g, shapes)
    return (mm(v, over(mm(transpose(v), gv), apart(w)) + diagonals(gw), transpose(v)),)


# --- the table --------------------------------------------------------------------------------------------------------
def in_batches(n: int, y: Node, *src: Node) -> Node:
    """More matrices of the same kind."""
    return apply(y.op, *src, **dict(y.attrs))


def host(name: str, numpy: Any, **more: Any) -> Op:
    """An operator by NumPy's LAPACK; what it cannot do raises LinAlgError when the value is computed."""

    @wraps(numpy)
    def meaning(*arrays: Any, **attrs: Any) -> Any:
        try:
            return numpy(*arrays, **attrs)
        except np.linalg.LinAlgError as problem:
            found = LinAlgError(f"linalg.{name}: {problem} (one of {arrays[0].shape} at least); {WAY_OUT}")
            found.operation = name
            raise found from None

    return define(name, Kind.HOST, numpy=meaning, dtype=lapack, public=False, batch=in_batches, **more)


host(
    "inv",
    np.linalg.inv,
    shape=square,
    grad=lambda g, y, a: (-mm(transpose(y), g, transpose(y)),),
    doc="The inverse of square matrices.",
)
host("solve", np.linalg.solve, shape=solved, grad=solve_grad, doc="x with a x = b, for matrices of columns b.")
host(
    "cholesky",
    np.linalg.cholesky,
    shape=square,
    grad=cholesky_grad,
    doc="The lower triangular L with L Lᵀ = a, which is symmetric and positive definite; its lower triangle is read.",
)
host(
    "det",
    np.linalg.det,
    shape=lambda a: square(a)[:-2],
    grad=lambda g, y, a: (expand(reshape(g, (*g.shape, 1, 1)), a.shape) * apply("cofactor", a),),
    doc="The determinant of square matrices.",
)
host("cofactor", cofactor_numpy, shape=square, grad=cofactor_grad, doc="det(a) a⁻ᵀ: the gradient of a determinant.")
host(
    "slogdet",
    slogdet_numpy,
    shape=lambda a: (*square(a)[:-2], 2),
    grad=lambda g, y, a: (
        expand(reshape(_columns(g, 1, 2), (*a.shape[:-2], 1, 1)), a.shape) * transpose(apply("inv", a)),
    ),
    doc="The sign of the determinant, and the logarithm of its absolute value.",
)
host(
    "pinv",
    pinv_numpy,
    shape=lambda a, **_: (*matrices(a)[:-2], a[-1], a[-2]),
    grad=pinv_grad,
    doc="The inverse of Moore and Penrose; singular values up to max(atol, rtol · largest) count as 0.",
)
host(
    "matrix_exp",
    matrix_exp_numpy,
    shape=square,
    grad=matrix_exp_grad,
    doc="The exponential of square matrices: the sum of a^k / k!.",
)
host(
    "qr",
    lambda a, complete: flat(np.linalg.qr(a, "complete" if complete else "reduced"), a.ndim - 2),
    shape=lambda a, complete: together(a[:-2], qr_parts(a, complete)),
    grad=qr_grad,
    doc="Orthonormal columns Q and upper triangular R with Q R = a, as one vector.",
)
host(
    "svd",
    svd_numpy,
    shape=lambda a, full: together(a[:-2], svd_parts(a, full)),
    grad=svd_grad,
    doc="U, falling singular values S and Vᵀ with U diag(S) Vᵀ = a, as one vector.",
)
host(
    "eigh",
    lambda a, upper: flat(np.linalg.eigh(a, "U" if upper else "L"), a.ndim - 2),
    shape=lambda a, upper: together(a[:-2], eigh_parts(a, upper)),
    grad=eigh_grad,
    doc="Rising eigenvalues and orthonormal eigenvectors of symmetric matrices, of which one triangle is read.",
)
