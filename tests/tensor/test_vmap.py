"""vmap: one example's graph for a batch, for every operator of the table and for what is made of them."""

import numpy as np
import pytest

import flame
import flame.nn.functional as F
from flame.errors import FlameError, GradError, ShapeError
from flame.ir import node as nd
from flame.ir.dtype import boolean, float32, int64
from flame.passes.batch import batched
from tests.support import oracle
from tests.table import Case, cases, sample

MANY = 3


CASES = [
    (c, which)
    for c in cases([float32, int64, boolean])
    for which in ("all", "first", "last")[: 3 if len(c.leaves) > 1 else 1]
]


@pytest.mark.parametrize(("c", "which"), CASES, ids=str)
def test_every_operator_on_a_batch_is_each_example_alone(c: Case, which: str):
    chosen = {"all": c.leaves, "first": c.leaves[:1], "last": c.leaves[-1:]}[which]
    wide = {n: nd.leaf(100 + i, (MANY, *n.shape), n.dtype) for i, n in enumerate(chosen)}
    finite = c.op.kind.name in ("CONTRACT", "CALL") or any(not r.dtype.is_float for r in c.roots)
    values = {n: sample(n, i, finite) for i, n in enumerate(c.leaves)} | {
        w: sample(w, 50 + i, finite) for i, w in enumerate(wide.values())
    }
    got = oracle(batched(c.roots, wide, MANY), values)
    for k in range(MANY):
        each = oracle(c.roots, values | {n: values[w][k] for n, w in wide.items()})
        for root, a, b in zip(c.roots, got, each, strict=True):
            assert a.shape == (MANY, *root.shape) and a.dtype == b.dtype
            np.testing.assert_allclose(a[k].astype(np.float64), b.astype(np.float64), rtol=1e-5, atol=1e-6)


# --- functions made of them -------------------------------------------------------------------------------------------
def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [flame.tensor(rng.normal(size=s).astype(np.float32)) for s in shapes]


FUNCTIONS = {
    "softmax": (lambda x: F.softmax(x, -1), [(4, 5)]),
    "layer_norm": (lambda x: F.layer_norm(x, (5,)), [(4, 5)]),
    "cross_entropy": (lambda x: F.cross_entropy(x, flame.tensor([0, 2, 1, 4])), [(4, 5)]),
    "linear": (lambda x, w, b: F.linear(x, w, b), [(4, 5), (3, 5), (3,)]),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), [(2, 4, 5), (2, 4, 5), (2, 4, 5)]),
    "matvec": (lambda a, x: a @ x, [(4, 5), (5,)]),
    "indexing": (lambda x: x[:, 1:3].flip(0) + x[0, 0], [(4, 5)]),
    "gather": (lambda x: x.gather(1, flame.tensor([[0, 1], [2, 2], [4, 0], [3, 3]])), [(4, 5)]),
    "where": (lambda x: flame.where(x > 0, x, -x).sum(0), [(4, 5)]),
    "a gradient": (lambda x: flame.grad(lambda t: (F.softmax(t, 0) * t).sum())(x), [(5,)]),
    "in place": (lambda x: x.clone().mul_(2).add_(x.sum()), [(4, 5)]),
    "convolution": (lambda x, w: F.conv2d(x, w, padding=1), [(2, 3, 5, 5), (4, 3, 3, 3)]),
    "pooling": (lambda x: F.max_pool2d(x, 2), [(2, 3, 4, 4)]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_one_example_is_that_of_each(name):
    f, shapes = FUNCTIONS[name]
    given = arrays(*[(MANY, *s) for s in shapes])
    got = flame.vmap(f)(*given).numpy()
    np.testing.assert_allclose(
        got, np.stack([f(*[t[k] for t in given]).numpy() for k in range(MANY)]), rtol=1e-5, atol=1e-6
    )
    if len(given) > 1:  # the others are the same for every example
        got = flame.vmap(f, in_dims=(0, *[None] * (len(given) - 1)))(given[0], *[t[0] for t in given[1:]]).numpy()
        each = [f(given[0][k], *[t[0] for t in given[1:]]).numpy() for k in range(MANY)]
        np.testing.assert_allclose(got, np.stack(each), rtol=1e-5, atol=1e-6)


def test_dimensions_in_and_out():
    x, y = arrays((4, MANY, 5), (MANY, 5))
    got = flame.vmap(lambda d, k: {"sum": d["x"] + d["y"], "last": (d["y"] * k,)}, ({"x": 1, "y": 0}, None), -1)(
        {"x": x, "y": y}, 2
    )
    np.testing.assert_allclose(got["sum"].numpy(), np.moveaxis(x.numpy() + y.numpy(), 1, -1), rtol=1e-6)
    np.testing.assert_allclose(got["last"][0].numpy(), (2 * y.numpy()).T)
    same = flame.vmap(lambda a: (a, flame.ones(2)), out_dims=(0, None))(y)
    assert same[1].tolist() == [1.0, 1.0]
    assert flame.vmap(lambda a: flame.ones(2))(y).shape == (MANY, 2)
    assert flame.vmap(lambda a, *, b: a * b)(y, b=y[:, 0]).shape == (MANY, 5)


def test_gradients_flow_through_and_to_what_is_closed_over():
    x = arrays((MANY, 5))[0].requires_grad_()
    w = arrays((5,))[0].requires_grad_()
    y = flame.vmap(lambda a: (a * w).sum().exp())(x)
    assert y.requires_grad
    y.sum().backward()
    e = np.exp((x.detach().numpy() * w.detach().numpy()).sum(1, keepdims=True))
    np.testing.assert_allclose(x.grad.numpy(), e * w.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(w.grad.numpy(), (e * x.detach().numpy()).sum(0), rtol=1e-5)


def test_gradients_of_each_example_of_a_network():
    net = flame.nn.Sequential(flame.nn.Linear(4, 3), flame.nn.ReLU(), flame.nn.Linear(3, 1))
    (x,) = arrays((MANY, 4))
    names = [n for n, _ in net.named_parameters()]

    def loss(params, a):
        h = F.linear(F.relu(F.linear(a, params["0.weight"], params["0.bias"])), params["2.weight"], params["2.bias"])
        return h.square().sum()

    params = {n: p.detach() for n, p in net.named_parameters()}
    each = flame.vmap(flame.grad(loss), in_dims=(None, 0))(params, x)
    for k in range(MANY):
        alone = flame.grad(loss)(params, x[k])
        for n in names:
            np.testing.assert_allclose(each[n].numpy()[k], alone[n].numpy(), rtol=1e-5, atol=1e-6)


# --- random numbers ---------------------------------------------------------------------------------------------------
def test_random_numbers_are_refused_different_or_the_same():
    (x,) = arrays((MANY, 4))

    def f(a):
        return a * 0 + flame.rand(4)

    with pytest.raises(FlameError, match="draws random numbers; say randomness='different'"):
        flame.vmap(f)(x)
    apart = flame.vmap(f, randomness="different")(x).numpy()
    assert len({tuple(row) for row in apart.tolist()}) == MANY
    same = flame.vmap(f, randomness="same")(x).numpy()
    assert len({tuple(row) for row in same.tolist()}) == 1
    assert ((apart >= 0) & (apart < 1)).all()
    nested = flame.vmap(flame.vmap(f, randomness="same"), randomness="different")(arrays((2, MANY, 4))[0]).numpy()
    assert len({tuple(row) for row in nested.reshape(-1, 4).tolist()}) == 2


def test_dropout_of_each_example():
    (x,) = arrays((MANY, 50))
    got = flame.vmap(lambda a: F.dropout(a, 0.5, True), randomness="different")(x).numpy() == 0
    assert len({tuple(row) for row in got.tolist()}) == MANY


# --- misuse -----------------------------------------------------------------------------------------------------------
MISUSES = {
    "sizes differ": (lambda x: flame.vmap(lambda a, b: a + b)(x, x[:2]), "3 in argument 0, 2 in argument 1"),
    "nothing to map": (lambda x: flame.vmap(lambda a: a, None)(x), "no argument is mapped over"),
    "a number": (lambda x: flame.vmap(lambda a, b: a)(x, 3), "argument 1 is 3, which has no dimension"),
    "no such dimension": (lambda x: flame.vmap(lambda a: a, 5)(x), "in_dims is 5 for argument 0"),
    "in_dims of another length": (lambda x: flame.vmap(lambda a: a, (0, 0))(x), "in_dims has 2 entries for 1 values"),
    "out_dims": (lambda x: flame.vmap(lambda a: a, out_dims=7)(x), "out_dims is 7"),
    "out_dims None": (lambda x: flame.vmap(lambda a: a, out_dims=None)(x), "differs between examples"),
    "no tensor": (lambda x: flame.vmap(lambda a: 1.0)(x), "must return tensors"),
    "randomness": (lambda x: flame.vmap(lambda a: a, randomness="maybe"), "choose from error, different, same"),
    "reading": (lambda x: flame.vmap(lambda a: a * a.sum().item())(x), "has no value while its function is traced"),
    "branching": (lambda x: flame.vmap(lambda a: a if a.sum() > 0 else -a)(x), "compute with where"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_an_error_that_names_the_way_out(name):
    run, message = MISUSES[name]
    with pytest.raises(FlameError, match=message):
        run(arrays((MANY, 4))[0])


def test_a_custom_function_works_but_has_no_gradient_from_outside():
    @flame.autograd.custom_gradient(lambda g, y, x: g * 7)
    def f(x):
        return x * 2

    x = arrays((MANY, 4))[0].requires_grad_()
    assert flame.vmap(flame.grad(lambda a: f(a).sum()))(x).tolist() == [[7.0] * 4] * MANY
    y = flame.vmap(f)(x)
    np.testing.assert_allclose(y.detach().numpy(), 2 * x.detach().numpy())
    with pytest.raises(GradError, match="result has no gradient rule"):
        y.sum().backward()
    z = flame.vmap(lambda a: flame.checkpoint(lambda t: t.sin(), a))(x)
    z.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos(x.detach().numpy()), rtol=1e-5)


def test_positions_out_of_range_are_found_in_every_example():
    (x,) = arrays((MANY, 4))
    good, bad = (flame.tensor([[0, 1], [2, 3], [3, last]]) for last in (0, 9))
    for f in (lambda v, i: v.gather(0, i), lambda v, i: v[i], lambda v, i: flame.vmap(lambda k: v[k])(i)):
        assert flame.vmap(f)(x, good + 0).shape == (MANY, 2)
        with pytest.raises(FlameError, match="9"):
            flame.vmap(f)(x, bad + 0).numpy()


def test_a_shape_error_inside_is_that_of_one_example():
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        flame.vmap(lambda a: a.reshape(5))(arrays((MANY, 4))[0])
