"""Parameter: a tensor that a module trains; Buffer: one that it holds; and both before their shape is known."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from flame.errors import StateError
from flame.ir.dtype import DType
from flame.ops.create import Where, empty, tensor
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

    def __deepcopy__(self, memo: dict[int, Any]) -> "Parameter":
        """A parameter of its own with the same value; without the gradient, as PyTorch's."""
        made = memo[id(self)] = copy.copy(self)
        return made

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


NODE: Any = Tensor.node  # the slot behind the property that says there is no node


class _Uninitialized(Tensor):
    """A handle without shape and value, which knows where and of which dtype it will be.

    Whatever asks for its shape, its value or its node raises StateError. The node behind it has no elements.
    """

    __slots__ = ()

    cls_to_become: ClassVar[type[Tensor]] = Tensor

    @property
    def node(self) -> Any:
        """There is none yet."""
        raise StateError(
            f"{type(self).__name__}: its shape is not known yet; call the module once with an input, or load a "
            "state_dict into it"
        )

    def _hold(self, requires_grad: bool, device: Where, dtype: DType | None) -> None:
        made = empty(0, device=device, dtype=dtype)
        NODE.__set__(self, made.node)
        self.device, self.is_leaf = made.device, True
        self._requires, self._grad, self._watchers, self._spent = requires_grad, None, None, ""

    def _held(self) -> Tensor:
        return Tensor(NODE.__get__(self), self.device)

    @property
    def dtype(self) -> DType:
        """The dtype that it will have."""
        return self._held().dtype

    def is_floating_point(self) -> bool:
        """By the dtype that it will have."""
        return self._held().is_floating_point()

    def moved(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Be of the dtype and on the device to which `fn` moves a tensor."""
        found = fn(self._held())
        self._hold(self._requires, found.device, found.dtype)

    def materialize(self, shape: Sequence[int], device: Where = None, dtype: DType | None = None) -> None:
        """Become a tensor of a shape, in place: of this dtype and on this device unless told otherwise."""
        held = self._held()
        self.take(empty(*shape, device=device or held.device, dtype=dtype or held.dtype))

    def take(self, value: Tensor) -> None:
        """Become a tensor with a value, in place."""
        requires_grad = self._requires
        self.__class__ = self.cls_to_become  # pyright: ignore[reportAttributeAccessIssue]
        if requires_grad:
            Parameter.__init__(self, value)  # pyright: ignore[reportArgumentType]
        else:
            Tensor.__init__(self, value.node, value.device)

    def detach(self) -> Any:
        """Itself: there is no value that could be shared."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Whether it will have gradients."""
        self._requires = requires_grad
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = memo[id(self)] = object.__new__(type(self))
        made._hold(self._requires, self.device, self.dtype)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise StateError(f"{type(self).__name__}: cannot be pickled before its shape is known")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter whose shape is not known yet, as torch.nn.parameter.UninitializedParameter.

    `materialize(shape)` makes it a Parameter, the same object. Other uses raise StateError before that.
    """

    __slots__ = ()

    cls_to_become = Parameter

    def __init__(self, requires_grad: bool = True, device: Where = None, dtype: DType | None = None) -> None:
        self._hold(requires_grad, device, dtype)


class UninitializedBuffer(_Uninitialized):
    """A buffer whose shape is not known yet; see UninitializedParameter."""

    __slots__ = ()

    def __init__(self, requires_grad: bool = False, device: Where = None, dtype: DType | None = None) -> None:
        self._hold(requires_grad, device, dtype)


def is_lazy(value: Any) -> bool:
    """True for a parameter or buffer whose shape is not known yet."""
    return isinstance(value, _Uninitialized)


def blank(*shape: int, device: str | None = None, dtype: DType | None = None) -> Parameter:
    """A parameter of a layer that will set its starting values; of the default dtype unless told otherwise."""
    return Parameter(empty(*shape, device=device, dtype=dtype))
