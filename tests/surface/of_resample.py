"""Images of another size, and images read at given places."""

import warnings
from collections.abc import Callable
from typing import Any

from tests.surface.case import ALL, FLOATS, Case, Misuse, Of, X, functional


def call(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    def run(lib: Any, *tensors: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both sides warn of defaults
            return getattr(functional(lib), name)(*tensors, *arguments, **options)

    return run


def resize(label: str, shape: Any, *also: Any, dtypes: Any = FLOATS, name: str = "interpolate", **options: Any) -> Case:
    more = tuple((X(s),) for s in also)
    return Case(f"nn.functional.{name}", call(name, **options), (X(shape),), more, dtypes, label=label)


# In half precisions PyTorch computes places in those, FLAME in float32: far apart where a place lies near an element.
WIDE = ("float32", "float64")


def sample(label: str, shape: Any, grid: Any, *also: Any, **options: Any) -> Case:
    """Places a little beyond the edges, apart from the kinks."""
    sets = [(X(x), X(g, -1.3, 1.3)) for x, g in ((shape, grid), *also)]
    return Case(
        "nn.functional.grid_sample", call("grid_sample", **options), sets[0], tuple(sets[1:]), WIDE, label=label
    )


CASES = [
    resize("nearest, factor", (1, 2, 3), (2, 1, 2, 3), (1, 1, 2, 1, 2), scale_factor=2, dtypes=FLOATS),
    resize("nearest, integers", (1, 1, 3, 2), size=(5, 4), dtypes=ALL),
    resize("nearest, sizes", (2, 1, 5, 7), size=(7, 4)),
    resize("nearest, scale as given", (1, 1, 7), scale_factor=1.3),
    resize("nearest, scale recomputed", (1, 1, 7), scale_factor=1.3, recompute_scale_factor=True),
    resize("nearest-exact", (1, 1, 5, 7), size=(8, 3), mode="nearest-exact"),
    resize("nearest-exact, scale", (1, 2, 7), scale_factor=0.6, mode="nearest-exact"),
    resize("nearest-exact, factor", (1, 1, 2, 2, 1), scale_factor=(2, 3, 1), mode="nearest-exact"),
    resize("area", (1, 2, 5), (1, 1, 4, 6), (1, 1, 2, 3, 4), scale_factor=0.6, mode="area"),
    resize("area, larger", (1, 2, 5), size=7, mode="area"),
    resize("linear", (2, 2, 4), (0, 2, 4), (1, 1, 1), size=7, mode="linear"),
    resize("linear, corners", (1, 2, 5), (1, 1, 1), size=8, mode="linear", align_corners=True),
    resize("linear, smaller", (1, 2, 7), size=3, mode="linear"),
    resize("linear, one", (1, 2, 7), size=1, mode="linear", align_corners=True),
    resize("linear, as large", (1, 2, 5), size=5, mode="linear"),
    resize("linear, scale as given", (1, 1, 7), scale_factor=1.37, mode="linear"),
    resize("linear, scale recomputed", (1, 1, 7), scale_factor=1.37, mode="linear", recompute_scale_factor=True),
    resize("bilinear", (1, 2, 3, 4), scale_factor=2, mode="bilinear"),
    resize("bilinear, corners", (1, 2, 3, 4), size=(5, 2), mode="bilinear", align_corners=True),
    resize("bilinear, antialias", (1, 1, 7, 6), (1, 1, 2, 3), size=(3, 4), mode="bilinear", antialias=True),
    resize("bilinear, antialias, scale", (1, 1, 7, 5), scale_factor=(0.45, 1.6), mode="bilinear", antialias=True),
    resize(
        "bilinear, antialias, corners", (1, 1, 7, 5), size=(3, 2), mode="bilinear", antialias=True, align_corners=True
    ),
    resize("bicubic", (1, 2, 3, 4), (1, 1, 1, 2), size=(5, 3), mode="bicubic"),
    resize("bicubic, corners", (1, 1, 5, 4), size=(7, 6), mode="bicubic", align_corners=True),
    resize("bicubic, scale", (1, 1, 5, 4), scale_factor=(1.7, 0.6), mode="bicubic"),
    resize("bicubic, antialias", (1, 1, 9, 6), (1, 1, 2, 3), size=(3, 5), mode="bicubic", antialias=True),
    resize("trilinear", (1, 1, 2, 3, 2), size=(3, 2, 4), mode="trilinear"),
    resize("trilinear, corners", (1, 1, 2, 3, 2), scale_factor=2, mode="trilinear", align_corners=True),
    resize("plain", (1, 2, 3), (1, 1, 2, 2), scale_factor=2, name="upsample"),
    resize("bilinear", (1, 2, 3, 2), size=4, mode="bilinear", name="upsample"),
    *(
        sample(
            f"{mode}, {padding}, {align}",
            (1, 2, 3, 4),
            (1, 2, 2, 2),
            mode=mode,
            padding_mode=padding,
            align_corners=align,
        )
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
        for align in ((False,) if padding == "border" else (False, True))
    ),
    *(
        sample(
            f"3d, {mode}, {padding}",
            (1, 2, 2, 3, 2),
            (1, 2, 1, 3, 3),
            mode=mode,
            padding_mode=padding,
            align_corners=False,
        )
        for mode in ("bilinear", "nearest")
        for padding in ("zeros", "border", "reflection")
    ),
    sample("defaults", (1, 1, 2, 2), (1, 3, 1, 2), ((0, 1, 2, 2), (0, 3, 1, 2)), ((1, 1, 1, 1), (1, 2, 2, 2))),
    Case(
        "nn.functional.grid_sample",
        lambda lib, x, g: functional(lib).grid_sample(x, g * 1e6, padding_mode="reflection", align_corners=True),
        (X((1, 1, 1, 1)), X((1, 2, 2, 2))),
        label="one element reflected",
    ),
    Case(
        "nn.functional.grid_sample",
        lambda lib, x, g: functional(lib).grid_sample(x, g.round() / 2, padding_mode="border", align_corners=True),
        (X((1, 2, 5, 5)), X((1, 3, 2, 2))),
        label="places that halves hold exactly",
    ),
    *(
        Case(
            "nn.functional.affine_grid",
            call("affine_grid", size, align),
            (X(shape),),
            label=f"{len(shape) + 1}d, {align}",
        )
        for shape, size, align in (
            ((2, 2, 3), (2, 1, 3, 4), False),
            ((2, 2, 3), (2, 5, 2, 1), True),
            ((1, 3, 4), (1, 1, 2, 3, 2), False),
            ((1, 3, 4), (1, 1, 2, 2, 3), True),
        )
    ),
]


def misuse(
    says: str, shape: Any, name: str = "interpolate", dtype: str = "float32", accepted: bool = False, **options: Any
) -> Misuse:
    return Misuse(f"nn.functional.{name}", call(name, **options), (Of(dtype, shape),), says, accepted)


def sampling(says: str, x: Any, grid: Any, **options: Any) -> Misuse:
    return Misuse("nn.functional.grid_sample", call("grid_sample", **options), (x, grid), says)


IMAGE = (1, 1, 3, 4)
MISUSES = [
    misuse("either size or scale_factor", IMAGE),
    misuse("either size or scale_factor", IMAGE, size=2, scale_factor=2),
    misuse(r"size is \(2,\)", IMAGE, size=(2,)),
    misuse(r"scale_factor is \(2,\)", IMAGE, scale_factor=(2,)),
    misuse("sizes are integers", IMAGE, size=(2.5, 2)),
    misuse("at least 1", IMAGE, size=0),
    misuse("at least 1", IMAGE, scale_factor=0.1),
    misuse("recompute_scale_factor", IMAGE, size=2, recompute_scale_factor=True),
    misuse("align_corners is for", IMAGE, size=2, align_corners=False),
    misuse("antialias is for", IMAGE, size=2, antialias=True),
    misuse("'cubist'", IMAGE, size=2, mode="cubist"),
    misuse("'linear' needs 3", IMAGE, size=2, mode="linear"),
    misuse("'trilinear' needs 5", IMAGE, size=2, mode="trilinear"),
    misuse("3, 4 or 5", (3, 4), size=2),
    misuse("floating", IMAGE, size=2, mode="bilinear", dtype="int64"),
    misuse("floating", IMAGE, size=2, mode="bilinear", dtype="uint8", accepted=True),  # PyTorch rounds, for images
    sampling("'cubic'", X(IMAGE), X((1, 2, 2, 2)), mode="cubic"),
    sampling("'ones'", X(IMAGE), X((1, 2, 2, 2)), padding_mode="ones"),
    sampling(r"\(1, 2, 2, 3\)", X(IMAGE), X((1, 2, 2, 3))),
    sampling("batches", X(IMAGE), X((2, 2, 2, 2))),
    sampling("grid float64", X(IMAGE), Of("float64", (1, 2, 2, 2))),
    sampling("volumes", X((1, 1, 2, 2, 2)), X((1, 2, 2, 2, 3)), mode="bicubic"),
    sampling("may be empty", X((1, 1, 0, 2)), X((1, 2, 2, 2))),
    misuse("theta must be floating", (1, 2, 3), "affine_grid", "int64", size=(1, 1, 2, 2)),
    misuse(r"\(1, 2, 4\)", (1, 2, 4), "affine_grid", size=(1, 1, 2, 2)),
    misuse("positive", (1, 2, 3), "affine_grid", size=(1, 1, 0, 2)),
]
