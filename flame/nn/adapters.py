"""Adapters: layers that wrap a frozen Linear or convolution, train a few parameters beside it, and merge back.

A wrapper replaces its layer where it stands: `adapt(model, LoRA, rank=8, names=("attn",))`.
"""

import math
from collections.abc import Iterator
from typing import Any, Self

from flame.errors import FlameError, ShapeError
from flame.nn import functional as F
from flame.nn import init
from flame.nn.conv import _Forward
from flame.nn.layers import Linear
from flame.nn.module import Module
from flame.nn.parameter import Parameter, blank
from flame.recording import no_grad
from flame.tensor import Tensor


class LoRA(Module):
    """Low-rank adaptation (Hu et al., arXiv:2106.09685): y = layer(x) + alpha / rank · B A x.

    `base` is the wrapped layer, frozen; `lora_A` (rank, in) starts as Linear's weight does, `lora_B` (out, rank) at 0,
    so that nothing changes at first. Of a convolution A is a convolution with its kernel, B one with kernel 1.
    """

    def __init__(self, base: Module, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        if not isinstance(base, (Linear, _Forward)):
            raise FlameError(f"{type(self).__name__}: can wrap Linear and convolutions, not {type(base).__name__}")
        if isinstance(base, _Forward) and base.groups != 1:
            raise ShapeError(f"{type(self).__name__}: a convolution in {base.groups} groups cannot be wrapped")
        out, width, *field = base.weight.shape
        if not 0 < rank <= min(out, width * math.prod(field)):
            raise ShapeError(f"{type(self).__name__}: rank {rank} does not fit a weight of {tuple(base.weight.shape)}")
        self.base, self.rank, self.scale = base.requires_grad_(False), rank, (alpha or rank) / rank
        self.dropout, self.merged = dropout, False
        made = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.lora_A = blank(rank, width, *field, **made)
        self.lora_B = blank(out, rank, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A drawn, B zero: the wrapped layer's own output."""
        init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        init.zeros_(self.lora_B)

    def delta(self) -> Tensor:
        """What the adapter adds to the wrapped weight, in its shape."""
        product = self.lora_B @ self.lora_A.reshape(self.rank, -1)
        return product.reshape(self.base.weight.shape) * self.scale

    def forward(self, input: Tensor) -> Tensor:
        """As the wrapped layer's."""
        y = self.base(input)
        if self.merged:
            return y
        x = F.dropout(input, self.dropout, self.training) if self.dropout else input
        if isinstance(self.base, Linear):
            return y + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scale
        down = self.base.convolve(x, self.lora_A, None)
        up = self.lora_B.reshape(*self.lora_B.shape, *(1,) * self.base.n)
        return y + getattr(F, f"conv{self.base.n}d")(down, up) * self.scale

    def weight(self) -> Tensor:
        """The weight that the adapted layer has in effect."""
        return self.base.weight + self.delta()

    def merge(self) -> Self:
        """Put the adapter into the wrapped weight: inference costs nothing more."""
        if not self.merged:
            with no_grad():
                self.unmerged = self.base.weight.detach()
                self.base.weight.copy_(self.weight())
            self.merged = True
        return self

    def unmerge(self) -> Self:
        """Take it out again, to the bit."""
        if self.merged:
            with no_grad():
                self.base.weight.copy_(self.unmerged)
            del self.unmerged
            self.merged = False
        return self

    def unwrap(self) -> Module:
        """The wrapped layer with the adapter merged in, trainable again."""
        return self.merge().base.requires_grad_(True)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, scale={self.scale:g}, dropout={self.dropout}, merged={self.merged}"


class DoRA(LoRA):
    """Weight-decomposed low-rank adaptation (Liu et al., arXiv:2402.09353): W′ = m · (W + ΔW) / ‖W + ΔW‖.

    The norm is that of each output's weights; `magnitude` (out) starts at ‖W‖, so nothing changes at first. As in the
    paper (section 4.3) no gradient flows through the norm.
    """

    def __init__(self, base: Module, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__(base, rank, alpha, dropout)
        with no_grad():
            self.magnitude = Parameter(self._norm(base.weight))

    @staticmethod
    def _norm(weight: Tensor) -> Tensor:
        flat = weight.reshape(weight.shape[0], -1)
        return (flat * flat).sum(1).sqrt()

    def weight(self) -> Tensor:
        """The weight that the adapted layer has in effect."""
        moved = self.base.weight + self.delta()
        scale = self.magnitude / self._norm(moved).detach()
        return moved * scale.reshape(-1, *(1,) * (moved.ndim - 1))

    def forward(self, input: Tensor) -> Tensor:
        """As the wrapped layer's; dropout acts on what the adapter adds."""
        if self.merged:
            return self.base(input)
        bias = self.base.bias
        run = F.linear if isinstance(self.base, Linear) else self.base.convolve
        y = run(input, self.weight(), bias)
        if not self.dropout or not self.training:
            return y
        moved = self.base.weight + self.delta()
        scale = (self.magnitude / self._norm(moved).detach()).reshape(-1, *(1,) * (moved.ndim - 1))
        plain = run(input, self.base.weight * scale, bias)
        return plain + run(F.dropout(input, self.dropout, True), self.delta() * scale, None)


def adapt(model: Module, kind: type[LoRA] = LoRA, *, names: Any = (), **options: Any) -> Module:
    """Freeze a model and wrap its Linear layers and convolutions, those whose dotted name contains one of `names`.

    Without `names` all are wrapped. Returns the model; raises FlameError where nothing fits.
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)
    model.requires_grad_(False)
    found = [
        (path, layer)
        for path, layer in model.named_modules()
        if path
        and (isinstance(layer, Linear) or (isinstance(layer, _Forward) and layer.groups == 1))
        and (not wanted or any(name in path for name in wanted))
    ]
    if not found:
        raise FlameError(f"adapt: no Linear or convolution of {type(model).__name__} has one of {wanted} in its name")
    for path, layer in found:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, kind(layer, **options))
    return model


def adapters(model: Module) -> Iterator[tuple[str, LoRA]]:
    """(dotted name, wrapper) of every adapter in a model."""
    return ((path, m) for path, m in model.named_modules() if isinstance(m, LoRA))


def adapter_state_dict(model: Module) -> dict[str, Tensor]:
    """The adapters' own parameters alone: what a fine-tune has to save."""
    frozen = tuple(f"{path}.base." for path, _ in adapters(model))
    inside = tuple(f"{path}." for path, _ in adapters(model))
    state = model.state_dict()
    return {k: v for k, v in state.items() if k.startswith(inside) and not k.startswith(frozen)}


def merge(model: Module) -> Module:
    """Every adapter put into its layer, which stands where it stood: the model as if it had never been adapted."""
    for path, wrapper in list(adapters(model)):
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, wrapper.unwrap())
    return model
