"""Losses: every reduction, weights, ignored targets, and targets of each kind."""

import warnings
from functools import partial
from typing import Any

from tests.surface.case import FLOATS, Case, Misuse, Of, X, functional

REDUCTIONS = ("mean", "sum", "none")
PAIR = (X((3, 5), apart=True), X((3, 5), apart=True))
PAIRS = (
    (X((), apart=True), X((), apart=True)),
    (X((0, 3)), X((0, 3))),
    (X((1,)), X((1,))),
    (X((2, 3, 4)), X((2, 3, 4))),
)
SINGLE = ("float32", "float64")  # PyTorch's CPU has no half precisions here
UNIT = (X((3, 5), 0.05, 0.95), X((3, 5), 0.05, 0.95))


def loss(lib: Any, *operands: Any, of: str, **options: Any) -> Any:
    return getattr(functional(lib), of)(*operands, **options)


def quiet(lib: Any, *operands: Any, of: str, **options: Any) -> Any:
    """PyTorch warns that "mean" is seldom meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return loss(lib, *operands, of=of, **options)


def weighted(lib: Any, *operands: Any, of: str, name: str = "weight", **options: Any) -> Any:
    """The last operand is an option."""
    return getattr(functional(lib), of)(*operands[:-1], **{name: operands[-1]}, **options)


def aligned(
    lib: Any,
    logits: Any,
    targets: Any,
    *,
    of: str,
    input_lengths: Any = None,
    target_lengths: Any = None,
    **options: Any,
) -> Any:
    """Log-probabilities, and lengths as tensors; by default all there are."""
    steps, batch = logits.shape[0], logits.shape[1]
    times = lib.tensor([steps] * batch if input_lengths is None else input_lengths)
    sizes = lib.tensor([targets.shape[-1]] * batch if target_lengths is None else target_lengths)
    targets = targets.contiguous()  # PyTorch misreads targets that lie behind one another with gaps in memory
    return functional(lib).ctc_loss(logits.log_softmax(-1), targets, times, sizes, **options)


def many(
    of: str, operands: tuple, label: str = "", call: Any = loss, reductions: Any = REDUCTIONS, **more: Any
) -> list:
    """A case for each reduction; words that a Case does not know are options of the loss."""
    known = {k: more.pop(k) for k in list(more) if k in Case.__dataclass_fields__}
    name = f"nn.functional.{of}"
    return [
        Case(name, partial(call, of=of, reduction=r, **more), operands, label=f"{label} {r}".strip(), **known)
        for r in reductions
    ]


CLASSES = (X((4, 5)), Of("int64", (4,), 0, 5))
CLASS_SHAPES = (
    (X((5,)), Of("int64", (), 0, 5)),
    (X((2, 5, 3)), Of("int64", (2, 3), 0, 5)),
    (X((2, 5, 3, 2)), Of("int64", (2, 3, 2), 0, 5)),
    (X((1, 1)), Of("int64", (1,), 0, 1)),
)
WEIGHTS = Of("float32", (5,), 0.5, 1.5)
# PyTorch wants the weight in the input's dtype
ONE_TYPE = {"dtypes": ("float32",)}
VECTORS = (X((4, 5)), X((4, 5)))

CASES = [
    # numbers
    *many("l1_loss", PAIR, also=PAIRS, dtypes=FLOATS, second=False),
    *many("l1_loss", (*PAIR, X((3, 5), 0.5, 2)), "weight", weighted, second=False),
    *many("mse_loss", PAIR, also=PAIRS),
    *many("mse_loss", (*PAIR, X((3, 5), 0.5, 2)), "weight", weighted),
    *many("smooth_l1_loss", PAIR, also=PAIRS, dtypes=FLOATS, beta=0.7),
    *many("smooth_l1_loss", PAIR, "beta 0", second=False, beta=0.0),
    *many("huber_loss", PAIR, also=PAIRS, delta=1.3),
    *many("huber_loss", (*PAIR, X((3, 5), 0.5, 2)), "weight", weighted, delta=0.9),
    *many("poisson_nll_loss", PAIR, also=(*PAIRS, (X((3, 5)), X((5,))))),
    *many(
        "poisson_nll_loss", (X((3, 5), 0.5, 3), X((3, 5), 1.5, 5, apart=True)), "rate, full", log_input=False, full=True
    ),
    *many("poisson_nll_loss", (X((3, 5)), X((3, 5), 0.1, 4)), "full", full=True),
    # a quotient of small numbers, rounded three times where PyTorch rounds once
    *many(
        "gaussian_nll_loss",
        (*PAIR, X((3, 5), 0.5, 2)),
        loose=4,
        also=(
            (X((2, 3)), X((2, 3)), X((2,), 0.5, 2)),
            (X((2, 3)), X((2, 3)), X((2, 1), 0.5, 2)),
            (X((2, 3)), X((2, 3)), X((1, 3), 0.5, 2)),
            (X((0, 3)), X((0, 3)), X((0, 3), 0.5, 2)),
        ),
    ),
    *many(
        "gaussian_nll_loss",
        PAIR,
        "number, full",
        partial(lambda lib, x, y, of, **k: functional(lib).gaussian_nll_loss(x, y, 0.7, full=True, **k)),
    ),
    # var is clamped to 2 in the value but not in the gradient, PyTorch's choice: no difference quotient knows it
    Case(
        "nn.functional.gaussian_nll_loss",
        partial(loss, of="gaussian_nll_loss", eps=0.75),
        (*PAIR, Of("float32", (3, 5), 0.5, 2)),
        label="clamped",
        dtypes=("float32",),
    ),
    *many(
        "kl_div",
        (X((3, 5), -3, 0), X((3, 5), 0.1, 0.9)),
        reductions=("sum", "none", "batchmean"),
        also=((X((5,)), X((5,), 0.1, 1)), (X((3, 5)), X((5,), 0.1, 1)), (X(()), X((), 0.1, 1)), (X((2, 0)), X((2, 0)))),
    ),
    *many("kl_div", (X((3, 5), -3, 0), X((3, 5), 0.1, 0.9)), "", quiet, reductions=("mean",)),
    *many(
        "kl_div",
        (X((3, 5), -3, 0), X((3, 5), -3, 0)),
        "log_target",
        reductions=("sum", "none", "batchmean"),
        log_target=True,
    ),
    # yes or no
    *many(
        "binary_cross_entropy",
        UNIT,
        also=(
            (X((), 0.1, 0.9), X((), 0, 1)),
            (X((0, 2), 0, 1), X((0, 2))),
            (X((2, 1, 3), 0.1, 0.9), X((2, 1, 3), 0, 1)),
        ),
    ),
    *many("binary_cross_entropy", (*UNIT, Of("float32", (5,), 0.5, 2)), "weight", weighted, dtypes=("float32",)),
    Case(
        "nn.functional.binary_cross_entropy",
        lambda lib, x, y: functional(lib).binary_cross_entropy(
            x.to(lib.bool).to(lib.float32), y.to(lib.float32), reduction="none"
        ),
        (Of("bool", (40,)), Of("bool", (40,))),
        label="saturated",
        dtypes=("float32",),
        grad=False,
    ),
    *many(
        "binary_cross_entropy_with_logits",
        (X((3, 5)), X((3, 5), 0, 1)),
        also=((X(()), X((), 0, 1)), (X((0, 2)), X((0, 2))), (X((2, 1, 3)), X((2, 1, 3), 0, 1))),
    ),
    *many("binary_cross_entropy_with_logits", (X((3, 5), -90, 90), X((3, 5), 0, 1)), "far", dtypes=SINGLE),
    *many(
        "binary_cross_entropy_with_logits",
        (X((3, 5)), X((3, 5), 0, 1), Of("float32", (5,), 0.5, 2)),
        "weight",
        weighted,
        **ONE_TYPE,
    ),
    *many(
        "binary_cross_entropy_with_logits",
        (X((3, 5)), X((3, 5), 0, 1), Of("float32", (5,), 0.5, 2)),
        "pos_weight",
        partial(weighted, name="pos_weight"),
        **ONE_TYPE,
    ),
    *many(
        "soft_margin_loss",
        (X((3, 8), -9, 9), Of("bool", (3, 8))),
        "signs",
        lambda lib, x, y, of, **k: functional(lib).soft_margin_loss(x, y.to(x.dtype) * 2 - 1, **k),
        also=((X(()), Of("bool", ())), (X((0, 3)), Of("bool", (0, 3)))),
    ),
    *many(
        "multilabel_soft_margin_loss",
        (X((3, 5)), X((3, 5), 0, 1)),
        also=((X((5,)), X((5,), 0, 1)), (X((2, 3, 4)), X((2, 3, 4), 0, 1))),
    ),
    *many("multilabel_soft_margin_loss", (X((3, 5)), X((3, 5), 0, 1), X((5,), 0.5, 2)), "weight", weighted),
    *many("hinge_embedding_loss", PAIR, "neither", dtypes=SINGLE, second=False),
    *many(
        "hinge_embedding_loss",
        (X((3, 8), apart=True), Of("bool", (3, 8))),
        "signs",
        lambda lib, x, y, of, **k: functional(lib).hinge_embedding_loss(x, y.to(x.dtype) * 2 - 1, margin=1.1, **k),
        dtypes=SINGLE,
        second=False,
    ),
    # margins
    *many(
        "margin_ranking_loss",
        (*PAIR, X((3, 5), apart=True)),
        also=((X(()), X(()), X(())), (X((3, 1)), X((1, 4)), X((3, 4))), (X((0, 2)), X((0, 2)), X((0, 2)))),
        margin=0.3,
    ),
    *many(
        "cosine_embedding_loss",
        (*VECTORS, Of("bool", (4,))),
        "signs",
        lambda lib, x, y, t, of, **k: functional(lib).cosine_embedding_loss(
            x, y, t.to(lib.int64) * 2 - 1, margin=0.1, **k
        ),
        also=((X((5,)), X((5,)), Of("bool", ())),),
    ),
    *many("cosine_embedding_loss", (*VECTORS, Of("int64", (4,), 0, 1)), "neither"),
    *many(
        "multi_margin_loss",
        (X((4, 5), apart=True), Of("int64", (4,), 0, 5)),
        also=(
            (X((5,)), Of("int64", (), 0, 5)),
            (X((5,)), Of("int64", (1,), 0, 5)),
            (X((1, 3)), Of("int64", (1,), 0, 3)),
        ),
        dtypes=SINGLE,
        second=False,
    ),
    *many(
        "multi_margin_loss",
        (X((4, 5), apart=True), Of("int64", (4,), 0, 5)),
        "p 2",
        dtypes=SINGLE,
        p=2,
        margin=0.7,
        second=False,
    ),
    *many(
        "multi_margin_loss",
        (X((4, 5), apart=True), Of("int64", (4,), 0, 5), WEIGHTS),
        "weight",
        weighted,
        **ONE_TYPE,
        grad=False,
    ),
    *many(
        "multilabel_margin_loss",
        (X((4, 6), -3, 3.1, apart=True), Of("int64", (4, 6), -1, 6)),
        also=(
            (X((6,)), Of("int64", (6,), -1, 6)),
            (X((3, 4)), Of("int64", (3, 4), -1, 0)),
            (X((3, 4)), Of("int64", (3, 4), 0, 4)),
        ),
        dtypes=SINGLE,
        second=False,
    ),
    *many(
        "triplet_margin_loss",
        (*VECTORS, X((4, 5))),
        also=((X((5,)), X((5,)), X((5,))), (X((2, 3, 4)), X((2, 3, 4)), X((2, 3, 4)))),
        margin=5.0,
    ),
    *many(
        "triplet_margin_loss",
        (*VECTORS, X((4, 5))),
        "swap, p 1",
        margin=5.0,
        swap=True,
        p=1,
        second=False,
        dtypes=SINGLE,
    ),
    *many("triplet_margin_loss", (*VECTORS, X((4, 5))), "p 3", margin=5.0, p=3, dtypes=SINGLE),
    *many("triplet_margin_loss", (*VECTORS, X((4, 5))), "p inf", margin=5.0, p=float("inf"), dtypes=SINGLE),
    *many("triplet_margin_with_distance_loss", (*VECTORS, X((4, 5))), margin=5.0, swap=True),
    # the difference of two sums of squares, which PyTorch rounds to half precision before
    *many(
        "triplet_margin_with_distance_loss",
        (*VECTORS, X((4, 5))),
        "own distance",
        lambda lib, a, p, n, of, **k: functional(lib).triplet_margin_with_distance_loss(
            a, p, n, distance_function=lambda x, y: ((x - y) ** 2).sum(-1), margin=9.0, **k
        ),
        loose=4,
    ),
    *(
        Case(
            f"{where}pairwise_distance",
            lambda lib, x, y, get=get, more=more: get(lib).pairwise_distance(x, y, **more),
            VECTORS,
            also=((X((5,)), X((4, 5))), (X((1,)), X((1,))), (X((2, 3, 4)), X((4,)))),
            label=label,
        )
        for where, get in (("nn.functional.", functional), ("", lambda lib: lib))
        for label, more in (
            ("", {}),
            ("p 3, kept", {"p": 3.0, "eps": 0.1, "keepdim": True}),
            ("p inf", {"p": float("inf")}),
        )
    ),
    # alignments: the gradient is the host's, and there is no second one, as in PyTorch
    *many(
        "ctc_loss",
        (X((6, 3, 5)), Of("int64", (3, 3), 1, 5)),
        "",
        aligned,
        also=((X((4, 2, 3)), Of("int64", (2, 1), 1, 3)), (X((1, 1, 2)), Of("int64", (1, 1), 1, 2))),
        dtypes=SINGLE,
        second=False,
    ),
    *many(
        "ctc_loss",
        (X((6, 3, 5)), Of("int64", (3, 3), 0, 4)),
        "blank 4, short",
        aligned,
        dtypes=SINGLE,
        second=False,
        blank=4,
        input_lengths=[6, 5, 1],
        target_lengths=[2, 0, 1],
    ),
    *many(
        "ctc_loss",
        (X((4, 3, 5)), Of("int64", (6,), 1, 3)),
        "behind one another, impossible",
        aligned,
        dtypes=SINGLE,
        second=False,
        zero_infinity=True,
        input_lengths=[4, 1, 4],
        target_lengths=[1, 3, 2],
    ),
    *many(
        "ctc_loss",
        (X((4, 5)), Of("int64", (2,), 1, 5)),
        "single",
        aligned,
        dtypes=SINGLE,
        second=False,
        input_lengths=4,
        target_lengths=2,
    ),
    # classes
    *many("cross_entropy", CLASSES, also=(*CLASS_SHAPES, (X((4, 5), -80, 80), Of("int64", (4,), 0, 5)))),
    *many("cross_entropy", CLASSES, "smoothed, ignored", label_smoothing=0.3, ignore_index=2, also=CLASS_SHAPES),
    *many("cross_entropy", (*CLASSES, WEIGHTS), "weight", weighted, **ONE_TYPE, ignore_index=1, label_smoothing=0.2),
    *many(
        "cross_entropy",
        (X((4, 5)), X((4, 5), 0, 1)),
        "probabilities",
        also=((X((5,)), X((5,), 0, 1)), (X((2, 5, 3)), X((2, 5, 3), 0, 1))),
    ),
    *many(
        "cross_entropy",
        (X((4, 5)), X((4, 5), 0, 1), X((5,), 0.5, 2)),
        "probabilities, weight, smoothed",
        weighted,
        label_smoothing=0.2,
        dtypes=SINGLE,
    ),
    Case(
        "nn.functional.cross_entropy",
        partial(loss, of="cross_entropy", ignore_index=0),
        (X((3, 4)), Of("int64", (3,), 0, 1)),
        label="all ignored",
        grad=False,
    ),
    *many("nll_loss", CLASSES, also=CLASS_SHAPES, ignore_index=3),
    *many("nll_loss", (*CLASSES, WEIGHTS), "weight", weighted, **ONE_TYPE),
]


def wrong(of: str, *operands: X | Of, says: str = "", accepted: bool = False, **options: Any) -> Misuse:
    """A loss that refuses its operands or options."""
    return Misuse(of, partial(loss, of=of, **options), operands, says, accepted)


MISUSES = [
    # PyTorch warns and broadcasts, which is nearly always a mistake
    *(
        wrong(of, X((3, 2)), X((3,)), says=r"\(3, 2\).*\(3,\)", accepted=True)
        for of in ("l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss")
    ),
    *(
        wrong(of, X((3,)), X((3,)), says="'average'", reduction="average")
        for of in (
            "l1_loss",
            "mse_loss",
            "smooth_l1_loss",
            "huber_loss",
            "kl_div",
            "poisson_nll_loss",
            "binary_cross_entropy",
            "binary_cross_entropy_with_logits",
            "soft_margin_loss",
            "multilabel_soft_margin_loss",
            "hinge_embedding_loss",
        )
    ),
    wrong("mse_loss", Of("int64", (3,)), Of("int64", (3,)), says="floating"),
    wrong("smooth_l1_loss", X((3,)), X((3,)), beta=-1.0, says="beta is -1"),
    wrong("huber_loss", X((3,)), X((3,)), delta=0.0, says="delta is 0"),
    wrong("gaussian_nll_loss", X((2, 3)), X((2, 3)), X((3, 3), 0.5, 1), says=r"var \(3, 3\)"),
    Misuse("gaussian_nll_loss", lambda lib, x: functional(lib).gaussian_nll_loss(x, x, -1.0), (X((3,)),), "var is -1"),
    wrong("binary_cross_entropy", X((3,), 0, 1), X((2,), 0, 1), says=r"\(3,\).*\(2,\)"),
    wrong("binary_cross_entropy_with_logits", X((3,)), X((2,)), says=r"\(3,\).*\(2,\)"),
    wrong("multilabel_soft_margin_loss", X(()), X(()), says="0-d"),
    wrong("margin_ranking_loss", X((3, 2)), X((3,)), X((3,)), says="equally many dimensions"),
    wrong("cosine_embedding_loss", X((3, 2)), X((3, 2)), X((3, 2)), says=r"\(N, D\)"),
    wrong("multi_margin_loss", X((3, 2)), Of("int64", (3,)), p=3, says="p is 3"),
    wrong("multi_margin_loss", X((3, 2)), Of("int64", (2,)), says=r"must have shape \(3,\)"),
    wrong("multilabel_margin_loss", X((3, 2)), Of("int64", (3, 3)), says=r"\(3, 3\)"),
    wrong("triplet_margin_loss", X((3, 2)), X((3, 2)), X((2,)), says="equally many dimensions"),
    wrong("triplet_margin_loss", X((3, 2)), X((3, 2)), X((3, 2)), margin=-1.0, says="margin is -1"),
    wrong("triplet_margin_with_distance_loss", X((3, 2)), X((3, 2)), X((3, 2)), margin=0.0, says="margin is 0"),
    *(
        Misuse(
            "ctc_loss",
            lambda lib, x, t, more=more: functional(lib).ctc_loss(
                x, t, **({"input_lengths": [4, 4], "target_lengths": [2, 2]} | more)
            ),
            (X((4, 2, 3)), Of("int64", (2, 2), 1, 3)),
            says,
        )
        for more, says in (
            ({"input_lengths": [5, 4]}, "do not fit"),
            ({"target_lengths": [3, 1]}, "do not fit"),
            ({"input_lengths": [4]}, "batch of 2"),
            ({"blank": 3}, "blank is 3"),
            ({"reduction": "average"}, "average"),
        )
    ),
    Misuse(
        "ctc_loss",
        lambda lib, x, t: functional(lib).ctc_loss(x, t, [4, 4], [2, 2]),
        (Of("int64", (4, 2, 3)), Of("int64", (2, 2), 1, 3)),
        "floating",
    ),
    # PyTorch reads beyond the classes
    Misuse(
        "ctc_loss",
        lambda lib, x, t: functional(lib).ctc_loss(x, t + 7, [4, 4], [2, 2]),
        (X((4, 2, 3)), Of("int64", (2, 2), 1, 3)),
        r"choose from \[0, 2\]",
        accepted=True,
    ),
    wrong("cross_entropy", X((4, 5)), Of("int64", (3,)), says=r"must have shape \(4,\)"),
    wrong("cross_entropy", X((4, 5)), X((4,)), says="class indices"),
    wrong("cross_entropy", X((4, 5)), Of("int64", (4,)), label_smoothing=1.5, says="label_smoothing is 1.5"),
    wrong("cross_entropy", X((4, 5)), X((4, 5)), ignore_index=1, says="ignore_index=1"),
    wrong("cross_entropy", Of("int64", (4, 5)), Of("int64", (4,)), says="floating"),
    Misuse("cross_entropy", partial(weighted, of="cross_entropy"), (*CLASSES, X((4,))), "for 5 classes"),
    wrong("nll_loss", X((4, 5)), X((4,)), says="class indices"),
    wrong("nll_loss", X((4, 5)), Of("int64", (5,)), says=r"must have shape \(4,\)"),
    Misuse("nll_loss", partial(weighted, of="nll_loss"), (*CLASSES, X((4,))), "for 5 classes"),
]
