"""Parameter: a tensor that a module trains; Buffer: one that it holds."""

from typing import Any

from flame.ir.dtype import DType
from flame.ops.create import empty, tensor
from flame.recording import no_grad
from flame.tensor import Tensor


class Parameter(Tensor):
    """A tensor that becomes part of `Module.parameters()` when it is assigned to a module's attribute.

    Takes what `flame.tensor` takes, keeps its shape and dtype, and has gradients unless told otherwise: its own, which
    do not reach the tensor it was made from.

    >>> flame.nn.Parameter(flame.zeros(2)).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        value = (data if isinstance(data, Tensor) else tensor(data)).detach()
        super().__init__(value.node, value.device)
        if requires_grad:
            self.requires_grad_()
            with no_grad():
                self.copy_(value)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that becomes a buffer when it is assigned to a module's attribute: in `state_dict` if `persistent`.

    >>> net = flame.nn.Module()
    >>> net.mean = flame.nn.Buffer(flame.zeros(2))
    >>> list(net.state_dict())
    ['mean']
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Any, *, persistent: bool = True) -> None:
        value = (data if isinstance(data, Tensor) else tensor(data)).detach()
        super().__init__(value.node, value.device)
        self.persistent = persistent


def blank(*shape: int, device: str | None = None, dtype: DType | None = None) -> Parameter:
    """A parameter of a layer that will set its starting values; of the default dtype unless told otherwise."""
    return Parameter(empty(*shape, device=device, dtype=dtype))
