"""Where the true elements of rows lie, on CUDA: one launch of the kernel in select.cu."""

from flame.ir.library import PlacesSpec
from flame.runtime.cuda_routine import Pass, Routine

FILE = "select.cu"
THREADS, TILE = 256, 4096  # of a block, and the elements it looks at


def plan(spec: PlacesSpec) -> Routine:
    """The launch that writes `spec.size` positions of each row."""
    tiles = max(1, -(-spec.n // TILE))
    operands = ("in0", "out", "state", "ticket", spec.n, tiles, spec.size)
    launch = Pass("true_places", spec.rows * tiles, THREADS, operands)
    return Routine(FILE, (launch,), {"state": 8 * spec.rows * tiles, "ticket": 4}, cleared=2)
