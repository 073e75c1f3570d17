"""A module's state: what `state_dict` gives, and how one is checked, taken, or left alone as a whole."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from flame.errors import StateError
from flame.nn.hooks import Hooked
from flame.ops.create import tensor
from flame.tensor import Tensor, assign

EXTRA = "_extra_state"  # the key of what is no tensor
Pairs = list[tuple[Any, Any]]  # a module's tensor, and the value it is given


class LoadReport(NamedTuple):
    """What `load_state_dict` found on one side only."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Given(dict[str, Any]):
    """A state while it is loaded: hooks may edit it; modules say which of their own tensors are to be taken from it."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.asked: list[tuple[str, Any]] = []
        self.metadata: Mapping[str, Any] = getattr(values, "_metadata", None) or {}

    def raw(self, key: str) -> Any:
        """A value as it came: with a shape, but not read yet where it lies in a file."""
        return dict.__getitem__(self, key)


class Stateful(Hooked):
    """What a module offers to be saved and loaded."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _transient: set[str]
    _version: ClassVar[int] = 1  # stands in a state_dict's _metadata; `_load_from_state_dict` is told that of the state

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The modules directly inside."""
        raise NotImplementedError

    def get_extra_state(self) -> Any:
        """What else belongs in this module's state, under the key `_extra_state`; define it with `set_extra_state`."""
        raise StateError(f"{type(self).__name__} has no get_extra_state(); define it and set_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` gave."""
        raise StateError(f"{type(self).__name__} has no set_extra_state(), but the state holds some: {state!r}")

    def _has_extra(self) -> bool:
        return type(self).get_extra_state is not Stateful.get_extra_state

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> "OrderedDict[str, Any]":
        """Parameters and persistent buffers by dotted name, in PyTorch's order and with its keys.

        The tensors are values: a later training step does not change them. `keep_vars` gives the parameters themselves.
        """
        state: Any = destination
        if state is None:
            state = OrderedDict()
            state._metadata = OrderedDict()
        if hasattr(state, "_metadata"):
            state._metadata[prefix[:-1]] = {"version": self._version}
        for hook in self._hooked("save_before"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(state, prefix, keep_vars)
        for name, module in self.named_children():
            module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._hooked("save_after"):
            hook(self, state, prefix, {"version": self._version})
        return state

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Write this module's own part of a state; a module that saves something else overrides it."""
        destination.update((prefix + k, v if keep_vars else v.detach()) for k, v in self._own_state())
        if self._has_extra():
            destination[prefix + EXTRA] = self.get_extra_state()

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        """(name, parameter or persistent buffer) of this module itself."""
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._transient:
                yield name, value

    def _all_paths(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
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
        loading = Loading(self, Given(state_dict), strict)
        return loading.take(lambda pairs: take_values([(own, as_constant(value)) for own, value in pairs], assign))

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Ask for this module's own part of a state, which is taken when all of it fits.

        A module whose keys changed overrides it: edits `state_dict`, then calls this. Hooks before loading run here.
        """
        for hook in self._hooked("load_before"):
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        state_dict.asked.append((prefix, self))


class Loading:
    """A state that is about to be taken by a module: hooks before it have run, and it fits.

    Raises StateError where it does not; if hooks come after, they may still forgive missing and unexpected keys. With
    `once`, a tensor that has several names needs to be given under one, as in a safetensors file.
    """

    def __init__(self, module: Any, given: Given, strict: bool, once: bool = False) -> None:
        self.module, self.given, self.strict = module, given, strict
        self.report, self.problems = LoadReport([], []), list[str]()
        paths = list(module._all_paths())
        for prefix, part in paths:
            local = given.metadata.get(prefix[:-1], {})
            part._load_from_state_dict(given, prefix, local, strict, *self.report, self.problems)
        asked = given.asked
        self.own = {prefix + name: value for prefix, part in asked for name, value in part._own_state()}
        self.extra = {prefix + EXTRA: part for prefix, part in asked if part._has_extra()}
        there = {id(self.own[key]) for key in given if key in self.own} if once else ()
        known = (*self.own, *self.extra)
        self.report.missing_keys.extend(k for k in known if k not in given and id(self.own.get(k)) not in there)
        handled = tuple(prefix for prefix, part in paths if not any(part is other for _, other in asked))
        self.report.unexpected_keys.extend(k for k in given if k not in known and not k.startswith(handled))
        self.problems += misshapen(self.own, given)
        self.hooks = [(part, hook) for _, part in paths for hook in part._hooked("load_after")]
        if self.problems or not self.hooks:
            self.check()

    def check(self) -> None:
        """Raise StateError with all that does not fit."""
        lines = [f"missing: {key}" for key in self.report.missing_keys if self.strict]
        lines += [f"unexpected: {key}" for key in self.report.unexpected_keys if self.strict]
        if lines := lines + self.problems:
            text = "\n    ".join(lines)
            raise StateError(f"{type(self.module).__name__}.load_state_dict: the state does not fit:\n    {text}")

    def take(self, how: Callable[[Pairs], None]) -> LoadReport:
        """Give the values by `how`, call the hooks after it; what they refuse is undone."""
        before = [(value, value.detach()) for value in self.own.values()] if self.hooks else []
        how([(self.own[key], self.given.raw(key)) for key in self.own if key in self.given])
        try:
            for part, hook in self.hooks:
                hook(part, self.report)
            self.check()
        except StateError:
            take_values(before, True)
            raise
        for key in self.extra.keys() & self.given.keys():
            self.extra[key].set_extra_state(self.given[key])
        return self.report


def misshapen(own: Mapping[str, Tensor], given: Given) -> list[str]:
    """A line for each value that has another shape than its place."""
    return [
        f"misshapen: {key} has shape {tuple(given.raw(key).shape)}, the module's has {tuple(own[key].shape)}"
        for key in own
        if key in given and tuple(given.raw(key).shape) != tuple(own[key].shape)
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
