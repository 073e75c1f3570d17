"""Anomaly detection: which operation made a nan, on which line of the user's, forward and backward."""

import inspect

import numpy as np
import pytest

import flame
from flame.errors import AnomalyError


def line(offset: int = 0) -> str:
    """The caller's line, as errors name it."""
    frame = inspect.currentframe().f_back
    return f"test_anomaly.py:{frame.f_lineno + offset}"


def leaf(values, grad=True):
    return flame.tensor(values, requires_grad=grad)


def test_a_nan_of_the_forward_pass_names_operation_operands_and_line():
    x = leaf([4.0, 1.0, -1.0])
    with flame.autograd.detect_anomaly():
        h, here = x.log(), line()
        loss = (h * 2).exp().sum()
        with pytest.raises(
            AnomalyError, match=r"log gives nan at \(2,\) of log:float32\[3\], from log\(-1\)"
        ) as caught:
            loss.item()
    assert here in str(caught.value)


def test_a_nan_inside_a_composite_names_the_line_that_called_it():
    x = leaf([[np.inf, 1.0]])
    with flame.autograd.detect_anomaly():
        y, here = flame.nn.functional.softmax(x - x.amax(), -1), line()
        with pytest.raises(AnomalyError, match="gives nan") as caught:
            y.sum().item()
    assert here in str(caught.value)


def test_a_nan_of_the_backward_pass_is_raised_by_backward():
    x = leaf([4.0, 0.0])
    with flame.autograd.detect_anomaly():
        y, here = x.sqrt(), line()
        loss = (y * leaf([1.0, 0.0], False)).sum()
        with pytest.raises(
            AnomalyError, match=r"the gradient of sqrt gives nan at \(1,\).* from div\(0, 0\)"
        ) as caught:
            loss.backward()
    assert here in str(caught.value)
    loss_2 = (leaf([4.0, 0.0]).sqrt() * leaf([1.0, 0.0], False)).sum()
    loss_2.backward()  # outside, nothing is looked at


def test_grad_finds_them_too_and_custom_functions():
    @flame.autograd.custom_gradient(lambda g, y, x: g * (x / x))
    def f(x):
        return x * 2

    x = leaf([0.0, 1.0])
    with flame.autograd.detect_anomaly(), pytest.raises(AnomalyError, match=r"div\(0, 0\)"):
        flame.autograd.grad(f(x).sum(), x)


def test_a_nan_in_the_data_is_said_to_be_there():
    with flame.autograd.detect_anomaly():
        x, here = flame.tensor([1.0, np.nan]), line()
        with pytest.raises(
            AnomalyError, match=r"a nan was in the data: leaf:float32\[2\] holds one at \(1,\)"
        ) as caught:
            (x * 2).sum().item()
    assert here in str(caught.value)


def test_a_nan_that_nobody_takes_is_none():
    x = leaf([1.0, -1.0])
    with flame.autograd.detect_anomaly():
        assert flame.where(x > 0, x.log(), 0.0).sum().item() == 0.0
        assert flame.tensor([np.nan]).isnan().tolist() == [True]


def test_an_optimizer_step_is_watched_and_nothing_is_donated_before():
    w = leaf([1.0, 2.0])
    opt = flame.optim.SGD([w], lr=0.1)
    with flame.autograd.detect_anomaly():
        (w * w).sum().backward()
        opt.step()
        w.grad = flame.tensor([np.inf, 0.0]) - flame.tensor([np.inf, 0.0])
        with pytest.raises(AnomalyError, match=r"sub\(inf, inf\)"):
            opt.step()


def test_the_mode_can_be_set_asked_for_and_left():
    assert not flame.autograd.is_anomaly_enabled()
    flame.autograd.set_detect_anomaly(True)
    assert flame.autograd.is_anomaly_enabled()
    with flame.autograd.set_detect_anomaly(False):
        assert not flame.autograd.is_anomaly_enabled()
    assert flame.autograd.is_anomaly_enabled()
    flame.autograd.set_detect_anomaly(False)
    with flame.autograd.detect_anomaly(check_nan=False):
        assert not flame.autograd.is_anomaly_enabled()
    with flame.config(anomaly=True):
        assert flame.autograd.is_anomaly_enabled()
