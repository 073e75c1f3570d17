"""Linear algebra: decompositions are unique up to signs, so what is compared does not depend on them."""

import warnings
from math import inf

from tests.surface.case import Case, Misuse, Of, X

REAL = ("float32", "float64")
SQUARE = X((3, 3))
SOME = ((X((2, 3, 3)),), (X((1, 1)),), (X((2, 1, 2, 2)),))


def regular(x):
    """A matrix far from singular."""
    n = x.shape[-1]
    return x + 4 * n**0.5 * _eye(x)


def _eye(x):
    return (x.detach() * 0 + 1).tril().triu()


def positive(x):
    """A symmetric, positive definite matrix."""
    return x @ x.mT / x.shape[-1] + _eye(x)


def symmetric(x):
    return x + x.mT


def quietly(call):
    """PyTorch warns that these names are its older ones."""

    def run(*given):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*given)

    return run


def linalg(name, call, *operands, also=(), label="", dtypes=REAL, **more):
    return Case(
        f"linalg.{name}", lambda lib, *given: call(lib.linalg, *given), operands, also, dtypes, label=label, **more
    )


CASES = [
    # --- inverses and equations ---------------------------------------------------------------------------------------
    linalg("inv", lambda la, x: la.inv(regular(x)), SQUARE, also=(*SOME, (X((0, 0)),), (X((2, 0, 0)),)), loose=3),
    Case("inverse", lambda lib, x: (lib.inverse(regular(x)), regular(x).inverse()), (SQUARE,), dtypes=REAL),
    linalg(
        "solve",
        lambda la, a, b: (la.solve(regular(a), b), la.solve(regular(a), b.mT, left=False)),
        SQUARE,
        X((3, 2)),
        also=((X((2, 3, 3)), X((1, 3, 2))), (X((3, 3)), X((2, 3, 1))), (X((2, 1, 2, 2)), X((3, 2, 2)))),
        loose=3,
    ),
    linalg(
        "solve",
        lambda la, a, b: la.solve(regular(a), b),
        SQUARE,
        X((3,)),
        also=((X((2, 3, 3)), X((2, 3))), (X((0, 0)), X((0,)))),
        label="vector",
    ),
    linalg(
        "solve_triangular",
        lambda la, a, b: (
            la.solve_triangular(regular(a), b, upper=True),
            la.solve_triangular(regular(a), b, upper=False),
            la.solve_triangular(a, b, upper=True, unitriangular=True),
            la.solve_triangular(a, b, upper=False, unitriangular=True),
            la.solve_triangular(regular(a), b.mT, upper=True, left=False),
        ),
        SQUARE,
        X((3, 2)),
        also=((X((2, 3, 3)), X((1, 3, 2))), (X((0, 0)), X((0, 2)))),
        loose=10,  # unit triangles of large elements have large inverses
    ),
    linalg(
        "pinv",
        lambda la, x: la.pinv(x),
        X((4, 3)),
        also=((X((3, 4)),), (SQUARE,), (X((2, 3, 2)),), (X((0, 2)),)),
        loose=50,
    ),
    linalg(
        "pinv",
        lambda la, x: (la.pinv(x, rtol=0.5), la.pinv(x, atol=1.0), la.pinv(symmetric(x[:3]), hermitian=True)),
        X((4, 3)),
        grad=False,
        label="tolerances",
        loose=10,
    ),
    linalg("pinv", lambda la, x: la.pinv(x[:, :1] @ x[:1]), X((4, 3)), label="rank one", loose=50),
    Case("pinverse", lambda lib, x: (lib.pinverse(x), x.pinverse()), (X((4, 3)),), dtypes=REAL, loose=50),
    linalg(
        "lstsq",
        lambda la, a, b: (
            *la.lstsq(a, b, driver="gels")[:2],
            la.lstsq(a, b, driver="gelsd").rank,
            la.lstsq(a, b).solution,
            la.lstsq(a, b).rank,
        ),
        X((5, 3)),
        X((5, 2)),
        also=((X((2, 4, 2)), X((2, 4, 1))),),
        loose=50,
    ),
    linalg(
        "lstsq", lambda la, a, b: la.lstsq(a, b, driver="gelsd").solution, X((3, 5)), X((3, 2)), label="wide", loose=50
    ),
    linalg(
        "tensorinv", lambda la, x: la.tensorinv(x + 4 * _eye(x.reshape(6, 6)).reshape(x.shape)), X((2, 3, 6)), loose=20
    ),
    linalg(
        "tensorsolve",
        lambda la, a, b: la.tensorsolve(a + 4 * _eye(a.reshape(6, 6)).reshape(a.shape), b),
        X((2, 3, 6)),
        X((2, 3)),
        loose=20,
    ),
    linalg(
        "tensorsolve",
        lambda la, a, b: la.tensorsolve(a, b, dims=(0, 2)),
        X((3, 6, 2)),
        X((6,)),
        label="dims",
        loose=100,
    ),
    # --- determinants -------------------------------------------------------------------------------------------------
    linalg("det", lambda la, x: la.det(x), SQUARE, also=(*SOME, (X((0, 0)),), (X((2, 0, 0)),)), loose=10),
    linalg("det", lambda la, x: la.det(x[:, :1] @ x[:1]), SQUARE, label="singular", second=False, loose=20),
    Case("det", lambda lib, x: (lib.det(x), x.det()), (SQUARE,), dtypes=REAL, loose=10),
    linalg("slogdet", lambda la, x: tuple(la.slogdet(x)), SQUARE, also=(*SOME, (X((0, 0)),)), loose=10),
    Case("slogdet", lambda lib, x: (*lib.slogdet(x), x.slogdet().logabsdet), (SQUARE,), dtypes=REAL, loose=10),
    Case(
        "logdet",
        lambda lib, x: (lib.logdet(positive(x)), positive(x).logdet()),
        (SQUARE,),
        also=SOME,
        dtypes=REAL,
        loose=10,
    ),
    Case("logdet", lambda lib, x: lib.logdet(x), (X((6, 2, 2)),), dtypes=REAL, grad=False, label="negative", loose=10),
    # --- decompositions -----------------------------------------------------------------------------------------------
    linalg(
        "cholesky",
        lambda la, x: (la.cholesky(positive(x)), la.cholesky(positive(x), upper=True)),
        SQUARE,
        also=(*SOME, (X((0, 0)),)),
        loose=10,
    ),
    linalg("cholesky", lambda la, x: la.cholesky(regular(x)), SQUARE, label="triangle", grad=False),
    Case(
        "cholesky",
        quietly(lambda lib, x: (lib.cholesky(positive(x)), positive(x).cholesky(upper=True))),
        (SQUARE,),
        dtypes=REAL,
        loose=10,
    ),
    Case(
        "cholesky_solve",
        lambda lib, b, x: (
            lib.cholesky_solve(b, regular(x)),
            b.cholesky_solve(regular(x), upper=True),
        ),
        (X((3, 2)), SQUARE),
        dtypes=REAL,
        grad=False,  # PyTorch reads a triangle here, and gives its gradient for the whole
        loose=10,
    ),
    Case(
        "cholesky_solve",
        lambda lib, b, x: lib.cholesky_solve(b, regular(x).tril()),
        (X((3, 2)), SQUARE),
        dtypes=REAL,
        label="gradient",
        loose=10,
    ),
    Case(
        "cholesky_inverse",
        lambda lib, x: (lib.cholesky_inverse(regular(x).tril()), regular(x).triu().cholesky_inverse(upper=True)),
        (SQUARE,),
        dtypes=REAL,
        loose=10,
    ),
    linalg(
        "qr",
        lambda la, x: (lambda q, r: (q @ r, q @ q.mT, q * q, r.abs()))(*la.qr(x)),
        X((4, 3)),
        also=((SQUARE,), (X((2, 3, 4)),), (X((2, 2, 2)),), (X((3, 1)),), (X((1, 3)),)),
        loose=100,
    ),
    linalg(
        "qr",
        lambda la, x: (lambda q, r: (q @ r, r.abs()))(*la.qr(x, mode="complete")),
        X((3, 4)),
        also=((SQUARE,),),
        label="complete",
        loose=50,
    ),
    linalg(
        "qr",
        lambda la, x: (lambda q, r: (q @ r, q @ q.mT, r.abs(), la.qr(x, "r").R.abs()))(*la.qr(x, "complete")),
        X((4, 2)),
        label="tall",
        grad=False,
        loose=10,
    ),
    Case(
        "qr",
        quietly(lambda lib, x: (lambda f, g: (f.Q @ f.R, g[1].abs()))(lib.qr(x), x.qr(some=True))),
        (X((4, 3)),),
        dtypes=REAL,
        loose=50,
    ),
    linalg(
        "svd",
        lambda la, x: (lambda u, s, v: (u * s.unsqueeze(-2) @ v, s, u * u, v * v, u @ (s.exp().unsqueeze(-1) * v)))(
            *la.svd(x, full_matrices=False)
        ),
        X((4, 3)),
        also=((SQUARE,), (X((3, 4)),), (X((2, 2, 3)),), (X((1, 1)),), (X((3, 1)),)),
        loose=200,
    ),
    linalg(
        "svd",
        lambda la, x: (lambda u, s, v: (u @ u.mT, s, v @ v.mT))(*la.svd(x)),
        X((4, 3)),
        also=((X((2, 3)),),),
        label="full",
        grad=False,
        loose=10,
    ),
    linalg(
        "svd",
        lambda la, x: (lambda f: (f.S, f.U[..., :2] * f.U[..., :2]))(la.svd(x)),
        X((4, 2)),
        label="first vectors",
        loose=200,
    ),
    linalg(
        "svdvals",
        lambda la, x: la.svdvals(x),
        X((4, 3)),
        also=((SQUARE,), (X((2, 2, 3)),), (X((0, 3)),), (X((1, 1)),)),
        loose=50,
    ),
    Case(
        "svd",
        lambda lib, x: (lambda f, g: (f.U * f.S @ f.V.mT, g.S))(lib.svd(x), x.svd(compute_uv=False)),
        (X((4, 3)),),
        dtypes=REAL,
        grad=False,
        loose=10,
    ),
    linalg(
        "eigh",
        lambda la, x: (lambda w, v: (w, v * v, v * w.exp().unsqueeze(-2) @ v.mT))(*la.eigh(symmetric(x))),
        SQUARE,
        also=(*SOME, (X((0, 0)),)),
        loose=300,
    ),
    linalg(
        "eigh",
        lambda la, x: (la.eigh(x).eigenvalues, la.eigh(x, UPLO="U").eigenvalues),
        SQUARE,
        label="triangle",
        grad=False,
        loose=5,
    ),
    linalg(
        "eigvalsh",
        lambda la, x: (la.eigvalsh(symmetric(x)), la.eigvalsh(symmetric(x), UPLO="U")),
        SQUARE,
        also=SOME,
        loose=50,
    ),
    # --- what is read off them ----------------------------------------------------------------------------------------
    linalg(
        "matrix_rank",
        lambda la, x: (
            la.matrix_rank(x),
            la.matrix_rank(x[..., :1] @ x[..., :1, :]) if x.shape[-2] else la.matrix_rank(x),
            la.matrix_rank(x, atol=2.0),
            la.matrix_rank(x, rtol=0.5),
            la.matrix_rank(x @ x.mT, hermitian=True),
            la.matrix_rank(x * 0),
        ),
        X((4, 3)),
        also=((X((2, 3, 3)),), (X((0, 2)),)),
        grad=False,
    ),
    linalg(
        "cond",
        lambda la, x: tuple(la.cond(regular(x), p) for p in (None, 2, -2, 1, -1, inf, -inf, "fro", "nuc")),
        SQUARE,
        also=((X((2, 2, 2)),),),
        loose=50,
    ),
    linalg("cond", lambda la, x: la.cond(x), X((3, 2)), label="tall", loose=50),
    Case(
        "matrix_power",
        lambda lib, x: tuple(lib.matrix_power(regular(x), n) for n in (1, 2, 3, 7, -1, -2)),
        (X((3, 3), -1, 1),),
        also=((X((2, 2, 2)),),),
        dtypes=REAL,
        loose=100,
    ),
    Case(
        "matrix_power",
        lambda lib, x: (x.matrix_power(3), lib.linalg.matrix_power(x, 2)),
        (SQUARE,),
        dtypes=("float64", "int64", "bfloat16"),
        label="numbers",
    ),
    Case("matrix_power", lambda lib, x: x.matrix_power(0), (SQUARE,), dtypes=("float64",), grad=False, label="zero"),
    linalg(
        "matrix_exp",
        lambda la, x: (la.matrix_exp(x), la.matrix_exp(x * 0.01), la.matrix_exp(x.mT * 0)),
        X((3, 3), -1, 1),
        also=((X((2, 2, 2), -4, 4),), (X((1, 1)),), (X((0, 0)),)),
        loose=10,
    ),
    linalg("matrix_exp", lambda la, x: la.matrix_exp(x), X((3, 3), -10, 10), grad=False, label="large", loose=100),
    Case("matrix_exp", lambda lib, x: (lib.matrix_exp(x), x.matrix_exp()), (X((2, 2), -1, 1),), dtypes=REAL, loose=3),
    Case(
        "dist",
        lambda lib, x, y: (lib.dist(x, y), x.dist(y, 3), lib.dist(x, y, p=inf)),
        (X((3, 4)), X((4,))),
        dtypes=REAL,
    ),
    # --- norms --------------------------------------------------------------------------------------------------------
    linalg(
        "vector_norm",
        lambda la, x: (
            *(la.vector_norm(x, p) for p in (2, 1, 0, 3, 0.5, -1, -2.5, inf, -inf)),
            la.vector_norm(x, 2, 0),
            la.vector_norm(x, ord=3, dim=(0, -1), keepdim=True),
            la.vector_norm(x, 1, -1, True),
            la.vector_norm(x, inf, 1),
            la.vector_norm(x, keepdim=True),
        ),
        X((3, 4), apart=True),
        also=((X((1, 2)),),),
        dtypes=("float32", "float64", "bfloat16", "float16"),
        loose=3,
    ),
    linalg(
        "vector_norm",
        lambda la, x: (la.vector_norm(x), la.vector_norm(x, 1), la.vector_norm(x, 0)),
        X(()),
        also=((X((0,)),), (X((2, 0)),)),
        label="small",
    ),
    linalg(
        "vector_norm",
        lambda la, x: tuple(la.vector_norm(x * 0, p, 1) for p in (2, 3, 1)),
        X((2, 3)),
        second=False,
        label="zero",
    ),
    Case(
        "linalg.vector_norm",
        lambda lib, x: lib.linalg.vector_norm(x, dtype=lib.float64),
        (X((3,)),),
        dtypes=("float32", "bfloat16"),
        label="dtype",
    ),
    linalg(
        "matrix_norm",
        lambda la, x: (
            *(la.matrix_norm(x, p) for p in ("fro", "nuc", 1, -1, 2, -2, inf, -inf)),
            la.matrix_norm(x, "nuc", dim=(0, 1), keepdim=True),
            la.matrix_norm(x, 1, (1, 0), True),
            la.matrix_norm(x, dim=(-1, 0)),
        ),
        X((3, 4)),
        also=((X((2, 3, 3)),), (X((1, 1)),)),
        loose=50,
    ),
    linalg(
        "norm",
        lambda la, x: (
            la.norm(x),
            la.norm(x, dim=1),
            la.norm(x, 3, dim=0),
            la.norm(x, dim=(0, 1), keepdim=True),
            la.norm(x, "fro"),
            la.norm(x, "nuc"),
            la.norm(x, 2),
            la.norm(x, 1, (0, 1)),
            la.norm(x[0], 1),
            la.norm(x[0], inf),
        ),
        X((3, 4), apart=True),
        loose=50,
    ),
    linalg("norm", lambda la, x: (la.norm(x), la.norm(x, 1, -1)), X((2, 3, 2)), label="3-d"),
    # --- products -----------------------------------------------------------------------------------------------------
    linalg(
        "vecdot",
        lambda la, x, y: (la.vecdot(x, y), la.vecdot(x, y, dim=0)),
        X((3, 4)),
        X((3, 4)),
        also=((X((3, 1)), X((1, 1))), (X((0,)), X((0,)))),
        dtypes=REAL,
    ),
    linalg("diagonal", lambda la, x: (la.diagonal(x), la.diagonal(x, offset=1, dim1=0, dim2=1)), X((2, 3, 4))),
    linalg(
        "vander",
        lambda la, x: (la.vander(x), la.vander(x, N=2)),
        X((3,), -2, 2),
        also=((X((2, 2)),),),
        dtypes=(*REAL, "int64"),
    ),
    linalg("matmul", lambda la, x, y: la.matmul(x, y), X((2, 3)), X((3, 2))),
]

INTEGERS = Of("int64", (2, 2))
MISUSES = [
    Misuse("inv", lambda lib, x: lib.linalg.inv(x), (X((2, 3)),), says=r"\(2, 3\)"),
    Misuse("inv", lambda lib, x: lib.linalg.inv(x), (X((3,)),)),
    Misuse("inv", lambda lib, x: lib.linalg.inv(x), (INTEGERS,), says="int64"),
    Misuse("inv", lambda lib, x: lib.linalg.inv(x), (Of("float16", (2, 2)),), says="float16"),
    Misuse("solve", lambda lib, x, y: lib.linalg.solve(x, y), (SQUARE, X((2, 3)))),
    Misuse("solve", lambda lib, x, y: lib.linalg.solve(x, y), (X((2, 3)), X((2, 3)))),
    Misuse("solve", lambda lib, x, y: lib.linalg.solve(x, y), (SQUARE, Of("float64", (3,))), says="float64"),
    Misuse("solve_triangular", lambda lib, x, y: lib.linalg.solve_triangular(x, y, upper=True), (X((2, 3)), X((2, 1)))),
    Misuse("solve_triangular", lambda lib, x, y: lib.linalg.solve_triangular(x, y, upper=True), (SQUARE, X((2, 1)))),
    Misuse("cholesky", lambda lib, x: lib.linalg.cholesky(x), (X((2, 3)),)),
    Misuse("det", lambda lib, x: lib.linalg.det(x), (X((2, 3)),)),
    Misuse("slogdet", lambda lib, x: lib.linalg.slogdet(x), (X((2, 3)),)),
    Misuse("slogdet", lambda lib, x: lib.linalg.slogdet(x), (X((3,)),)),
    Misuse("qr", lambda lib, x: lib.linalg.qr(x), (X((3,)),)),
    Misuse("qr", lambda lib, x: lib.linalg.qr(x, "full"), (SQUARE,), says="full"),
    Misuse("qr", lambda lib, x: lib.linalg.qr(x), (INTEGERS,)),
    Misuse("svd", lambda lib, x: lib.linalg.svd(x), (X((3,)),)),
    Misuse("svd", lambda lib, x: lib.linalg.svd(x), (INTEGERS,)),
    Misuse("eigh", lambda lib, x: lib.linalg.eigh(x), (X((2, 3)),)),
    Misuse("eigh", lambda lib, x: lib.linalg.eigh(x, "X"), (SQUARE,)),
    Misuse("pinv", lambda lib, x: lib.linalg.pinv(x), (X((3,)),)),
    Misuse("matrix_rank", lambda lib, x: lib.linalg.matrix_rank(x), (X((3,)),)),
    Misuse("matrix_power", lambda lib, x: lib.linalg.matrix_power(x, 2), (X((2, 3)),)),
    Misuse("matrix_exp", lambda lib, x: lib.linalg.matrix_exp(x), (X((2, 3)),)),
    Misuse("lstsq", lambda lib, x, y: lib.linalg.lstsq(x, y), (X((3, 2)), X((2, 2)))),
    Misuse("lstsq", lambda lib, x, y: lib.linalg.lstsq(x, y, driver="best"), (X((3, 2)), X((3, 2)))),
    Misuse("tensorinv", lambda lib, x: lib.linalg.tensorinv(x), (X((2, 3, 5)),)),
    Misuse("tensorsolve", lambda lib, x, y: lib.linalg.tensorsolve(x, y), (X((2, 3, 5)), X((2, 3)))),
    Misuse("vector_norm", lambda lib, x: lib.linalg.vector_norm(x), (INTEGERS,), says="int64"),
    Misuse("vector_norm", lambda lib, x: lib.linalg.vector_norm(x, "fro"), (SQUARE,)),
    Misuse("vector_norm", lambda lib, x: lib.linalg.vector_norm(x, inf), (X((0,)),)),
    Misuse("vector_norm", lambda lib, x: lib.linalg.vector_norm(x, 2, 2), (SQUARE,)),
    Misuse("matrix_norm", lambda lib, x: lib.linalg.matrix_norm(x), (X((3,)),)),
    Misuse("matrix_norm", lambda lib, x: lib.linalg.matrix_norm(x, 3), (SQUARE,)),
    Misuse("matrix_norm", lambda lib, x: lib.linalg.matrix_norm(x, dim=(0, 0)), (SQUARE,)),
    Misuse("norm", lambda lib, x: lib.linalg.norm(x, 2), (X((2, 2, 2)),)),
    Misuse("cross", lambda lib, x: lib.linalg.cross(x, x), (X((3, 2)),)),
    Misuse("multi_dot", lambda lib, x: lib.linalg.multi_dot([x]), (SQUARE,)),
    Misuse("vander", lambda lib, x: lib.linalg.vander(x), (X(()),)),
]
