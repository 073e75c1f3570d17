"""Loss scaling for float16, whose smallest number is 6e-8: gradients are computed large and made small again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flame.errors import DTypeError, FlameError, StateError
from flame.ir import dtype as dt
from flame.ops.elementwise import to_dtype
from flame.ops.join import stack
from flame.recording import no_grad
from flame.runtime.device import Device
from flame.tensor import Tensor, realize, scalar

STATE = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")


@dataclass
class _Round:
    """What happened to one optimizer since the last `update`."""

    finite: list[Tensor] = field(default_factory=list)  # one truth for each device, once unscaled
    stepped: bool = False
    skipped: bool = False


class GradScaler:
    """Scales losses such that no gradient vanishes in float16, as torch.amp.GradScaler.

    `scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()`. A step whose gradients hold an infinity or
    nan is skipped: parameters, state and counts stay as they are, and the scale shrinks by `backoff_factor`. After
    `growth_interval` good steps it grows by `growth_factor`. Whether to skip is decided by the plan that computes the
    gradients, unscaled and as the user edited them; the update is a second one. state_dict is PyTorch's.

    >>> w = flame.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = flame.optim.SGD([w], lr=0.25), flame.amp.GradScaler("cpu", init_scale=8.0)
    >>> scaler.scale((w * w).sum()).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> w.tolist()
    [0.5]
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device, self._enabled = device, enabled
        if enabled and not growth_factor > 1:
            raise FlameError(f"GradScaler: growth_factor is {growth_factor}, but must be above 1")
        if enabled and not 0 < backoff_factor < 1:
            raise FlameError(f"GradScaler: backoff_factor is {backoff_factor}, but must be between 0 and 1")
        self._scale, self._growth_tracker = float(init_scale), 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._rounds: dict[int, _Round] = {}  # by the optimizer's id

    # --- a step -------------------------------------------------------------------------------------------------------
    def scale(self, outputs: Any) -> Any:
        """The outputs times the scale: a tensor, or a list or tuple of them. Raises DTypeError for anything else."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * scalar(self._scale, dt.float32, outputs.device)
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(y) for y in outputs)
        raise DTypeError(f"GradScaler.scale: cannot scale {type(outputs).__name__}; give a tensor or a list of them")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, for what clips or edits them before `step`.

        Raises StateError where it was done since the last `update`, and DTypeError for float16 gradients, which an
        unscaled value may not fit.
        """
        if not self._enabled:
            return
        found = self._rounds.setdefault(id(optimizer), _Round())
        if found.stepped:
            raise StateError("GradScaler.unscale_: is called after step() of the same optimizer; call it before")
        if found.finite:
            raise StateError("GradScaler.unscale_: has been called on this optimizer since the last update()")
        params = _trained(optimizer)
        for p in params:
            if p.grad.dtype is dt.float16:
                raise DTypeError(
                    "GradScaler.unscale_: a gradient is float16, in which what is unscaled may vanish; keep parameters "
                    "in float32 and compute under autocast"
                )
        by_device: dict[Device, list[Tensor]] = {}
        with no_grad():
            for p in params:
                inverse = scalar(float(np.float32(1 / self._scale)), dt.float32, p.device)
                p.grad = to_dtype(p.grad * to_dtype(inverse, _wide(p.grad)), p.grad.dtype)
                by_device.setdefault(p.device, []).append(p.grad.isfinite().all())
            found.finite = [stack(flags).all() for flags in by_device.values()]

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(*args, **kwargs)` on unscaled gradients, unless one of them is infinite or nan.

        Raises StateError for a second step before `update`, and where no parameter has a gradient.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or (args and callable(args[0])):
            raise FlameError("GradScaler.step: a closure that computes the loss again is not supported; call it before")
        if id(optimizer) not in self._rounds or not self._rounds[id(optimizer)].finite:
            self.unscale_(optimizer)
        found = self._rounds[id(optimizer)]
        if found.stepped:
            raise StateError("GradScaler.step: has been called on this optimizer since the last update()")
        if not found.finite:
            raise StateError("GradScaler.step: no parameter of this optimizer has a gradient; call backward() before")
        realize(*found.finite, *[p.grad for p in _trained(optimizer)])  # flags, unscaled gradients and edits: one plan
        found.stepped, found.skipped = True, not all(flag.item() for flag in found.finite)
        return None if found.skipped else optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Adapt the scale to what the steps since the last call found, or set it. Raises StateError where none was."""
        if not self._enabled:
            return
        rounds = [r for r in self._rounds.values() if r.finite]
        if new_scale is not None:
            self._scale = float(new_scale.item() if isinstance(new_scale, Tensor) else new_scale)
        elif not rounds:
            raise StateError("GradScaler.update: no step was taken since the last update(); call step() before")
        elif any(r.skipped or (not r.stepped and not all(f.item() for f in r.finite)) for r in rounds):
            self._scale, self._growth_tracker = _single(self._scale * self._backoff_factor), 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                grown = _single(self._scale * self._growth_factor)
                self._scale, self._growth_tracker = grown if math.isfinite(grown) else self._scale, 0
        self._rounds = {}

    # --- options ------------------------------------------------------------------------------------------------------
    def is_enabled(self) -> bool:
        """False where the scaler does nothing."""
        return self._enabled

    def get_scale(self) -> float:
        """The factor of losses: 1.0 where the scaler does nothing."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by after `growth_interval` good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """See `get_growth_factor`."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after a skipped step."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """See `get_backoff_factor`."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many good steps in a row let the scale grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """See `get_growth_interval`."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's: scale, factors, interval and good steps in a row; empty where the scaler does nothing."""
        return {name: getattr(self, f"_{name.lstrip('_')}") for name in STATE} if self._enabled else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, PyTorch's or FLAME's. Raises StateError for an incomplete one."""
        if not self._enabled:
            return
        missing = [name for name in STATE if name not in state_dict]
        if missing:
            raise StateError(f"GradScaler.load_state_dict: {', '.join(missing)} missing; was that scaler enabled?")
        for name in STATE:
            setattr(self, f"_{name.lstrip('_')}", state_dict[name])


def _trained(optimizer: Any) -> list[Any]:
    """An optimizer's parameters with a gradient."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _wide(grad: Tensor) -> dt.DType:
    return dt.float32 if grad.dtype.size < 4 else grad.dtype


def _single(value: float) -> float:
    """Rounded to float32, which PyTorch's scale is in."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))
