"""Every public operation beside PyTorch, from the tables of its family: no operation is named here.

Semantics (dtypes, layouts, special values, gradients) are compared with FLAME's graphs run by the oracle, which is
quick; that compiled kernels do what the oracle does is tested for each operator of the table, for random graphs, and
here for one case of each name in one dtype (`-m slow`: for all cases in all; `-m gpu`: on a GPU).
"""

import numpy as np
import pytest

import flame
from flame.errors import FlameError
from tests.surface.case import Case, Misuse, X, cases, misuses
from tests.surface.sides import (
    LAYOUTS,
    LOOSE,
    REFUSES,
    SPECIAL,
    Sides,
    interpreted,
    kinds,
    many,
    numbers,
    ours,
    slopes,
    theirs,
    torch,
    weighted,
)

pytestmark = pytest.mark.parity
CASES, MISUSES = cases(), misuses()


def sweep(c: Case, dtypes: tuple[str, ...], device: str | None = None) -> int:
    """Values and gradients over dtypes and operands; returns in how many PyTorch has the operation."""
    sides, found = Sides(c), 0
    for dtype in dtypes:
        if dtype in c.raises:
            continue
        for operands in (c.operands, *c.also):
            found += sides.run(dtype, operands, device=device)
    sides.close()
    return found


@pytest.mark.parametrize("c", CASES, ids=str)
def test_values_and_gradients_are_pytorchs_in_every_dtype(c: Case):
    with interpreted():
        assert sweep(c, c.dtypes), f"{c}: PyTorch has no such call in any dtype"


@pytest.mark.parametrize("c", CASES, ids=str)
def test_operands_may_lie_anyhow_in_memory(c: Case):
    sides = Sides(c)
    with interpreted():
        for label, layout in LAYOUTS.items():
            sides.run(c.dtypes[0], c.operands, layout, label=label)
        sides.close()


@pytest.mark.parametrize("c", [c for c in CASES if c.special], ids=str)
def test_special_values(c: Case):
    sides = Sides(c)
    with interpreted():
        for dtype in c.dtypes:
            if dtype not in c.raises:
                arrays = specials(dtype, sum(isinstance(o, X) for o in c.operands))
                rest = iter(arrays)
                operands = [X(arrays[0].shape) if isinstance(o, X) else o for o in c.operands]
                given = [next(rest) if isinstance(o, X) else numbers(o, dtype, 0) for o in c.operands]
                without = Sides(Case(**{**vars(c), "grad": False}))
                without.run(dtype, operands, arrays=given, label="special")
                sides.pairs += without.pairs
        sides.close()


def specials(dtype: str, count: int) -> list[np.ndarray]:
    """All combinations of the values at which functions break."""
    if dtype == "bool":
        one = np.array([False, True])
    elif dtype in LOOSE:
        tiny = {"float16": 6e-8, "bfloat16": 1e-40, "float32": 1e-42, "float64": 5e-324}[dtype]
        one = np.asarray(torch.tensor([*SPECIAL, tiny]).to(getattr(torch, dtype)).double())
    else:
        info = np.iinfo(dtype)
        one = np.array([info.min, info.min + 1, 0, 1, 2, 5, 7, info.max - 1, info.max])
        one = np.concatenate([one, [-1, -3]]) if info.min else one
    return list(np.meshgrid(*[one] * count)) if count > 1 else [one]


@pytest.mark.parametrize("c", [c for c in CASES if c.grad], ids=str)
def test_gradients_and_their_gradients_are_differences(c: Case):
    types = kinds(c, "float64", c.operands)
    arrays = [numbers(o, "float64", 11 + i) for i, o in enumerate(c.operands)]
    wanted = [i for i, o in enumerate(c.operands) if isinstance(o, X)]

    def value(*tensors: flame.Tensor) -> flame.Tensor:
        return weighted(many(c.call(flame, *tensors)), 1)

    def slope(*tensors: flame.Tensor) -> flame.Tensor:
        fresh = [t if t.requires_grad or i not in wanted else t.requires_grad_() for i, t in enumerate(tensors)]
        loss = value(*fresh)
        loss.backward(create_graph=True)
        grads = [fresh[i].grad for i in wanted if fresh[i].grad is not None]
        for t in fresh:
            t.grad = None
        return weighted(grads, 2)

    with interpreted():
        for f in (value, slope)[: 1 + c.second]:
            along, differences = slopes(f, arrays, wanted, types, 5)
            scale = max(1.0, abs(differences))
            assert abs(along - differences) < 1e-5 * c.loose * scale, f"{c}: {along}, by differences {differences}"


ONE_EACH = list({c.name: c for c in reversed(CASES)}.values())[::-1]  # the first case of each name


@pytest.mark.parametrize("c", ONE_EACH, ids=str)
def test_compiled_for_the_cpu(c: Case):
    sides = Sides(c)
    sides.run(c.dtypes[0], c.operands)
    sides.close()


@pytest.mark.slow
@pytest.mark.parametrize("c", CASES, ids=str)
def test_compiled_for_the_cpu_in_every_dtype(c: Case):
    sweep(c, c.dtypes)


FLUSHED = {"frexp[every size]"}  # float32 denormals are 0 on a GPU: docs/migrating_from_pytorch.md
NEWER = {"clamp[nan]", "nn.functional.lp_pool1d[infinite]", "nn.functional.lp_pool2d[largest of the negatives]"}


def on_gpu(c: Case, dtypes: tuple[str, ...]) -> None:
    """The comparison on a GPU, whose machine may have an older PyTorch than the one that the cases are written for."""
    if str(c) in FLUSHED:
        pytest.skip("denormals are flushed on a GPU")
    if str(c) in NEWER and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
        pytest.skip(f"PyTorch {torch.__version__} has another meaning than 2.13")
    sweep(c, dtypes, "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("c", CASES, ids=str)
def test_compiled_for_the_gpu(c: Case):
    on_gpu(c, c.dtypes[:1])


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("c", CASES, ids=str)
def test_compiled_for_the_gpu_in_every_dtype(c: Case):
    on_gpu(c, c.dtypes)


@pytest.mark.parametrize("m", MISUSES, ids=str)
def test_misuse_is_refused_at_the_call(m: Misuse):
    arrays = [numbers(o, "float32", i) for i, o in enumerate(m.operands)]
    types = ["float32" if isinstance(o, X) else o.dtype for o in m.operands]
    if not m.accepted:
        with pytest.raises(REFUSES):
            m.call(torch, *[theirs(a, d) for a, d in zip(arrays, types)])
    with pytest.raises(FlameError, match=m.says or None) as caught:
        m.call(flame, *[ours(a, d) for a, d in zip(arrays, types)])
    said = str(caught.value)
    assert m.name.rpartition(".")[2].strip("_") in said, f"the message does not name {m.name}: {said}"
