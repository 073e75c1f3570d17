"""Twenty steps under autocast in bfloat16 on a GPU beside PyTorch: layers, losses, optimizers of the CPU's tables.

How near is near enough is measured, not guessed. PyTorch in float32 is the truth of each case, and PyTorch under its
own autocast, on the same GPU, from the same weights and data, says how far from it bfloat16 leads: d, the largest of
WALKS walks, the first from the same weights, the others from weights a rounding away. FLAME's distance may be
FACTOR * d: its roundings are others than PyTorch's, of the same size. Where all of PyTorch's happen to cancel, a floor
holds: a rounding to bfloat16 is off by at most u = eps / 2 = 2^-9, a loss is a mean of outputs that were each rounded,
and a weight moves by products of which both factors and the result were; ROUNDINGS of them, never averaged, are
allowed. Where autocast casts nothing, d is float32's noise, and so is the floor. Distances are root mean squares: of
the losses over the steps, of the weights over the way they went. The dtypes of outputs must be PyTorch's.

A rounding can put a number on the other side of a kink (a ReLU's zero, a hinge), which moves a small model by a whole
gradient. So a case that is too far on one set of data is tried on two more, and must be near on both.
"""

from contextlib import nullcontext

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import FlameError
from tests.parity.both import torch
from tests.parity.test_optim import CASES as OPTIMIZERS
from tests.parity.test_optim import X, Y
from tests.parity.test_optim import model as small_model
from tests.parity.test_training import (
    BETWEEN,
    CALLS,
    ENTRIES,
    LOSSES,
    OF_PYTORCH,
    SHAPED,
    STEPS,
    WIDE,
    attending,
    first_quick,
    floats,
    squares,
)

pytestmark = [pytest.mark.gpu, pytest.mark.parity, pytest.mark.filterwarnings(f"ignore:({OF_PYTORCH})")]
FACTOR = 3
WALKS = 3
ROUNDINGS = 4
U = 2.0**-9  # half of bfloat16's epsilon
NOISE = 2.0**-15  # what twenty steps make of float32's roundings, of sums in another order
DEVICE = "cuda"


def walk(library, make, batches, cost, teach, start, half):
    """The losses, the way that every weight went, and the dtypes that left the model."""
    model = make(library.nn)
    model.load_state_dict({key: library.tensor(value) for key, value in start.items()})
    optimizer = teach(library, model.parameters())
    losses, dtypes = [], set()
    model.register_forward_hook(lambda _, given, out: dtypes.update(dtypes_of(out)))
    for batch in batches:
        with library.autocast(DEVICE, dtype=library.bfloat16) if half else nullcontext():
            loss = cost(library, model, *map(library.tensor, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    ways = {
        key: value.detach().cpu().numpy().astype(np.float64) - start[key] for key, value in model.state_dict().items()
    }
    return {"losses": np.array(losses), **ways}, dtypes


def dtypes_of(out):
    if isinstance(out, tuple | list):
        return {name for o in out if o is not None for name in dtypes_of(o)}
    return {str(out.dtype).rpartition(".")[2]}


def size(values):
    """The root mean square."""
    return float(np.sqrt(np.mean(np.square(values)))) if np.size(values) else 0.0


def stepwise(library, parameters):
    return library.optim.SGD(parameters, lr=0.1)


def track(make, batch, cost, record, teach=stepwise):
    """Train on both sides, and hold FLAME's distance from the truth against PyTorch's."""
    far = far_off(make, batch, cost, teach, 5, record)
    if far:
        record("tried again", "; ".join(far))
        more = [line for seed in (6, 7) for line in far_off(make, batch, cost, teach, seed, record)]
        assert not more, "\n".join(["", *far, *more])


def far_off(make, batch, cost, teach, seed, record):
    """Train on the data of a seed; a line for each that is further from the truth than allowed."""
    flame.manual_seed(seed)
    rng, nudge = np.random.default_rng(seed), np.random.default_rng(0)
    start = {key: value.numpy() for key, value in make(nn).state_dict().items()}
    batches = [batch(rng) for _ in range(STEPS)]
    starts = [start]
    for _ in range(WALKS - 1):
        starts.append({key: (w * (1 + nudge.uniform(-U, U, w.shape))).astype(w.dtype) for key, w in start.items()})
    native = torch.backends.cudnn.flags(enabled=False)  # its recurrent layers take float16 in autocast of any dtype
    with torch.device(DEVICE), exact_products(), native:
        truth, _ = walk(torch, make, batches, cost, teach, start, half=False)
        theirs = [walk(torch, make, batches, cost, teach, at, half=True) for at in starts]
    ours, dtypes = walk(flame, make, batches, cost, teach, start, half=True)
    assert dtypes == theirs[0][1]
    far = []
    for key, value in truth.items():
        mine, other = size(ours[key] - value), max(size(way[key] - value) for way, _ in theirs)
        floor = ROUNDINGS * (U if other > NOISE * size(value) else NOISE) * size(value) + 1e-7
        record(key, f"{mine:.3g} {other:.3g} {floor:.3g}")
        if not mine <= FACTOR * other + floor:
            far.append(f"{key}: {mine:.3g} from float32, PyTorch {other:.3g}, of {size(value):.3g} in all")
    return far


class exact_products:  # noqa: N801
    """PyTorch's products of float32 in float32, not in TensorFloat-32."""

    def __enter__(self):
        self.before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def __exit__(self, *_):
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = self.before


@pytest.mark.parametrize(("name", "options"), first_quick((name, entry[3]) for name, entry in ENTRIES.items()))
def test_a_layer(name, options, record_property):
    args, batch, call, _ = ENTRIES[name]

    def cost(library, layer, *inputs):
        return squares(library, call(layer, *inputs), np.random.default_rng(1))

    track(lambda library: getattr(library, name)(*args, **options), batch, cost, record_property)


@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_attention_with_masks(options, record_property):
    batch = floats((3, 2, 4), (5, 2, 4), (5, 2, 4))
    track(lambda library: library.MultiheadAttention(4, 2), batch, attending(options.items()), record_property)


def test_a_whole_transformer(record_property):
    def cost(library, layer, source, target):
        mask = layer.generate_square_subsequent_mask(target.shape[0])
        return squares(library, layer(source, target, tgt_mask=mask), np.random.default_rng(1))

    options = {**WIDE, "num_encoder_layers": 2, "num_decoder_layers": 1}
    track(lambda library: library.Transformer(**options), floats((4, 2, 8), (3, 2, 8)), cost, record_property)


@pytest.mark.parametrize(("name", "options"), first_quick((name, entry[2]) for name, entry in LOSSES.items()))
def test_a_loss(name, options, record_property):
    shape, others, _ = LOSSES[name]

    def batch(rng):
        return [rng.normal(size=(6, 4)).astype(np.float32), *(make(rng) for make in others)]

    def cost(library, model, x, *given):
        arrays = {key: library.tensor(o) if isinstance(o, np.ndarray) else o for key, o in options.items()}
        return getattr(library.nn, name)(**arrays)(SHAPED[shape](model(x)), *given).mean()

    def teach(library, parameters):
        return library.optim.SGD(parameters, lr=0.05)

    if name == "BCELoss":  # refused under autocast on a GPU, by both
        for library, place in ((flame, nullcontext()), (torch, torch.device(DEVICE))):
            with (
                place,
                library.autocast(DEVICE, dtype=library.bfloat16),
                pytest.raises((RuntimeError, FlameError), match="unsafe"),
            ):
                cost(library, library.nn.Linear(4, 3), *map(library.tensor, batch(np.random.default_rng(5))))
        return
    track(lambda library: library.Linear(4, 3), batch, cost, record_property, teach)


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        pytest.param(
            *entry, marks=pytest.mark.slow if any(entry[0] == e[0] for e in BETWEEN[:i]) else (), id=str(entry)
        )
        for i, entry in enumerate(BETWEEN)
    ],
)
def test_behind_a_layer_that_learns(name, args, shape, record_property):
    n = len(shape) - 2

    def make(library):
        before = getattr(library, f"Conv{n}d" if n else "Linear")(shape[1], shape[1], *[1] * bool(n))
        return library.Sequential(before, getattr(library, name)(*args))

    def cost(library, model, x):
        return squares(library, model(x), np.random.default_rng(1))

    track(make, floats(shape), cost, record_property)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_an_optimizer(name, options, record_property):
    steps = iter(range(STEPS))

    def batch(rng):
        at = next(steps) * 8 % 64
        return X[at : at + 8], Y[at : at + 8]

    def cost(library, model, x, y):
        return library.nn.functional.cross_entropy(model(x), y)

    def teach(library, parameters):
        return getattr(library.optim, name)(parameters, **options)

    track(small_model, batch, cost, record_property, teach)
