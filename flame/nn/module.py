"""Module: a tree of parameters, buffers and modules, with PyTorch's names, state_dict keys and repr."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from flame.errors import DTypeError, FlameError, StateError
from flame.ir import dtype as dt
from flame.ir.dtype import DType
from flame.nn.hooks import Hooked
from flame.nn.parameter import Buffer, Parameter, is_lazy
from flame.ops.create import tensor, zeros_like
from flame.tensor import Tensor, assign

EXTRA = "_extra_state"  # the key of what is no tensor


class LoadReport(NamedTuple):
    """What `load_state_dict` found on one side only."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Hooked):
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
            for tensors in (module._parameters, module._buffers):
                for value in tensors.values():
                    if is_lazy(value):
                        value.moved(fn)
                    elif value is not None:
                        grad, value.grad = value.grad, None
                        value.data = fn(value.detach())
                        value.grad = None if grad is None else fn(grad.detach())
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

    # --- state ---------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> Any:
        """What else belongs in this module's state, under the key `_extra_state`; define it with `set_extra_state`."""
        raise StateError(f"{type(self).__name__} has no get_extra_state(); define it and set_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` gave."""
        raise StateError(f"{type(self).__name__} has no set_extra_state(), but the state holds some: {state!r}")

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> "OrderedDict[str, Any]":
        """Parameters and persistent buffers by dotted name, in PyTorch's order and with its keys.

        The tensors are values: a later training step does not change them. `keep_vars` gives the parameters themselves.
        """
        state: OrderedDict[str, Any] = OrderedDict() if destination is None else destination
        for hook in self._hooked("save_before"):
            hook(self, prefix, keep_vars)
        state.update((prefix + k, v if keep_vars else v.detach()) for k, v in self._own_state())
        if type(self).get_extra_state is not Module.get_extra_state:
            state[prefix + EXTRA] = self.get_extra_state()
        for name, module in self.named_children():
            module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._hooked("save_after"):
            hook(self, state, prefix, {})
        return state

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        """(name, parameter or persistent buffer) of this module itself."""
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._transient:
                yield name, value

    def _all_paths(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """(prefix of its keys, module), a shared module under each of its names: a state_dict holds them all."""
        yield prefix, self
        for name, module in self.named_children():
            yield from module._all_paths(f"{prefix}{name}.")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> LoadReport:
        """Take the values of a `state_dict`: tensors of FLAME or PyTorch, or arrays; cast to this module's dtypes.

        All or nothing: StateError lists every missing, unexpected and misshapen key, and nothing was changed. Without
        `strict`, missing and unexpected keys are only reported. With `assign`, parameters take on the dtypes and
        devices of the values; they stay the same objects, so that optimizers go on training them.
        """
        given, problems = dict(state_dict), list[str]()
        report, modules = LoadReport([], []), list(self._all_paths())
        for prefix, module in modules:
            for hook in module._hooked("load_before"):
                hook(module, given, prefix, {}, strict, *report, problems)
        own = {prefix + name: value for prefix, module in modules for name, value in module._own_state()}
        extra = {p + EXTRA: m for p, m in modules if type(m).get_extra_state is not Module.get_extra_state}
        report.missing_keys.extend(k for k in (*own, *extra) if k not in given)
        report.unexpected_keys.extend(k for k in given if k not in own and k not in extra)
        problems += misshapen(own, given)
        hooks = [(module, hook) for _, module in modules for hook in module._hooked("load_after")]
        if problems or not hooks:
            self._check_load(report, problems, strict)
        before = [(value, value.detach()) for value in own.values()] if hooks else []
        take_values([(own[key], as_constant(given[key])) for key in own if key in given], assign)
        try:
            for module, hook in hooks:
                hook(module, report)
            self._check_load(report, problems, strict)
        except StateError:
            take_values(before, True)
            raise
        for key in extra.keys() & given.keys():
            extra[key].set_extra_state(given[key])
        return report

    def _check_load(self, report: LoadReport, problems: list[str], strict: bool) -> None:
        """Raise StateError with all that does not fit."""
        lines = [f"missing: {key}" for key in report.missing_keys if strict]
        lines += [f"unexpected: {key}" for key in report.unexpected_keys if strict]
        if lines := lines + problems:
            text = "\n    ".join(lines)
            raise StateError(f"{type(self).__name__}.load_state_dict: the state does not fit:\n    {text}")

    # --- text ----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands in the brackets of this module's line."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        return layout(type(self).__name__, self.extra_repr(), lines)


def misshapen(own: Mapping[str, Tensor], given: Mapping[str, Any]) -> list[str]:
    """A line for each value that has another shape than its place."""
    return [
        f"misshapen: {key} has shape {tuple(given[key].shape)}, the module's has {tuple(own[key].shape)}"
        for key in own
        if key in given and tuple(given[key].shape) != tuple(own[key].shape)
    ]


def take_values(pairs: list[tuple[Any, Tensor]], replace: bool) -> None:
    """Give tensors values: cast, in one plan; or as they are, dtype and device included."""
    if not replace:
        assign([(own, value.to(own.dtype)) for own, value in pairs])
        return
    for own, value in pairs:
        own.data = value


def as_constant(value: Any) -> Tensor:
    """A constant with the value of a Tensor, of an array or of a PyTorch tensor."""
    if isinstance(value, Tensor):
        return value.detach()
    return tensor(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def indented(text: str) -> str:
    """All lines but the first two spaces to the right."""
    return text.replace("\n", "\n  ")


def layout(name: str, extra: str, lines: list[str]) -> str:
    """PyTorch's repr of a module: `Name(extra)`, or a line for each of its modules."""
    if not lines:
        return f"{name}({extra})"
    body = "\n  ".join([extra, *lines] if extra else lines)
    return f"{name}(\n  {body}\n)"
