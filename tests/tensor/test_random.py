"""Random numbers: their distributions, their streams, and that every machine draws the same."""

import copy
import math
import pickle

import numpy as np
import pytest

import flame
from flame import compiler, values
from flame.errors import DTypeError, FlameError, ShapeError
from flame.ir.graph import toposort
from flame.nn import functional as F
from tests.support import run_cuda_on_numpy
from tests.surface.sides import interpreted

N = 20_000
FLOATS = [flame.float32, flame.float64, flame.float16, flame.bfloat16]


def drawn(draw, seed: int = 1) -> np.ndarray:
    """A draw from a seed, by the oracle, as float64."""
    flame.manual_seed(seed)
    with interpreted():
        return draw().numpy().astype(np.float64)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


# --- distributions ----------------------------------------------------------------------------------------------------
def filled(name: str, *args, dtype=flame.float32):
    return lambda: getattr(flame.zeros(N, dtype=dtype), name)(*args)


CONTINUOUS = {
    "rand": (lambda: flame.rand(N), lambda x: x),
    "rand float64": (lambda: flame.rand(N, dtype=flame.float64), lambda x: x),
    "uniform_": (filled("uniform_", -2.0, 5.0), lambda x: (x + 2) / 7),
    "uniform_ float64": (filled("uniform_", -2.0, 5.0, dtype=flame.float64), lambda x: (x + 2) / 7),
    "randn": (lambda: flame.randn(N), normal_cdf),
    "randn float64": (lambda: flame.randn(N, dtype=flame.float64), normal_cdf),
    "normal of numbers": (lambda: flame.normal(1.0, 2.0, (N,)), lambda x: normal_cdf((x - 1) / 2)),
    "normal of tensors": (
        lambda: (flame.normal(flame.full((N,), 3.0), flame.full((N,), 0.5)) - 3) * 2,
        normal_cdf,
    ),
    "normal_": (filled("normal_", 3.0, 2.0), lambda x: normal_cdf((x - 3) / 2)),
    "log_normal_": (filled("log_normal_", 0.5, 0.7), lambda x: normal_cdf((np.log(x) - 0.5) / 0.7)),
    "exponential_": (filled("exponential_", 0.5), lambda x: 1 - np.exp(-0.5 * x)),
    "exponential_ float64": (filled("exponential_", 3.0, dtype=flame.float64), lambda x: 1 - np.exp(-3 * x)),
    "trunc_normal_": (
        lambda: flame.nn.init.trunc_normal_(flame.zeros(N), 1.0, 2.0, -1.0, 2.5),
        lambda x: (
            (normal_cdf((x - 1) / 2) - normal_cdf(np.array(-1.0)))
            / (normal_cdf(np.array(0.75)) - normal_cdf(np.array(-1.0)))
        ),
    ),
    "cauchy_": (filled("cauchy_", 1.0, 2.0), lambda x: 0.5 + np.arctan((x - 1) / 2) / np.pi),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_distribution_function_is_met(name):
    """Kolmogorov and Smirnov: the largest distance of the empirical distribution, which 1 in 1000 draws exceeds."""
    draw, cdf = CONTINUOUS[name]
    expected = np.sort(cdf(drawn(draw)))
    steps = np.arange(N + 1) / N
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    assert distance * math.sqrt(N) < 1.95


def geometric(p: float, count: int) -> list[float]:
    return [p * (1 - p) ** k for k in range(count)]


def poissons(rate: float, count: int) -> list[float]:
    return [math.exp(-rate) * rate**k / math.factorial(k) for k in range(count)]


WEIGHTS = [0.0, 1.0, 3.0, 0.0, 2.0, 0.0]
DISCRETE = {  # the draw, its first value, and the chance of each value from there on
    "randint": (lambda: flame.randint(-3, 7, (N,)), -3, [0.1] * 10),
    "randint of a power": (lambda: flame.randint(16, (N,), dtype=flame.uint8), 0, [1 / 16] * 16),
    "random_": (filled("random_", 2, 5, dtype=flame.int32), 2, [1 / 3] * 3),
    "random_ of bool": (filled("random_", dtype=flame.bool), 0, [0.5] * 2),
    "randint_like": (lambda: flame.randint_like(flame.zeros(N), 4), 0, [0.25] * 4),
    "geometric_": (filled("geometric_", 0.3), 1, geometric(0.3, 12)),
    "geometric_ of integers": (filled("geometric_", 0.6, dtype=flame.int64), 1, geometric(0.6, 6)),
    "bernoulli": (lambda: flame.bernoulli(flame.full((N,), 0.3)), 0, [0.7, 0.3]),
    "bernoulli of a number": (lambda: flame.bernoulli(flame.zeros(N), 0.9), 0, [0.1, 0.9]),
    "bernoulli_": (filled("bernoulli_", 0.2, dtype=flame.int8), 0, [0.8, 0.2]),
    "poisson": (lambda: flame.poisson(flame.full((N,), 2.5)), 0, poissons(2.5, 9)),
    "binomial": (lambda: flame.binomial(flame.full((N,), 3.0), flame.full((N,), 0.4)), 0, [0.216, 0.432, 0.288, 0.064]),
    "multinomial": (lambda: flame.multinomial(flame.tensor(WEIGHTS), N, True), 0, [w / 6 for w in WEIGHTS]),
    "multinomial of rows": (
        lambda: flame.multinomial(flame.tensor(WEIGHTS).expand(N // 10, 6), 10, True).reshape(-1),
        0,
        [w / 6 for w in WEIGHTS],
    ),
    "multinomial without replacement": (
        lambda: flame.multinomial(flame.tensor(WEIGHTS).expand(N, 6), 2)[:, 0],
        0,
        [w / 6 for w in WEIGHTS],
    ),
    "the second without replacement": (
        lambda: flame.multinomial(flame.tensor([1.0, 1.0, 2.0]).expand(N, 3), 2)[:, 1],
        0,
        [1 / 4 * 1 / 3 + 1 / 2 * 1 / 2, 1 / 4 * 1 / 3 + 1 / 2 * 1 / 2, 2 * 1 / 4 * 2 / 3],
    ),
    "dropout": (lambda: F.dropout(flame.ones(N), 0.2) * 0.8, 0, [0.2, 0.8]),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_the_chance_of_each_value_is_met(name):
    """Pearson's chi-square, at its mean plus four standard deviations; what has no chance never comes."""
    draw, first, chances = DISCRETE[name]
    found = drawn(draw).round(6)
    chance = np.array([*chances, max(0.0, 1 - sum(chances))])
    counts = np.array([*((found == first + i).sum() for i in range(len(chances))), 0])
    counts[-1] = len(found) - counts.sum()
    assert not counts[chance < 1e-12].any()
    counts, chance = counts[chance >= 1e-12], chance[chance >= 1e-12]
    freedom = len(counts) - 1
    square = ((counts - len(found) * chance) ** 2 / (len(found) * chance)).sum()
    assert square < freedom + 4 * math.sqrt(2 * freedom)


def test_rates_beyond_all_tables():
    found = drawn(lambda: flame.poisson(flame.full((N,), 1e4)))
    assert abs(found.mean() - 1e4) < 4 * 100 / math.sqrt(N)
    assert abs(found.var() / 1e4 - 1) < 4 * math.sqrt(2 / N)


def test_permutations_hold_each_number_once_and_every_order_is_as_likely():
    flame.manual_seed(1)
    for n in (0, 1, 2, 7, 1000):
        assert sorted(flame.randperm(n).tolist()) == list(range(n))
    assert flame.randperm(3, dtype=flame.int32).dtype is flame.int32
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(1200):
        order = tuple(flame.randperm(3).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6 and sum((c - 200) ** 2 / 200 for c in counts.values()) < 5 + 4 * math.sqrt(10)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_uniform_numbers_stay_below_their_end(dtype):
    found = drawn(lambda: flame.rand(N, dtype=dtype))
    digits = {2: 2.0**-8 if dtype is flame.bfloat16 else 2.0**-11, 4: 2.0**-24, 8: 2.0**-53}[dtype.size]
    assert found.min() >= 0 and found.max() <= 1 - digits
    assert (found / digits == np.floor(found / digits)).all(), "all numbers are evenly apart"
    assert ((found / digits) % 2 == 1).mean() == pytest.approx(0.5, abs=0.02), "the last digit is drawn too"
    ranged = drawn(lambda: flame.zeros(N, dtype=dtype).uniform_(1.0, 1.0 + 4 * dtype.epsilon))
    assert ranged.min() >= 1 and ranged.max() < 1 + 4 * dtype.epsilon
    assert drawn(lambda: flame.zeros(N, dtype=dtype).exponential_()).min() > 0
    assert np.isfinite(drawn(lambda: flame.randn(N, dtype=dtype))).all()


def test_wide_ranges_of_integers():
    found = drawn(lambda: flame.randint(-(1 << 62), 1 << 61, (N,)))
    assert found.min() < -0.999 * 2.0**62 and found.max() > 0.999 * 2.0**61
    assert abs(found.mean() + 2.0**60) < 4 * (2.0**62 + 2.0**61) / math.sqrt(12 * N)
    whole = drawn(lambda: flame.zeros(N, dtype=flame.int64).random_())
    assert whole.min() >= 0 and abs(whole.mean() / 2.0**62 - 1) < 8 / math.sqrt(12 * N)
    for span in (10**10, (1 << 40) + 12345, 1 << 45):
        ranged = drawn(lambda span=span: flame.randint(0, span, (N,)))
        assert ranged.min() >= 0 and ranged.max() < span and abs(ranged.mean() / span - 0.5) < 4 / math.sqrt(12 * N)
        assert (ranged % 2).mean() == pytest.approx(0.5, abs=0.02)
    assert drawn(lambda: flame.zeros(N, dtype=flame.int8).random_()).max() == 127
    assert drawn(lambda: flame.zeros(N, dtype=flame.float16).random_()).max() == 2048


# --- streams ----------------------------------------------------------------------------------------------------------
def test_neighbours_and_neighbouring_streams_know_nothing_of_each_other():
    one = drawn(lambda: flame.randn(N))
    for lag in (1, 2, 3, 4, 8, 64):
        assert abs(np.corrcoef(one[:-lag], one[lag:])[0, 1]) < 4 / math.sqrt(N)
    for seed in (2, 3, 1 << 32, (1 << 32) + 1):
        assert abs(np.corrcoef(one, drawn(lambda: flame.randn(N), seed))[0, 1]) < 4 / math.sqrt(N)
    bits = drawn(lambda: flame.randint(0, 1 << 31, (N,))).astype(np.int64)
    for shift in range(31):
        assert ((bits >> shift) & 1).mean() == pytest.approx(0.5, abs=2 / math.sqrt(N))


def test_draws_one_by_one_are_parts_of_one_stream():
    flame.manual_seed(7)
    with interpreted():
        whole = flame.rand(12).tolist()
        flame.manual_seed(7)
        assert [*flame.rand(8).tolist(), *flame.rand(4).tolist()] == whole


DRAWS = {
    "rand": lambda g: flame.rand(3, generator=g),
    "randn": lambda g: flame.randn(3, generator=g),
    "randint": lambda g: flame.randint(0, 99, (3,), generator=g),
    "randperm": lambda g: flame.randperm(9, generator=g),
    "rand_like": lambda g: flame.rand_like(flame.zeros(3), generator=g),
    "randn_like": lambda g: flame.randn_like(flame.zeros(3), generator=g),
    "randint_like": lambda g: flame.randint_like(flame.zeros(3), 99, generator=g),
    "normal": lambda g: flame.normal(flame.zeros(3), 1.0, generator=g),
    "bernoulli": lambda g: flame.bernoulli(flame.full((30,), 0.5), generator=g),
    "multinomial": lambda g: flame.multinomial(flame.ones(50), 9, generator=g),
    "poisson": lambda g: flame.poisson(flame.full((9,), 50.0), generator=g),
    "binomial": lambda g: flame.binomial(flame.full((9,), 90.0), flame.full((9,), 0.5), generator=g),
    "uniform_": lambda g: flame.zeros(3).uniform_(generator=g),
    "normal_": lambda g: flame.zeros(3).normal_(generator=g),
    "log_normal_": lambda g: flame.zeros(3).log_normal_(generator=g),
    "exponential_": lambda g: flame.zeros(3).exponential_(generator=g),
    "cauchy_": lambda g: flame.zeros(3).cauchy_(generator=g),
    "geometric_": lambda g: flame.zeros(9).geometric_(0.01, generator=g),
    "bernoulli_": lambda g: flame.zeros(30).bernoulli_(generator=g),
    "random_": lambda g: flame.zeros(3).random_(generator=g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_state_repeats_a_draw_and_the_next_differs(name):
    draw = DRAWS[name]
    with interpreted():
        g = flame.Generator().manual_seed(5)
        draw(g)
        state, pair, twin = g.get_state(), (g.seed_, g.offset), copy.deepcopy(g)
        stored = pickle.dumps(g)
        first, second = draw(g).tolist(), draw(g).tolist()
        assert first != second
        for again in (g.set_state(state), g.set_state(pair), twin, pickle.loads(stored)):
            assert draw(again).tolist() == first
            g.set_state(state)
        assert (state.dtype, state.shape) == (flame.uint8, (16,))


def test_the_default_generator_and_its_state():
    with interpreted():
        flame.manual_seed(3)
        state = flame.get_rng_state()
        first = flame.rand(3).tolist()
        flame.set_rng_state(state)
        with flame.fork_rng():
            assert flame.rand(3).tolist() == first
            flame.manual_seed(99)
        assert flame.rand(3).tolist() == first
        with flame.random.fork_rng(enabled=False):
            flame.manual_seed(3)
            flame.rand(3)
        assert flame.rand(3).tolist() != first
        assert flame.initial_seed() == 3 and flame.manual_seed(-1).initial_seed() == 2**64 - 1
        assert flame.seed() != flame.seed() and flame.Generator().seed() != flame.Generator("cpu").seed()
        assert flame.Generator().initial_seed() == 67280421310721 and flame.Generator(device="cpu").device.type == "cpu"


def test_a_new_draw_compiles_nothing():
    def step():
        x = flame.rand(3, 5) + F.dropout(flame.ones(3, 5), 0.3) + flame.randn(3, 5)
        return flame.multinomial(x.abs(), 2).sum().item()

    step()
    seen = []
    compiler.listeners.append(seen.append)
    before = len(values._ready)
    try:
        for _ in range(3):
            step()
    finally:
        compiler.listeners.remove(seen.append)
    assert not seen and len(values._ready) == before


@pytest.mark.parametrize("name", ["rand", "randn", "randint", "bernoulli", "uniform_", "exponential_", "random_"])
def test_every_machine_draws_the_same(name):
    """The oracle, compiled kernels of the CPU, and CUDA's kernels under numpy."""

    def draw():
        return DRAWS[name](flame.Generator().manual_seed(11))

    with interpreted():
        expected = draw().numpy()
    np.testing.assert_allclose(draw().numpy(), expected, rtol=1e-5)
    node = draw().node
    given = {n: np.asarray(values.get(n)) for n in toposort([node]) if n in values.COMPUTED}
    np.testing.assert_allclose(run_cuda_on_numpy((node,), given)[0], expected, rtol=1e-5)


# --- dropout ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"])
def test_whole_channels_are_dropped(name):
    shape = {"dropout1d": (40, 25, 3), "dropout2d": (40, 25, 2, 2), "dropout3d": (40, 25, 1, 2, 2)}.get(
        name, (40, 25, 3)
    )
    found = drawn(lambda: getattr(F, name)(flame.ones(*shape), 0.3, training=True)).reshape(40, 25, -1)
    assert (found == found[..., :1]).all()
    dropped = found[..., 0] == found.min()
    assert dropped.mean() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 1000))
    if name != "feature_alpha_dropout":
        np.testing.assert_allclose(found[..., 0], np.where(dropped, 0, 1 / 0.7), rtol=1e-6)


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name):
    found = drawn(lambda: getattr(F, name)(flame.randn(N // 2, 2), 0.4, training=True))
    assert abs(found.mean()) < 0.04 and found.var() == pytest.approx(1, abs=0.05)


def test_dropout_of_nothing_of_all_and_in_place():
    x = flame.tensor([[1.0, -2.0]])
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"):
        f = getattr(F, name)
        assert f(x, 0.5, False) is x and f(x, 0.0, True) is x
        assert f(x, 1.0, True).tolist() == [[0.0, -0.0]]
        y = x.clone()
        assert f(y, 0.5, True, True) is y and y.tolist() != x.tolist()
        for p in (-0.1, 1.1, math.nan):
            with pytest.raises(FlameError, match=name):
                f(x, p, True)
    for name, wrong in (("dropout1d", (3,)), ("dropout2d", (3,)), ("dropout3d", (3,)), ("dropout1d", (1, 2, 3, 4))):
        with pytest.raises(ShapeError, match=name):
            getattr(F, name)(flame.ones(*wrong))


# --- what a draw is, and what it refuses ------------------------------------------------------------------------------
def test_draws_have_the_dtype_and_the_gradients_that_were_asked_for():
    like = flame.zeros(2, 3, dtype=flame.float64)
    assert flame.rand(size=(2, 3)).shape == flame.randn([2, 3]).shape == (2, 3)
    assert flame.rand_like(like).dtype is flame.float64 and flame.randn_like(like, dtype=flame.float16).shape == (2, 3)
    assert flame.rand(2, requires_grad=True).requires_grad and flame.normal(0.0, 1.0, (2,), requires_grad=True).is_leaf
    assert flame.randint(3, (2,), dtype=flame.float32).dtype is flame.float32
    assert flame.randint(low=1, high=3, size=(2,)).shape == (2,) and flame.rand(0, 3).shape == (0, 3)
    p = flame.full((3,), 0.5, requires_grad=True)
    assert not flame.bernoulli(p).requires_grad and not flame.normal(p, p).requires_grad
    assert p.bernoulli().shape == (3,) and not flame.multinomial(p, 2).requires_grad
    assert flame.normal(flame.zeros(2, 1), flame.ones(3)).shape == (2, 3)
    x = flame.zeros(3, dtype=flame.bfloat16)
    assert x.normal_() is x and x.dtype is flame.bfloat16


REFUSED = {
    "randint: empty": (lambda: flame.randint(3, 3, (2,)), ShapeError),
    "randint: beyond the dtype": (lambda: flame.randint(0, 300, (2,), dtype=flame.uint8), ShapeError),
    "randperm": (lambda: flame.randperm(-1), ShapeError),
    "rand": (lambda: flame.rand(2, dtype=flame.int64), FlameError),
    "randn_like": (lambda: flame.randn_like(flame.zeros(2).int()), FlameError),
    "normal: no size": (lambda: flame.normal(0.0, 1.0), ShapeError),
    "normal: negative": (lambda: flame.normal(flame.zeros(2), -1.0), FlameError),
    "normal: integers": (lambda: flame.normal(flame.zeros(2).int(), 1.0), DTypeError),
    "bernoulli": (lambda: flame.bernoulli(flame.zeros(2).int()), DTypeError),
    "bernoulli: chance": (lambda: flame.bernoulli(flame.zeros(2), 1.5), FlameError),
    "multinomial: shape": (lambda: flame.multinomial(flame.ones(2, 2, 2), 1), ShapeError),
    "multinomial: integers": (lambda: flame.multinomial(flame.ones(2).int(), 1), DTypeError),
    "multinomial: too many": (lambda: flame.multinomial(flame.ones(2), 3), FlameError),
    "multinomial: none": (lambda: flame.multinomial(flame.ones(2), 0, True), FlameError),
    "poisson": (lambda: flame.poisson(flame.full((2,), -1.0)), FlameError),
    "poisson: integers": (lambda: flame.poisson(flame.ones(2).int()), DTypeError),
    "binomial": (lambda: flame.binomial(flame.ones(2), flame.full((2,), 2.0)), FlameError),
    "uniform_": (lambda: flame.zeros(2).uniform_(2.0, 1.0), FlameError),
    "uniform_: integers": (lambda: flame.zeros(2).int().uniform_(), DTypeError),
    "normal_": (lambda: flame.zeros(2).normal_(0.0, -1.0), FlameError),
    "log_normal_": (lambda: flame.zeros(2).log_normal_(0.0, 0.0), FlameError),
    "exponential_": (lambda: flame.zeros(2).exponential_(0.0), FlameError),
    "cauchy_": (lambda: flame.zeros(2).cauchy_(0.0, -1.0), FlameError),
    "geometric_": (lambda: flame.zeros(2).geometric_(1.0), FlameError),
    "bernoulli_": (lambda: flame.zeros(2).bernoulli_(2.0), FlameError),
    "random_": (lambda: flame.zeros(2).random_(3, 3), ShapeError),
    "manual_seed": (lambda: flame.manual_seed(1 << 64), FlameError),
    "set_state": (lambda: flame.Generator().set_state(flame.zeros(3)), FlameError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_drawn_is_refused_at_the_call(name):
    call, error = REFUSED[name]
    with pytest.raises(error, match=name.split(":")[0]):
        call()
