"""The public functions over tensors. Importing a module also installs its functions as methods of Tensor."""

from flame.ops import activation, create, elementwise, index, place, product, random, reduce, shape, window

__all__ = ["activation", "create", "elementwise", "index", "place", "product", "random", "reduce", "shape", "window"]
