"""Whose memory a result may take: found by a training loop whose parameters were updated from overwritten moments."""

import numpy as np
import pytest

import flame
from flame import compiler
from flame.errors import ValidationError
from flame.tensor import assign


def test_a_kernel_that_reads_a_leaf_after_a_store_does_not_store_over_it():
    """Three results of one kernel, each over an old value that a later result still reads (Adam's m, v and weight)."""
    rng = np.random.default_rng(0)
    old = [rng.uniform(1, 2, 32).astype(np.float32) for _ in range(4)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        w, m, v, g = (flame.tensor(a) for a in old)
        m1, v1 = m * 0.5 + g, v * 0.25 + g * g
        pairs = [(w, w - m1 / v1.sqrt()), (m, m1), (v, v1)]
        with flame.config(validate=True):
            assign([pairs[i] for i in order])
        m2, v2 = old[1] * 0.5 + old[3], old[2] * 0.25 + old[3] ** 2
        for found, expected in zip((w, m, v), (old[0] - m2 / np.sqrt(v2), m2, v2)):
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_memory_of_another_element_width_is_not_taken():
    a = flame.tensor(np.arange(8, dtype=np.float32))
    b = flame.zeros(4, dtype=flame.float64).realize()
    assign([(a, a * 2), (b, a[:4].double() + 0.5)])
    assert b.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert a.tolist() == [2.0 * i for i in range(8)]


def test_validation_finds_a_donation_too_early(monkeypatch):
    real = compiler.place

    def hasty(plan, *args):
        made = real(plan, *args)
        out = next(s for s in plan.outputs if s not in plan.leaves)
        return made.__class__(**{f: getattr(made, f) for f in made.__slots__} | {"donated": ((out, plan.leaves[0]),)})

    monkeypatch.setattr(compiler, "place", hasty)
    x = flame.tensor(np.arange(6.0).astype(np.float32))
    with flame.config(validate=True), pytest.raises(ValidationError, match="written over slot"):
        (x.flip(0) + x * 2).numpy()
