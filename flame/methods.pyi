"""The methods that flame.ops installs on Tensor. Written by `python tests/test_stubs.py`: do not edit."""

from builtins import bool as _bool
from builtins import float as _float
from builtins import int as _int
from collections.abc import *
from typing import Any

import numpy
from flame.ir.dtype import DType
from flame.ops.random import Generator
from flame.runtime.device import Device
from flame.tensor import Tensor

class Methods:
    """Base of Tensor for type checkers alone."""
    @property
    def T(self) -> Tensor: ...
    @property
    def mT(self) -> Tensor: ...
    def __abs__(self) -> Tensor:
        """Absolute value. Elementwise, of broadcast shape, differentiable where the function is."""
    def __add__(self, other: Any) -> Tensor:
        """Sum. Elementwise, of broadcast shape, differentiable where the function is."""
    def __and__(self, other: Any) -> Tensor: ...
    def __eq__(self, other: Any) -> Any: ...
    def __floordiv__(self, other: Any) -> Tensor:
        """Quotient, rounded down. Elementwise, of broadcast shape, differentiable where the function is."""
    def __ge__(self, other: Any) -> Tensor:
        """True where the first is larger or equal. Elementwise, of broadcast shape, differentiable where the function is."""
    def __getitem__(self, key: Any) -> Tensor:
        """Integers, slices with steps, None, Ellipsis, and integer tensors or lists (one, or several that broadcast)."""
    def __gt__(self, other: Any) -> Tensor:
        """True where the first is larger. Elementwise, of broadcast shape, differentiable where the function is."""
    def __iadd__(self, *args: Any, **kwargs: Any) -> Tensor:
        """`add` in place: this handle takes the result; tensors made from it before keep their values."""
    def __imul__(self, *args: Any, **kwargs: Any) -> Tensor:
        """`mul` in place: this handle takes the result; tensors made from it before keep their values."""
    def __invert__(self) -> Tensor: ...
    def __isub__(self, *args: Any, **kwargs: Any) -> Tensor:
        """`sub` in place: this handle takes the result; tensors made from it before keep their values."""
    def __iter__(self) -> Any: ...
    def __itruediv__(self, *args: Any, **kwargs: Any) -> Tensor:
        """`div` in place: this handle takes the result; tensors made from it before keep their values."""
    def __le__(self, other: Any) -> Tensor:
        """True where the first is smaller or equal. Elementwise, of broadcast shape, differentiable where the function is."""
    def __lt__(self, other: Any) -> Tensor:
        """True where the first is smaller. Elementwise, of broadcast shape, differentiable where the function is."""
    def __matmul__(self, other: Tensor) -> Tensor: ...
    def __mod__(self, other: Any) -> Tensor:
        """What floor division leaves; it has the sign of the divisor. Elementwise, of broadcast shape, differentiable where the function is."""
    def __mul__(self, other: Any) -> Tensor:
        """Product. Elementwise, of broadcast shape, differentiable where the function is."""
    def __ne__(self, other: Any) -> Any: ...
    def __neg__(self) -> Tensor:
        """The negative. Elementwise, of broadcast shape, differentiable where the function is."""
    def __or__(self, other: Any) -> Tensor: ...
    def __pow__(self, other: Any) -> Tensor:
        """A product or a square root is cheaper than a logarithm and an exponential, and exact."""
    def __radd__(self, other: Any) -> Tensor: ...
    def __rand__(self, other: Any) -> Tensor: ...
    def __rfloordiv__(self, other: Any) -> Tensor: ...
    def __rmod__(self, other: Any) -> Tensor: ...
    def __rmul__(self, other: Any) -> Tensor: ...
    def __ror__(self, other: Any) -> Tensor: ...
    def __rpow__(self, other: Any) -> Tensor: ...
    def __rsub__(self, other: Any) -> Tensor: ...
    def __rtruediv__(self, other: Any) -> Tensor: ...
    def __rxor__(self, other: Any) -> Tensor: ...
    def __sub__(self, other: Any) -> Tensor:
        """Difference. Elementwise, of broadcast shape, differentiable where the function is."""
    def __truediv__(self, other: Any) -> Tensor:
        """Quotient; integers are divided as float32. Elementwise, of broadcast shape, differentiable where the function is."""
    def __xor__(self, other: Any) -> Tensor: ...
    def abs(self) -> Tensor:
        """Absolute value. Elementwise, of broadcast shape, differentiable where the function is."""
    def add(self, other: Any) -> Tensor:
        """Sum. Elementwise, of broadcast shape, differentiable where the function is."""
    def add_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`add` in place: this handle takes the result; tensors made from it before keep their values."""
    def all(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """True where all elements are true; True of none."""
    def amax(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """The largest value over dimensions; equal ones share the gradient."""
    def amin(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """The smallest value over dimensions; equal ones share the gradient."""
    def any(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """True where any element is true; False of none."""
    def argmax(self, dim: _int | None = ..., keepdim: _bool = ...) -> Tensor:
        """Where the largest value lies, the first of equal ones, as int64; over the flattened tensor without `dim`."""
    def argmin(self, dim: _int | None = ..., keepdim: _bool = ...) -> Tensor:
        """Where the smallest value lies, the first of equal ones, as int64; over the flattened tensor without `dim`."""
    def bfloat16(self) -> Tensor:
        """The same values as bfloat16."""
    def bmm(self, mat2: Tensor) -> Tensor:
        """(b, m, k) by (b, k, n) to (b, m, n)."""
    def bool(self) -> Tensor:
        """The same values as bool."""
    def broadcast_to(self, shape: Any) -> Tensor:
        """As `expand`."""
    def byte(self) -> Tensor:
        """The same values as uint8."""
    def ceil(self, *other: Any) -> Tensor:
        """Smallest whole number above. Elementwise, of broadcast shape, differentiable where the function is."""
    def char(self) -> Tensor:
        """The same values as int8."""
    def chunk(self, chunks: _int, dim: _int = ...) -> tuple[Tensor, ...]:
        """About `chunks` equal pieces of one dimension."""
    def clamp(self, min: Any = ..., max: Any = ...) -> Tensor:
        """Values below `min` become min, those above `max` max; the gradient passes where nothing was changed."""
    def clamp_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`clamp` in place: this handle takes the result; tensors made from it before keep their values."""
    def clone(self) -> Tensor:
        """The same value under another handle; gradients flow through."""
    def contiguous(self) -> Tensor:
        """The tensor itself: layouts are FLAME's own business."""
    def copy_(self, source: Tensor) -> Tensor:
        """Take the values of `source`, broadcast and cast to this tensor."""
    def cos(self) -> Tensor:
        """Cosine of x in radians. Elementwise, of broadcast shape, differentiable where the function is."""
    def cpu(self) -> Tensor:
        """The tensor in the CPU's memory."""
    def cuda(self) -> Tensor:
        """The tensor on the first GPU; raises DeviceError where there is none."""
    def div(self, other: Any) -> Tensor:
        """Quotient; integers are divided as float32. Elementwise, of broadcast shape, differentiable where the function is."""
    def div_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`div` in place: this handle takes the result; tensors made from it before keep their values."""
    def dot(self, other: Tensor) -> Tensor:
        """The sum of products of two vectors."""
    def double(self) -> Tensor:
        """The same values as float64."""
    def eq(self, other: Any) -> Tensor:
        """True where equal; nan is not equal to itself. Elementwise, of broadcast shape, differentiable where the function is."""
    def erf(self) -> Tensor:
        """Error function. Elementwise, of broadcast shape, differentiable where the function is."""
    def exp(self) -> Tensor:
        """e to the power of x. Elementwise, of broadcast shape, differentiable where the function is."""
    def exp2(self) -> Tensor:
        """2 to the power of x. Elementwise, of broadcast shape, differentiable where the function is."""
    def exp_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`exp` in place: this handle takes the result; tensors made from it before keep their values."""
    def expand(self, *shape: Any) -> Tensor:
        """Dimensions of size 1 repeated to `shape`, without a copy; -1 keeps a size; new dimensions come first."""
    def expand_as(self, other: Tensor) -> Tensor:
        """Expanded to the shape of another tensor."""
    def expm1(self) -> Tensor:
        """exp(x) - 1, exact for small x. Elementwise, of broadcast shape, differentiable where the function is."""
    def fill_(self, value: _float) -> Tensor:
        """Take one value everywhere."""
    def flatten(self, start_dim: _int = ..., end_dim: _int = ...) -> Tensor:
        """Dimensions from start_dim to end_dim as one."""
    def flip(self, *dims: Any) -> Tensor:
        """Dimensions read backwards."""
    def float(self) -> Tensor:
        """The same values as float32."""
    def floor(self, *other: Any) -> Tensor:
        """Largest whole number below. Elementwise, of broadcast shape, differentiable where the function is."""
    def floor_divide(self, other: Any) -> Tensor:
        """Quotient, rounded down. Elementwise, of broadcast shape, differentiable where the function is."""
    def gather(self, dim: _int, index: Tensor) -> Tensor:
        """Along `dim`, the elements that `index` names; other dimensions of the index are at most the input's."""
    def ge(self, other: Any) -> Tensor:
        """True where the first is larger or equal. Elementwise, of broadcast shape, differentiable where the function is."""
    def gt(self, other: Any) -> Tensor:
        """True where the first is larger. Elementwise, of broadcast shape, differentiable where the function is."""
    def half(self) -> Tensor:
        """The same values as float16."""
    def index_select(self, dim: _int, index: Tensor) -> Tensor:
        """The slices of one dimension that a 1-d integer tensor names."""
    def int(self) -> Tensor:
        """The same values as int32."""
    def isfinite(self) -> Tensor:
        """True where the value is neither infinite nor nan."""
    def isinf(self) -> Tensor:
        """True where the value is infinite."""
    def isnan(self) -> Tensor:
        """True where the value is nan. Elementwise, of broadcast shape, differentiable where the function is."""
    def le(self, other: Any) -> Tensor:
        """True where the first is smaller or equal. Elementwise, of broadcast shape, differentiable where the function is."""
    def log(self) -> Tensor:
        """Natural logarithm. Elementwise, of broadcast shape, differentiable where the function is."""
    def log1p(self) -> Tensor:
        """log(1 + x), exact for small x. Elementwise, of broadcast shape, differentiable where the function is."""
    def log2(self) -> Tensor:
        """Logarithm to base 2. Elementwise, of broadcast shape, differentiable where the function is."""
    def log_softmax(self, dim: _int, dtype: DType | None = ...) -> Tensor:
        """The logarithm of softmax along `dim`, without its rounding."""
    def logical_and(self, other: Any) -> Tensor:
        """Both. Elementwise, of broadcast shape, differentiable where the function is."""
    def logical_not(self) -> Tensor:
        """Not. Elementwise, of broadcast shape, differentiable where the function is."""
    def logical_or(self, other: Any) -> Tensor:
        """One or both. Elementwise, of broadcast shape, differentiable where the function is."""
    def logical_xor(self, other: Any) -> Tensor:
        """Just one. Elementwise, of broadcast shape, differentiable where the function is."""
    def logsumexp(self, dim: Any, keepdim: _bool = ...) -> Tensor:
        """log(sum(exp(x))) without overflow."""
    def long(self) -> Tensor:
        """The same values as int64."""
    def lt(self, other: Any) -> Tensor:
        """True where the first is smaller. Elementwise, of broadcast shape, differentiable where the function is."""
    def masked_fill(self, mask: Tensor, value: _float) -> Tensor:
        """`value` where the mask is true, else the input."""
    def masked_fill_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`masked_fill` in place: this handle takes the result; tensors made from it before keep their values."""
    def matmul(self, other: Tensor) -> Tensor:
        """(…, m, k) by (…, k, n) to (…, m, n); leading dimensions broadcast; a 1-d operand is a row on the left, a column on the right, and its dimension leaves the result. Half precisions are summed in float32."""
    def max(self, dim: Any = ..., keepdim: _bool = ...) -> Any:
        """The largest value; with `dim`, (values, indices) along it; with a tensor, the elementwise maximum."""
    def maximum(self, other: Any) -> Tensor:
        """The larger; nan wins. Elementwise, of broadcast shape, differentiable where the function is."""
    def mean(self, dim: Any = ..., keepdim: _bool = ..., *, dtype: DType | None = ...) -> Tensor:
        """The mean over dimensions of a floating tensor; that of a half precision is formed in float32."""
    def min(self, dim: Any = ..., keepdim: _bool = ...) -> Any:
        """The smallest value; with `dim`, (values, indices) along it; with a tensor, the elementwise minimum."""
    def minimum(self, other: Any) -> Tensor:
        """The smaller; nan wins. Elementwise, of broadcast shape, differentiable where the function is."""
    def mm(self, mat2: Tensor) -> Tensor:
        """(m, k) by (k, n) to (m, n)."""
    def movedim(self, source: _int, destination: _int) -> Tensor:
        """One dimension moved to another place."""
    def mul(self, other: Any) -> Tensor:
        """Product. Elementwise, of broadcast shape, differentiable where the function is."""
    def mul_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`mul` in place: this handle takes the result; tensors made from it before keep their values."""
    def narrow(self, dim: _int, start: _int, length: _int) -> Tensor:
        """`length` positions of one dimension from `start`."""
    def ne(self, other: Any) -> Tensor:
        """True where different. Elementwise, of broadcast shape, differentiable where the function is."""
    def neg(self) -> Tensor:
        """The negative. Elementwise, of broadcast shape, differentiable where the function is."""
    def neg_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`neg` in place: this handle takes the result; tensors made from it before keep their values."""
    def new_zeros(self, *size: Any) -> Tensor:
        """0 everywhere, in the dtype and on the device of this tensor."""
    def permute(self, *dims: Any) -> Tensor:
        """Dimensions in another order."""
    def pow(self, *other: Any) -> Tensor:
        """a to the power of b. Elementwise, of broadcast shape, differentiable where the function is."""
    def reciprocal(self) -> Tensor:
        """1 / x."""
    def relu(self) -> Tensor:
        """max(x, 0). Elementwise, of broadcast shape, differentiable where the function is."""
    def relu_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`relu` in place: this handle takes the result; tensors made from it before keep their values."""
    def remainder(self, other: Any) -> Tensor:
        """What floor division leaves; it has the sign of the divisor. Elementwise, of broadcast shape, differentiable where the function is."""
    def repeat(self, *counts: Any) -> Tensor:
        """The whole tensor repeated along each dimension."""
    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order under another shape; one size may be -1."""
    def round(self, *other: Any) -> Tensor:
        """Nearest whole number, halves to even. Elementwise, of broadcast shape, differentiable where the function is."""
    def rsqrt(self) -> Tensor:
        """1 / sqrt(x). Elementwise, of broadcast shape, differentiable where the function is."""
    def short(self) -> Tensor:
        """The same values as int16."""
    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x)). Elementwise, of broadcast shape, differentiable where the function is."""
    def sign(self) -> Tensor:
        """1, 0 or -1."""
    def silu(self) -> Tensor:
        """x * sigmoid(x) (Elfwing et al. 2018)."""
    def sin(self) -> Tensor:
        """Sine of x in radians. Elementwise, of broadcast shape, differentiable where the function is."""
    def softmax(self, dim: _int, dtype: DType | None = ...) -> Tensor:
        """exp(x) over its sum along `dim`; `(…)` to the same shape."""
    def split(self, split_size_or_sections: Any, dim: _int = ...) -> tuple[Tensor, ...]:
        """Pieces of one dimension: of a size, or of the sizes given."""
    def sqrt(self) -> Tensor:
        """Square root. Elementwise, of broadcast shape, differentiable where the function is."""
    def sqrt_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`sqrt` in place: this handle takes the result; tensors made from it before keep their values."""
    def square(self) -> Tensor:
        """x * x."""
    def squeeze(self, dim: Any = ...) -> Tensor:
        """Without dimensions of size 1: all of them, or those named."""
    def std(self, dim: Any = ..., *, correction: _float = ..., keepdim: _bool = ...) -> Tensor:
        """The square root of the variance."""
    def sub(self, other: Any) -> Tensor:
        """Difference. Elementwise, of broadcast shape, differentiable where the function is."""
    def sub_(self, *args: Any, **kwargs: Any) -> Tensor:
        """`sub` in place: this handle takes the result; tensors made from it before keep their values."""
    def sum(self, dim: Any = ..., keepdim: _bool = ..., *, dtype: DType | None = ...) -> Tensor:
        """The sum over dimensions; integers and truth values are summed as int64, half precisions in float32."""
    def t(self) -> Tensor:
        """The transpose of a matrix; raises ShapeError beyond two dimensions."""
    def tanh(self) -> Tensor:
        """Hyperbolic tangent. Elementwise, of broadcast shape, differentiable where the function is."""
    def to(self, *args: Any, dtype: DType | None = ..., device: Any = ...) -> Tensor:
        """The tensor in another dtype, on another device, or both: `x.to("cuda")`, `x.to(flame.bfloat16)`, `x.to(other)`."""
    def transpose(self, dim0: _int, dim1: _int) -> Tensor:
        """Two dimensions swapped."""
    def tril(self, diagonal: _int = ...) -> Tensor:
        """The lower triangle of the last two dimensions; zeros above it."""
    def triu(self, diagonal: _int = ...) -> Tensor:
        """The upper triangle of the last two dimensions; zeros below it."""
    def trunc(self, *other: Any) -> Tensor:
        """Whole number next towards 0. Elementwise, of broadcast shape, differentiable where the function is."""
    def type_as(self, other: Tensor) -> Tensor:
        """The same values in the dtype of another tensor."""
    def unbind(self, dim: _int = ...) -> tuple[Tensor, ...]:
        """The slices of one dimension, without it."""
    def unflatten(self, dim: _int, sizes: Sequence[_int]) -> Tensor:
        """One dimension as several; one of the sizes may be -1."""
    def unsqueeze(self, dim: _int) -> Tensor:
        """With a new dimension of size 1 at `dim`."""
    def var(self, dim: Any = ..., *, correction: _float = ..., keepdim: _bool = ...) -> Tensor:
        """The variance over dimensions, in two passes; `correction` is Bessel's, 0 for the population's."""
    def view(self, *shape: Any) -> Tensor:
        """As `reshape`."""
    def zero_(self) -> Tensor:
        """Take 0 everywhere."""
