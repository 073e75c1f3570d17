"""Layers that learn the width of their input from the first input: torch.nn's Lazy modules."""

import inspect
from typing import Any, ClassVar

from flame.errors import ShapeError, StateError
from flame.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from flame.nn.layers import Linear
from flame.nn.module import Module
from flame.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from flame.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from flame.tensor import Tensor


class LazyModuleMixin(Module):
    """A module some of whose parameters are UninitializedParameter until its first call.

    Before that call, `initialize_parameters(*args, **kwargs)` gives them shapes and values, and the module's class
    becomes `cls_to_become`. A state_dict that is loaded gives them its shapes. An optimizer is made after the first
    call, or after loading.
    """

    cls_to_become: ClassVar[Any] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)
        self._load_hook = self.register_load_state_dict_pre_hook(self._lazy_load_hook)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give parameters shapes and values, from the arguments of the first call."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """True until every parameter and buffer of this module has a shape."""
        return any(map(is_lazy, (*self._parameters.values(), *self._buffers.values())))

    def _infer_parameters(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        module.initialize_parameters(*args, **kwargs)
        if module.has_uninitialized_params():
            raise StateError(f"{type(module).__name__}: initialize_parameters left parameters without a shape")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _lazy_load_hook(self, module: Any, state_dict: Any, prefix: str, *_: Any) -> None:
        for name, value in (*module._parameters.items(), *module._buffers.items()):
            given = state_dict.get(prefix + name)
            if is_lazy(value) and given is not None and not is_lazy(given):
                value.materialize(tuple(given.shape))


class _Lazily(LazyModuleMixin):
    """A layer of FLAME's without its first argument, which the first input tells."""

    cls_to_become: ClassVar[Any]
    size: ClassVar[str] = "in_channels"  # the argument's name
    defaults: ClassVar[dict[str, Any]] = {}  # where the lazy layer's differ
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "cls_to_become" in vars(cls):
            _, *others = inspect.signature(cls.cls_to_become).parameters.values()
            changed = [p.replace(default=cls.defaults.get(p.name, p.default)) for p in others]
            cls.__signature__ = inspect.Signature(changed)

    def __init__(self, *args: Any, **options: Any) -> None:
        given = type(self).__signature__.bind(*args, **options)
        given.apply_defaults()
        super().__init__(given.arguments.get("groups", 1), *given.args, **given.kwargs)
        self._arguments = given.args, given.kwargs
        for table, kind in ((self._parameters, UninitializedParameter), (self._buffers, UninitializedBuffer)):
            for name, value in table.items():
                if value is not None and value.ndim:  # a count of batches has a shape
                    table[name] = kind(device=value.device, dtype=value.dtype)
        setattr(self, self.size, 0)

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Start as the layer for inputs of this width would; what was loaded stays."""
        size = self.width(input)
        rest, options = self._arguments
        fresh = self.cls_to_become(size, *rest, **options)
        for own, new in ((self._parameters, fresh._parameters), (self._buffers, fresh._buffers)):
            for name, value in own.items():
                if is_lazy(value):
                    value.take(new[name].detach().to(value.device, value.dtype))
        del self._arguments
        setattr(self, self.size, size)

    def width(self, input: Tensor) -> int:
        """The size of the dimension that the layer works on."""
        return input.shape[1]


class _LazyConv(_Lazily):
    def width(self, input: Tensor) -> int:
        """The channels of (N, C, *) or (C, *)."""
        n = len(self.kernel_size)
        if input.ndim not in (n + 1, n + 2):
            raise ShapeError(
                f"{type(self).__name__}: needs {n + 1}-d or {n + 2}-d input, got shape {tuple(input.shape)}"
            )
        return input.shape[-n - 1]


class _LazyNorm(_Lazily):
    size = "num_features"
    defaults: ClassVar[dict[str, Any]] = {"affine": True, "track_running_stats": True}

    def width(self, input: Tensor) -> int:
        """The channels of (N, C, *)."""
        self.check(input)
        return input.shape[1]


class LazyLinear(_Lazily, Linear):
    """Linear whose in_features is the size of the first input's last dimension, as torch.nn.LazyLinear.

    >>> layer = flame.nn.LazyLinear(3)
    >>> layer(flame.ones(2, 4)).shape, layer
    ((2, 3), Linear(in_features=4, out_features=3, bias=True))
    """

    cls_to_become, size = Linear, "in_features"

    def width(self, input: Tensor) -> int:
        """The last dimension."""
        return input.shape[-1]


class LazyConv1d(_LazyConv, Conv1d):
    """Conv1d whose in_channels are the first input's."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """Conv2d whose in_channels are the first input's."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """Conv3d whose in_channels are the first input's."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConv, ConvTranspose1d):
    """ConvTranspose1d whose in_channels are the first input's."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConv, ConvTranspose2d):
    """ConvTranspose2d whose in_channels are the first input's."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConv, ConvTranspose3d):
    """ConvTranspose3d whose in_channels are the first input's."""

    cls_to_become = ConvTranspose3d


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """BatchNorm1d whose num_features are the first input's channels."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """BatchNorm2d whose num_features are the first input's channels."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """BatchNorm3d whose num_features are the first input's channels."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """InstanceNorm1d whose num_features are the first input's channels; with weights and statistics, unlike it."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """InstanceNorm2d whose num_features are the first input's channels; with weights and statistics, unlike it."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """InstanceNorm3d whose num_features are the first input's channels; with weights and statistics, unlike it."""

    cls_to_become = InstanceNorm3d
