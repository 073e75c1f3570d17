"""What resampling does where PyTorch's answer is no number, and what it costs."""

import math

import numpy as np
import pytest

import flame
from flame.ir.graph import toposort
from flame.nn import functional as F


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_a_place_that_is_no_number_reads_nothing_and_spoils_no_gradient(mode: str):
    x = flame.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    grid = flame.tensor([[[[math.nan, 0.0], [math.inf, 0.0], [-1.0, -1.0]]]])
    y = F.grid_sample(x, grid, mode, align_corners=True)
    y.sum().backward()
    assert y.numpy().ravel().tolist() == [0.0, 0.0, 1.0]
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy().ravel(), [1.0, 0.0, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_no_scatter_is_in_the_gradient_of_a_resized_image(mode: str):
    x = flame.tensor(np.ones((1, 1, 5, 7), np.float32), requires_grad=True)
    F.interpolate(x, size=(8, 6), mode=mode).sum().backward()
    assert x.grad is not None
    assert not any("scatter" in n.op.name for n in toposort([x.grad.node]))
    np.testing.assert_allclose(x.grad.numpy().sum(), 48, rtol=1e-5)
