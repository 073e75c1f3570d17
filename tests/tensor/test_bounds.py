"""Positions outside a tensor are caught: at the call where they are known, else when they are computed."""

import gc
import sys

import numpy as np
import pytest

import flame
from flame import positions, values
from flame.errors import IndexingError
from flame.ir import spans
from flame.optim import SGD
from flame.runtime import devices


@pytest.fixture(autouse=True)
def nothing_is_watched():
    positions._watched.clear()  # what an error of another test still holds


def pending(*numbers: int) -> flame.Tensor:
    """Positions that nobody knows before they are computed."""
    return flame.tensor([float(n) for n in numbers]).long()


X = np.arange(12.0, dtype=np.float32).reshape(3, 4)


def test_what_is_in_memory_is_checked_at_the_call():
    x = flame.tensor(X)
    for wrong in ([0, 3], [-4, 0]):
        with pytest.raises(IndexingError, match=rf"getitem: index {max(wrong, key=abs)} .*\[-3, 2\]"):
            x[flame.tensor(wrong)]
    computed = pending(0, 3).realize()
    with pytest.raises(IndexingError, match=r"index_select: index 3 is out of range; choose from \[0, 2\]"):
        x.index_select(0, computed)


def test_what_follows_from_memory_is_checked_at_the_call():
    x, i = flame.tensor(X), flame.tensor([0, 2])
    with pytest.raises(IndexingError, match="index 3"):
        x[i + 1]
    with pytest.raises(IndexingError, match="index -2"):
        x.index_select(0, -i.reshape(2, 1).reshape(2))
    x[i - 3], x[(i * 2).clamp(0, 2)]  # these are in range, which is known as well


def test_what_is_computed_is_checked_when_it_is_computed_and_names_the_line_of_the_gather():
    x, i = flame.tensor(X), pending(1, 7)
    line = sys._getframe().f_lineno + 1
    y = x.index_select(0, i)
    z = y + 1
    for _ in range(2):  # nothing has changed: it is refused again
        with pytest.raises(IndexingError, match=rf"index_select: index 7 .*\[0, 2\].*test_bounds.py:{line}\)"):
            z.numpy()
    assert y.node not in values.COMPUTED and z.node not in values.COMPUTED
    assert i.tolist() == [1, 7]  # the positions themselves are a fine tensor


def test_writing_is_checked_too():
    x = flame.tensor(X)
    before = x.node
    y = x.scatter_add(0, pending(3).reshape(1, 1), flame.tensor([[1.0]]))
    with pytest.raises(IndexingError, match="scatter_add: index 3"):
        y.numpy()
    y = flame.tensor(X)
    y[pending(0, -4)] = 0.0
    with pytest.raises(IndexingError, match=r"setitem: index -4 .*\[-3, 2\]"):
        y.numpy()
    assert x.node is before


def test_a_gradient_reads_where_its_forward_pass_read():
    x = flame.tensor(X, requires_grad=True)
    x.index_select(0, pending(2, 0)).sum().backward()
    assert x.grad.tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4]


def test_checked_once():
    x, i = flame.tensor(X), pending(0, 2)
    assert x[i].tolist() == [X[0].tolist(), X[2].tolist()]
    assert not positions._watched
    y = x[i] * 2
    assert not positions._watched and y.tolist() == (X[[0, 2]] * 2).tolist()


def test_a_tensor_of_tokens_costs_nothing():
    weight, tokens = flame.tensor(X, requires_grad=True), flame.tensor([[0, 2, 1], [1, 1, 0]])
    flame.nn.functional.embedding(tokens[:, :-1], weight).sum().backward()
    weight.gather(1, tokens[:, 1:].reshape(-1, 1)[:3] % 4)
    weight.gather(1, weight.argmax(1, keepdim=True))
    weight.gather(1, flame.arange(3).reshape(3, 1))
    assert not positions._watched


def test_an_optimizer_step_that_meets_a_wrong_position_changes_nothing():
    w = flame.tensor(X, requires_grad=True)
    opt = SGD([w], lr=0.1)
    w.index_select(0, pending(3)).sum().backward()
    with pytest.raises(IndexingError, match="index 3"):
        opt.step()
    np.testing.assert_array_equal(w.numpy(), X)
    opt.zero_grad()
    w.index_select(0, pending(1)).sum().backward()
    opt.step()
    np.testing.assert_allclose(w.numpy()[1], X[1] - 0.1, rtol=1e-6)


@pytest.mark.parametrize("read", [lambda x, i: x.gather(0, i.reshape(2, 1)), lambda x, i: x[i], lambda x, i: x[i] * 2])
def test_a_graph_that_nobody_wants_is_forgotten(read):
    x = flame.tensor(X)
    y = read(x, pending(0, 1))
    assert positions._watched
    del y
    gc.collect()
    assert not positions._watched


def test_nothing_is_checked_of_nothing():
    x = flame.tensor(X)
    assert x[flame.tensor(np.zeros(0, np.int64))].shape == (0, 4)
    assert x.gather(0, pending().reshape(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("make", "span"),
    [
        (lambda i: i, (-2, 5, True)),
        (lambda i: i.reshape(2, 2).expand(3, 2, 2).permute(2, 0, 1), (-2, 5, True)),
        (lambda i: i[:2], (-2, 5, False)),
        (lambda i: i + 3, (1, 8, True)),
        (lambda i: 3 - i, (-2, 5, True)),
        (lambda i: -i, (-5, 2, True)),
        (lambda i: i * -2, (-10, 4, True)),
        (lambda i: i + i, (-4, 10, False)),
        (lambda i: i.floor_divide(2), (-1, 2, True)),
        (lambda i: i % 4, (0, 3, False)),
        (lambda i: i.int(), (-2, 5, True)),
        (lambda i: flame.where(i > 0, i, 9), (-2, 9, False)),
        (lambda i: flame.minimum(flame.maximum(i, 0), 3), (0, 3, False)),
        (lambda i: flame.nn.functional.one_hot(i + 2), (0, 1, False)),
        (lambda i: i.gather(0, flame.tensor([0])), (-2, 5, False)),
        (lambda i: flame.cat([i, i + 1]), (-2, 6, False)),
        (lambda i: flame.arange(4).long(), (0, 3, True)),
        (lambda i: i.amax(), (-2, 5, False)),
        (lambda i: i.sum(), (-8, 20, False)),
        (lambda i: flame.stack([i, i]).sum(0), (-4, 10, False)),
        (lambda i: flame.minimum(flame.maximum(i.float().long(), 0), 3), (0, 3, False)),
        (lambda i: flame.randint(2, 7, (3,)), (2, 6, False)),
        (lambda i: i.float().argmax(), (0, 3, False)),
    ],
)
def test_spans_are_true(make, span):
    from flame.bounds import known

    made = make(flame.tensor([5, -2, 1, 0]))
    found = known(made)
    assert found is not None and found.within(*span[:2])
    low, high = made.numpy().min(), made.numpy().max()
    assert found.low <= low and high <= found.high and (not found.exact or (low, high) == (found.low, found.high))
    assert not span[2] or found == spans.Span(*span)


def test_medians_modes_and_quantiles_read_where_they_know_to_be():
    x, i = flame.tensor(X).sin().realize(), flame.tensor(X.astype(np.int64)).realize()
    q = flame.tensor([0.1, 0.9])
    for made in (
        x.median(),
        x.median(1),
        x.nanmedian(1),
        x.mode(1),
        x.quantile(q, 1),
        x.nanquantile(q, 0),
        i.median(0),
    ):
        assert made is not None and not positions._watched


def test_nothing_is_known_of_what_may_wrap_around():
    from flame.bounds import known

    i = flame.tensor(np.array([2**31 - 1, 0], np.int32))
    assert known(i + 1) is None and known(i.float().long()) is None


# --- a GPU: nobody waits for it to look at positions ------------------------------------------------------------------
@pytest.fixture
def later(monkeypatch):
    """The CPU as a device that does its work some time after it is asked."""
    monkeypatch.setattr(devices.get("cpu"), "prompt", False)
    positions._late.clear()


def test_a_gpu_reports_when_somebody_waits_for_it(later):
    x = flame.tensor(X)
    y = x.index_select(0, pending(0, 7)).realize()
    assert flame.tensor([1.0]).node and list(positions._late.values()) != [[]]
    with pytest.raises(IndexingError, match=r"index_select: index 7 .*\[0, 2\].*test_bounds"):
        x.numpy()  # whoever reads first
    assert y.numpy()[0].tolist() == X[0].tolist()  # reported once; nothing outside the tensor was read


def test_a_gpu_in_order_is_silent_and_is_asked_once(later):
    x, i = flame.tensor(X), pending(0, 2)
    assert x[i].tolist() == X[[0, 2]].tolist()
    assert not positions._watched
    x[i]
    assert not positions._watched, "what was found out is remembered"


def test_uploaded_positions_are_known_on_a_gpu(later):
    x, i = flame.tensor(X), flame.tensor([0, 2])
    x[i], x.index_select(0, i.reshape(1, 2)[0])
    assert not positions._watched
    with pytest.raises(IndexingError, match="index 3"):
        x[flame.tensor([3])]


def test_many_reports_are_not_kept_for_long(later, monkeypatch):
    monkeypatch.setattr(positions, "MOST_LATE", 3)
    x = flame.tensor(X)
    with pytest.raises(IndexingError, match="index 9"):
        for _ in range(5):
            x.index_select(0, pending(9)).realize()
