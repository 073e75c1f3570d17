"""Running a case on both sides: operands in several layouts, values, gradients, and FLAME's graphs by the oracle."""

import contextlib
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import pytest

import flame
from flame import values
from flame.ir.graph import toposort
from flame.ir.interp import interpret
from flame.runtime.buffer import Buffer
from tests.surface.case import Case, Of, X

torch = pytest.importorskip("torch", reason="parity needs torch==2.13.0: pip install -e '.[parity]'")

REFUSES = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError, OverflowError)
LOOSE = {"float64": 1e-9, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.0, -7.25, 1e-3, 40.0, -0.9999, 100.5]
Layout = Callable[[Any], Any]


# --- operands ---------------------------------------------------------------------------------------------------------
def numbers(o: X | Of, dtype: str, seed: int) -> np.ndarray:
    """The values of an operand as float64, int64 or bool that both sides take exactly."""
    kind = dtype if isinstance(o, X) else o.dtype
    rng = np.random.default_rng([seed, *o.shape])
    if kind == "bool":
        return rng.random(o.shape) < 0.5
    if kind not in LOOSE:
        low = 0 if kind == "uint8" and o.low < 0 else int(np.ceil(o.low))
        return rng.integers(low, max(low + 1, int(np.ceil(o.high))), o.shape)
    if isinstance(o, X) and o.apart:
        steps = prod(o.shape)
        found = o.low + (rng.permutation(steps).reshape(o.shape) + 0.3) * ((o.high - o.low) / max(1, steps))
    else:
        found = rng.uniform(o.low, o.high, o.shape)
    return np.asarray(torch.tensor(found).to(getattr(torch, kind)).double())


def ours(array: np.ndarray, dtype: str, grad: bool = False, device: str | None = None) -> flame.Tensor:
    return flame.tensor(array, dtype=getattr(flame, dtype), requires_grad=grad, device=device)


def theirs(array: np.ndarray, dtype: str, grad: bool = False) -> Any:
    return torch.tensor(np.array(array)).to(getattr(torch, dtype)).requires_grad_(grad)


def kinds(c: Case, dtype: str, operands: Sequence[X | Of]) -> list[str]:
    return [dtype if isinstance(o, X) else o.dtype for o in operands]


# Other ways for the same values to lie in memory; each is given the whole tensor and returns an equal one.
def _stepped(x: Any) -> Any:
    """Every other element of a larger tensor."""
    lib = flame if isinstance(x, flame.Tensor) else torch
    return lib.stack([x, x], -1).reshape(*x.shape[:-1], -1)[..., ::2] if x.ndim else x


def _turned(x: Any) -> Any:
    """The memory in the opposite order of dimensions."""
    order = tuple(reversed(range(x.ndim)))
    return x.permute(order).contiguous().clone().permute(order) if x.ndim else x


def _shifted(x: Any) -> Any:
    """A part of a larger tensor that begins inside it."""
    lib = flame if isinstance(x, flame.Tensor) else torch
    return lib.cat([x[:1], x], 0)[1:] if x.ndim and x.shape[0] else x


LAYOUTS: dict[str, Layout] = {"stepped": _stepped, "turned": _turned, "shifted": _shifted}


# --- the oracle instead of compiled kernels ---------------------------------------------------------------------------
@contextlib.contextmanager
def interpreted() -> Iterator[None]:
    """Inside, FLAME's graphs are run by numpy, one operator at a time: nothing is compiled."""
    before = values.prepare

    def prepare(
        roots: Any, device: Any, line: str, donate: Any = (), readers: Any = None, sequel: Any = None
    ) -> Callable[[], list[Buffer]]:
        def run() -> list[Buffer]:
            wanted = tuple(dict.fromkeys(n for n in roots if n not in values.COMPUTED))
            every = (*wanted, *(sequel.build() if sequel else ()))
            given = {n: _known(n, device) for n in toposort(every, values.COMPUTED) if n in values.COMPUTED}
            buffers: list[Buffer] = []
            for n, found in zip(every, interpret(every, given), strict=True):
                contiguous = np.ascontiguousarray(found).reshape(n.shape)
                buffers.append(device.pool.buffer(contiguous.nbytes, line))
                if contiguous.nbytes:
                    device.upload(contiguous, buffers[-1])
            for n, buffer in zip(wanted, buffers, strict=False):
                values.put(n, buffer)
            return buffers[len(wanted) :]

        return run

    values.prepare = prepare
    try:
        yield
    finally:
        values.prepare = before


def _known(n: Any, device: Any) -> np.ndarray:
    """The value of a node that is in memory."""
    found = values.get(n)
    if not isinstance(found, Buffer):
        return np.asarray(found, n.dtype.numpy)
    out = np.empty(n.shape, n.dtype.numpy)
    if out.nbytes:
        device.download(found, out)
    return out


# --- comparing --------------------------------------------------------------------------------------------------------
def wide(t: Any) -> np.ndarray:
    """The numbers of either side; half precisions widened."""
    if isinstance(t, torch.Tensor):
        t = t.detach().resolve_neg()
        t = torch.zeros_like(t) if t._is_zerotensor() else t
        return (t.double() if t.is_floating_point() else t).numpy()
    found = t.numpy()
    return found.astype(np.float64) if t.is_floating_point() else found


def name_of(t: Any) -> str:
    return str(t.dtype).removeprefix("torch.")


def many(y: Any) -> list[Any]:
    return list(y) if isinstance(y, (tuple, list)) else [y]


class Sides:
    """Pairs to compare, all of FLAME's computed in one plan, which is what a user's step would do."""

    def __init__(self, c: Case):
        self.case = c
        self.pairs: list[tuple[str, Any, Any]] = []

    def add(self, label: str, mine: Any, other: Any) -> None:
        mine, other = many(mine), many(other)
        assert len(mine) == len(other), f"{label}: {len(mine)} results, PyTorch {len(other)}"
        for i, (m, o) in enumerate(zip(mine, other)):
            at = f"{label}[{i}]" if len(mine) > 1 else label
            assert isinstance(m, flame.Tensor), f"{at}: {m!r} is no Tensor"
            assert tuple(m.shape) == tuple(o.shape), f"{at}: shape {m.shape}, PyTorch {tuple(o.shape)}"
            if self.case.dtype:
                assert name_of(m) == name_of(o), f"{at}: {m.dtype}, PyTorch {o.dtype}"
            self.pairs.append((at, m, o))

    def run(self, dtype: str, operands: Sequence[X | Of], layout: Layout = lambda x: x, device: str | None = None,
            arrays: Sequence[np.ndarray] | None = None, label: str = "") -> bool:  # fmt: skip
        """Both sides once, with gradients where there are; False where PyTorch has no such operation."""
        c = self.case
        seed = zlib.crc32(str(c).encode())
        arrays = arrays or [numbers(o, dtype, seed + i) for i, o in enumerate(operands)]
        types = kinds(c, dtype, operands)
        wants = [c.grad and isinstance(o, X) and d in LOOSE for o, d in zip(operands, types)]
        theirs_in = [theirs(a, d, g) for a, d, g in zip(arrays, types, wants)]
        try:
            with warnings.catch_warnings(action="ignore"):  # PyTorch's own, of what it deprecates or is slow at
                z = c.call(torch, *map(layout, theirs_in))
        except REFUSES:
            return False
        ours_in = [ours(a, d, g, device) for a, d, g in zip(arrays, types, wants)]
        label = f"{c} {dtype} {[o.shape for o in operands]} {label}"
        y = c.call(flame, *map(layout, ours_in))
        self.add(label, y, z)
        if any(wants):
            self.gradients(label, many(y), many(z), ours_in, theirs_in, wants)
        return True

    def gradients(self, label: str, y: list[Any], z: list[Any], mine: list[Any], other: list[Any],
                  wants: list[bool]) -> None:  # fmt: skip
        """Of the weighted sum of all differentiable results."""
        flows = [i for i, o in enumerate(z) if o.requires_grad and o.is_floating_point()]
        for i, (m, o) in enumerate(zip(y, z)):
            assert m.requires_grad == o.requires_grad, f"{label}[{i}]: requires_grad {m.requires_grad}"
        if not flows:
            return
        weights = [np.random.default_rng(i).uniform(-1, 1, tuple(z[i].shape)) for i in flows]
        seeds = [np.asarray(torch.tensor(w).to(z[i].dtype).double()) for i, w in zip(flows, weights)]
        try:
            torch.autograd.backward([z[i] for i in flows], [theirs(s, name_of(z[i])) for i, s in zip(flows, seeds)])
        except REFUSES:
            return
        for i, s in zip(flows, seeds):
            y[i].backward(ours(s, name_of(y[i]), device=y[i].device.name), retain_graph=True)
        for i, (a, b, g) in enumerate(zip(mine, other, wants)):
            if g and (a.grad is None) != (b.grad is None):
                none = torch.zeros_like(b) if b.grad is None else b.grad
                assert not none.any(), f"{label}: gradient {i} is {a.grad}, PyTorch {b.grad}"
            elif g and a.grad is not None:
                self.add(f"{label} gradient {i}", a.grad, b.grad)

    def close(self) -> None:
        """Compare all; the message lists the pairs that differ."""
        flame.realize(*[m for _, m, _ in self.pairs])
        wrong = [line for label, m, o in self.pairs if (line := self.differs(label, m, o))]
        assert not wrong, f"{len(wrong)} of {len(self.pairs)} differ:\n" + "\n".join(wrong[:20])

    def differs(self, label: str, mine: Any, other: Any) -> str:
        a, b = wide(mine), wide(other)
        kind = name_of(mine)
        if kind not in LOOSE:
            return "" if (a == b).all() else f"{label}: {a.ravel()[:8]} instead of {b.ravel()[:8]}"
        tolerance = LOOSE[kind] * self.case.loose
        good = np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
        if good.all():
            return ""
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        return f"{label}: {a[at]} instead of {b[at]} at {at} ({(~good).sum()} of {good.size})"


# --- differences ------------------------------------------------------------------------------------------------------
STEP = 1e-5


def weighted(results: Sequence[flame.Tensor], seed: int) -> flame.Tensor:
    """The sum of floating results times fixed weights."""
    total = flame.zeros((), dtype=flame.float64)
    for i, y in enumerate(results):
        if y.is_floating_point() and y.numel():
            w = np.random.default_rng([seed, i]).uniform(0.5, 1.5, y.shape)
            total = total + (y.double() * ours(w, "float64")).sum()
    return total


def slopes(f: Callable[..., flame.Tensor], arrays: Sequence[np.ndarray], wanted: Sequence[int],
           types: Sequence[str], seed: int) -> tuple[float, float]:  # fmt: skip
    """The derivative of `f` along a random direction: by gradients, and by central differences."""
    rng = np.random.default_rng(seed)
    direction = {i: rng.uniform(-1, 1, arrays[i].shape) for i in wanted}
    tensors = [ours(a, d, i in wanted) for i, (a, d) in enumerate(zip(arrays, types))]
    loss = f(*tensors)
    if not loss.requires_grad:
        return 0.0, 0.0
    loss.backward(create_graph=True)
    along = 0.0
    for i, d in direction.items():
        if tensors[i].grad is not None:
            along += float((tensors[i].grad * ours(d, "float64")).sum().item())
    sides = []
    for sign in (1, -1):
        moved = [a + sign * STEP * direction[i] if i in direction else a for i, a in enumerate(arrays)]
        sides.append(f(*[ours(a, d) for a, d in zip(moved, types)]).item())
    return along, (sides[0] - sides[1]) / (2 * STEP)
