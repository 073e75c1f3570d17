"""Results left out of a kernel: only where the others keep their bits."""

import pytest

import flame
from flame.ir.loop import Store, statements
from flame.ir.plan import Launch, written
from flame.ir.target import CUDA
from flame.passes.part import part
from tests.support import compiled


def launch(make):
    """The one launch that makes what `make` returns of two vectors."""
    x, y = (flame.rand(64, 64, device="cpu").realize() for _ in range(2))
    program = compiled(tuple(t.node for t in make(x, y)), CUDA)
    (step,) = program.plan.steps
    assert isinstance(step, Launch)
    return step


def stores(step):
    return [s.param for s in statements(step.kernel.body) if isinstance(s, Store)]


def test_what_nobody_reads_is_neither_stored_nor_loaded_for():
    step = launch(lambda x, y: (x + 1, x * y))
    first = written(step)[0]
    made = part(step, {first})
    assert written(made) == (first,) and len(stores(made)) == 1
    assert len(made.kernel.params) == 2 < len(step.kernel.params)
    assert made.kernel.name != step.kernel.name


def test_a_value_that_the_rest_stores_may_be_read_by_what_goes():
    step = launch(lambda x, y: (x + y, (x + y).exp()))
    first, second = written(step)
    assert written(part(step, {first})) == (first,)
    assert part(step, {second}) is step, "its arithmetic has one reader fewer"


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: ((x * y) + 1, (x * y) - x),  # contracted where the product has one reader
        lambda x, y: (x.softmax(-1), x.sum(-1)),  # a fold's order hangs on its loop
    ],
    ids=["product", "fold"],
)
def test_what_could_change_bits_stays_whole(make):
    step = launch(make)
    assert part(step, set(written(step)[:1])) is step
