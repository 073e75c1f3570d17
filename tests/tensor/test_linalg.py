"""Linear algebra on the host: when it fails, what it costs, and what stands in its plans."""

import numpy as np
import pytest

import flame
from flame import compiler
from flame.errors import GradError, LinAlgError
from flame.ir.op import OPS, Kind
from flame.ir.plan import Call
from tests.support import compiled, oracle, run_cpu, run_cuda_on_numpy
from tests.surface.of_linalg import CASES

SINGULAR = [[1.0, 2.0], [2.0, 4.0]]


def calls(f):
    """The calls of each plan that is compiled inside."""
    plans = []
    compiler.listeners.append(plans.append)
    try:
        f()
    finally:
        compiler.listeners.remove(plans.append)
    return [s for p in plans for s in p.plan.steps if isinstance(s, Call)]


@pytest.mark.parametrize(
    ("name", "call", "values"),
    [
        ("inv", flame.linalg.inv, SINGULAR),
        ("solve", lambda x: flame.linalg.solve(x, flame.ones(2)), SINGULAR),
        ("cholesky", flame.linalg.cholesky, [[1.0, 2.0], [2.0, 1.0]]),
        ("cholesky", flame.linalg.cholesky, [[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]]),
    ],
)
def test_what_cannot_be_done_is_said_when_it_is_computed(name, call, values):
    x = flame.tensor(values)
    y = call(x)
    with pytest.raises(LinAlgError, match=rf"linalg.{name}: .*made at .*test_linalg.py:[0-9]+$"):
        y.numpy()
    assert flame.linalg.LinAlgError is LinAlgError and issubclass(LinAlgError, RuntimeError)
    np.testing.assert_array_equal(x.numpy(), np.float32(values))
    assert (x + 1).sum().item() == np.float32(values).sum() + x.numel()


def test_a_decomposition_is_computed_once_for_all_its_results():
    x = flame.tensor(np.random.default_rng(0).standard_normal((4, 3)))

    def use():
        u, s, vh = flame.linalg.svd(x, full_matrices=False)
        flame.realize(u, s, vh, u * s)

    assert [c.routine for c in calls(use)] == ["host"]


def test_it_takes_part_in_one_plan_with_kernels_and_products():
    x = flame.tensor(np.eye(3) * 2.0, requires_grad=True)
    loss = (flame.linalg.inv(x * 2 + 1).exp() @ x).sum()
    loss.backward()
    found = calls(lambda: flame.realize(loss, x.grad))
    assert sorted({c.routine for c in found}) == ["host", "matmul"]


def test_complete_qr_of_a_tall_matrix_has_no_gradient():
    x = flame.ones(3, 2, requires_grad=True)
    with pytest.raises(GradError, match="complete"):
        flame.linalg.qr(x, "complete").R.sum().backward()


def test_equal_singular_values_have_gradients_of_what_does_not_tell_them_apart():
    x = flame.tensor(np.eye(3), requires_grad=True)
    flame.linalg.svdvals(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-12)
    x = flame.tensor(np.zeros((2, 2)), requires_grad=True)
    flame.linalg.eigvalsh(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(2), atol=1e-12)


def test_every_operator_of_the_host_has_a_case_beside_pytorch():
    """tests/table.py leaves these operators out: their operands are matrices of their own kinds."""
    said = " ".join(f"{c.name} cofactor" for c in CASES)
    assert all(op.name in said for op in OPS.values() if op.kind is Kind.HOST)


@pytest.mark.parametrize("run", [run_cpu, run_cuda_on_numpy])
def test_the_host_computes_for_every_device(run):
    values = np.random.default_rng(1).standard_normal((2, 3, 3)) + 4 * np.eye(3)
    x = flame.tensor(values)
    roots = tuple(t.node for t in (flame.linalg.inv(x) + 1, *flame.linalg.qr(x.mT * 2), flame.linalg.det(x)))
    given = {x.node: values}
    for got, want in zip(run(roots, given), oracle(roots, given)):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_plans_with_calls_of_the_host_share_no_memory_that_lives():
    x = flame.tensor(np.eye(3) * 3)
    y = flame.linalg.solve(flame.linalg.inv(x + 1) + 1, x * 2)
    assert compiled((y.node,), flame.device("cpu").target).plan.steps


def test_a_batch_of_examples_is_a_batch_of_matrices():
    x = flame.tensor(np.random.default_rng(2).standard_normal((4, 3, 3)) + 4 * np.eye(3))
    for f in (flame.linalg.inv, flame.linalg.svdvals, lambda a: flame.linalg.solve(a, a[0]), flame.det, flame.diagonal):
        np.testing.assert_allclose(flame.vmap(f)(x).numpy(), np.stack([f(a).numpy() for a in x]), atol=1e-12)


def test_the_error_of_a_plan_that_is_used_again_names_the_line_of_this_graph():
    def first():
        return flame.linalg.inv(flame.zeros(2, 2)) + 1

    def second():
        return flame.linalg.inv(flame.zeros(2, 2)) + 1

    lines = [f.__code__.co_firstlineno + 1 for f in (first, second)]
    for f, line in zip((first, second), lines):
        with pytest.raises(LinAlgError, match=rf"made at .*test_linalg.py:{line}$"):
            f().numpy()
