"""Windows, and pools over them."""

from tests.surface.case import ALL, Case, Misuse, X

CASES = [
    Case(
        "Tensor.unfold",
        lambda lib, x: (x.unfold(-1, 3, 2), x.unfold(0, 2, 1), x.unfold(1, 2, 3).unfold(-2, 2, 1)),
        (X((3, 8)),),
        also=((X((2, 5, 4)),), (X((3, 8, 0)),)),
        dtypes=ALL,
    ),
    Case(
        "Tensor.unfold",
        lambda lib, x: (x.unfold(0, 0, 1), x.unfold(-1, 1, 2)),
        (X((5,)),),
        also=((X(()),), (X((3, 2)),)),
        label="size 0 and 1",
    ),
]

MISUSES = [
    Misuse("Tensor.unfold", lambda lib, x: x.unfold(0, 6, 1), (X((5,)),), says=r"windows of 6 .*\(5,\)"),
    Misuse("Tensor.unfold", lambda lib, x: x.unfold(0, -1, 1), (X((5,)),)),
    Misuse("Tensor.unfold", lambda lib, x: x.unfold(0, 2, 0), (X((5,)),), says="step is 0"),
    Misuse("Tensor.unfold", lambda lib, x: x.unfold(1, 1, 1), (X((5,)),), says="dim 1 is out of range"),
]
