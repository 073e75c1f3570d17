"""The methods that flame.ops installs on Tensor. Written by `python tests/test_stubs.py`: do not edit."""

from builtins import bool as _bool
from builtins import float as _float
from builtins import int as _int
from collections.abc import *
from typing import Any

import flame.autograd.backward
import flame.ops.linalg.decompose
import flame.ops.math
import flame.ops.matrix
import flame.ops.reduce
import flame.ops.search
import numpy
from flame.ir.dtype import DType
from flame.ops.random import Generator
from flame.runtime.device import Device
from flame.tensor import Tensor

class Methods:
    """Base of Tensor for type checkers alone."""
    @property
    def H(self) -> Tensor: ...
    @property
    def T(self) -> Tensor: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    @property
    def data(self) -> Tensor: ...
    @property
    def grad_fn(self) -> flame.autograd.backward.GradFn | None: ...
    @property
    def itemsize(self) -> _int: ...
    @property
    def mH(self) -> Tensor: ...
    @property
    def mT(self) -> Tensor: ...
    @property
    def nbytes(self) -> _int: ...
    @property
    def retains_grad(self) -> _bool: ...
    def __abs__(self) -> Tensor:
        """Absolute value. Elementwise, of broadcast shape, differentiable where the function is."""
    def __add__(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """input + alpha * other; of truth values "or"."""
    def __and__(self, other: Any) -> Tensor:
        """The bits that both have. Elementwise, of broadcast shape, differentiable where the function is."""
    def __contains__(self, element: Any) -> _bool:
        """True where an element equals a number, or those of a tensor that broadcasts; raises DTypeError for others."""
    def __copy__(self) -> Tensor:
        """A leaf of its own with the same value; nothing is copied, since values do not change."""
    def __deepcopy__(self, memo: dict[_int, Any]) -> Tensor:
        """A leaf of its own with the same value and a copy of the gradient; raises GradError for a computed tensor."""
    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        """(self // other, self % other)."""
    def __dlpack__(self, *, stream: _int | None = ..., max_version: tuple[_int, _int] | None = ..., dl_device: tuple[_int, _int] | None = ..., copy: _bool | None = ...) -> Any:
        """A DLPack capsule of the value."""
    def __dlpack_device__(self) -> tuple[_int, _int]:
        """(device type, number) as DLPack counts them."""
    def __eq__(self, other: Any) -> Any: ...
    def __floordiv__(self, other: Any) -> Tensor:
        """Quotient, rounded down. Elementwise, of broadcast shape, differentiable where the function is. Integers by 0 give 0; by the Python number 0 they raise DivisionError."""
    def __ge__(self, other: Any) -> Tensor:
        """True where the first is larger or equal. Elementwise, of broadcast shape, differentiable where the function is."""
    def __getitem__(self, key: Any) -> Tensor:
        """The elements that a key selects: integers, slices, None, Ellipsis, truth values, masks and integer tensors."""
    def __gt__(self, other: Any) -> Tensor:
        """True where the first is larger. Elementwise, of broadcast shape, differentiable where the function is."""
    def __iadd__(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """`add` in place: this handle takes the result; tensors made from it before keep their values."""
    def __iand__(self, other: Any) -> Tensor:
        """`bitwise_and` in place: this handle takes the result; tensors made from it before keep their values."""
    def __ifloordiv__(self, other: Any) -> Tensor:
        """`floor_divide` in place: this handle takes the result; tensors made from it before keep their values."""
    def __ilshift__(self, other: Any) -> Tensor:
        """`bitwise_left_shift` in place: this handle takes the result; tensors made from it before keep their values."""
    def __imod__(self, other: Any) -> Tensor:
        """`remainder` in place: this handle takes the result; tensors made from it before keep their values."""
    def __imul__(self, other: Any) -> Tensor:
        """`mul` in place: this handle takes the result; tensors made from it before keep their values."""
    def __invert__(self) -> Tensor:
        """Every bit the other way. Elementwise, of broadcast shape, differentiable where the function is."""
    def __ior__(self, other: Any) -> Tensor:
        """`bitwise_or` in place: this handle takes the result; tensors made from it before keep their values."""
    def __ipow__(self, exponent: Any) -> Tensor:
        """`pow` in place: this handle takes the result; tensors made from it before keep their values."""
    def __irshift__(self, other: Any) -> Tensor:
        """`bitwise_right_shift` in place: this handle takes the result; tensors made from it before keep their values."""
    def __isub__(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """`sub` in place: this handle takes the result; tensors made from it before keep their values."""
    def __iter__(self) -> Any: ...
    def __itruediv__(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """`div` in place: this handle takes the result; tensors made from it before keep their values."""
    def __ixor__(self, other: Any) -> Tensor:
        """`bitwise_xor` in place: this handle takes the result; tensors made from it before keep their values."""
    def __le__(self, other: Any) -> Tensor:
        """True where the first is smaller or equal. Elementwise, of broadcast shape, differentiable where the function is."""
    def __lshift__(self, other: Any) -> Tensor:
        """The bits moved up by a count; 0 for a count out of range. Elementwise, of broadcast shape, differentiable where the function is."""
    def __lt__(self, other: Any) -> Tensor:
        """True where the first is smaller. Elementwise, of broadcast shape, differentiable where the function is."""
    def __matmul__(self, other: Tensor) -> Tensor: ...
    def __mod__(self, other: Any) -> Tensor:
        """What floor division leaves; it has the sign of the divisor. Elementwise, of broadcast shape, differentiable where the function is. Integers by 0 give 0; by the Python number 0 they raise DivisionError."""
    def __mul__(self, other: Any) -> Tensor:
        """Product. Elementwise, of broadcast shape, differentiable where the function is."""
    def __ne__(self, other: Any) -> Any: ...
    def __neg__(self) -> Tensor:
        """The negative. Elementwise, of broadcast shape, differentiable where the function is."""
    def __or__(self, other: Any) -> Tensor:
        """The bits that one has. Elementwise, of broadcast shape, differentiable where the function is."""
    def __pos__(self) -> Tensor:
        """The tensor itself; raises DTypeError for truth values."""
    def __pow__(self, exponent: Any) -> Tensor:
        """input to the power of exponent; of integers by products, modulo the width of the dtype."""
    def __radd__(self, other: Any) -> Tensor: ...
    def __rand__(self, other: Any) -> Tensor: ...
    def __rdivmod__(self, other: Any) -> Tensor: ...
    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """The value, its device and whether it requires gradients; not its graph, nor its gradient."""
    def __rfloordiv__(self, other: Any) -> Tensor: ...
    def __rlshift__(self, other: Any) -> Tensor: ...
    def __rmod__(self, other: Any) -> Tensor: ...
    def __rmul__(self, other: Any) -> Tensor: ...
    def __ror__(self, other: Any) -> Tensor: ...
    def __rpow__(self, other: Any) -> Tensor: ...
    def __rrshift__(self, other: Any) -> Tensor: ...
    def __rshift__(self, other: Any) -> Tensor:
        """The bits moved down by a count, copying the sign; a count out of range is the largest one. Elementwise, of broadcast shape, differentiable where the function is."""
    def __rsub__(self, other: Any) -> Tensor: ...
    def __rtruediv__(self, other: Any) -> Tensor: ...
    def __rxor__(self, other: Any) -> Tensor: ...
    def __setitem__(self, key: Any, value: Any) -> None:
        """Put a number, or a tensor that broadcasts, where a key points: this handle takes the result."""
    def __sub__(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """input - alpha * other; raises DTypeError for truth values, which `logical_xor` is for."""
    def __truediv__(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """input / other; rounding_mode="trunc" rounds towards 0, "floor" down, and both keep integers."""
    def __xor__(self, other: Any) -> Tensor:
        """The bits that just one has. Elementwise, of broadcast shape, differentiable where the function is."""
    def abs(self) -> Tensor:
        """Absolute value. Elementwise, of broadcast shape, differentiable where the function is."""
    def abs_(self) -> Tensor:
        """`abs` in place: this handle takes the result; tensors made from it before keep their values."""
    def absolute(self) -> Tensor:
        """Another name of `abs`."""
    def absolute_(self) -> Tensor:
        """`absolute` in place: this handle takes the result; tensors made from it before keep their values."""
    def acos(self) -> Tensor:
        """Inverse cosine. Elementwise, of broadcast shape, differentiable where the function is."""
    def acos_(self) -> Tensor:
        """`acos` in place: this handle takes the result; tensors made from it before keep their values."""
    def acosh(self) -> Tensor:
        """Inverse hyperbolic cosine. Elementwise, of broadcast shape, differentiable where the function is."""
    def acosh_(self) -> Tensor:
        """`acosh` in place: this handle takes the result; tensors made from it before keep their values."""
    def add(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """input + alpha * other; of truth values "or"."""
    def add_(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """`add` in place: this handle takes the result; tensors made from it before keep their values."""
    def addbmm(self, batch1: Tensor, batch2: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """beta · input + alpha · the sum of batch1 @ batch2 over the batch: one product with a long inner dimension."""
    def addbmm_(self, batch1: Tensor, batch2: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """`addbmm` in place: this handle takes the result; tensors made from it before keep their values."""
    def addcdiv(self, tensor1: Tensor, tensor2: Tensor, *, value: _float = ...) -> Tensor:
        """input + value * tensor1 / tensor2; raises DTypeError where both of these are integers."""
    def addcdiv_(self, tensor1: Tensor, tensor2: Tensor, *, value: _float = ...) -> Tensor:
        """`addcdiv` in place: this handle takes the result; tensors made from it before keep their values."""
    def addcmul(self, tensor1: Tensor, tensor2: Tensor, *, value: _float = ...) -> Tensor:
        """input + value * tensor1 * tensor2."""
    def addcmul_(self, tensor1: Tensor, tensor2: Tensor, *, value: _float = ...) -> Tensor:
        """`addcmul` in place: this handle takes the result; tensors made from it before keep their values."""
    def addmm(self, mat1: Tensor, mat2: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """beta · input + alpha · (mat1 @ mat2) of matrices; the input broadcasts."""
    def addmm_(self, mat1: Tensor, mat2: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """`addmm` in place: this handle takes the result; tensors made from it before keep their values."""
    def addmv(self, mat: Tensor, vec: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """beta · input + alpha · (mat @ vec) of a matrix and a vector; the input broadcasts."""
    def addmv_(self, mat: Tensor, vec: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """`addmv` in place: this handle takes the result; tensors made from it before keep their values."""
    def addr(self, vec1: Tensor, vec2: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """beta · input + alpha · (vec1 outer vec2); the input broadcasts."""
    def addr_(self, vec1: Tensor, vec2: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """`addr` in place: this handle takes the result; tensors made from it before keep their values."""
    def adjoint(self) -> Tensor:
        """The last two dimensions swapped: real matrices are their own conjugates."""
    def all(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """True where all elements are true; True of none."""
    def allclose(self, other: Tensor, rtol: _float = ..., atol: _float = ..., equal_nan: _bool = ...) -> _bool:
        """Whether `isclose` holds everywhere, as a Python bool: the tensors are computed."""
    def amax(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """The largest value over dimensions; equal ones share the gradient."""
    def amin(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """The smallest value over dimensions; equal ones share the gradient."""
    def aminmax(self, *, dim: _int | None = ..., keepdim: _bool = ...) -> flame.ops.reduce.Bounds:
        """(smallest, largest) value along one dimension, or of all; equal ones share the gradient."""
    def any(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """True where any element is true; False of none."""
    def arccos(self) -> Tensor:
        """Another name of `acos`."""
    def arccos_(self) -> Tensor:
        """`arccos` in place: this handle takes the result; tensors made from it before keep their values."""
    def arccosh(self) -> Tensor:
        """Another name of `acosh`."""
    def arccosh_(self) -> Tensor:
        """`arccosh` in place: this handle takes the result; tensors made from it before keep their values."""
    def arcsin(self) -> Tensor:
        """Another name of `asin`."""
    def arcsin_(self) -> Tensor:
        """`arcsin` in place: this handle takes the result; tensors made from it before keep their values."""
    def arcsinh(self) -> Tensor:
        """Another name of `asinh`."""
    def arcsinh_(self) -> Tensor:
        """`arcsinh` in place: this handle takes the result; tensors made from it before keep their values."""
    def arctan(self) -> Tensor:
        """Another name of `atan`."""
    def arctan2(self, other: Any) -> Tensor:
        """Another name of `atan2`."""
    def arctan2_(self, other: Any) -> Tensor:
        """`arctan2` in place: this handle takes the result; tensors made from it before keep their values."""
    def arctan_(self) -> Tensor:
        """`arctan` in place: this handle takes the result; tensors made from it before keep their values."""
    def arctanh(self) -> Tensor:
        """Another name of `atanh`."""
    def arctanh_(self) -> Tensor:
        """`arctanh` in place: this handle takes the result; tensors made from it before keep their values."""
    def argmax(self, dim: _int | None = ..., keepdim: _bool = ...) -> Tensor:
        """Where the largest value lies, the first of equal ones, as int64; over the flattened tensor without `dim`."""
    def argmin(self, dim: _int | None = ..., keepdim: _bool = ...) -> Tensor:
        """Where the smallest value lies, the first of equal ones, as int64; over the flattened tensor without `dim`."""
    def argsort(self, dim: _int = ..., descending: _bool = ..., stable: _bool = ...) -> Tensor:
        """Positions in the order of the elements along a dimension; always stable."""
    def argwhere(self) -> Tensor:
        """Where the elements that are not 0 lie, (count, rank). Realizes."""
    def as_strided(self, size: Sequence[_int], stride: Sequence[_int], storage_offset: _int = ...) -> Tensor:
        """The elements at storage_offset + Σ index · stride of the tensor's row-major elements; they may overlap."""
    def asin(self) -> Tensor:
        """Inverse sine. Elementwise, of broadcast shape, differentiable where the function is."""
    def asin_(self) -> Tensor:
        """`asin` in place: this handle takes the result; tensors made from it before keep their values."""
    def asinh(self) -> Tensor:
        """Inverse hyperbolic sine. Elementwise, of broadcast shape, differentiable where the function is."""
    def asinh_(self) -> Tensor:
        """`asinh` in place: this handle takes the result; tensors made from it before keep their values."""
    def atan(self) -> Tensor:
        """Inverse tangent. Elementwise, of broadcast shape, differentiable where the function is."""
    def atan2(self, other: Any) -> Tensor:
        """Angle of the point (second, first). Elementwise, of broadcast shape, differentiable where the function is."""
    def atan2_(self, other: Any) -> Tensor:
        """`atan2` in place: this handle takes the result; tensors made from it before keep their values."""
    def atan_(self) -> Tensor:
        """`atan` in place: this handle takes the result; tensors made from it before keep their values."""
    def atanh(self) -> Tensor:
        """Inverse hyperbolic tangent. Elementwise, of broadcast shape, differentiable where the function is."""
    def atanh_(self) -> Tensor:
        """`atanh` in place: this handle takes the result; tensors made from it before keep their values."""
    def backward(self, gradient: Tensor | None = ..., retain_graph: _bool | None = ..., create_graph: _bool = ..., inputs: Tensor | Sequence[Tensor] | None = ...) -> None:
        """Add d self / d leaf to the `.grad` of every leaf that requires it; nothing is computed yet."""
    def baddbmm(self, batch1: Tensor, batch2: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """beta · input + alpha · (batch1 @ batch2), matrix by matrix; the input broadcasts."""
    def baddbmm_(self, batch1: Tensor, batch2: Tensor, *, beta: _float = ..., alpha: _float = ...) -> Tensor:
        """`baddbmm` in place: this handle takes the result; tensors made from it before keep their values."""
    def bernoulli(self, p: _float | None = ..., *, generator: Generator | None = ...) -> Tensor:
        """1 with the probability that each element says, else 0, in its dtype; with `p` that probability everywhere."""
    def bernoulli_(self, p: Any = ..., *, generator: Generator | None = ...) -> Tensor:
        """1 with probability `p`, a number or a tensor that broadcasts, else 0, in place."""
    def bfloat16(self) -> Tensor:
        """The same values as bfloat16."""
    def bincount(self, weights: Tensor | None = ..., minlength: _int = ...) -> Tensor:
        """How often each integer from 0 on occurs in a 1-d tensor, or the sum of the weights where it does."""
    def bitwise_and(self, other: Any) -> Tensor:
        """The bits that both have. Elementwise, of broadcast shape, differentiable where the function is."""
    def bitwise_and_(self, other: Any) -> Tensor:
        """`bitwise_and` in place: this handle takes the result; tensors made from it before keep their values."""
    def bitwise_left_shift(self, other: Any) -> Tensor:
        """The bits moved up by a count; 0 for a count out of range. Elementwise, of broadcast shape, differentiable where the function is."""
    def bitwise_left_shift_(self, other: Any) -> Tensor:
        """`bitwise_left_shift` in place: this handle takes the result; tensors made from it before keep their values."""
    def bitwise_not(self) -> Tensor:
        """Every bit the other way. Elementwise, of broadcast shape, differentiable where the function is."""
    def bitwise_not_(self) -> Tensor:
        """`bitwise_not` in place: this handle takes the result; tensors made from it before keep their values."""
    def bitwise_or(self, other: Any) -> Tensor:
        """The bits that one has. Elementwise, of broadcast shape, differentiable where the function is."""
    def bitwise_or_(self, other: Any) -> Tensor:
        """`bitwise_or` in place: this handle takes the result; tensors made from it before keep their values."""
    def bitwise_right_shift(self, other: Any) -> Tensor:
        """The bits moved down by a count, copying the sign; a count out of range is the largest one. Elementwise, of broadcast shape, differentiable where the function is."""
    def bitwise_right_shift_(self, other: Any) -> Tensor:
        """`bitwise_right_shift` in place: this handle takes the result; tensors made from it before keep their values."""
    def bitwise_xor(self, other: Any) -> Tensor:
        """The bits that just one has. Elementwise, of broadcast shape, differentiable where the function is."""
    def bitwise_xor_(self, other: Any) -> Tensor:
        """`bitwise_xor` in place: this handle takes the result; tensors made from it before keep their values."""
    def bmm(self, mat2: Tensor) -> Tensor:
        """(b, m, k) by (b, k, n) to (b, m, n)."""
    def bool(self) -> Tensor:
        """The same values as bool."""
    def broadcast_to(self, *size: Any) -> Tensor:
        """As `expand`."""
    def byte(self) -> Tensor:
        """The same values as uint8."""
    def cauchy_(self, median: _float = ..., sigma: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Cauchy's distribution, in place. Raises FlameError unless sigma is positive."""
    def ceil(self, *other: Any) -> Tensor:
        """Smallest whole number above. Elementwise, of broadcast shape, differentiable where the function is."""
    def ceil_(self, *other: Any) -> Tensor:
        """`ceil` in place: this handle takes the result; tensors made from it before keep their values."""
    def char(self) -> Tensor:
        """The same values as int8."""
    def cholesky(self, upper: _bool = ...) -> Tensor:
        """As `linalg.cholesky`."""
    def cholesky_inverse(self, upper: _bool = ...) -> Tensor:
        """The inverse of L Lᵀ, or of Lᵀ L with `upper`, for a triangular L."""
    def cholesky_solve(self, L: Tensor, upper: _bool = ...) -> Tensor:
        """X with L Lᵀ X = B, or Lᵀ L X = B with `upper`, for a triangular L: (*, n, k), (*, n, n) → (*, n, k)."""
    def chunk(self, chunks: _int, dim: _int = ...) -> tuple[Tensor, ...]:
        """About `chunks` equal pieces of one dimension; there may be fewer."""
    def clamp(self, min: Any = ..., max: Any = ...) -> Tensor:
        """Values below `min` become min, then those above `max` max; the gradient passes where nothing was changed."""
    def clamp_(self, min: Any = ..., max: Any = ...) -> Tensor:
        """`clamp` in place: this handle takes the result; tensors made from it before keep their values."""
    def clamp_max(self, max: Any) -> Tensor:
        """Values above `max` become max."""
    def clamp_max_(self, max: Any) -> Tensor:
        """`clamp_max` in place: this handle takes the result; tensors made from it before keep their values."""
    def clamp_min(self, min: Any) -> Tensor:
        """Values below `min` become min."""
    def clamp_min_(self, min: Any) -> Tensor:
        """`clamp_min` in place: this handle takes the result; tensors made from it before keep their values."""
    def clip(self, min: Any = ..., max: Any = ...) -> Tensor:
        """Another name of `clamp`."""
    def clip_(self, min: Any = ..., max: Any = ...) -> Tensor:
        """`clip` in place: this handle takes the result; tensors made from it before keep their values."""
    def clone(self) -> Tensor:
        """The same value under another handle; gradients flow through."""
    def combinations(self, r: _int = ..., with_replacement: _bool = ...) -> Tensor:
        """Every choice of `r` elements of a 1-d tensor in their order: (count, r)."""
    def contiguous(self) -> Tensor:
        """The tensor itself: layouts are FLAME's own business."""
    def copy_(self, source: Tensor) -> Tensor:
        """Take the values of `source`, broadcast and cast to this tensor."""
    def copysign(self, other: Any) -> Tensor:
        """The size of the first with the sign of the second. Elementwise, of broadcast shape, differentiable where the function is."""
    def copysign_(self, other: Any) -> Tensor:
        """`copysign` in place: this handle takes the result; tensors made from it before keep their values."""
    def corrcoef(self) -> Tensor:
        """The correlations of the rows of a matrix, whose columns are observations: (v, n) to (v, v), in [-1, 1]."""
    def cos(self) -> Tensor:
        """Cosine of x in radians. Elementwise, of broadcast shape, differentiable where the function is."""
    def cos_(self) -> Tensor:
        """`cos` in place: this handle takes the result; tensors made from it before keep their values."""
    def cosh(self) -> Tensor:
        """Hyperbolic cosine. Elementwise, of broadcast shape, differentiable where the function is."""
    def cosh_(self) -> Tensor:
        """`cosh` in place: this handle takes the result; tensors made from it before keep their values."""
    def count_nonzero(self, dim: Any = ...) -> Tensor:
        """How many elements over dimensions are not 0, as int64; nan is not 0."""
    def cov(self, *, correction: _int = ..., fweights: Tensor | None = ..., aweights: Tensor | None = ...) -> Tensor:
        """The covariance of the rows of a matrix, whose columns are observations: (v, n) to (v, v); a vector's is 0-d."""
    def cpu(self) -> Tensor:
        """The tensor in the CPU's memory."""
    def cross(self, other: Tensor, dim: _int | None = ...) -> Tensor:
        """The cross product along a dimension of size 3, the first such one without `dim`; the others broadcast."""
    def cuda(self) -> Tensor:
        """The tensor on the first GPU; raises DeviceError where there is none."""
    def cummax(self, dim: _int) -> flame.ops.reduce.Selected:
        """(values, indices) of the largest so far: the last of equal ones; nan is larger than any number."""
    def cummin(self, dim: _int) -> flame.ops.reduce.Selected:
        """(values, indices) of the smallest so far: the last of equal ones; nan is smaller than any number."""
    def cumprod(self, dim: _int, *, dtype: DType | None = ...) -> Tensor:
        """The product of each element and all before it; its gradients are exact where factors are 0."""
    def cumprod_(self, dim: _int, *, dtype: DType | None = ...) -> Tensor:
        """`cumprod` in place: this handle takes the result; tensors made from it before keep their values."""
    def cumsum(self, dim: _int, *, dtype: DType | None = ...) -> Tensor:
        """The sum of each element and all before it; integers and truth values are summed as int64."""
    def cumsum_(self, dim: _int, *, dtype: DType | None = ...) -> Tensor:
        """`cumsum` in place: this handle takes the result; tensors made from it before keep their values."""
    def deg2rad(self) -> Tensor:
        """Degrees as radians."""
    def deg2rad_(self) -> Tensor:
        """`deg2rad` in place: this handle takes the result; tensors made from it before keep their values."""
    def det(self) -> Tensor:
        """As `linalg.det`."""
    def detach_(self) -> Tensor:
        """Let this tensor be a leaf that requires no gradient: `detach()` in place."""
    def diag(self, diagonal: _int = ...) -> Tensor:
        """A vector as the diagonal of a matrix, or the diagonal of a matrix as a vector."""
    def diag_embed(self, offset: _int = ..., dim1: _int = ..., dim2: _int = ...) -> Tensor:
        """The last dimension as the diagonal of a square plane of two new dimensions; zeros elsewhere."""
    def diagflat(self, offset: _int = ...) -> Tensor:
        """All elements as the diagonal of a matrix."""
    def diagonal(self, offset: _int = ..., dim1: _int = ..., dim2: _int = ...) -> Tensor:
        """The diagonal of the plane of two dimensions as the last dimension; `offset` counts to the right."""
    def diagonal_scatter(self, src: Tensor, offset: _int = ..., dim1: _int = ..., dim2: _int = ...) -> Tensor:
        """`input` with `src` on the diagonal of the plane of two dimensions."""
    def diff(self, n: _int = ..., dim: _int = ..., prepend: Tensor | None = ..., append: Tensor | None = ...) -> Tensor:
        """The n-th difference of neighbours along a dimension, which gets n shorter; of truth values, whether they differ."""
    def digamma(self) -> Tensor:
        """The logarithmic derivative of the gamma function (Abramowitz and Stegun 6.3.5, 6.3.7, 6.3.18)."""
    def digamma_(self) -> Tensor:
        """`digamma` in place: this handle takes the result; tensors made from it before keep their values."""
    def dist(self, other: Tensor, p: _float = ...) -> Tensor:
        """The p-norm of the difference of two tensors that broadcast."""
    def div(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """input / other; rounding_mode="trunc" rounds towards 0, "floor" down, and both keep integers."""
    def div_(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """`div` in place: this handle takes the result; tensors made from it before keep their values."""
    def divide(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """Another name of `div`."""
    def divide_(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """`divide` in place: this handle takes the result; tensors made from it before keep their values."""
    def dot(self, tensor: Tensor) -> Tensor:
        """The sum of products of two vectors."""
    def double(self) -> Tensor:
        """The same values as float64."""
    def dsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """Equal pieces of dimension 2 or cut at the indices given; raises where they do not fit."""
    def element_size(self) -> _int:
        """The bytes of one element."""
    def eq(self, other: Any) -> Tensor:
        """True where equal; nan is not equal to itself. Elementwise, of broadcast shape, differentiable where the function is."""
    def eq_(self, other: Any) -> Tensor:
        """`eq` in place: this handle takes the result; tensors made from it before keep their values."""
    def equal(self, other: Tensor) -> _bool:
        """Whether both have one shape and equal elements, as a Python bool: the tensors are computed."""
    def erf(self) -> Tensor:
        """Error function. Elementwise, of broadcast shape, differentiable where the function is."""
    def erf_(self) -> Tensor:
        """`erf` in place: this handle takes the result; tensors made from it before keep their values."""
    def erfc(self) -> Tensor:
        """1 - erf(x), exact where that is small. Elementwise, of broadcast shape, differentiable where the function is."""
    def erfc_(self) -> Tensor:
        """`erfc` in place: this handle takes the result; tensors made from it before keep their values."""
    def erfinv(self) -> Tensor:
        """The inverse of the error function. Elementwise, of broadcast shape, differentiable where the function is."""
    def erfinv_(self) -> Tensor:
        """`erfinv` in place: this handle takes the result; tensors made from it before keep their values."""
    def exp(self) -> Tensor:
        """e to the power of x. Elementwise, of broadcast shape, differentiable where the function is."""
    def exp2(self) -> Tensor:
        """2 to the power of x. Elementwise, of broadcast shape, differentiable where the function is."""
    def exp2_(self) -> Tensor:
        """`exp2` in place: this handle takes the result; tensors made from it before keep their values."""
    def exp_(self) -> Tensor:
        """`exp` in place: this handle takes the result; tensors made from it before keep their values."""
    def expand(self, *size: Any) -> Tensor:
        """Dimensions of size 1 repeated to `size`, without a copy; -1 keeps a size; new dimensions come first."""
    def expand_as(self, other: Tensor) -> Tensor:
        """Expanded to the shape of another tensor."""
    def expm1(self) -> Tensor:
        """exp(x) - 1, exact for small x. Elementwise, of broadcast shape, differentiable where the function is."""
    def expm1_(self) -> Tensor:
        """`expm1` in place: this handle takes the result; tensors made from it before keep their values."""
    def exponential_(self, lambd: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Exponential with the rate `lambd`, and never 0, in place. Raises FlameError unless it is positive."""
    def fill_(self, value: _float) -> Tensor:
        """Take one value everywhere."""
    def fill_diagonal_(self, fill_value: _float, wrap: _bool = ...) -> Tensor:
        """Take one value where all indices are equal; with `wrap`, the diagonal of a tall matrix begins again below."""
    def fix(self, *other: Any) -> Tensor:
        """Another name of `trunc`."""
    def fix_(self, *other: Any) -> Tensor:
        """`fix` in place: this handle takes the result; tensors made from it before keep their values."""
    def flatten(self, start_dim: _int = ..., end_dim: _int = ...) -> Tensor:
        """Dimensions from start_dim to end_dim as one."""
    def flip(self, *dims: Any) -> Tensor:
        """Dimensions read backwards."""
    def fliplr(self) -> Tensor:
        """The second dimension read backwards; raises ShapeError below two dimensions."""
    def flipud(self) -> Tensor:
        """The first dimension read backwards; raises ShapeError for a 0-d tensor."""
    def float(self) -> Tensor:
        """The same values as float32."""
    def float_power(self, exponent: Any) -> Tensor:
        """input to the power of exponent, both in float64."""
    def float_power_(self, exponent: Any) -> Tensor:
        """`float_power` in place: this handle takes the result; tensors made from it before keep their values."""
    def floor(self, *other: Any) -> Tensor:
        """Largest whole number below. Elementwise, of broadcast shape, differentiable where the function is."""
    def floor_(self, *other: Any) -> Tensor:
        """`floor` in place: this handle takes the result; tensors made from it before keep their values."""
    def floor_divide(self, other: Any) -> Tensor:
        """Quotient, rounded down. Elementwise, of broadcast shape, differentiable where the function is. Integers by 0 give 0; by the Python number 0 they raise DivisionError."""
    def floor_divide_(self, other: Any) -> Tensor:
        """`floor_divide` in place: this handle takes the result; tensors made from it before keep their values."""
    def fmax(self, other: Any) -> Tensor:
        """The larger; a number wins over nan."""
    def fmin(self, other: Any) -> Tensor:
        """The smaller; a number wins over nan."""
    def fmod(self, other: Any) -> Tensor:
        """What division rounded towards 0 leaves; it has the sign of the dividend. Elementwise, of broadcast shape, differentiable where the function is. Integers by 0 give 0; by the Python number 0 they raise DivisionError."""
    def fmod_(self, other: Any) -> Tensor:
        """`fmod` in place: this handle takes the result; tensors made from it before keep their values."""
    def frac(self) -> Tensor:
        """x - trunc(x), with the sign of x."""
    def frac_(self) -> Tensor:
        """`frac` in place: this handle takes the result; tensors made from it before keep their values."""
    def frexp(self) -> flame.ops.math.Frexp:
        """(m, e) with input = m * 2**e and 1/2 <= |m| < 1, e in int32; 0, infinity and nan are their own m, with e = 0."""
    def gather(self, dim: _int, index: Tensor, *, sparse_grad: _bool = ...) -> Tensor:
        """Along `dim`, the elements that `index` names; other dimensions of the index are at most the input's."""
    def gcd(self, other: Any) -> Tensor:
        """Greatest common divisor. Elementwise, of broadcast shape, differentiable where the function is."""
    def gcd_(self, other: Any) -> Tensor:
        """`gcd` in place: this handle takes the result; tensors made from it before keep their values."""
    def ge(self, other: Any) -> Tensor:
        """True where the first is larger or equal. Elementwise, of broadcast shape, differentiable where the function is."""
    def ge_(self, other: Any) -> Tensor:
        """`ge` in place: this handle takes the result; tensors made from it before keep their values."""
    def geometric_(self, p: _float, *, generator: Generator | None = ...) -> Tensor:
        """The number of the first success of trials with probability `p`, in place. Raises FlameError unless 0 < p < 1."""
    def ger(self, vec2: Tensor) -> Tensor:
        """As `outer`."""
    def greater(self, other: Any) -> Tensor:
        """Another name of `gt`."""
    def greater_(self, other: Any) -> Tensor:
        """`greater` in place: this handle takes the result; tensors made from it before keep their values."""
    def greater_equal(self, other: Any) -> Tensor:
        """Another name of `ge`."""
    def greater_equal_(self, other: Any) -> Tensor:
        """`greater_equal` in place: this handle takes the result; tensors made from it before keep their values."""
    def gt(self, other: Any) -> Tensor:
        """True where the first is larger. Elementwise, of broadcast shape, differentiable where the function is."""
    def gt_(self, other: Any) -> Tensor:
        """`gt` in place: this handle takes the result; tensors made from it before keep their values."""
    def half(self) -> Tensor:
        """The same values as float16."""
    def hardshrink(self, lambd: _float = ...) -> Tensor:
        """x beyond lambd on either side, else 0."""
    def heaviside(self, values: Tensor) -> Tensor:
        """0 where the input is negative or nan, 1 where positive, `values` where it is 0; both must have one dtype."""
    def heaviside_(self, values: Tensor) -> Tensor:
        """`heaviside` in place: this handle takes the result; tensors made from it before keep their values."""
    def histc(self, bins: _int = ..., min: _float = ..., max: _float = ...) -> Tensor:
        """How many elements lie in each of `bins` equal parts of [min, max]; of the data's own range where both are 0."""
    def histogram(self, bins: _int | Tensor, *, range: tuple[_float, _float] | None = ..., weight: Tensor | None = ..., density: _bool = ...) -> flame.ops.search.Histogram:
        """How many elements lie in each bin, or the sum of their weights; with `density`, as a probability density."""
    def hsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """Equal pieces of dimension 1, or the only one, or cut at the indices given; raises where they do not fit."""
    def hypot(self, other: Any) -> Tensor:
        """sqrt(a * a + b * b). Elementwise, of broadcast shape, differentiable where the function is."""
    def hypot_(self, other: Any) -> Tensor:
        """`hypot` in place: this handle takes the result; tensors made from it before keep their values."""
    def index_add(self, dim: _int, index: Tensor, source: Tensor, *, alpha: _float = ...) -> Tensor:
        """The tensor with `alpha` times the slices of `source` added along `dim` where a 1-d index says."""
    def index_add_(self, dim: _int, index: Tensor, source: Tensor, *, alpha: _float = ...) -> Tensor:
        """`index_add` in place: this handle takes the result; tensors made from it before keep their values."""
    def index_copy(self, dim: _int, index: Tensor, source: Tensor) -> Tensor:
        """The tensor with the slices of `source` put along `dim` where a 1-d index says; of equal positions the last."""
    def index_copy_(self, dim: _int, index: Tensor, source: Tensor) -> Tensor:
        """`index_copy` in place: this handle takes the result; tensors made from it before keep their values."""
    def index_fill(self, dim: _int, index: Tensor, value: Any) -> Tensor:
        """The tensor with one value (a number or a 0-d tensor) in the slices along `dim` that a 1-d index names."""
    def index_fill_(self, dim: _int, index: Tensor, value: Any) -> Tensor:
        """`index_fill` in place: this handle takes the result; tensors made from it before keep their values."""
    def index_put(self, indices: Sequence[Tensor], values: Tensor, accumulate: _bool = ...) -> Tensor:
        """The tensor with values put at the positions that index tensors (or masks) name; added, with `accumulate`."""
    def index_put_(self, indices: Sequence[Tensor], values: Tensor, accumulate: _bool = ...) -> Tensor:
        """`index_put` in place: this handle takes the result; tensors made from it before keep their values."""
    def index_reduce(self, dim: _int, index: Tensor, source: Tensor, reduce: str, *, include_self: _bool = ...) -> Tensor:
        """The tensor with the slices of `source` folded into it along `dim` where a 1-d index says; see scatter_reduce."""
    def index_reduce_(self, dim: _int, index: Tensor, source: Tensor, reduce: str, *, include_self: _bool = ...) -> Tensor:
        """`index_reduce` in place: this handle takes the result; tensors made from it before keep their values."""
    def index_select(self, dim: _int, index: Tensor) -> Tensor:
        """The slices of one dimension that a 1-d integer tensor names."""
    def inner(self, other: Tensor) -> Tensor:
        """Sums of products over the last dimension of both: (*a, k) and (*b, k) to (*a, *b); a 0-d operand scales."""
    def int(self) -> Tensor:
        """The same values as int32."""
    def inverse(self) -> Tensor:
        """As `linalg.inv`."""
    def is_complex(self) -> _bool:
        """False: no dtype of FLAME is complex."""
    def is_contiguous(self) -> _bool:
        """True: what reads a view reads it in place, and what is computed is row-major."""
    def is_nonzero(self) -> _bool:
        """Whether the one element is not 0, as a Python bool; raises ShapeError for none or several."""
    def is_same_size(self, other: Tensor) -> _bool:
        """True if both have the same shape."""
    def is_signed(self) -> _bool:
        """True for all dtypes but uint8 and bool."""
    def isclose(self, other: Tensor, rtol: _float = ..., atol: _float = ..., equal_nan: _bool = ...) -> Tensor:
        """True where |input - other| <= atol + rtol * |other| or both are equal, with `equal_nan` also where both are nan."""
    def isfinite(self) -> Tensor:
        """True where the value is neither infinite nor nan."""
    def isinf(self) -> Tensor:
        """True where the value is infinite."""
    def isnan(self) -> Tensor:
        """True where the value is nan. Elementwise, of broadcast shape, differentiable where the function is."""
    def isneginf(self) -> Tensor:
        """True where the value is negative infinity."""
    def isposinf(self) -> Tensor:
        """True where the value is positive infinity."""
    def isreal(self) -> Tensor:
        """True everywhere: no dtype of FLAME is complex."""
    def kron(self, other: Tensor) -> Tensor:
        """Kronecker's product: every element of the input times the whole other tensor; dtypes are promoted."""
    def kthvalue(self, k: _int, dim: _int = ..., keepdim: _bool = ...) -> flame.ops.reduce.Selected:
        """(value, index) of the k-th smallest, counted from 1, along a dimension; raises IndexingError outside it."""
    def lcm(self, other: Tensor) -> Tensor:
        """The least common multiple of integers, 0 where one of them is."""
    def lcm_(self, other: Tensor) -> Tensor:
        """`lcm` in place: this handle takes the result; tensors made from it before keep their values."""
    def ldexp(self, other: Any) -> Tensor:
        """input * 2**other."""
    def ldexp_(self, other: Any) -> Tensor:
        """`ldexp` in place: this handle takes the result; tensors made from it before keep their values."""
    def le(self, other: Any) -> Tensor:
        """True where the first is smaller or equal. Elementwise, of broadcast shape, differentiable where the function is."""
    def le_(self, other: Any) -> Tensor:
        """`le` in place: this handle takes the result; tensors made from it before keep their values."""
    def lerp(self, end: Tensor, weight: Any) -> Tensor:
        """input + weight * (end - input), from the nearer end, so that 0 and 1 give the ends exactly."""
    def lerp_(self, end: Tensor, weight: Any) -> Tensor:
        """`lerp` in place: this handle takes the result; tensors made from it before keep their values."""
    def less(self, other: Any) -> Tensor:
        """Another name of `lt`."""
    def less_(self, other: Any) -> Tensor:
        """`less` in place: this handle takes the result; tensors made from it before keep their values."""
    def less_equal(self, other: Any) -> Tensor:
        """Another name of `le`."""
    def less_equal_(self, other: Any) -> Tensor:
        """`less_equal` in place: this handle takes the result; tensors made from it before keep their values."""
    def lgamma(self) -> Tensor:
        """Logarithm of the size of the gamma function. Elementwise, of broadcast shape, differentiable where the function is."""
    def lgamma_(self) -> Tensor:
        """`lgamma` in place: this handle takes the result; tensors made from it before keep their values."""
    def log(self) -> Tensor:
        """Natural logarithm. Elementwise, of broadcast shape, differentiable where the function is."""
    def log10(self) -> Tensor:
        """Logarithm to base 10. Elementwise, of broadcast shape, differentiable where the function is."""
    def log10_(self) -> Tensor:
        """`log10` in place: this handle takes the result; tensors made from it before keep their values."""
    def log1p(self) -> Tensor:
        """log(1 + x), exact for small x. Elementwise, of broadcast shape, differentiable where the function is."""
    def log1p_(self) -> Tensor:
        """`log1p` in place: this handle takes the result; tensors made from it before keep their values."""
    def log2(self) -> Tensor:
        """Logarithm to base 2. Elementwise, of broadcast shape, differentiable where the function is."""
    def log2_(self) -> Tensor:
        """`log2` in place: this handle takes the result; tensors made from it before keep their values."""
    def log_(self) -> Tensor:
        """`log` in place: this handle takes the result; tensors made from it before keep their values."""
    def log_normal_(self, mean: _float = ..., std: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """exp of a normal draw, in place. Raises FlameError unless std is positive."""
    def log_softmax(self, dim: _int | None = ..., dtype: Any = ...) -> Tensor:
        """The logarithm of softmax along `dim`, without its rounding."""
    def logaddexp(self, other: Any) -> Tensor:
        """log(exp(a) + exp(b)). Elementwise, of broadcast shape, differentiable where the function is."""
    def logaddexp2(self, other: Any) -> Tensor:
        """log2(2**a + 2**b). Elementwise, of broadcast shape, differentiable where the function is."""
    def logcumsumexp(self, dim: _int) -> Tensor:
        """log(sum(exp(x))) of each element and all before it, without overflow."""
    def logdet(self) -> Tensor:
        """The logarithm of determinants; -inf where one is 0, nan where it is negative."""
    def logical_and(self, other: Any) -> Tensor:
        """Both. Elementwise, of broadcast shape, differentiable where the function is."""
    def logical_and_(self, other: Any) -> Tensor:
        """`logical_and` in place: this handle takes the result; tensors made from it before keep their values."""
    def logical_not(self) -> Tensor:
        """Not. Elementwise, of broadcast shape, differentiable where the function is."""
    def logical_not_(self) -> Tensor:
        """`logical_not` in place: this handle takes the result; tensors made from it before keep their values."""
    def logical_or(self, other: Any) -> Tensor:
        """One or both. Elementwise, of broadcast shape, differentiable where the function is."""
    def logical_or_(self, other: Any) -> Tensor:
        """`logical_or` in place: this handle takes the result; tensors made from it before keep their values."""
    def logical_xor(self, other: Any) -> Tensor:
        """Just one. Elementwise, of broadcast shape, differentiable where the function is."""
    def logical_xor_(self, other: Any) -> Tensor:
        """`logical_xor` in place: this handle takes the result; tensors made from it before keep their values."""
    def logit(self, eps: _float | None = ...) -> Tensor:
        """log(x / (1 - x)), the inverse of the sigmoid; with `eps`, x is first clamped to [eps, 1 - eps]."""
    def logit_(self, eps: _float | None = ...) -> Tensor:
        """`logit` in place: this handle takes the result; tensors made from it before keep their values."""
    def logsumexp(self, dim: Any, keepdim: _bool = ...) -> Tensor:
        """log(sum(exp(x))) over dimensions without overflow; -inf of none; integers as float32."""
    def long(self) -> Tensor:
        """The same values as int64."""
    def lt(self, other: Any) -> Tensor:
        """True where the first is smaller. Elementwise, of broadcast shape, differentiable where the function is."""
    def lt_(self, other: Any) -> Tensor:
        """`lt` in place: this handle takes the result; tensors made from it before keep their values."""
    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """`value`, a number or a 0-d tensor, where the mask is true, else the input; the result has the input's dtype."""
    def masked_fill_(self, mask: Tensor, value: Any) -> Tensor:
        """`masked_fill` in place: this handle takes the result; tensors made from it before keep their values."""
    def masked_scatter(self, mask: Tensor, source: Tensor) -> Tensor:
        """The elements of `source`, in order, where a mask is true; the mask broadcasts."""
    def masked_scatter_(self, mask: Tensor, source: Tensor) -> Tensor:
        """`masked_scatter` in place: this handle takes the result; tensors made from it before keep their values."""
    def masked_select(self, mask: Tensor) -> Tensor:
        """The elements where a mask is true, as a 1-d tensor; both broadcast. Realizes: their count is its size."""
    def matmul(self, other: Tensor) -> Tensor:
        """(…, m, k) by (…, k, n) to (…, m, n); leading dimensions broadcast; a 1-d operand is a row on the left, a column on the right, and its dimension leaves the result. Half precisions are summed in float32."""
    def matrix_exp(self) -> Tensor:
        """As `linalg.matrix_exp`."""
    def matrix_power(self, n: _int) -> Tensor:
        """As `linalg.matrix_power`."""
    def max(self, dim: Any = ..., keepdim: _bool = ...) -> Any:
        """The largest value; with `dim`, (values, indices) along it; with a tensor, the elementwise maximum."""
    def maximum(self, other: Any) -> Tensor:
        """The larger; nan wins. Elementwise, of broadcast shape, differentiable where the function is."""
    def mean(self, dim: Any = ..., keepdim: _bool = ..., *, dtype: DType | None = ...) -> Tensor:
        """The mean over dimensions of a floating tensor; that of a half precision is formed in float32."""
    def median(self, dim: _int | None = ..., keepdim: _bool = ...) -> Any:
        """The lower of the two middle values of all elements; with `dim`, (values, indices) along it. Any nan wins."""
    def min(self, dim: Any = ..., keepdim: _bool = ...) -> Any:
        """The smallest value; with `dim`, (values, indices) along it; with a tensor, the elementwise minimum."""
    def minimum(self, other: Any) -> Tensor:
        """The smaller; nan wins. Elementwise, of broadcast shape, differentiable where the function is."""
    def mm(self, mat2: Tensor) -> Tensor:
        """(m, k) by (k, n) to (m, n)."""
    def mode(self, dim: _int = ..., keepdim: _bool = ...) -> flame.ops.reduce.Selected:
        """(values, indices) of the most frequent value along a dimension: the smallest of several, at its last place."""
    def moveaxis(self, source: Any, destination: Any) -> Tensor:
        """As `movedim`, under NumPy's name."""
    def movedim(self, source: Any, destination: Any) -> Tensor:
        """Dimensions moved to other places; the others keep their order."""
    def msort(self) -> Tensor:
        """The values in order along the first dimension."""
    def mul(self, other: Any) -> Tensor:
        """Product. Elementwise, of broadcast shape, differentiable where the function is."""
    def mul_(self, other: Any) -> Tensor:
        """`mul` in place: this handle takes the result; tensors made from it before keep their values."""
    def multinomial(self, num_samples: _int, replacement: _bool = ..., *, generator: Generator | None = ...) -> Tensor:
        """Positions in the last dimension, drawn with the weights that stand there. (C) or (N, C) → (samples) or (N, …)."""
    def multiply(self, other: Any) -> Tensor:
        """Another name of `mul`."""
    def multiply_(self, other: Any) -> Tensor:
        """`multiply` in place: this handle takes the result; tensors made from it before keep their values."""
    def mv(self, vec: Tensor) -> Tensor:
        """(m, k) by (k) to (m)."""
    def mvlgamma(self, p: _int) -> Tensor:
        """The logarithm of the multivariate gamma function of dimension p; raises DTypeError where p is below 1."""
    def nan_to_num(self, nan: _float | None = ..., posinf: _float | None = ..., neginf: _float | None = ...) -> Tensor:
        """`nan` for nan, `posinf` and `neginf` for the infinities: by default 0 and the dtype's largest numbers."""
    def nan_to_num_(self, nan: _float | None = ..., posinf: _float | None = ..., neginf: _float | None = ...) -> Tensor:
        """`nan_to_num` in place: this handle takes the result; tensors made from it before keep their values."""
    def nanmean(self, dim: Any = ..., keepdim: _bool = ..., *, dtype: DType | None = ...) -> Tensor:
        """The mean over dimensions of what is not nan; nan where nothing is left."""
    def nanmedian(self, dim: _int | None = ..., keepdim: _bool = ...) -> Any:
        """The median of what is not nan, as `median`; nan where nothing is left."""
    def nanquantile(self, q: Any, dim: _int | None = ..., keepdim: _bool = ..., *, interpolation: str = ...) -> Tensor:
        """The quantiles of what is not nan, as `quantile`; nan where nothing is left."""
    def nansum(self, dim: Any = ..., keepdim: _bool = ..., *, dtype: DType | None = ...) -> Tensor:
        """The sum over dimensions of what is not nan."""
    def narrow(self, dim: _int, start: Any, length: _int) -> Tensor:
        """`length` positions of one dimension from `start`."""
    def ndimension(self) -> _int:
        """As `dim`."""
    def ne(self, other: Any) -> Tensor:
        """True where different. Elementwise, of broadcast shape, differentiable where the function is."""
    def ne_(self, other: Any) -> Tensor:
        """`ne` in place: this handle takes the result; tensors made from it before keep their values."""
    def neg(self) -> Tensor:
        """The negative. Elementwise, of broadcast shape, differentiable where the function is."""
    def neg_(self) -> Tensor:
        """`neg` in place: this handle takes the result; tensors made from it before keep their values."""
    def negative(self) -> Tensor:
        """Another name of `neg`."""
    def negative_(self) -> Tensor:
        """`negative` in place: this handle takes the result; tensors made from it before keep their values."""
    def nelement(self) -> _int:
        """As `numel`."""
    def new_empty(self, *size: Any, dtype: DType | None = ..., device: str | Device | None = ..., requires_grad: _bool = ...) -> Tensor:
        """Values that do not matter; they are 0, in the dtype and on the device of this tensor."""
    def new_full(self, size: Any, fill_value: Any, *, dtype: DType | None = ..., device: str | Device | None = ..., requires_grad: _bool = ...) -> Tensor:
        """One value everywhere, in the dtype and on the device of this tensor."""
    def new_ones(self, *size: Any, dtype: DType | None = ..., device: str | Device | None = ..., requires_grad: _bool = ...) -> Tensor:
        """1 everywhere, in the dtype and on the device of this tensor."""
    def new_tensor(self, data: Any, *, dtype: DType | None = ..., device: str | Device | None = ..., requires_grad: _bool = ...) -> Tensor:
        """A leaf with a copy of `data`, in the dtype and on the device of this tensor."""
    def new_zeros(self, *size: Any, dtype: DType | None = ..., device: str | Device | None = ..., requires_grad: _bool = ...) -> Tensor:
        """0 everywhere, in the dtype and on the device of this tensor."""
    def nextafter(self, other: Tensor) -> Tensor:
        """The number next to the first in the direction of the second, in the dtype in which both meet."""
    def nextafter_(self, other: Any) -> Tensor:
        """`nextafter` in place: this handle takes the result; tensors made from it before keep their values."""
    def nonzero(self, *, as_tuple: _bool = ...) -> Any:
        """Where the elements that are not 0 lie, in row-major order: (count, rank), or a tuple of 1-d tensors."""
    def nonzero_static(self, *, size: _int, fill_value: _int = ...) -> Tensor:
        """The first `size` places of `nonzero`, (size, rank), then rows of `fill_value`. Nothing is realized."""
    def norm(self, p: Any = ..., dim: Any = ..., keepdim: _bool = ..., dtype: DType | None = ...) -> Tensor:
        """The p-norm of all elements, or over dimensions; "fro" and None are p=2. That of matrices is flame.linalg's."""
    def normal_(self, mean: _float = ..., std: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Normal with a mean and a standard deviation, in place. Raises FlameError for a negative std."""
    def not_equal(self, other: Any) -> Tensor:
        """Another name of `ne`."""
    def not_equal_(self, other: Any) -> Tensor:
        """`not_equal` in place: this handle takes the result; tensors made from it before keep their values."""
    def outer(self, vec2: Tensor) -> Tensor:
        """(m) and (n) to their products (m, n); dtypes are promoted."""
    def permute(self, *dims: Any) -> Tensor:
        """Dimensions in another order."""
    def pinverse(self, rcond: _float = ...) -> Tensor:
        """As `linalg.pinv`, with rtol = rcond."""
    def positive(self) -> Tensor:
        """The tensor itself; raises DTypeError for truth values."""
    def pow(self, exponent: Any) -> Tensor:
        """input to the power of exponent; of integers by products, modulo the width of the dtype."""
    def pow_(self, exponent: Any) -> Tensor:
        """`pow` in place: this handle takes the result; tensors made from it before keep their values."""
    def prelu(self, weight: Tensor) -> Tensor:
        """x where positive, else weight * x, with one weight, or one for each channel (dimension 1)."""
    def prod(self, dim: _int | None = ..., keepdim: _bool = ..., *, dtype: DType | None = ...) -> Tensor:
        """The product along one dimension, or of all; its gradients are exact where factors are 0."""
    def put(self, index: Tensor, source: Tensor, accumulate: _bool = ...) -> Tensor:
        """The tensor with values put (or added) at positions of the flattened one; negative ones count from the end."""
    def put_(self, index: Tensor, source: Tensor, accumulate: _bool = ...) -> Tensor:
        """`put` in place: this handle takes the result; tensors made from it before keep their values."""
    def qr(self, some: _bool = ...) -> flame.ops.linalg.decompose.QR:
        """As `linalg.qr`; complete without `some`."""
    def quantile(self, q: Any, dim: _int | None = ..., keepdim: _bool = ..., *, interpolation: str = ...) -> Tensor:
        """The q-quantiles along a dimension, or of all elements; a tensor of several q gets a dimension in front."""
    def rad2deg(self) -> Tensor:
        """Radians as degrees."""
    def rad2deg_(self) -> Tensor:
        """`rad2deg` in place: this handle takes the result; tensors made from it before keep their values."""
    def random_(self, from_: _int | None = ..., to: _int | None = ..., *, generator: Generator | None = ...) -> Tensor:
        """Integers in [from_, to), in [0, from_), or all that the dtype holds exactly from 0 on, in place."""
    def ravel(self) -> Tensor:
        """All elements in one dimension."""
    def reciprocal(self) -> Tensor:
        """1 / x; of integers in float32."""
    def reciprocal_(self) -> Tensor:
        """`reciprocal` in place: this handle takes the result; tensors made from it before keep their values."""
    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> flame.autograd.backward.RemovableHandle:
        """Call `hook(gradient)` when a gradient of this tensor is asked for; what it returns, unless None, takes its place."""
    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> flame.autograd.backward.RemovableHandle:
        """Call `hook(tensor)` after `backward()` has added to the `.grad` of this leaf; raises GradError for others."""
    def relu(self) -> Tensor:
        """max(x, 0). Elementwise, of broadcast shape, differentiable where the function is."""
    def relu_(self) -> Tensor:
        """`relu` in place: this handle takes the result; tensors made from it before keep their values."""
    def remainder(self, other: Any) -> Tensor:
        """What floor division leaves; it has the sign of the divisor. Elementwise, of broadcast shape, differentiable where the function is. Integers by 0 give 0; by the Python number 0 they raise DivisionError."""
    def remainder_(self, other: Any) -> Tensor:
        """`remainder` in place: this handle takes the result; tensors made from it before keep their values."""
    def repeat(self, *repeats: Any) -> Tensor:
        """The whole tensor repeated along each dimension; new dimensions come first."""
    def repeat_interleave(self, repeats: Any = ..., dim: _int | None = ..., *, output_size: _int | None = ...) -> Tensor:
        """Each position of `dim` repeated; of the flattened tensor without one."""
    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order under another shape; one size may be -1."""
    def reshape_as(self, other: Tensor) -> Tensor:
        """The same elements in the shape of another tensor."""
    def retain_grad(self) -> None:
        """Let `backward()` leave a `.grad` here too, though this tensor is computed; a leaf has one anyway."""
    def roll(self, shifts: Any, dims: Any = ...) -> Tensor:
        """Elements moved along dimensions; those that leave at one end enter at the other. Flattened without `dims`."""
    def rot90(self, k: _int = ..., dims: Sequence[_int] = ...) -> Tensor:
        """Turned by k times 90 degrees in the plane of two dimensions, from the first towards the second."""
    def round(self, *, decimals: _int = ...) -> Tensor:
        """The nearest whole number, halves to even, or the nearest multiple of 10**-decimals; its gradient is 0."""
    def round_(self, *, decimals: _int = ...) -> Tensor:
        """`round` in place: this handle takes the result; tensors made from it before keep their values."""
    def rsqrt(self) -> Tensor:
        """1 / sqrt(x). Elementwise, of broadcast shape, differentiable where the function is."""
    def rsqrt_(self) -> Tensor:
        """`rsqrt` in place: this handle takes the result; tensors made from it before keep their values."""
    def scatter(self, dim: _int, index: Tensor, src: Any = ..., *, value: Any = ..., reduce: str | None = ...) -> Tensor:
        """The tensor with values of `src` (a tensor or a number) put along `dim` where the index says."""
    def scatter_(self, dim: _int, index: Tensor, src: Any = ..., *, value: Any = ..., reduce: str | None = ...) -> Tensor:
        """`scatter` in place: this handle takes the result; tensors made from it before keep their values."""
    def scatter_add(self, dim: _int, index: Tensor, src: Tensor) -> Tensor:
        """The tensor with the values of `src` added along `dim` where the index says, in the order of the index."""
    def scatter_add_(self, dim: _int, index: Tensor, src: Tensor) -> Tensor:
        """`scatter_add` in place: this handle takes the result; tensors made from it before keep their values."""
    def scatter_reduce(self, dim: _int, index: Tensor, src: Tensor, reduce: str, *, include_self: _bool = ...) -> Tensor:
        """The tensor with the values of `src` folded into it along `dim` where the index says."""
    def scatter_reduce_(self, dim: _int, index: Tensor, src: Tensor, reduce: str, *, include_self: _bool = ...) -> Tensor:
        """`scatter_reduce` in place: this handle takes the result; tensors made from it before keep their values."""
    def select(self, dim: _int, index: _int) -> Tensor:
        """One position of one dimension, without that dimension."""
    def select_scatter(self, src: Tensor, dim: _int, index: _int) -> Tensor:
        """`input` with `src` at one position of one dimension, which `src` lacks."""
    def sgn(self) -> Tensor:
        """Another name of `sign`."""
    def sgn_(self) -> Tensor:
        """`sgn` in place: this handle takes the result; tensors made from it before keep their values."""
    def short(self) -> Tensor:
        """The same values as int16."""
    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x)). Elementwise, of broadcast shape, differentiable where the function is."""
    def sigmoid_(self) -> Tensor:
        """`sigmoid` in place: this handle takes the result; tensors made from it before keep their values."""
    def sign(self) -> Tensor:
        """1, 0 or -1; 0 of nan; truth values stay what they are."""
    def sign_(self) -> Tensor:
        """`sign` in place: this handle takes the result; tensors made from it before keep their values."""
    def signbit(self) -> Tensor:
        """True where the sign is minus: of -0.0 and of a nan with that bit too."""
    def silu(self) -> Tensor:
        """x * sigmoid(x) (Elfwing et al. 2018)."""
    def sin(self) -> Tensor:
        """Sine of x in radians. Elementwise, of broadcast shape, differentiable where the function is."""
    def sin_(self) -> Tensor:
        """`sin` in place: this handle takes the result; tensors made from it before keep their values."""
    def sinc(self) -> Tensor:
        """sin(pi x) / (pi x), and 1 at 0."""
    def sinc_(self) -> Tensor:
        """`sinc` in place: this handle takes the result; tensors made from it before keep their values."""
    def sinh(self) -> Tensor:
        """Hyperbolic sine. Elementwise, of broadcast shape, differentiable where the function is."""
    def sinh_(self) -> Tensor:
        """`sinh` in place: this handle takes the result; tensors made from it before keep their values."""
    def size(self, dim: _int | None = ...) -> Any:
        """The shape, or the length of one dimension."""
    def slice_scatter(self, src: Tensor, dim: _int = ..., start: _int | None = ..., end: _int | None = ..., step: _int = ...) -> Tensor:
        """`input` with `src` at the positions start, start + step, ... below `end` of one dimension."""
    def slogdet(self) -> flame.ops.linalg.decompose.SlogDet:
        """As `linalg.slogdet`."""
    def softmax(self, dim: _int | None = ..., dtype: Any = ...) -> Tensor:
        """exp(x) over its sum along `dim`; `(…)` to the same shape."""
    def sort(self, dim: _int = ..., descending: _bool = ..., stable: _bool = ...) -> flame.ops.reduce.Selected:
        """(values, indices) in order along a dimension; always stable, nan last, or first when descending."""
    def split(self, split_size_or_sections: Any, dim: _int = ...) -> tuple[Tensor, ...]:
        """Pieces of one dimension: of a size, or of the sizes given."""
    def split_with_sizes(self, split_sizes: Sequence[_int], dim: _int = ...) -> tuple[Tensor, ...]:
        """Pieces of one dimension, of the sizes given."""
    def sqrt(self) -> Tensor:
        """Square root. Elementwise, of broadcast shape, differentiable where the function is."""
    def sqrt_(self) -> Tensor:
        """`sqrt` in place: this handle takes the result; tensors made from it before keep their values."""
    def square(self) -> Tensor:
        """x * x; of truth values in int64."""
    def square_(self) -> Tensor:
        """`square` in place: this handle takes the result; tensors made from it before keep their values."""
    def squeeze(self, dim: Any = ...) -> Tensor:
        """Without dimensions of size 1: all of them, or those named."""
    def squeeze_(self, dim: Any = ...) -> Tensor:
        """`squeeze` in place: this handle takes the result; tensors made from it before keep their values."""
    def std(self, dim: Any = ..., unbiased: _bool | None = ..., keepdim: _bool = ..., *, correction: _float | None = ...) -> Tensor:
        """The square root of the variance; its gradient is 0 where all elements are equal."""
    def std_mean(self, dim: Any = ..., unbiased: _bool | None = ..., keepdim: _bool = ..., *, correction: _float | None = ...) -> tuple[Tensor, Tensor]:
        """(standard deviation, mean) over dimensions, as `std` and `mean`."""
    def storage_offset(self) -> _int:
        """Where in its memory the tensor begins: at 0, since tensors share none."""
    def stride(self, dim: _int | None = ...) -> Any:
        """How many elements lie between neighbours of each dimension, or of one: those of row-major memory."""
    def sub(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """input - alpha * other; raises DTypeError for truth values, which `logical_xor` is for."""
    def sub_(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """`sub` in place: this handle takes the result; tensors made from it before keep their values."""
    def subtract(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """Another name of `sub`."""
    def subtract_(self, other: Any, *, alpha: _float = ...) -> Tensor:
        """`subtract` in place: this handle takes the result; tensors made from it before keep their values."""
    def sum(self, dim: Any = ..., keepdim: _bool = ..., *, dtype: DType | None = ...) -> Tensor:
        """The sum over dimensions; integers and truth values are summed as int64, half precisions in float32."""
    def sum_to_size(self, *size: Any) -> Tensor:
        """Sums over the dimensions that an expansion of `size` to this shape would repeat: the gradient of `expand`."""
    def svd(self, some: _bool = ..., compute_uv: _bool = ...) -> flame.ops.matrix.Singular:
        """As `linalg.svd`, but with V, not its transpose; all vectors without `some`, zeros without `compute_uv`."""
    def swapaxes(self, axis0: _int, axis1: _int) -> Tensor:
        """As `transpose`, under NumPy's name."""
    def swapaxes_(self, axis0: _int, axis1: _int) -> Tensor:
        """`swapaxes` in place: this handle takes the result; tensors made from it before keep their values."""
    def swapdims(self, dim0: _int, dim1: _int) -> Tensor:
        """As `transpose`."""
    def swapdims_(self, dim0: _int, dim1: _int) -> Tensor:
        """`swapdims` in place: this handle takes the result; tensors made from it before keep their values."""
    def t(self) -> Tensor:
        """The transpose of a matrix; raises ShapeError beyond two dimensions."""
    def t_(self) -> Tensor:
        """`t` in place: this handle takes the result; tensors made from it before keep their values."""
    def take(self, index: Tensor) -> Tensor:
        """The elements of the flattened tensor at positions of any shape; negative ones count from the end."""
    def take_along_dim(self, indices: Tensor, dim: _int | None = ...) -> Tensor:
        """Along `dim`, the elements that `indices` name; other dimensions broadcast. Without `dim`, of both flattened."""
    def tan(self) -> Tensor:
        """Tangent of x in radians. Elementwise, of broadcast shape, differentiable where the function is."""
    def tan_(self) -> Tensor:
        """`tan` in place: this handle takes the result; tensors made from it before keep their values."""
    def tanh(self) -> Tensor:
        """Hyperbolic tangent. Elementwise, of broadcast shape, differentiable where the function is."""
    def tanh_(self) -> Tensor:
        """`tanh` in place: this handle takes the result; tensors made from it before keep their values."""
    def tensor_split(self, indices_or_sections: Any, dim: _int = ...) -> tuple[Tensor, ...]:
        """Pieces of one dimension: `sections` of about one size, or cut at the indices given, as slices are."""
    def tile(self, *dims: Any) -> Tensor:
        """As `repeat`; counts may be missing in front."""
    def to(self, *args: Any, dtype: DType | None = ..., device: Any = ..., non_blocking: _bool = ..., copy: _bool = ..., memory_format: Any = ...) -> Tensor:
        """The tensor in another dtype, on another device, or both: `x.to("cuda")`, `x.to(flame.bfloat16)`, `x.to(other)`."""
    def topk(self, k: _int, dim: _int = ..., largest: _bool = ..., sorted: _bool = ...) -> flame.ops.reduce.Selected:
        """(values, indices) of the k largest (or smallest) along a dimension, in order; raises ShapeError for k > size."""
    def trace(self) -> Tensor:
        """The sum of the diagonal of a matrix; integers are summed as int64."""
    def transpose(self, dim0: _int, dim1: _int) -> Tensor:
        """Two dimensions swapped."""
    def transpose_(self, dim0: _int, dim1: _int) -> Tensor:
        """`transpose` in place: this handle takes the result; tensors made from it before keep their values."""
    def tril(self, diagonal: _int = ...) -> Tensor:
        """The lower triangle of the last two dimensions; zeros above it."""
    def tril_(self, diagonal: _int = ...) -> Tensor:
        """`tril` in place: this handle takes the result; tensors made from it before keep their values."""
    def triu(self, diagonal: _int = ...) -> Tensor:
        """The upper triangle of the last two dimensions; zeros below it."""
    def triu_(self, diagonal: _int = ...) -> Tensor:
        """`triu` in place: this handle takes the result; tensors made from it before keep their values."""
    def true_divide(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """Another name of `div`."""
    def true_divide_(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """`true_divide` in place: this handle takes the result; tensors made from it before keep their values."""
    def trunc(self, *other: Any) -> Tensor:
        """Whole number next towards 0. Elementwise, of broadcast shape, differentiable where the function is."""
    def trunc_(self, *other: Any) -> Tensor:
        """`trunc` in place: this handle takes the result; tensors made from it before keep their values."""
    def type(self, dtype: DType | None = ..., non_blocking: _bool = ...) -> Any:
        """The same values in another dtype; without one, the name of the tensor's own, such as "flame.float32"."""
    def type_as(self, other: Tensor) -> Tensor:
        """The same values in the dtype of another tensor."""
    def unbind(self, dim: _int = ...) -> tuple[Tensor, ...]:
        """The slices of one dimension, without it."""
    def unflatten(self, dim: _int, sizes: Sequence[_int]) -> Tensor:
        """One dimension as several; one of the sizes may be -1."""
    def unfold(self, dimension: _int, size: _int, step: _int) -> Tensor:
        """Windows of `size` along a dimension, `step` apart: (…, n, …) to (…, (n - size) // step + 1, …, size)."""
    def uniform_(self, from_: _float = ..., to: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Uniform in [from_, to), in place. Raises FlameError unless from_ ≤ to."""
    def unique(self, sorted: _bool = ..., return_inverse: _bool = ..., return_counts: _bool = ..., dim: _int | None = ...) -> Any:
        """The distinct elements in order, or the distinct slices of a dimension; each nan is its own."""
    def unique_consecutive(self, return_inverse: _bool = ..., return_counts: _bool = ..., dim: _int | None = ...) -> Any:
        """The input without elements (or slices of a dimension) that equal the one before them."""
    def unsqueeze(self, dim: _int) -> Tensor:
        """With a new dimension of size 1 at `dim`."""
    def unsqueeze_(self, dim: _int) -> Tensor:
        """`unsqueeze` in place: this handle takes the result; tensors made from it before keep their values."""
    def vander(self, N: _int | None = ..., increasing: _bool = ...) -> Tensor:
        """The matrix of powers of a vector, (n) to (n, N): x^(N-1) … x^0 a row, or the other way round."""
    def var(self, dim: Any = ..., unbiased: _bool | None = ..., keepdim: _bool = ..., *, correction: _float | None = ...) -> Tensor:
        """The variance over dimensions, in two passes: the sum of squares divided by n - `correction`, which is 1."""
    def var_mean(self, dim: Any = ..., unbiased: _bool | None = ..., keepdim: _bool = ..., *, correction: _float | None = ...) -> tuple[Tensor, Tensor]:
        """(variance, mean) over dimensions, as `var` and `mean`."""
    def vdot(self, other: Tensor) -> Tensor:
        """As `dot`: real vectors are their own conjugates."""
    def view(self, *shape: Any) -> Tensor:
        """As `reshape`. Bits are not read as another dtype: `view(dtype)` raises DTypeError unless it is the tensor's."""
    def view_as(self, other: Tensor) -> Tensor:
        """The same elements in the shape of another tensor."""
    def vsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """Equal pieces of dimension 0 or cut at the indices given; raises where they do not fit."""
    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where the condition is true, else `other`."""
    def xlog1py(self, other: Any) -> Tensor:
        """a * log(1 + b), and 0 where a is 0. Elementwise, of broadcast shape, differentiable where the function is."""
    def xlogy(self, other: Any) -> Tensor:
        """a * log(b), and 0 where a is 0. Elementwise, of broadcast shape, differentiable where the function is."""
    def xlogy_(self, other: Any) -> Tensor:
        """`xlogy` in place: this handle takes the result; tensors made from it before keep their values."""
    def zero_(self) -> Tensor:
        """Take 0 everywhere."""
