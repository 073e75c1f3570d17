"""Parameter: a tensor that a module trains."""

from typing import Any

from flame.tensor import Tensor


class Parameter(Tensor):
    """A tensor that becomes part of `Module.parameters()` when it is assigned to a module's attribute.

    Takes what `flame.tensor` takes, keeps its shape and dtype, and has gradients unless told otherwise.

    >>> flame.nn.Parameter(flame.zeros(2)).requires_grad
    True
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.detach() if isinstance(data, Tensor) else data, requires_grad=requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
