"""Einstein's summation: labels name dimensions, those that the result lacks are summed.

Operands meet in pairs, cheapest first; a pair that shares a summed label is a matrix product, whatever the labels.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import prod
from string import ascii_letters
from typing import Any

from flame.errors import DTypeError, ShapeError
from flame.ops import product  # noqa: F401  installs @
from flame.ops.diagonal import diagonal
from flame.ops.shape import expand, permute, reshape
from flame.tensor import Tensor, new, same_device

__all__ = ["einsum"]

Labels = tuple[Any, ...]  # a letter, or a number for a dimension behind "...", counted from the back
Term = tuple[Tensor, Labels]


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products by labels: `einsum("bik,kj->bij", x, w)`.

    "..." stands for dimensions that broadcast; a label twice in an operand reads its diagonal; without "->" the result
    has the labels that occur once, in order of the alphabet. Also by lists: `einsum(x, [0, 1], y, [1, 2], [0, 2])`.
    Raises ShapeError where labels do not fit, DTypeError where operands differ in dtype.
    """
    if isinstance(equation, Tensor):
        equation, operands = _spelled((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    for t in operands:
        if not isinstance(t, Tensor) or t.dtype is not operands[0].dtype:
            raise DTypeError(f"einsum: needs tensors of one dtype, got {getattr(t, 'dtype', type(t).__name__)}")
    inputs, output = _parsed(str(equation), operands)
    device = same_device("einsum", *operands)
    terms = [_without_repeats(t, labels) for t, labels in zip(operands, inputs, strict=True)]
    sizes = _sizes(terms)
    terms = [_summed(t, _needed(terms, i, output)) for i, t in enumerate(terms)]
    while len(terms) > 1:
        i, j = _cheapest(terms, output, sizes)
        others = [t for k, t in enumerate(terms) if k not in (i, j)]
        needed = set(output).union(*(labels for _, labels in others))
        terms = [*others, _pair(terms[i], terms[j], needed)]
    return new(_arranged(terms[0], output, sizes).node, device, *operands)


# --- labels -----------------------------------------------------------------------------------------------------------
def _spelled(given: tuple[Any, ...]) -> tuple[str, tuple[Tensor, ...]]:
    """Lists of numbers as an equation of letters."""
    tensors, lists = given[0 : len(given) // 2 * 2 : 2], given[1::2]
    words = ["".join("..." if n is Ellipsis else ascii_letters[n] for n in numbers) for numbers in lists]
    out = f"->{''.join('...' if n is Ellipsis else ascii_letters[n] for n in given[-1])}" if len(given) % 2 else ""
    return ",".join(words) + out, tensors


def _parsed(equation: str, operands: Sequence[Tensor]) -> tuple[list[Labels], Labels]:
    """The labels of each operand and of the result, with a number for each dimension behind "..."."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    words = left.split(",")
    if len(words) != len(operands):
        raise ShapeError(f"einsum: {equation!r} names {len(words)} operands, {len(operands)} were given")
    inputs = [_labels(equation, w, t.ndim) for w, t in zip(words, operands, strict=True)]
    counts = Counter(a for labels in inputs for a in labels)
    hidden = sorted((a for a in counts if isinstance(a, int)), reverse=True)
    if not arrow:
        return inputs, (*hidden, *sorted(a for a, n in counts.items() if n == 1 and not isinstance(a, int)))
    output = _labels(equation, right, len(right.replace("...", "")) + ("..." in right) * len(hidden))
    if len(set(output)) < len(output) or not set(output) <= set(counts):
        raise ShapeError(f"einsum: the result of {equation!r} must name labels of the operands, each once")
    return inputs, output


def _labels(equation: str, word: str, rank: int) -> Labels:
    before, dots, after = word.partition("...")
    if not all(c in ascii_letters for c in before + after):
        raise ShapeError(f"einsum: {word!r} in {equation!r} holds something else than letters and one '...'")
    hidden = rank - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        raise ShapeError(f"einsum: {word!r} in {equation!r} does not label {rank} dimensions")
    return (*before, *reversed(range(hidden)), *after)


def _without_repeats(t: Tensor, labels: Labels) -> Term:
    """A label that occurs twice reads the diagonal."""
    while len(set(labels)) < len(labels):
        again = next(a for a, n in Counter(labels).items() if n > 1)
        first = labels.index(again)
        second = labels.index(again, first + 1)
        if t.shape[first] != t.shape[second]:
            raise ShapeError(f"einsum: label {again!r} names sizes {t.shape[first]} and {t.shape[second]} of {t.shape}")
        t = diagonal(t, 0, first, second)
        labels = (*(a for i, a in enumerate(labels) if i not in (first, second)), again)
    return t, labels


def _sizes(terms: Sequence[Term]) -> dict[Any, int]:
    """The size of every label; 1 broadcasts."""
    sizes: dict[Any, int] = {}
    for t, labels in terms:
        for a, n in zip(labels, t.shape, strict=True):
            if sizes.setdefault(a, n) != n:
                if 1 not in (n, sizes[a]):
                    raise ShapeError(f"einsum: label {a!r} has size {n} in one operand and {sizes[a]} in another")
                sizes[a] = n if sizes[a] == 1 else sizes[a]
    return sizes


def _needed(terms: Sequence[Term], i: int, output: Labels) -> set[Any]:
    return set(output).union(*(labels for k, (_, labels) in enumerate(terms) if k != i))


# --- contracting ------------------------------------------------------------------------------------------------------
def _summed(term: Term, needed: set[Any]) -> Term:
    """Without the labels that nobody else needs."""
    t, labels = term
    over = [d for d, a in enumerate(labels) if a not in needed]
    return (t.sum(over, dtype=t.dtype) if over else t), tuple(a for a in labels if a in needed)


def _cheapest(terms: Sequence[Term], output: Labels, sizes: dict[Any, int]) -> tuple[int, int]:
    """The pair whose result is smallest beside what it replaces."""

    def growth(pair: tuple[int, int]) -> int:
        mine = [set(terms[i][1]) for i in pair]
        needed = set(output).union(*(labels for k, (_, labels) in enumerate(terms) if k not in pair))
        made = prod(sizes[a] for a in (mine[0] | mine[1]) & needed)
        return made - sum(prod(sizes[a] for a in labels) for labels in mine)

    return min(combinations(range(len(terms)), 2), key=growth)


def _squeezed(term: Term, other: Term) -> Term:
    """Without the labels of size 1 that the other operand has too: they broadcast, or their sum is the other's."""
    t, labels = term
    gone = [d for d, a in enumerate(labels) if t.shape[d] == 1 and a in other[1]]
    kept = [d for d in range(t.ndim) if d not in gone]
    return reshape(t, [t.shape[d] for d in kept]), tuple(labels[d] for d in kept)


def _pair(first: Term, second: Term, needed: set[Any]) -> Term:
    """Two operands as one: a matrix product where a shared label is summed and others stay, else a product and sum."""
    first = _squeezed(first, second)
    second = _squeezed(second, first)
    first, second = (_summed(x, needed | set(y[1])) for x, y in ((first, second), (second, first)))
    (a, left), (b, right) = first, second
    shared = [x for x in left if x in right]
    batch, over = [x for x in shared if x in needed], [x for x in shared if x not in needed]
    rows, columns = [x for x in left if x not in shared], [x for x in right if x not in shared]
    size = dict(zip((*left, *right), (*a.shape, *b.shape), strict=True))
    m, n, k, lead = (prod(size[x] for x in group) for group in (rows, columns, over, batch))
    a = permute(a, [left.index(x) for x in (*batch, *rows, *over)])
    b = permute(b, [right.index(x) for x in (*batch, *over, *columns)])
    if not over:
        out = reshape(a, (lead, m, 1)) * reshape(b, (lead, 1, n))
    elif not rows and not columns:
        out = (reshape(a, (lead, k)) * reshape(b, (lead, k))).sum(1, dtype=a.dtype)
    else:
        a = reshape(a, (lead, m, k)) if batch else reshape(a, (m, k))
        b = reshape(b, (lead, k, n)) if batch else reshape(b, (k, n))
        out = a @ b
    labels = (*batch, *rows, *columns)
    return reshape(out, [size[x] for x in labels]), labels


def _arranged(term: Term, output: Labels, sizes: dict[Any, int]) -> Tensor:
    """The result's labels in their order, at their full sizes."""
    t, labels = term
    return expand(permute(t, [labels.index(a) for a in output]), [sizes[a] for a in output])
