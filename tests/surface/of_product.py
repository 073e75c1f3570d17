"""Products of vectors and matrices."""

from tests.surface.case import FLOATS, NUMBERS, Case, Misuse, X

CASES = [
    Case(
        "matmul",
        lambda lib, a, b: lib.matmul(a, b),
        (X((3, 5)), X((5, 4))),
        also=(
            (X((5,)), X((5,))),
            (X((2, 3, 5)), X((5,))),
            (X((5,)), X((2, 5, 4))),
            (X((2, 1, 3, 5)), X((7, 5, 2))),
            (X((0, 3)), X((3, 2))),
            (X((1, 1)), X((1, 1))),
        ),
        dtypes=NUMBERS,
    ),
    Case("mm", lambda lib, a, b: lib.mm(a, b), (X((3, 5)), X((5, 4))), dtypes=FLOATS),
]

MISUSES = [
    Misuse("matmul", lambda lib, a, b: lib.matmul(a, b), (X((3, 5)), X((4, 5))), says=r"\(3, 5\).*\(4, 5\)"),
    Misuse("mm", lambda lib, a, b: lib.mm(a, b), (X((5,)), X((4, 5)))),
]
