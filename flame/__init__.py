"""FLAME: a lazy tensor compiler for training, in Python."""

from math import e, inf, nan, pi
from sys import modules as _modules

from flame import amp, autograd, cuda, data, func, io, kernel, nn, ops, optim, random, special, utils
from flame.amp import autocast, get_autocast_dtype, is_autocast_enabled
from flame.autograd.checkpoint import checkpoint
from flame.autograd.transform import grad, hessian, jacfwd, jacobian, jacrev, jvp, value_and_grad, vjp
from flame.autograd.vmap import vmap
from flame.config import config
from flame.errors import FlameError
from flame.io import load, save
from flame.ir.dtype import (
    DType,
    bfloat16,
    float8_e4m3fn,
    float8_e5m2,
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
from flame.ir.dtype import float16 as half
from flame.ir.dtype import float32 as float
from flame.ir.dtype import float64 as double
from flame.ir.dtype import int16 as short
from flame.ir.dtype import int32 as int
from flame.ir.dtype import int64 as long
from flame.ir.dtype import (
    promote as promote_types,
)
from flame.memory.statistics import (
    empty_cache,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    memory_stats,
    memory_summary,
    reset_peak,
    reset_peak_memory_stats,
)
from flame.nn.functional.adaptive import adaptive_avg_pool1d
from flame.nn.functional.conv import *
from flame.nn.functional.distance import pairwise_distance, pdist
from flame.nn.functional.layer import bilinear, layer_norm
from flame.nn.functional.norm import group_norm, rms_norm
from flame.nn.functional.pool import avg_pool1d, max_pool1d, max_pool2d, max_pool3d
from flame.nn.functional.rearrange import channel_shuffle, pixel_shuffle, pixel_unshuffle
from flame.ops import linalg
from flame.ops.activation import *
from flame.ops.compare import *
from flame.ops.covariance import *
from flame.ops.create import *
from flame.ops.diagonal import *
from flame.ops.distance import *
from flame.ops.dtypes import *
from flame.ops.einsum import *
from flame.ops.elementwise import *
from flame.ops.elementwise import TABLE as _TABLE
from flame.ops.getitem import *
from flame.ops.index import *
from flame.ops.interchange import *
from flame.ops.join import *
from flame.ops.layout import *
from flame.ops.mask import *
from flame.ops.math import *
from flame.ops.matrix import *
from flame.ops.norm import *
from flame.ops.pad import *
from flame.ops.part import *
from flame.ops.place import *
from flame.ops.product import *
from flame.ops.python import *
from flame.ops.random import *
from flame.ops.reduce import *
from flame.ops.sampling import *
from flame.ops.scan import *
from flame.ops.scatter import *
from flame.ops.search import *
from flame.ops.shape import *
from flame.ops.sort import *
from flame.ops.statistics import *
from flame.ops.taper import *
from flame.ops.unique import *
from flame.printing import get_printoptions, printoptions, set_printoptions
from flame.recording import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from flame.tensor import Tensor, assign, realize, scalar

globals().update(_TABLE)  # exp, log, add, ... : every public elementwise operator of the table
amp._cover(_modules[__name__])  # what stands in autocast's lists looks for a region first

newaxis = None
__version__ = "0.2.0"
