"""Stable orders on CUDA, as launches of the kernels in sort.cu.

Short rows are ordered in registers by the lanes of a warp or block: one read, one write. Of longer rows a few ranks are
selected in rounds: each part of a row sends its first ones on. Whole long rows are ordered by a radix sort that reads
and writes them once for each eight bits of their keys.
"""

from flame.ir.dtype import by_name
from flame.ir.library import SortSpec
from flame.runtime.cuda_routine import Pass, Routine

FILE = "sort.cu"
DIGITS, BITS = 256, 8  # of a pass
THREADS = 512  # of a pass, and the most that a row in registers has
BLOCK = 128  # threads that share a block, if their rows are short
HELD = {"item32": 16, "key32": 16, "item64": 16, "key64": 8, "paired": 8}  # items that a lane holds
WIDE = 1024  # elements of a row that one warp orders, if two of their items fit where one pair does
BYTES = {"item32": 4, "key32": 4, "item64": 8, "key64": 8, "paired": 16}
FEW = 16  # ranks that each lane can keep
SHARE = 8  # a round of a selection leaves this part of the elements, or fewer
COUNTERS = 512  # threads of a block that counts
COUNTED = 2048  # elements that they count at once
BLOCKS = 1024  # that count
TILES = 256  # that keep a GPU busy


def plan(spec: SortSpec) -> Routine:
    """Every launch that orders `spec.rows` rows."""
    key, bits = _key(spec)
    what, item = f"sorted<{key}, {bits}, {_flag(spec.descending)}, {_flag(spec.values)}>", _item(spec, bits)
    most = HELD[item] * THREADS
    source, out = f"elements<{what}, {item}>", f"values<{what}>" if spec.values else "places"
    if spec.ranks[1] <= FEW and spec.n > WIDE:
        most = min(most, WIDE)  # warps select, and no lane waits for another warp
    if spec.n <= most:
        return Routine(FILE, (_rows(source, item, out, spec.ranks, spec.rows, spec.n, spec.n),), {})
    if spec.ranks[1] * SHARE <= most and spec.n < 1 << 32:
        return _selection(spec, source, item, out, most)
    return _radix(spec, what, bits, 4 if key == "place64" else by_name(spec.dtype).size)


def _item(spec: SortSpec, bits: int) -> str:
    """What sort.cu calls a key, or a key and its position, of that many bits."""
    if spec.values:
        return "key32" if bits <= 32 else "key64"
    return "item32" if bits <= 16 and spec.n <= 1 << 16 else "item64" if bits <= 32 else "paired"


def _flag(truth: bool) -> str:
    return "true" if truth else "false"


def _key(spec: SortSpec) -> tuple[str, int]:
    """What sort.cu calls the elements, and the bits of their keys."""
    if spec.below and spec.dtype in ("int32", "int64") and spec.below <= 1 << 32:
        return ("place32" if spec.dtype == "int32" else "place64"), max(1, (spec.below - 1).bit_length())
    if spec.dtype == "bool":
        return "boolean", 1
    return spec.dtype, 8 * by_name(spec.dtype).size


# --- rows in registers ------------------------------------------------------------------------------------------------
def _rows(
    source: str,
    item: str,
    out: str,
    ranks: tuple[int, int],
    rows: int,
    n: int,
    size: int,
    names: tuple[str, str] = ("in0", "out"),
) -> Pass:
    """Ranks of each part of `size` elements of rows of `n`."""
    lanes, items = _shape(item, size)
    threads, parts = max(BLOCK, lanes), -(-n // size)
    first = 1 << max(0, ranks[1] - 1).bit_length()
    keep = first if first < items and lanes <= 32 else items
    kernel = f"sort_rows<{source}, {item}, {out}, {lanes}, {items}, {threads}, {keep}>"
    return Pass(kernel, -(-rows * parts // (threads // lanes)), threads, (*names, rows, n, size, parts, *ranks))


def _shape(item: str, size: int) -> tuple[int, int]:
    """The lanes of a row, and the items that each holds: many, since within a lane they meet at no cost."""
    cells = 1 << (size - 1).bit_length()
    most = 2 * HELD[item] if cells == WIDE and item != "paired" else HELD[item]
    items = min(most, max(1, cells // 4))
    return cells // items, items


def _selection(spec: SortSpec, source: str, item: str, out: str, most: int) -> Routine:
    """In each round every part of a row sends its first ranks on; the last round orders what is left."""
    passes: list[Pass] = []
    sizes: dict[str, int] = {}
    take, n, given = spec.ranks[1], spec.n, "in0"
    size = min(most, max(WIDE if item != "paired" else 32 * HELD[item], SHARE * (1 << (take - 1).bit_length())))
    while n > most:
        made, parts = f"round{len(passes)}", -(-n // size)
        passes.append(_rows(source, item, f"selected<{item}>", (0, take), spec.rows, n, size, (given, made)))
        sizes[made] = spec.rows * parts * take * BYTES[item]
        source, given, n = f"candidates<{item}>", made, parts * take
    passes.append(_rows(source, item, out, spec.ranks, spec.rows, n, n, (given, "out")))
    return Routine(FILE, tuple(passes), sizes)


# --- long rows --------------------------------------------------------------------------------------------------------
def _items(total: int, width: int) -> int:
    """Elements of a tile for each thread: many, so that few tiles ask others, but all multiprocessors have a tile."""
    most = 8 if width == 8 else 16
    while most > 4 and total < TILES * THREADS * most:
        most //= 2
    return most


def _radix(spec: SortSpec, what: str, bits: int, width: int) -> Routine:
    """All digits are counted at once; then each pass moves every key and its position to where its digit belongs."""
    long = spec.n >= 1 << 30
    count, size = ("u64", 8) if long else ("u32", 4)
    items = _items(spec.rows * spec.n, max(width, size))
    passes, tiles = -(-bits // BITS), -(-spec.n // (THREADS * items))
    shape = f"{what}, {count}"
    sizes = {"counts": spec.rows * passes * DIGITS * size}
    for i in range(passes):
        sizes |= {f"state{i}": spec.rows * tiles * DIGITS * size, f"ticket{i}": 4}
    cleared = len(sizes)
    for i in range(min(2, passes - 1)):
        places = 1 if spec.values else spec.rows * spec.n
        sizes |= {f"keys{i}": spec.rows * spec.n * width, f"places{i}": places * size}
    pieces = max(1, min(-(-BLOCKS // spec.rows), -(-spec.n // COUNTED)))
    piece = -(-spec.n // pieces // COUNTED) * COUNTED
    pieces = -(-spec.n // piece)
    counting = Pass(f"count_digits<{shape}>", spec.rows * pieces, COUNTERS, ("in0", "counts", spec.n, pieces, piece))
    launches = [counting]
    for i in range(passes):
        first, last = i == 0, i == passes - 1
        read = ("in0", "in0") if first else (f"keys{(i - 1) % 2}", f"places{(i - 1) % 2}")
        made = ("out", "out") if last else (f"keys{i % 2}", f"places{i % 2}")
        kernel = f"radix_pass<{shape}, {THREADS}, {items}, {_flag(first)}, {_flag(last)}>"
        operands = (*read, *made, "counts", f"state{i}", f"ticket{i}", spec.n, tiles, i, *spec.ranks)
        launches.append(Pass(kernel, spec.rows * tiles, THREADS, operands))
    return Routine(FILE, tuple(launches), sizes, cleared)
