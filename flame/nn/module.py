"""Module: a tree of parameters, buffers and modules, with PyTorch's names, state_dict keys and repr."""

from collections.abc import Callable, Iterator
from typing import Any, Self

from flame.errors import DTypeError, FlameError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.nn.parameter import Buffer, Parameter, UninitializedBuffer, is_lazy
from flame.nn.state import Stateful
from flame.ops.create import empty, zeros_like
from flame.tensor import Tensor


class Module(Stateful):
    """Base class of all layers and models, as torch.nn.Module.

    Assign parameters, buffers and modules to attributes in `__init__` (after `super().__init__()`) and compute in
    `forward`. Calling the module calls `forward`.

    >>> class Twice(flame.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = flame.nn.Linear(2, 2, bias=False)
    ...     def forward(self, x):
    ...         return self.inner(self.inner(x))
    >>> net = Twice()
    >>> net(flame.ones(3, 2)).shape
    (3, 2)
    >>> list(net.state_dict())
    ['inner.weight']
    """

    training: bool

    def __init__(self) -> None:
        tables: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_transient": set()}
        self.__dict__.update(tables, training=True, _hooks=None)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); define it, or call the modules inside it")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        hooks = self._hooks
        return self.forward(*args, **kwargs) if hooks is None else hooks.call(self, args, kwargs)

    # --- members -------------------------------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name for a parameter that this module does without."""
        self._take(name, param, "_parameters")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the state but is not trained; only `persistent` ones are in `state_dict`."""
        self._take(name, tensor, "_buffers")
        if not persistent:
            self._transient.add(name)

    def register_module(self, name: str, module: "Module | None") -> None:
        """Add a module under a name."""
        self._take(name, module, "_modules")

    add_module = register_module

    def _take(self, name: str, value: object, table: str) -> None:
        """Put a member into its table and out of the others; raises FlameError before `super().__init__()`."""
        own = self.__dict__
        if "_modules" not in own:
            raise FlameError(
                f"{type(self).__name__}: {name!r} was assigned before super().__init__(); call that first in __init__"
            )
        if not name or "." in name:
            raise FlameError(f"{type(self).__name__}: a member cannot be named {name!r}; names have no dots")
        own.pop(name, None)
        for other in ("_parameters", "_buffers", "_modules"):
            if other != table:
                own[other].pop(name, None)
        self._transient.discard(name)
        own[table][name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._take(name, value, "_parameters")
        elif isinstance(value, Module):
            self._take(name, value, "_modules")
        elif isinstance(value, Buffer):
            self.register_buffer(name, value.detach(), value.persistent)
        elif isinstance(value, UninitializedBuffer):
            self.register_buffer(name, value)
        elif name in (table := self._table_of(name)):
            if value is not None and not (table is self._buffers and isinstance(value, Tensor)):
                kinds = {id(self._parameters): "a Parameter", id(self._modules): "a Module"}
                kind = kinds.get(id(table), "a Tensor")
                raise FlameError(f"{type(self).__name__}.{name} is {kind}; it cannot become a {type(value).__name__}")
            table[name] = value
        else:
            object.__setattr__(self, name, value)

    def _table_of(self, name: str) -> dict[str, Any]:
        """The table that holds a member, or an empty one."""
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(table, ()):
                return self.__dict__[table]
        return {}

    def __getattr__(self, name: str) -> Any:
        table = self._table_of(name)
        if name in table:
            return table[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        table = self._table_of(name)
        if name in table:
            del table[name]
            self._transient.discard(name)
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    # --- walking the tree ----------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, "Module"]]:
        """(dotted name, module) of this module (named "") and all inside it, in order of assignment.

        Each once, or without `remove_duplicate` under each of its names.
        """
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self.named_children():
            yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator["Module"]:
        """This module and all inside it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) of the modules directly inside."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator["Module"]:
        """The modules directly inside."""
        return (module for _, module in self.named_children())

    def _named_members(self, table: str, prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(None, prefix, once) if recurse else [(prefix, self)]:
            for name, value in getattr(module, table).items():
                if value is not None and not (once and id(value) in seen):
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), a shared one once; without `recurse` only of this module itself."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, a shared one once: what an optimizer takes."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer), a shared one once."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> "Module":
        """The module with a dotted name; raises AttributeError where there is none."""
        found = self
        for name in filter(None, target.split(".")):
            if found._modules.get(name) is None:
                raise AttributeError(f"{type(self).__name__} has no module {target!r}: {name!r} is missing")
            found = found._modules[name]
        return found

    def set_submodule(self, target: str, module: "Module", strict: bool = False) -> None:
        """Put a module where a dotted name says; with `strict`, only where one stands already.

        Raises AttributeError where the module around it is missing.
        """
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and parent._modules.get(name) is None:
            raise AttributeError(f"{type(self).__name__} has no module {target!r} to replace")
        parent.register_module(name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with a dotted name; raises AttributeError where there is none."""
        return self._member(target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a dotted name; raises AttributeError where there is none."""
        return self._member(target, "_buffers", "buffer")

    def _member(self, target: str, table: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), table).get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no {kind} {target!r}")
        return found

    # --- changing all of it --------------------------------------------------------------------------------------

    def apply(self, fn: Callable[["Module"], Any]) -> Self:
        """Call `fn` with every module inside and then with this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(
        self,
        *args: Any,
        dtype: DType | None = None,
        device: Any = None,
        non_blocking: bool = False,
        memory_format: Any = None,
    ) -> Self:
        """Parameters and buffers in another dtype (floating ones only), on another device, or both; in place.

        `to("cuda")`, `to(flame.bfloat16)`, `to("cuda", flame.bfloat16)` or `to(tensor)`. Optimizers made before keep
        training the same parameters. `memory_format` is accepted and says nothing: how images lie in memory while a
        plan runs is FLAME's own choice. Raises DTypeError for a dtype that is not floating.
        """
        for value in args:
            if isinstance(value, DType):
                dtype = value
            elif isinstance(value, Tensor):
                dtype, device = value.dtype, value.device
            elif not isinstance(value, bool):
                device = value
        if dtype is not None and not dtype.is_float:
            raise DTypeError(f"{type(self).__name__}.to: needs a floating dtype, got {dtype}")

        def moved(t: Tensor) -> Tensor:
            kind = dtype if dtype is not None and t.is_floating_point() else t.dtype
            return t.to(kind) if device is None else t.to(kind).to(device)

        return self._apply(moved)

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """Give every parameter, its gradient and every buffer the value that `fn` makes of it."""
        for module in self.modules():
            module._apply_here(fn)
        return self

    def _apply_here(self, fn: Callable[[Tensor], Tensor]) -> None:
        for value in (*self._parameters.values(), *self._buffers.values()):
            if is_lazy(value):
                value.moved(fn)
            elif value is not None:
                grad, value.grad = value.grad, None
                value.data = fn(value.detach())
                value.grad = None if grad is None else fn(grad.detach())

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Parameters and buffers on a device, with values that are not set; here alone unless `recurse`."""
        for module in self.modules() if recurse else [self]:
            module._apply_here(lambda t: empty(t.shape, dtype=t.dtype, device=device))
        return self

    def type(self, dst_type: DType) -> Self:
        """Floating parameters and buffers in another dtype."""
        return self.to(dst_type)

    def float(self) -> Self:
        """Floating parameters and buffers as float32."""
        return self.to(dt.float32)

    def double(self) -> Self:
        """Floating parameters and buffers as float64."""
        return self.to(dt.float64)

    def half(self) -> Self:
        """Floating parameters and buffers as float16."""
        return self.to(dt.float16)

    def bfloat16(self) -> Self:
        """Floating parameters and buffers as bfloat16."""
        return self.to(dt.bfloat16)

    def cpu(self) -> Self:
        """Parameters and buffers in the CPU's memory."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Self:
        """Parameters and buffers on a GPU, the first unless told otherwise."""
        return self.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    def train(self, mode: bool = True) -> Self:
        """Set `training` here and below: dropout works only in training."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """`train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters have gradients, or none."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or make them zero."""
        for param in self.parameters():
            if param.grad is not None:
                param.grad = None if set_to_none else zeros_like(param)

    # --- text ----------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands in the brackets of this module's line."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        return layout(self._get_name(), self.extra_repr(), lines)


def indented(text: str) -> str:
    """All lines but the first two spaces to the right."""
    return text.replace("\n", "\n  ")


def layout(name: str, extra: str, lines: list[str]) -> str:
    """PyTorch's repr of a module: `Name(extra)`, or a line for each of its modules."""
    if not lines:
        return f"{name}({extra})"
    body = "\n  ".join([extra, *lines] if extra else lines)
    return f"{name}(\n  {body}\n)"
