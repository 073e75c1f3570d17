"""FLAME: a lazy tensor compiler for training, in Python."""

from flame import nn, ops, optim
from flame.autograd import grad, value_and_grad
from flame.config import config
from flame.errors import FlameError
from flame.ir.dtype import (
    DType,
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip
from flame.ir.dtype import boolean as bool
from flame.ir.dtype import (
    promote as promote_types,
)
from flame.ops.activation import gelu, leaky_relu, log_softmax, silu, softmax
from flame.ops.create import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)  # fmt: skip
from flame.ops.elementwise import TABLE as _TABLE
from flame.ops.elementwise import clamp, isfinite, isinf, masked_fill, reciprocal, sign, square, where
from flame.ops.index import embedding, gather, index_select, one_hot
from flame.ops.place import clone, device
from flame.ops.product import bmm, dot, matmul, mm
from flame.ops.random import (
    Generator,
    default_generator,
    manual_seed,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
)  # fmt: skip
from flame.ops.reduce import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    logsumexp,
    max,
    mean,
    min,
    std,
    sum,
    var,
)  # fmt: skip
from flame.ops.shape import (
    broadcast_to,
    cat,
    chunk,
    flatten,
    flip,
    movedim,
    narrow,
    pad,
    permute,
    repeat,
    reshape,
    split,
    squeeze,
    stack,
    transpose,
    tril,
    triu,
    unbind,
    unflatten,
    unsqueeze,
)  # fmt: skip
from flame.tensor import Tensor, assign, enable_grad, is_grad_enabled, no_grad, realize, scalar

globals().update(_TABLE)  # exp, log, add, ... : every public elementwise operator of the table

__version__ = "0.1.0"
