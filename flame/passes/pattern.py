"""Rules as data: `(left, right)` pairs written in plain arithmetic over wildcards.

A rule with a Python right side takes the matched node and the wildcards by name and may decline with None. Because a
rule is data, `tests/passes/test_rules.py` checks every one of them against numpy without naming any.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Union

from flame.errors import FlameError
from flame.ir import node as nd
from flame.ir.graph import rebuild, toposort
from flame.ir.node import Node

Right = Callable[..., Node | None]


@dataclass(frozen=True, eq=False)
class Pattern:
    """What a node must look like: an operator over patterns, a constant, or anything (a wildcard)."""

    op: str | None  # None: a wildcard
    src: tuple["Pattern", ...] = ()
    name: str = ""
    value: object = None  # for a constant; None: any

    def __add__(self, other: "Side") -> "Pattern":
        return pattern("add", self, other)

    def __sub__(self, other: "Side") -> "Pattern":
        return pattern("sub", self, other)

    def __mul__(self, other: "Side") -> "Pattern":
        return pattern("mul", self, other)

    def __truediv__(self, other: "Side") -> "Pattern":
        return pattern("div", self, other)

    def __floordiv__(self, other: "Side") -> "Pattern":
        return pattern("floor_divide", self, other)

    def __mod__(self, other: "Side") -> "Pattern":
        return pattern("remainder", self, other)

    def __neg__(self) -> "Pattern":
        return pattern("neg", self)

    def __gt__(self, other: "Side") -> "Pattern":
        return pattern("gt", self, other)

    def __lt__(self, other: "Side") -> "Pattern":
        return pattern("lt", self, other)


Side = Union[Pattern, float, int, bool]


def pattern(op: str, *src: Side) -> Pattern:
    return Pattern(op, tuple(s if isinstance(s, Pattern) else Pattern("const", value=s) for s in src))


def wild(names: str) -> tuple[Pattern, ...]:
    return tuple(Pattern(None, name=n) for n in names.split())


def consts(names: str) -> tuple[Pattern, ...]:
    return tuple(Pattern("const", name=n) for n in names.split())


def match(p: Pattern, n: Node, found: dict[str, Node]) -> bool:
    """True if `n` looks like `p`; wildcards are entered into `found`."""
    if p.op == "const":
        while n.op.name == "expand":  # a constant spread over a shape is still that constant
            n = n.src[0]
        if n.op.name != "const":
            return False
        if p.value is not None and nd.const(p.value, n.dtype) is not n:
            return False
    elif p.op is not None:
        return n.op.name == p.op and all(match(q, s, found) for q, s in zip(p.src, n.src, strict=True))
    return not p.name or found.setdefault(p.name, n) is n


def build(p: Pattern, found: dict[str, Node], like: Node) -> Node:
    """The node that `p` describes, with its wildcards as found."""
    if p.name:
        return found[p.name]
    if p.op == "const":
        return nd.const(p.value, like.dtype)
    assert p.op is not None
    src = [build(q, found, like) for q in p.src]
    return nd.binary(p.op, *src) if len(src) == 2 else nd.apply(p.op, *src)


@dataclass(frozen=True, eq=False)
class Rule:
    """`left` becomes `right`; `only` says for which nodes the rule holds."""

    left: Pattern
    right: Pattern | Right
    only: Callable[[Node], bool] = lambda _: True

    def __call__(self, node: Node) -> Node | None:
        found: dict[str, Node] = {}
        if not match(self.left, node, found) or not self.only(node):
            return None
        right = self.right
        out = build(right, found, node) if isinstance(right, Pattern) else right(node=node, **found)
        return None if out is None else nd.cast(nd.expand(out, node.shape), node.dtype)


Table = tuple[Rule, ...]


def rules(*pairs: tuple[Pattern, "Right | Side"], only: Callable[[Node], bool] = lambda _: True) -> Table:
    """A table of rules: each pair is (left, right)."""
    return tuple(
        Rule(left, r if callable(r) or isinstance(r, Pattern) else Pattern("const", value=r), only) for left, r in pairs
    )


def by_operator(table: Table) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for r in table:
        found.setdefault(r.left.op or "", []).append(r)
    return found


class Rewriter:
    """Applies a table everywhere, bottom-up, until nothing changes; remembers what it has rewritten."""

    def __init__(
        self,
        table: Table,
        first: Callable[[Node], Node | None] = lambda _: None,
        memo: MutableMapping[Node, Node] | None = None,
    ):
        self.rules = by_operator(table)
        self.first = first  # tried before the table, for every node
        self.memo: MutableMapping[Node, Node] = {} if memo is None else memo

    def __call__(self, root: Node) -> Node:
        found = self.memo.get(root)
        if found is None:
            self.many((root,))
            found = self.memo[root]
        return found

    def many(self, roots: tuple[Node, ...]) -> tuple[Node, ...]:
        memo = self.memo
        for node in toposort(roots, memo):
            if node not in memo:
                memo[node] = self.settle(rebuild(node, tuple([memo[s] for s in node.src])))
        return tuple(memo[r] for r in roots)

    def settle(self, node: Node, limit: int = 64) -> Node:
        """Rewrite one node whose sources are settled; new sources a rule made are settled on the way."""
        start = node
        for _ in range(limit):
            out = self.step(node)
            if out is None or out is node:
                return node
            if out in self.memo:
                return self.memo[out]
            node = rebuild(out, tuple([self(s) if s.src else s for s in out.src]))
        raise FlameError(f"rules do not settle on {start}; the last form was {node}: two rules undo each other")

    def step(self, node: Node) -> Node | None:
        out = self.first(node)
        if out is not None:
            return out
        for r in self.rules.get(node.op.name, ()):
            out = r(node)
            if out is not None and out is not node:
                return out
        return None
