"""What cuDNN is told, without cuDNN: descriptors, offsets of pieces, plans that are passed over."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flame.config import config
from flame.errors import DeviceError
from flame.ir.dnn import AttentionGradSpec, AttentionSpec, ConvolutionSpec, heads_inside
from flame.ir.library import View
from flame.runtime import choice, cuda, lib_cudnn, lib_cudnn_attention, lib_cudnn_convolution
from flame.runtime.choice import DeclinedError, Place


class Tensor:
    """A tensor of a graph that only remembers."""

    def __init__(self, uid: int, **about: Any):
        self.uid, self.about = uid, about

    def get_uid(self) -> int:
        return self.uid

    def __getattr__(self, name: str) -> Any:
        def setter(value: Any) -> "Tensor":
            self.about[name.removeprefix("set_")] = value
            return self

        return setter


class Graph:
    """A graph that remembers what it is told, with plans of given names, some of which do not build."""

    def __init__(self, plans: tuple[str, ...] = ("first", "large", "broken", "second"), **about: Any):
        self.about, self.plans, self.made, self.ran = about, plans, [], []
        self.tensors: list[Tensor] = []

    def tensor(self, **about: Any) -> Tensor:
        self.tensors.append(Tensor(len(self.tensors) + 1, **about))
        return self.tensors[-1]

    def _add(self, name: str, results: int, **told: Any) -> Any:
        self.made.append((name, told))
        found = [self.tensor() for _ in range(results)]
        return found if results > 1 else found[0]

    def conv_fprop(self, a: Tensor, b: Tensor, **told: Any) -> Tensor:
        return self._add("forward", 1, **told)

    def conv_dgrad(self, a: Tensor, b: Tensor, **told: Any) -> Tensor:
        return self._add("data", 1, **told)

    def conv_wgrad(self, a: Tensor, b: Tensor, **told: Any) -> Tensor:
        return self._add("weight", 1, **told)

    def sdpa(self, **told: Any) -> Any:
        return self._add("attention", 2, **told)

    def sdpa_backward(self, **told: Any) -> Any:
        return self._add("gradient", 3, **told)

    def validate(self) -> None:
        pass

    build_operation_graph = check_support = validate

    def create_execution_plans(self, modes: list[str]) -> None:
        self.modes = modes

    def deselect_numeric_notes(self, notes: list[str]) -> None:
        self.notes = notes

    def get_execution_plan_count(self) -> int:
        return len(self.plans)

    def get_plan_name_at_index(self, index: int) -> str:
        return self.plans[index]

    def build_plan_at_index(self, index: int) -> None:
        if self.plans[index] == "broken":
            raise RuntimeError("not for this machine")

    def get_workspace_size_plan_at_index(self, index: int) -> int:
        return 2**31 if self.plans[index] == "large" else 64

    def execute_plan_at_index(self, operands: dict[int, int], workspace: int, index: int, handle: Any) -> None:
        if self.plans[index] == "fails":
            raise ValueError("the library changed its mind")
        self.ran.append((self.plans[index], operands, workspace))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A cuDNN that only remembers."""
    monkeypatch.setattr(cuda, "device", lambda ordinal: SimpleNamespace(name="a card"))
    same = type("Same", (), {"__getattr__": lambda self, name: name})()
    graphs: list[Graph] = []

    def pygraph(**about: Any) -> Graph:
        graphs.append(Graph(made.plans, **about))
        return graphs[-1]

    made = SimpleNamespace(
        data_type=same, numerical_note=same, heur_mode=same, pygraph=pygraph, graphs=graphs, plans=Graph().plans,
        backend_version=lambda: 91900, __version__="1.0",
    )  # fmt: skip
    monkeypatch.setattr(lib_cudnn, "library", lambda: made)
    monkeypatch.setattr(lib_cudnn, "_handle", lambda ordinal, stream: "handle")
    monkeypatch.setattr(choice, "_known", {})
    with config(cache_dir=tmp_path):
        yield made


def place() -> Place:
    pool = SimpleNamespace(buffer=lambda nbytes, line: SimpleNamespace(address=4096))
    return Place("cuda:0", 0, 0, pool)  # type: ignore[arg-type]


CONVOLUTION = ConvolutionSpec("forward", "float32", (2, 6, 8, 9), (4, 3, 3, 3), (2, 4, 4, 5), (2, 2), (1, 1), (1, 1), 2)


def test_a_convolution_is_told_with_its_channels_last(library) -> None:
    graph = Graph()
    x, w, y = lib_cudnn_convolution.describe(CONVOLUTION, graph)
    assert (x.about["dim"], x.about["stride"]) == ([2, 6, 8, 9], [432, 1, 54, 6])
    assert (w.about["dim"], w.about["stride"]) == ([4, 3, 3, 3], [27, 1, 9, 3])
    assert (y.about["dim"], y.about["stride"]) == ([2, 4, 4, 5], [80, 1, 20, 4])
    ((name, told),) = graph.made
    assert name == "forward"
    assert told == {"pre_padding": [1, 1], "post_padding": [1, 1], "stride": [2, 2], "dilation": [1, 1]}


def test_plans_that_are_too_large_or_broken_are_passed_over(library) -> None:
    with config(choices="first"):
        run = lib_cudnn_convolution.bind(CONVOLUTION, place())
    run(16, 32, 48)
    (graph,) = library.graphs
    assert graph.ran == [("first", {1: 16, 2: 32, 3: 48}, 4096)]
    ways = list(lib_cudnn._ways(graph, graph.tensors, place(), 2**30))
    assert [w.name for w in ways] == ["first", "second"]
    assert [w.name for w in lib_cudnn._ways(graph, graph.tensors, place(), 2**30, "second")] == ["second"]
    choice._known.clear()
    library.plans = ("broken",)
    with config(choices="first"), pytest.raises(DeclinedError):
        lib_cudnn_convolution.bind(CONVOLUTION, place())
    choice._known.clear()
    library.plans = ("fails",)
    with config(choices="first"):
        run = lib_cudnn_convolution.bind(CONVOLUTION, place())
    with pytest.raises(DeviceError, match="changed its mind"):
        run(16, 32, 48)


@pytest.mark.parametrize(
    ("dtype", "tf32", "notes"),
    [
        ("float32", False, ["NONDETERMINISTIC", "TENSOR_CORE", "DOWN_CONVERT_INPUTS"]),
        ("float32", True, ["NONDETERMINISTIC"]),
        ("bfloat16", False, ["NONDETERMINISTIC"]),
        ("float64", False, ["NONDETERMINISTIC"]),
    ],
)
def test_numbers_are_as_exact_as_asked(library, dtype: str, tf32: bool, notes: list[str]) -> None:
    spec = ConvolutionSpec("forward", dtype, (1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1, tf32)
    assert lib_cudnn.unwanted_notes(spec) == notes
    with config(choices="first"):
        lib_cudnn_convolution.bind(spec, place())
    (graph,) = library.graphs
    assert graph.notes == notes
    assert graph.about["compute_data_type"] == ("DOUBLE" if dtype == "float64" else "FLOAT")


# --- attention --------------------------------------------------------------------------------------------------------
B, H, SHARED, L, S, E = 4, 6, 2, 8, 8, 8


def view(heads: int, rows: int, offset: int = 0) -> View:
    """Heads inside a wider row, as a projection of several leaves them."""
    width = heads * E + 16
    return View(offset, (rows * width, E, width, 1))


def spec_of(mask: tuple[int, ...] | None = None) -> AttentionSpec:
    views = {"q": view(H, L, 8), "k": view(SHARED, S), "v": view(SHARED, S, 16)}
    return AttentionSpec("float16", B, H, SHARED, L, S, E, E, 0.3, True, **views, mask=mask)


def test_an_attention_is_told_as_it_lies(library) -> None:
    graph = Graph()
    operands = lib_cudnn_attention.describe(spec_of((1, 1, L, S)), graph)
    q, k, v, mask, out, stats = (t.about for t in operands)
    assert (q["dim"], q["stride"]) == ([B, H, L, E], [L * 64, E, 64, 1])
    assert (k["dim"], v["stride"]) == ([B, SHARED, S, E], [S * 32, E, 32, 1])
    assert (mask["dim"], mask["stride"]) == ([1, 1, L, S], [L * S, L * S, S, 1])
    assert (out["dim"], out["stride"]) == ([B, H, L, E], [L * H * E, E, H * E, 1])
    assert (stats["dim"], stats["stride"], stats["data_type"]) == ([B, H, L, 1], [H * L, L, 1, 1], "FLOAT")
    ((_, told),) = graph.made
    assert told["use_causal_mask"] is told["generate_stats"] is True
    assert told["attn_scale"] == 0.3


def arrays(spec: AttentionGradSpec) -> list[np.ndarray]:
    f, rng = spec.forward, np.random.default_rng(0)
    views = ((spec.g, f.out_shape), (f.q, f.q_shape), (f.k, f.k_shape), (f.v, f.v_shape), (spec.out, f.out_shape))
    sizes = [v.offset + lib_cudnn_attention.span(v, shape) for v, shape in views]
    return [*(rng.standard_normal(n).astype(np.float16) for n in sizes), np.zeros(B * H * L, np.float32)]


@pytest.mark.parametrize(("limit", "piece"), [(10**9, (4, 2)), (5000, (2, 2)), (2000, (1, 2)), (1000, (1, 1))])
def test_pieces_of_a_gradient_make_the_whole(library, monkeypatch: pytest.MonkeyPatch, limit: int, piece) -> None:
    """Each piece, performed by its meaning where its addresses point, writes its part of each gradient."""
    monkeypatch.setattr(lib_cudnn_attention, "PIECE", limit)
    out = View(0, (L * H * E, E, H * E, 1))
    spec = AttentionGradSpec(spec_of(), view(H, L), out)
    memory = arrays(spec)
    wanted = spec.numpy(*memory)
    made = [np.full(w.size, np.nan, np.float16) for w in wanted]
    whole = [*memory, *made]
    base = [1 << 20 for _ in whole]

    class Meaning(Graph):
        def execute_plan_at_index(self, operands: dict[int, int], workspace: int, index: int, handle: Any) -> None:
            starts = [operands[t.get_uid()] - b for t, b in zip(self.order, base, strict=True)]
            parts = [m[start // m.itemsize :] for m, start in zip(whole, starts, strict=True)]
            for part, tensor, (g, *_) in zip(
                parts[6:], self.order[6:], zip(self.piece(parts), strict=True), strict=True
            ):
                shape, strides = tensor.about["dim"], [2 * s for s in tensor.about["stride"]]
                np.lib.stride_tricks.as_strided(part, shape, strides)[...] = g

        def piece(self, parts: list[np.ndarray]) -> list[np.ndarray]:
            def read(i: int) -> np.ndarray:
                about, part = self.order[i].about, parts[i]
                strides = [s * part.itemsize for s in about["stride"]]
                return np.lib.stride_tricks.as_strided(part, about["dim"], strides)

            given = [np.ascontiguousarray(read(i)) for i in range(5)]
            b, h, n, _ = given[1].shape
            shared = given[2].shape[1]
            plain = [View.of(a.shape) for a in given]
            f = AttentionSpec("float16", b, h, shared, n, S, E, E, 0.3, True, *plain[1:4])
            found = AttentionGradSpec(f, plain[0], plain[4]).numpy(*given, np.zeros(b * h * n, np.float32))
            return [a.swapaxes(1, 2) for a in found]

    def planned(of: Any, where: Place, describe: Any, dtype: str) -> tuple[Graph, list[Tensor]]:
        graph = Meaning()
        graph.order = describe(graph)
        return graph, graph.order

    monkeypatch.setattr(lib_cudnn, "_planned", planned)
    with config(choices="first"):
        run = lib_cudnn_attention.bind_grad(spec, place())
    run(*base)
    for got, want in zip(made, wanted, strict=True):
        np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-2, atol=1e-2)
    assert lib_cudnn_attention.pieces(spec) == piece


def test_heads_inside() -> None:
    assert heads_inside((2, 3, 4, 5)) == (2, 4, 3, 5)
