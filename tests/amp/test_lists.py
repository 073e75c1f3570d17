"""Under autocast every public operation gives PyTorch's dtypes, from the cases of tests/surface: none is named here.

PyTorch tells its rules for CUDA without a GPU: its fake tensors dispatch as those of a GPU would, and compute nothing.
"""

import contextlib
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flame
from flame.amp.lists import CUDA, NAMES, TABLES, Policy
from tests.surface.case import Case, families
from tests.surface.sides import REFUSES, interpreted, kinds, many, name_of, numbers, ours, theirs, torch

pytestmark = pytest.mark.parity
DTYPES = ("float32", "bfloat16", "float16", "float64")
DIFFERS = {  # beginnings of cases that FLAME computes in another dtype, and why
    "cpu": {
        "nn.functional.pad[re": "borders are copied, which needs no float32",
        "linalg.pinv": "its last product stays in the dtype of the rest",
        "nn.functional.max_pool3d[all options]": "PyTorch lists it without indices only",
        "nn.functional.local_response_norm[one]": "PyTorch averages these images as volumes",
        "nn.functional.l1_loss[weight": "with weights PyTorch leaves its own list",
        "nn.functional.mse_loss[weight": "with weights PyTorch leaves its own list",
        "einsum[i,i->]": "a sum of products, which is a product of matrices there",
        "einsum[ij,ij->i]": "a sum of products, which is a product of matrices there",
        "einsum[a,ab,bc,c->]": "ends with a sum of products",
    },
    "cuda": {
        "nn.functional.l1_loss[weight": "with weights PyTorch leaves its own list",
        "nn.functional.interpolate[area": "PyTorch pools, which is in no list",
        "nn.functional.affine_grid[4d": "fake tensors multiply and sum where a GPU takes a product, in half",
        "trapezoid[nothing]": "of one sample PyTorch makes zeros",
    },
}


@contextlib.contextmanager
def pytorchs(kind: str, dtype: Any) -> Iterator[None]:
    """PyTorch's region, for fake tensors too: it would switch itself off without a GPU."""
    before = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    torch.set_autocast_enabled(kind, True)
    torch.set_autocast_dtype(kind, dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(kind, before[0])
        torch.set_autocast_dtype(kind, before[1])


def fake(mode: Any, t: Any) -> Any:
    """As on a GPU, without values."""
    from torch._subclasses.fake_tensor import FakeTensor

    with torch.no_grad():
        return FakeTensor(mode, t.to("meta"), torch.device("cuda"))


def expected(c: Case, kind: str, dtype: str, arrays: list[Any], low: Any) -> list[str] | None:
    """The dtypes of PyTorch's results; None where it has no such call."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

    given = [theirs(a, d) for a, d in zip(arrays, kinds(c, dtype, c.operands), strict=True)]
    try:
        with warnings.catch_warnings(action="ignore"), pytorchs(kind, low):
            if kind == "cpu":
                return [name_of(t) for t in many(c.call(torch, *given))]
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                return [name_of(t) for t in many(c.call(torch, *[fake(mode, t) for t in given]))]
    except (*REFUSES, AssertionError, DataDependentOutputException, DynamicOutputShapeException):
        return None


def wrong(c: Case, kind: str) -> list[str]:
    found = []
    for dtype in DTYPES:
        if dtype not in c.dtypes or dtype in c.raises or (kind == "cpu" and dtype == "float16"):
            continue
        arrays = [numbers(o, dtype, zlib.crc32(str(c).encode()) + i) for i, o in enumerate(c.operands)]
        half = "float16" if dtype == "float16" else "bfloat16"
        wanted = expected(c, kind, dtype, arrays, getattr(torch, half))
        if wanted is None or not c.dtype:
            continue
        types = kinds(c, dtype, c.operands)
        with interpreted(), flame.autocast("cpu", getattr(flame, half)):
            got = [name_of(t) for t in many(c.call(flame, *[ours(a, d) for a, d in zip(arrays, types, strict=True)]))]
        if got != wanted:
            found.append(f"{c} of {dtype} under autocast({kind!r}, {half}): {got}, PyTorch {wanted}")
    return found


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("family", families())
def test_results_have_pytorchs_dtypes(family: str, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(TABLES, "cpu", TABLES[kind])  # the lists for a GPU, on tensors that are here
    problems, still = [], set()
    known = tuple(DIFFERS[kind])
    for c in families()[family].CASES:
        found = wrong(c, kind)
        if str(c).startswith(known):
            still |= {beginning for beginning in known if found and str(c).startswith(beginning)}
        else:
            problems += found
    gone = [k for k in known if k not in still and any(str(c).startswith(k) for c in families()[family].CASES)]
    assert not gone, f"has PyTorch's dtypes now, and leaves DIFFERS: {gone}"
    assert not problems, "\n".join(problems)


HEADER = Path(torch.__path__[0]) / "include" / "ATen" / "autocast_mode.h"
OTHERWISE = {  # PyTorch's inner names of what is public under another
    "_convolution": "conv2d", "convolution": "conv2d", "linalg_vecdot": "linalg.vecdot", "nll_loss2d": "nll_loss",
    "linalg_multi_dot": "linalg.multi_dot", "_scaled_dot_product_flash_attention": "scaled_dot_product_attention",
    "native_layer_norm": "layer_norm", "frobenius_norm": "norm", "nuclear_norm": "norm", "grid_sampler": "grid_sample",
    "linalg_vector_norm": "linalg.vector_norm", "linalg_matrix_norm": "linalg.matrix_norm",
}  # fmt: skip
ABSENT = ("conv_tbc", "renorm")  # FLAME has none
CELLS = r"_thnn_fused_\w+|\w+_cell"  # made of `linear`
MACROS = {
    "AT_FORALL_LOWER_PRECISION_FP": Policy.LOW,
    "AT_FORALL_FP32": Policy.WIDE,
    "AT_FORALL_FP32_SET_OPT_DTYPE": Policy.WIDE,
    "AT_FORALL_PROMOTE": Policy.WIDEST,
}


@pytest.mark.parametrize("macro", MACROS)
def test_the_lists_for_cuda_are_those_of_pytorchs_header(macro: str):
    text = HEADER.read_text()
    body = re.search(rf"#define {macro}\(_\)(.*?[^\\])\n", text, re.DOTALL)
    assert body
    names = [m for m in re.findall(r"_\((\w+)", body[1]) if m not in ABSENT and not re.fullmatch(CELLS, m)]
    assert len(names) > 5
    for name in names:
        own = "interpolate" if "upsample" in name else OTHERWISE.get(name, name)
        assert CUDA.get(own) is MACROS[macro], f"{name} is {MACROS[macro]} in PyTorch, {CUDA.get(own)} in flame/amp"


def test_every_listed_name_is_there():
    for name in NAMES:
        space, _, rest = name.rpartition(".")
        places = [getattr(flame, space)] if space else [flame, flame.nn.functional, flame.Tensor]
        assert any(hasattr(place, rest) for place in places), name
