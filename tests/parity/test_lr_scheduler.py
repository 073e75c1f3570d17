"""Schedulers beside torch.optim.lr_scheduler: forty steps of rates and momenta, and states that resume."""

import math
from functools import partial

import numpy as np
import pytest

import flame
from flame.errors import FlameError

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:Detected call:UserWarning")]

SIMPLE = {
    "LambdaLR": {"lr_lambda": lambda t: 0.9**t},
    "LambdaLR each": {"lr_lambda": [lambda t: 0.9**t, lambda t: 1 / (t + 1)]},
    "MultiplicativeLR": {"lr_lambda": lambda t: 0.95},
    "StepLR": {"step_size": 7, "gamma": 0.3},
    "MultiStepLR": {"milestones": [3, 8, 8, 20], "gamma": 0.5},
    "ConstantLR": {"factor": 0.25, "total_iters": 6},
    "LinearLR": {"start_factor": 0.2, "end_factor": 0.9, "total_iters": 11},
    "ExponentialLR": {"gamma": 0.93},
    "PolynomialLR": {"total_iters": 30, "power": 2.0},
    "CosineAnnealingLR": {"T_max": 9, "eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 5, "T_mult": 2, "eta_min": 0.01},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 5, "step_size_down": 8},
    "CyclicLR two": {"base_lr": [0.01, 0.02], "max_lr": 0.3, "step_size_up": 5, "mode": "triangular2"},
    "CyclicLR exp": {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 4, "mode": "exp_range", "gamma": 0.9},
    "CyclicLR fn": {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 4, "scale_fn": lambda x: 1 / x},
    "OneCycleLR": {"max_lr": 0.4, "total_steps": 40},
    "OneCycleLR linear": {"max_lr": [0.4, 0.2], "epochs": 4, "steps_per_epoch": 10, "anneal_strategy": "linear"},
    "OneCycleLR three": {"max_lr": 0.4, "total_steps": 40, "three_phase": True, "pct_start": 0.4},
}


def optimizer(library, kind="SGD"):
    params = [library.nn.Parameter(library.ones(2)) for _ in range(2)]
    groups = [{"params": [params[0]]}, {"params": [params[1]], "lr": 0.05}]
    options = {"lr": 0.1, "momentum": 0.9} if kind == "SGD" else {"lr": 0.1}
    return getattr(library.optim, kind)(groups, **options)


def trace(opt, scheduler, steps, *args):
    rows = []
    for _ in range(steps):
        first = [(g["lr"], g["betas"][0] if "betas" in g else g["momentum"]) for g in opt.param_groups]
        rows.append(first + [tuple(scheduler.get_last_lr())])
        scheduler.step(*args)
    return np.array(rows, dtype=float)


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("name", SIMPLE)
def test_forty_steps(name, kind):
    found = []
    for library in (flame, torch):
        opt = optimizer(library, kind)
        make = getattr(library.optim.lr_scheduler, name.split()[0])
        found.append(trace(opt, make(opt, **SIMPLE[name]), 40))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)


def sequential(library, opt):
    s = library.optim.lr_scheduler
    return s.SequentialLR(
        opt, [s.LinearLR(opt, 0.1, total_iters=4), s.CosineAnnealingLR(opt, 10), s.StepLR(opt, 3)], [4, 14]
    )


def chained(library, opt):
    s = library.optim.lr_scheduler
    return s.ChainedScheduler([s.ConstantLR(opt, 0.1, total_iters=3), s.ExponentialLR(opt, 0.9)])


@pytest.mark.parametrize("make", [sequential, chained])
def test_combined(make):
    found = []
    for library in (flame, torch):
        opt = optimizer(library)
        found.append(trace(opt, make(library, opt), 25))
    np.testing.assert_allclose(*found, rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"mode": "max", "patience": 1, "cooldown": 2, "factor": 0.5},
        {"threshold_mode": "abs", "threshold": 0.1, "patience": 1, "min_lr": [0.01, 0.002]},
    ],
    ids=str,
)
def test_plateau(options):
    metrics = [1.0, 0.9, 0.95, 0.91, 0.9, 0.89, 0.89, 1.2, 1.3, 1.1, 1.0, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6, 0.6]
    found = []
    for library in (flame, torch):
        opt = optimizer(library)
        scheduler = library.optim.lr_scheduler.ReduceLROnPlateau(opt, **options)
        rows = []
        for m in metrics:
            scheduler.step(m)
            rows.append([g["lr"] for g in opt.param_groups])
        found.append(rows)
    np.testing.assert_allclose(*found, rtol=1e-12)


def simple(name, library, opt):
    return getattr(library.optim.lr_scheduler, name.split()[0])(opt, **SIMPLE[name])


MAKERS = {name: partial(simple, name) for name in SIMPLE}
MAKERS |= {"sequential": sequential, "chained": chained}


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_schedule_resumes(name):
    """States of schedule and optimizer, taken after nine steps, continue as if there had been no pause."""
    whole = optimizer(flame)
    expected = trace(whole, MAKERS[name](flame, whole), 20)
    first = optimizer(flame)
    scheduler = MAKERS[name](flame, first)
    trace(first, scheduler, 9)
    states = scheduler.state_dict(), first.state_dict()
    second = optimizer(flame)
    resumed = MAKERS[name](flame, second)
    second.load_state_dict(states[1])
    resumed.load_state_dict(states[0])
    np.testing.assert_allclose(trace(second, resumed, 11), expected[9:], rtol=1e-12)


def test_warm_up_and_cosine():
    opt = optimizer(flame)
    rates = trace(opt, flame.optim.lr_scheduler.WarmupCosineLR(opt, 4, 20, min_ratio=0.1), 30)[:, 0, 0]
    np.testing.assert_allclose(rates[:4], [0.02, 0.04, 0.06, 0.08])
    np.testing.assert_allclose(rates[12], 0.1 * (0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2))
    assert rates.argmax() == 4 and np.allclose(rates[20:], 0.01)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s, o: s.StepLR("no optimizer", 3), "StepLR: needs an optimizer"),
        (lambda s, o: s.LambdaLR(o, [lambda t: 1.0]), "1 values for 2 parameter groups"),
        (lambda s, o: s.StepLR(o, 3, last_epoch=4), "no 'initial_lr'"),
        (lambda s, o: s.OneCycleLR(o, 0.1), "give total_steps"),
        (lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"), "mode is 'square'"),
        (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [3]), "need 0 milestones"),
        (lambda s, o: s.ReduceLROnPlateau(o).step(), "needs the metric"),
        (lambda s, o: s.ConstantLR(o, 2.0), "factor is 2.0"),
    ],
)
def test_misuse(call, says):
    with pytest.raises(FlameError, match=says):
        call(flame.optim.lr_scheduler, optimizer(flame))


def test_a_new_rate_compiles_nothing():
    programs = []
    opt = optimizer(flame, "AdamW")
    scheduler = flame.optim.lr_scheduler.ExponentialLR(opt, 0.9)

    def steps(count):
        for _ in range(count):
            for group in opt.param_groups:
                for p in group["params"]:
                    p.grad = flame.ones(2)
            opt.step()
            scheduler.step()

    steps(2)
    flame.compiler.listeners.append(programs.append)
    try:
        steps(3)
    finally:
        flame.compiler.listeners.remove(programs.append)
    assert not programs


JUMPING = [
    "LambdaLR",
    "StepLR",
    "MultiStepLR",
    "ConstantLR",
    "LinearLR",
    "ExponentialLR",
    "PolynomialLR",
    "CosineAnnealingLR",
]


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("name", JUMPING)
def test_an_epoch_may_be_named(name):
    found = []
    for library in (flame, torch):
        opt = optimizer(library)
        scheduler = getattr(library.optim.lr_scheduler, name)(opt, **SIMPLE[name])
        rates = []
        for epoch in (1, 2, 3, 9, 4, 0, 12):
            scheduler.step(epoch)
            rates.append([g["lr"] for g in opt.param_groups] + [scheduler.last_epoch])
        scheduler.step()
        found.append([*rates, [g["lr"] for g in opt.param_groups] + [scheduler.last_epoch]])
    np.testing.assert_allclose(*found, rtol=1e-6)
    assert flame.optim.lr_scheduler._LRScheduler is flame.optim.lr_scheduler.LRScheduler
