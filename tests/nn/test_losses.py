"""Losses beside numpy's formulas."""

import math

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import DTypeError, FlameError, GradError, IndexingError, ShapeError
from flame.nn import functional as F

rng = np.random.default_rng(1)


def np_cross_entropy(x, y, weight=None, ignore=-100, smoothing=0.0):
    """Every position's cost and how much it counts; classes on axis 1."""
    x = np.moveaxis(x.astype(np.float64), 1, -1)
    shifted = x - x.max(-1, keepdims=True)
    cost = np.log(np.exp(shifted).sum(-1, keepdims=True)) - shifted
    weight = np.ones(x.shape[-1]) if weight is None else weight
    counted = y != ignore
    safe = np.where(counted, y, 0)
    cost = cost * weight
    loss = (1 - smoothing) * np.take_along_axis(cost, safe[..., None], -1)[..., 0]
    loss = loss + smoothing / x.shape[-1] * cost.sum(-1)
    return np.where(counted, loss, 0), np.where(counted, weight[safe], 0)


@pytest.mark.parametrize("shape", [(6, 5), (3, 5, 4), (2, 5, 3, 2)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy(shape, weighted, smoothing):
    x = (5 * rng.normal(size=shape)).astype(np.float32)
    y = rng.integers(0, 5, (shape[0], *shape[2:]))
    y.reshape(-1)[1] = 2
    weight = rng.random(5).astype(np.float32) if weighted else None
    loss, count = np_cross_entropy(x, y, weight, 2, smoothing)
    options = {"weight": None if weight is None else flame.tensor(weight), "ignore_index": 2}
    expected = {"none": loss, "sum": loss.sum(), "mean": loss.sum() / count.sum()}
    for reduction, value in expected.items():
        result = F.cross_entropy(
            flame.tensor(x), flame.tensor(y), reduction=reduction, label_smoothing=smoothing, **options
        )
        np.testing.assert_allclose(result.numpy(), value, rtol=2e-5, atol=1e-6)


def test_cross_entropy_of_one_example_and_its_gradient():
    x = flame.tensor([1.0, 2.0, 3.0], requires_grad=True)
    loss = F.cross_entropy(x, flame.tensor(2))
    loss.backward()
    p = np.exp([1.0, 2, 3]) / np.exp([1.0, 2, 3]).sum()
    assert loss.shape == ()
    np.testing.assert_allclose(loss.item(), -math.log(p[2]), rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), p - [0, 0, 1], rtol=1e-5)


def test_cross_entropy_of_huge_logits_is_finite():
    x = flame.tensor([[1e30, -1e30], [-math.inf, 0.0]], requires_grad=True)
    loss = F.cross_entropy(x, flame.tensor([0, 1]))
    loss.backward()
    assert loss.item() == 0.0
    assert x.grad.numpy().tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("weight", [None, flame.ones(3)])
def test_a_class_that_does_not_exist_is_an_error(weight):
    with pytest.raises(IndexingError, match=r"cross_entropy: target 3 .* \[0, 2\], or ignore_index=-100"):
        F.cross_entropy(flame.zeros(2, 3), flame.tensor([0, 3]), weight)
    assert F.cross_entropy(flame.zeros(3, 3), flame.tensor([0, 7, 1]), weight, ignore_index=7).item() > 0
    late = flame.tensor([0.0, 3.0]).long()  # nobody knows yet
    loss = F.cross_entropy(flame.zeros(2, 3), late, weight)
    with pytest.raises(IndexingError, match=r"cross_entropy: index 3 is out of range"):
        loss.item()
    fine = F.cross_entropy(flame.zeros(3, 3), flame.tensor([0.0, -100.0, 2.0]).long(), weight)
    assert fine.item() == pytest.approx(math.log(3), rel=1e-5)


def test_other_losses_check_their_classes_too():
    x, wrong = flame.zeros(2, 3), flame.tensor([0, 3])
    for f in (F.nll_loss, F.multi_margin_loss):
        with pytest.raises(IndexingError, match=f"{f.__name__}: target 3"):
            f(x, wrong)
        with pytest.raises(IndexingError, match=f"{f.__name__}: index 3"):
            f(x, flame.tensor([0.0, 3.0]).long()).item()
    with pytest.raises(IndexingError, match="multilabel_margin_loss: target 3"):
        F.multilabel_margin_loss(x, flame.tensor([[0, 3, -1], [0, 1, -1]]))


def test_mse():
    a, b = (rng.normal(size=(3, 4)).astype(np.float32) for _ in range(2))
    for reduction, value in {"none": (a - b) ** 2, "sum": ((a - b) ** 2).sum(), "mean": ((a - b) ** 2).mean()}.items():
        result = F.mse_loss(flame.tensor(a), flame.tensor(b), reduction)
        np.testing.assert_allclose(result.numpy(), value, rtol=1e-5)
    assert nn.MSELoss()(flame.ones(2), flame.zeros(2)).item() == 1.0


def test_losses_say_what_does_not_fit():
    x = flame.zeros(2, 3)
    with pytest.raises(ShapeError, match=r"\(2, 3\) and the target \(3,\)"):
        F.mse_loss(x, flame.zeros(3))
    with pytest.raises(FlameError, match="reduction is 'average'"):
        F.mse_loss(x, x, "average")
    with pytest.raises(ShapeError, match=r"must have shape \(2,\)"):
        F.cross_entropy(x, flame.tensor([0, 1, 2]))
    with pytest.raises(DTypeError, match="class indices"):
        F.cross_entropy(x, flame.zeros(2))
    with pytest.raises(ShapeError, match="for 3 classes"):
        F.cross_entropy(x, flame.tensor([0, 1]), weight=flame.ones(2))
    with pytest.raises(FlameError, match="label_smoothing is 2"):
        nn.CrossEntropyLoss(label_smoothing=2)(x, flame.tensor([0, 1]))


def test_second_derivatives_of_ctc_loss_are_refused():
    x = flame.zeros(3, 1, 4, requires_grad=True)
    loss = F.ctc_loss(x.log_softmax(-1), flame.tensor([[1, 2]]), [3], [2])
    loss.backward(create_graph=True)
    with pytest.raises(GradError, match="differentiated again"):
        (x.grad * x.grad).sum().backward()
