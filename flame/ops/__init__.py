"""The public functions over tensors. Importing a module also installs its functions as methods of Tensor."""

from flame.ops import (
    activation,
    create,
    diagonal,
    elementwise,
    index,
    join,
    layout,
    pad,
    part,
    place,
    product,
    random,
    reduce,
    shape,
    window,
)

__all__ = [
    "activation",
    "create",
    "diagonal",
    "elementwise",
    "index",
    "join",
    "layout",
    "pad",
    "part",
    "place",
    "product",
    "random",
    "reduce",
    "shape",
    "window",
]
