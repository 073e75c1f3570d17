"""Linear layers, layer normalization and attention."""

from tests.surface.case import FLOATS, Case, Misuse, Of, X, functional

Q, K, V = X((2, 3, 4)), X((2, 5, 4)), X((2, 5, 6))
HEADS = (X((2, 4, 3, 4)), X((2, 2, 5, 4)), X((2, 2, 5, 4)))


def attend(**options):
    return lambda lib, q, k, v, *mask: functional(lib).scaled_dot_product_attention(q, k, v, *mask, **options)


CASES = [
    Case(
        "nn.functional.linear",
        lambda lib, x, w, b: functional(lib).linear(x, w, b),
        (X((3, 5)), X((4, 5)), X((4,))),
        also=((X((5,)), X((4, 5)), X((4,))), (X((2, 0, 5)), X((4, 5)), X((4,))), (X((2, 3, 1)), X((1, 1)), X((1,)))),
    ),
    Case(
        "nn.functional.linear",
        lambda lib, x, w: functional(lib).linear(x, w),
        (X((2, 3, 5)), X((4, 5))),
        label="no bias",
    ),
    Case(
        "nn.functional.layer_norm",
        lambda lib, x, w, b: functional(lib).layer_norm(x, (5,), w, b),
        (X((3, 5)), X((5,)), X((5,))),
        also=((X((5,)), X((5,)), X((5,))), (X((2, 4, 5)), X((5,)), X((5,)))),
    ),
    Case(
        "nn.functional.layer_norm",
        lambda lib, x: functional(lib).layer_norm(x, x.shape[-2:], eps=0.1),
        (X((2, 3, 4)),),
        label="two dims, eps",
    ),
    Case("nn.functional.scaled_dot_product_attention", attend(), (Q, K, V), dtypes=FLOATS),
    Case("nn.functional.scaled_dot_product_attention", attend(is_causal=True), (Q, K, V), label="causal"),
    Case("nn.functional.scaled_dot_product_attention", attend(scale=0.3), (Q, K, V), label="scale"),
    Case(
        "nn.functional.scaled_dot_product_attention",
        lambda lib, q, k, v, m: functional(lib).scaled_dot_product_attention(q, k, v, lib.tensor(True) | m),
        (Q, K, V, Of("bool", (3, 5))),
        label="mask that allows all",
    ),
    Case("nn.functional.scaled_dot_product_attention", attend(), (Q, K, V, X((2, 3, 5))), label="mask to add"),
    Case(
        "nn.functional.scaled_dot_product_attention",
        attend(enable_gqa=True),
        HEADS,
        label="grouped queries",
        loose=2,  # products and a softmax, each rounded to float16
    ),
]

MISUSES = [
    Misuse(
        "linear",
        lambda lib, x, w: functional(lib).linear(x, w),
        (X((3, 5)), X((4, 6))),
        says=r"\(3, 5\).*\(4, 6\)",
    ),
    Misuse("layer_norm", lambda lib, x: functional(lib).layer_norm(x, (4,)), (X((3, 5)),), says=r"\(3, 5\)"),
    Misuse("scaled_dot_product_attention", attend(), (Q, X((2, 5, 3)), V), says="width"),
    Misuse(
        "scaled_dot_product_attention",
        attend(is_causal=True),
        (Q, K, V, X((2, 3, 5))),
        says="not both",
    ),
]
