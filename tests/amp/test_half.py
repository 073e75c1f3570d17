"""Parameters of half precision: rounding by chance, and float32 masters."""

import copy
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flame
from flame.amp import stochastic_round
from flame.errors import DTypeError, FlameError
from tests.surface.sides import interpreted

HALVES = {flame.bfloat16: ml_dtypes.bfloat16, flame.float16: np.float16}
OPTIMIZERS = [
    flame.optim.SGD, flame.optim.Adam, flame.optim.AdamW, flame.optim.Adamax, flame.optim.Adagrad,
    flame.optim.RMSprop, flame.optim.Adadelta, flame.optim.NAdam, flame.optim.RAdam, flame.optim.Lion,
    flame.optim.Adafactor, flame.optim.LAMB, flame.optim.AdamW8bit,
]  # fmt: skip


def numbers(half: Any) -> np.ndarray:
    """Of all sizes, and where steps change: around powers of 2, denormal ones, the largest."""
    rng = np.random.default_rng(0)
    least = -26 if half is np.float16 else -30
    some = [2.0 ** rng.uniform(least, 14, 200), -(2.0 ** rng.uniform(-10, 10, 50))]
    edges = [0.0, 1.0, -1.0, 1.99999, 2.0001, 1 - 2**-9 - 2**-13, 1 + 2**-12, -4 + 2**-11, 1e-8, 3e-8, 65500.0]
    return np.concatenate([*some, edges]).astype(np.float32)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_number_becomes_a_neighbour_and_the_mean_is_the_number(dtype: Any):
    half, trials = HALVES[dtype], 4000
    x = numbers(half)
    with interpreted():
        y = stochastic_round(flame.tensor(np.tile(x, (trials, 1))), dtype, flame.Generator(1))
    found = y.float().numpy().astype(np.float64)
    near = x.astype(half)
    with np.errstate(over="ignore"):
        sides = [np.nextafter(near, half(s * np.inf)).astype(np.float64) for s in (1, -1)]
    near = near.astype(np.float64)
    other = np.where(x > near, *sides)
    assert ((found == near) | (found == other)).all()
    exact = x == near
    assert (found[:, exact] == near[exact]).all()
    step = np.abs(other - near)
    error = np.abs(found.mean(0) - x) / (step / 2 / np.sqrt(trials))  # in standard deviations, of the largest variance
    assert error.max() < 5, x[error.argmax()]
    assert error.mean() < 0.9


def test_what_has_no_neighbours_is_rounded_as_ever():
    given = [np.nan, np.inf, -np.inf, -0.0, 0.0, 65519.0, 65521.0]
    with interpreted():
        found = stochastic_round(flame.tensor(given), flame.float16).float().numpy()
    np.testing.assert_array_equal(found, [np.nan, np.inf, -np.inf, -0.0, 0.0, 65504.0, np.inf])
    assert np.signbit(found[3])
    assert not np.signbit(found[4])


def test_compiled_it_rounds_as_the_oracle_does():
    x = numbers(ml_dtypes.bfloat16)
    rounded = [stochastic_round(flame.tensor(x), flame.bfloat16, flame.Generator(5)) for _ in range(2)]
    with interpreted():
        wanted = rounded[0].float().numpy()
    np.testing.assert_array_equal(rounded[1].float().numpy(), wanted)


def test_a_generator_repeats_itself_and_other_draws_differ():
    x = flame.full((64,), 1.0 + 2.0**-8)
    with interpreted():
        a, b, c = (stochastic_round(x, flame.bfloat16, flame.Generator(s)).float().numpy() for s in (1, 1, 2))
        flame.manual_seed(0)
        d, e = (stochastic_round(x, flame.bfloat16).float().numpy() for _ in range(2))
    assert (a == b).all()
    assert (a != c).any()
    assert (d != e).any()


def test_what_cannot_be_rounded_is_refused():
    for x, dtype in ((flame.arange(3), flame.bfloat16), (flame.ones(3), flame.float32)):
        with pytest.raises(DTypeError, match="stochastic_round"):
            stochastic_round(x, dtype)


# --- optimizers -------------------------------------------------------------------------------------------------------
def descend(optimizer: Any, w: Any, steps: int) -> None:
    for _ in range(steps):
        w.grad = flame.ones_like(w)
        optimizer.step()


def test_updates_too_small_for_bfloat16_are_lost_by_rounding_and_kept_by_chance():
    """200 steps of 2⁻¹² from 1, where bfloat16 goes down in steps of 2⁻⁸: 1 − 200 · 2⁻¹² = 0.951."""
    with interpreted():
        found = {}
        for name, options in (
            ("plain", {}),
            ("chance", {"stochastic_rounding": True}),
            ("master", {"master_weights": 1}),
        ):
            flame.manual_seed(3)
            w = flame.ones(256, dtype=flame.bfloat16).requires_grad_()
            descend(flame.optim.SGD([w], lr=2.0**-12, **options), w, 200)
            found[name] = w.float().detach().numpy()
    assert (found["plain"] == 1).all()
    wanted, spread = 1 - 200 * 2.0**-12, np.sqrt(200 * 15 / 16**2) * 2.0**-8
    assert abs(found["chance"].mean() - wanted) < 5 * spread / np.sqrt(256)
    assert 0.5 * spread < found["chance"].std() < 1.5 * spread
    assert (found["master"] == flame.tensor(wanted).bfloat16().item()).all()


@pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda m: m.__name__)
def test_with_masters_a_half_parameter_is_trained_as_float32_is(make: Any):
    start = np.random.default_rng(0).normal(size=(4, 3)).astype(ml_dtypes.bfloat16)
    with interpreted():
        half = flame.tensor(start).requires_grad_()
        whole = flame.tensor(start.astype(np.float32)).requires_grad_()
        one, two = make([half], lr=1e-3, master_weights=True), make([whole], lr=1e-3)
        for step in range(4):
            grad = np.random.default_rng(step).normal(size=(4, 3)).astype(ml_dtypes.bfloat16)
            half.grad, whole.grad = flame.tensor(grad), flame.tensor(grad).float()
            one.step()
            two.step()
        assert half.dtype is flame.bfloat16
        master = one.state[half]["master"].numpy()
        np.testing.assert_array_equal(master, whole.detach().numpy())
        np.testing.assert_array_equal(half.detach().numpy(), master.astype(ml_dtypes.bfloat16))
        states = [
            {k: v for k, v in o.state[p].items() if isinstance(v, flame.Tensor)} for o, p in ((one, half), (two, whole))
        ]
        assert {k: v.dtype for k, v in states[0].items() if k != "master"} == {k: v.dtype for k, v in states[1].items()}


@pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda m: m.__name__)
def test_every_optimizer_rounds_by_chance_to_the_same_mean(make: Any):
    with interpreted():
        flame.manual_seed(1)
        w = flame.ones(2000, dtype=flame.bfloat16).requires_grad_()
        whole = flame.ones(2000).requires_grad_()
        descend(make([w], lr=1e-3, stochastic_rounding=True), w, 3)
        descend(make([whole], lr=1e-3), whole, 3)
        moved = 1 - whole.detach().numpy().mean()
        found = w.float().detach().numpy()
    assert abs((1 - found.mean()) - moved) < max(0.15 * moved, 3e-4), (1 - found.mean(), moved)
    assert len(np.unique(found)) > 1


def test_float32_parameters_are_left_alone():
    with interpreted():
        w, v = (flame.ones(8).requires_grad_() for _ in range(2))
        one, two = flame.optim.AdamW([w], stochastic_rounding=True), flame.optim.AdamW([v], master_weights=True)
        descend(one, w, 2)
        descend(two, v, 2)
        assert (w == v).all().item()
        assert "master" not in two.state[v]


def test_a_state_with_masters_is_saved_and_goes_on():
    def fresh(value: Any) -> Any:
        return flame.tensor(value).requires_grad_()

    with interpreted():
        w = fresh(np.ones(4, ml_dtypes.bfloat16))
        optimizer = flame.optim.Adam([w], lr=1e-4, master_weights=True)
        descend(optimizer, w, 3)
        state, weight = copy.deepcopy(optimizer.state_dict()), w.detach().numpy()
        descend(optimizer, w, 3)
        v = fresh(weight)
        other = flame.optim.Adam([v], lr=1e-4, master_weights=True)
        other.load_state_dict(state)
        assert other.state[v]["master"].dtype is other.state[v]["exp_avg"].dtype is flame.float32
        descend(other, v, 3)
        np.testing.assert_array_equal(other.state[v]["master"].numpy(), optimizer.state[w]["master"].numpy())


def test_nothing_compiles_from_one_step_to_the_next():
    device = flame.device("cpu")
    w = flame.ones(33, dtype=flame.bfloat16).requires_grad_()
    optimizer = flame.optim.AdamW([w], lr=1e-3, stochastic_rounding=True)
    descend(optimizer, w, 2)
    before = len(device._kernels)
    descend(optimizer, w, 3)
    assert len(device._kernels) == before


def test_misuse():
    w = flame.ones(3).bfloat16().requires_grad_()
    with pytest.raises(FlameError, match="choose one"):
        flame.optim.SGD([w], stochastic_rounding=True, master_weights=True)
    with pytest.raises(TypeError, match="learning_rate"):
        flame.optim.SGD([w], learning_rate=1.0)
