"""Attention by cuDNN, forward and backward: no matrix of all scores, float16 and bfloat16 summed in float32."""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from flame.ir.dnn import AttentionGradSpec, AttentionSpec
from flame.ir.dtype import by_name
from flame.ir.library import View
from flame.runtime import lib_cudnn
from flame.runtime.choice import Place

Shape = tuple[int, ...]
FEW = 2  # plans that are timed: each takes half a second to build
PIECE = 2**29  # bytes that a deterministic gradient may need beside its operands: larger ones are done in pieces


def strides(view: View, shape: Shape) -> Shape:
    """A view's strides, with what the library takes for those of axes of one element."""
    reach = max(s * n for s, n in zip(view.strides, shape, strict=True))
    return tuple(s if n != 1 else max(reach, 1) for s, n in zip(view.strides, shape, strict=True))


def inside(shape: Shape) -> Shape:
    """The strides of (B, H, L, E) in memory that is (B, L, H, E)."""
    _, h, n, e = shape
    return n * h * e, e, h * e, 1


def contiguous(shape: Shape) -> Shape:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def options(spec: AttentionSpec, graph: Any) -> tuple[dict[str, Any], list[Any]]:
    """What both directions are told alike, and the operands that come with it."""
    told: dict[str, Any] = {"attn_scale": spec.scale}
    more = []
    if spec.causal:
        told["use_causal_mask"] = True
    if spec.mask is not None:
        told["bias"] = lib_cudnn.tensor(graph, spec.mask, contiguous(spec.mask), spec.dtype)
        more = [told["bias"]]
    return told, more


def read(spec: AttentionSpec, graph: Any) -> list[Any]:
    """q, k and v in a graph of the library's."""
    views = ((spec.q, spec.q_shape), (spec.k, spec.k_shape), (spec.v, spec.v_shape))
    return [lib_cudnn.tensor(graph, shape, strides(view, shape), spec.dtype) for view, shape in views]


def describe(spec: AttentionSpec, graph: Any) -> list[Any]:
    """Operands, the result and its logarithms."""
    q, k, v = read(spec, graph)
    told, more = options(spec, graph)
    out, stats = graph.sdpa(q=q, k=k, v=v, generate_stats=True, **told)
    lib_cudnn.result(out, spec.out_shape, inside(spec.out_shape), spec.dtype)
    rows = (*spec.out_shape[:3], 1)
    lib_cudnn.result(stats, rows, contiguous(rows), "float32")
    return [q, k, v, *more, out, stats]


def describe_grad(spec: AttentionGradSpec, whole: AttentionSpec, graph: Any) -> list[Any]:
    """Operands and the three gradients, which lie as those of the `whole` that this is a piece of."""
    f = spec.forward
    q, k, v = read(f, graph)
    g, out = (lib_cudnn.tensor(graph, f.out_shape, strides(view, f.out_shape), f.dtype) for view in (spec.g, spec.out))
    rows = (*f.out_shape[:3], 1)  # side by side in a piece too: it has all heads, or is of one example
    stats = lib_cudnn.tensor(graph, rows, contiguous(rows), "float32")
    told, more = options(f, graph)
    made = graph.sdpa_backward(
        q=q, k=k, v=v, o=out, dO=g, stats=stats, use_deterministic_algorithm=spec.deterministic, **told
    )
    shapes = ((f.q_shape, whole.q_shape), (f.k_shape, whole.k_shape), (f.v_shape, whole.v_shape))
    for gradient, (shape, of) in zip(made, shapes, strict=True):
        lib_cudnn.result(gradient, shape, inside(of), f.dtype)
    return [g, q, k, v, out, stats, *more, *made]


def bind(spec: AttentionSpec, place: Place) -> Callable[..., None]:
    """`run(q, k, v, [mask,] out, stats)` on addresses; DeclinedError where cuDNN has no algorithm."""
    size = by_name(spec.dtype).size
    views = ((spec.q, spec.q_shape), (spec.k, spec.k_shape), (spec.v, spec.v_shape))
    starts = [size * view.offset for view, _ in views]
    sizes = [size * span(view, shape) for view, shape in views]
    sizes += [size * prod(spec.mask)] if spec.mask is not None else []
    sizes += [size * prod(spec.out_shape), 4 * prod(spec.out_shape[:3])]
    run = lib_cudnn.bind("attention", spec, place, lambda graph: describe(spec, graph), spec.dtype, sizes, FEW)

    def perform(q: int, k: int, v: int, *rest: int) -> None:
        run(q + starts[0], k + starts[1], v + starts[2], *rest)

    return perform


def span(view: View, shape: Shape) -> int:
    """Elements from the first of a view to behind its last."""
    return 1 + sum((n - 1) * s for n, s in zip(shape, view.strides, strict=True))


# --- gradients --------------------------------------------------------------------------------------------------------
def pieces(spec: AttentionGradSpec) -> tuple[int, int]:
    """(examples, heads of keys) done at a time: the deterministic algorithm has a part for every 128 keys.

    >>> view = View(0, (0, 0, 0, 1))
    >>> sizes = dict(batch=4, heads=16, shared=16, queries=4096, keys=4096, width=128, depth=128)
    >>> f = AttentionSpec("bfloat16", **sizes, scale=1.0, causal=False, q=view, k=view, v=view)
    >>> pieces(AttentionGradSpec(f, view, view))
    (1, 8)
    >>> pieces(AttentionGradSpec(f, view, view, deterministic=False))
    (4, 16)
    """
    f = spec.forward
    if not spec.deterministic or f.mask is not None:
        return f.batch, f.shared
    parts = -(-f.keys // 128)
    head = 4 * f.queries * f.width * parts * f.heads // f.shared
    examples = next((n for n in range(f.batch, 0, -1) if f.batch % n == 0 and n * f.shared * head <= PIECE), 1)
    shared = next((n for n in range(f.shared, 0, -1) if f.shared % n == 0 and examples * n * head <= PIECE), 1)
    return examples, shared


def bind_grad(spec: AttentionGradSpec, place: Place) -> Callable[..., None]:
    """`run(g, q, k, v, out, stats, [mask,] by_q, by_k, by_v)` on addresses; DeclinedError where cuDNN has none."""
    whole, (examples, shared) = spec.forward, pieces(spec)
    heads = shared * whole.heads // whole.shared
    piece = replace(spec, forward=replace(whole, batch=examples, heads=heads, shared=shared))
    size, f = by_name(spec.dtype).size, piece.forward
    views = (spec.g, whole.q, whole.k, whole.v, spec.out)
    shapes = (f.out_shape, f.q_shape, f.k_shape, f.v_shape, f.out_shape)
    sizes = [size * span(view, shape) for view, shape in zip(views, shapes, strict=True)]
    sizes += [4 * prod(whole.out_shape[:3]), *([size * prod(whole.mask)] if whole.mask is not None else [])]
    sizes += [size * prod(s) for s in (whole.q_shape, whole.k_shape, whole.v_shape)]
    run = lib_cudnn.bind(
        "attention_grad", spec, place, lambda graph: describe_grad(piece, whole, graph), spec.dtype, sizes, FEW
    )
    offsets = [starts(spec, b, h) for b in range(0, whole.batch, examples) for h in range(0, whole.shared, shared)]

    def perform(*addresses: int) -> None:
        for each in offsets:
            run(*(a + o for a, o in zip(addresses, each, strict=True)))

    return perform


def starts(spec: AttentionGradSpec, example: int, shared: int) -> list[int]:
    """Where, in bytes, each operand and result begins for the piece that begins at an example and a head of keys."""
    f = spec.forward
    size, head = by_name(spec.dtype).size, shared * f.heads // f.shared
    views = ((spec.g, head), (f.q, head), (f.k, shared), (f.v, shared), (spec.out, head))
    found = [size * (view.offset + example * view.strides[0] + h * view.strides[1]) for view, h in views]
    found.append(4 * (example * f.heads + head) * f.queries)
    found += [0] if f.mask is not None else []
    for shape, h in ((f.q_shape, head), (f.k_shape, shared), (f.v_shape, shared)):
        by_example, by_head, *_ = inside(shape)
        found.append(size * (example * by_example + h * by_head))
    return found
