"""Normalizations as modules, with PyTorch's parameters and running statistics."""

from collections.abc import Sequence
from typing import Any, ClassVar

from flame.errors import FlameError, ShapeError
from flame.ir.dtype import DType, int64
from flame.nn import functional as F
from flame.nn import init
from flame.nn.module import Module
from flame.nn.parameter import blank
from flame.nn.plain import REQUIRED, Plain
from flame.ops.create import ones, zeros
from flame.tensor import Tensor, scalar


class _Affine(Module):
    """A learnt weight, which starts at 1, and bias, which starts at 0; either may be missing."""

    def _learn(self, shape: Sequence[int], weight: bool, bias: bool, made: dict[str, Any]) -> None:
        self.register_parameter("weight", blank(*shape, **made) if weight else None)
        self.register_parameter("bias", blank(*shape, **made) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Ones and zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class LayerNorm(_Affine):
    """Normalization over the last dimensions (Ba et al., arXiv:1607.06450). (*, normalized_shape) → the same.

    `weight` (ones) and `bias` (zeros) have the shape `normalized_shape`; `elementwise_affine=False` does without both.

    >>> flame.nn.LayerNorm(8)(flame.ones(2, 8)).shape
    (2, 8)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self._learn(shape, elementwise_affine, elementwise_affine and bias, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor) -> Tensor:
        """(*, normalized_shape) → the same."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(_Affine):
    """x / √(mean(x²) + eps) · weight over the last dimensions (Zhang and Sennrich, arXiv:1910.07467)."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self._learn(shape, elementwise_affine, False, {"device": device, "dtype": dtype})
        del self.bias

    def reset_parameters(self) -> None:
        """Ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """(*, normalized_shape) → the same."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """Normalization of groups of channels (Wu and He, arXiv:1803.08494). (N, C, *) → the same."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ShapeError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._learn((num_channels,), affine, affine and bias, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) → the same."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        options = f"eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"
        return f"{self.num_groups}, {self.num_channels}, {options}"


class _Statistics(_Affine):
    """Normalization of channels by statistics of the batch or instance, which may be averaged over training."""

    ranks: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        made: dict[str, Any],
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **made) if tracked else None)
        self.register_buffer("running_var", ones(num_features, **made) if tracked else None)
        self.register_buffer("num_batches_tracked", scalar(0, int64) if tracked else None)
        self._learn((num_features,), affine, affine and bias, made)

    def reset_running_stats(self) -> None:
        """Statistics as before the first batch."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked = scalar(0, int64)

    def check(self, input: Tensor) -> None:
        """Raise ShapeError for an input of another rank."""
        if input.ndim not in self.ranks:
            wanted = " or ".join(f"{n}-d" for n in self.ranks)
            raise ShapeError(f"{type(self).__name__}: needs {wanted} input, got shape {tuple(input.shape)}")

    def extra_repr(self) -> str:
        options = f"eps={self.eps}, momentum={self.momentum}, affine={self.affine}, bias={self.bias is not None}"
        return f"{self.num_features}, {options}, track_running_stats={self.track_running_stats}"


class _BatchNorm(_Statistics):
    """See BatchNorm2d."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        made = {"device": device, **({} if dtype is None else {"dtype": dtype})}
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, made)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) → the same."""
        self.check(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats:
            count = int(self.num_batches_tracked.item()) + 1
            self.num_batches_tracked = scalar(count, int64)
            momentum = 1 / count if self.momentum is None else momentum
        by_batch = self.training or self.running_mean is None
        updated = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if updated else (None, None)
        return F.batch_norm(input, mean, var, self.weight, self.bias, by_batch, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L); see BatchNorm2d."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Channels normalized by the batch's statistics in training, by their running averages afterwards
    (Ioffe and Szegedy, arXiv:1502.03167). (N, C, H, W) → the same.

    `weight` and `bias` (C); buffers `running_mean`, `running_var` (C), `num_batches_tracked`. With `momentum=None` the
    running averages are those of all batches.
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (N, C, D, H, W); see BatchNorm2d."""

    ranks = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalization of (N, C, *) whose statistics are those of all processes; FLAME runs in one.

    So it is BatchNorm for inputs of any rank. Raises FlameError for a `process_group`.
    """

    ranks = tuple(range(2, 65))

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        if process_group is not None:
            raise FlameError("SyncBatchNorm: FLAME has no process groups; leave process_group out, for one process")
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = None

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with every batch norm inside replaced by a SyncBatchNorm of the same parameters and buffers."""
        made = module
        if isinstance(module, _BatchNorm):
            options = (module.eps, module.momentum, module.affine, module.track_running_stats, process_group)
            made = cls(module.num_features, *options)
            made._parameters.update(module._parameters)
            made._buffers.update(module._buffers)
            made.training = module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made


class _InstanceNorm(_Statistics):
    """See InstanceNorm2d."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        made = {"device": device, **({} if dtype is None else {"dtype": dtype})}
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, made)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) or (C, *) → the same."""
        self.check(input)
        single = input.ndim == self.ranks[0]
        by_instance = self.training or not self.track_running_stats
        given = input.unsqueeze(0) if single else input
        mean, var, momentum = self.running_mean, self.running_var, self.momentum or 0.0
        out = F.instance_norm(given, mean, var, self.weight, self.bias, by_instance, momentum, self.eps)
        return out.squeeze(0) if single else out


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (N, C, L) or (C, L); see InstanceNorm2d."""

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each example normalized (Ulyanov et al., arXiv:1607.08022). (N, C, H, W) or (C, H, W) → same."""

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of (N, C, D, H, W) or (C, D, H, W); see InstanceNorm2d."""

    ranks = (4, 5)


class LocalResponseNorm(Plain):
    """Each element over its neighbours across channels (Krizhevsky et al., NIPS 2012). (N, C, *) → the same."""

    function, options = "local_response_norm", {"size": REQUIRED, "alpha": 1e-4, "beta": 0.75, "k": 1.0}

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
