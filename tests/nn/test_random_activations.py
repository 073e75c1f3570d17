"""gumbel_softmax and rrelu draw from flame's stream: distributions, gradients, and repetition by seed."""

import math

import numpy as np
import pytest

import flame
from flame.nn import functional as F


def test_hard_gumbel_samples_have_the_probabilities_of_the_logits():
    flame.manual_seed(3)
    probabilities = np.array([0.1, 0.2, 0.7])
    logits = flame.tensor(np.log(probabilities)).float().expand(20000, 3)
    drawn = F.gumbel_softmax(logits, hard=True).numpy()
    assert set(np.unique(drawn.round(5))) == {0.0, 1.0} and (drawn.sum(1).round(5) == 1).all()
    spread = np.sqrt(probabilities * (1 - probabilities) / 20000)
    assert (np.abs(drawn.mean(0) - probabilities) < 5 * spread).all()


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_the_hard_sample_has_the_gradient_of_the_soft_one(dim):
    weights = flame.tensor(np.random.default_rng(0).random((3, 4)).astype(np.float32))
    grads = []
    for hard in (False, True):
        flame.manual_seed(5)
        x = flame.tensor(np.random.default_rng(1).random((3, 4)).astype(np.float32), requires_grad=True)
        y = F.gumbel_softmax(x, tau=0.5, hard=hard, dim=dim)
        np.testing.assert_allclose(y.sum(dim).numpy(), 1, rtol=1e-5)
        (y * weights).sum().backward()
        assert x.grad is not None
        grads.append(x.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-7)


def test_slopes_in_training_lie_between_their_limits():
    flame.manual_seed(1)
    x = flame.full((10000,), -1.0).requires_grad_()
    y = F.rrelu(x, 0.2, 0.4, training=True)
    slopes = -y.numpy()
    assert 0.2 <= slopes.min() and slopes.max() < 0.4 + 1e-6
    assert abs(slopes.mean() - 0.3) < 5 * 0.2 / math.sqrt(12 * 10000)
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), slopes)
    assert F.rrelu(flame.tensor([2.0]), training=True).item() == 2.0


def test_a_seed_repeats_them():
    found = []
    for _ in range(2):
        flame.manual_seed(7)
        found.append(
            F.gumbel_softmax(flame.zeros(5)).tolist() + F.rrelu(flame.full((3,), -1.0), training=True).tolist()
        )
    assert found[0] == found[1]


def test_softmax_without_a_dimension_warns():
    with pytest.warns(UserWarning, match="say dim=1"):
        F.softmax(flame.zeros(2, 3))
