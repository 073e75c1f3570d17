"""The operator table: every primitive, each defined once and only here, one file for each family.

To add an operator, add one `define(...)` to the file of its family. The function and the Tensor method, the gradient,
both code printers, the numpy oracle, the gradient check and the fusion rules all read this table.
"""

from flame.ir.ops import (
    attention,
    bitwise,
    call,
    contract,
    convolution,
    elementwise,
    index,
    leaf,
    linalg,
    math,
    movement,
    reduce,
    scan,
    sort,
    window,
)

__all__ = [
    "attention",
    "bitwise",
    "call",
    "contract",
    "convolution",
    "elementwise",
    "index",
    "leaf",
    "linalg",
    "math",
    "movement",
    "reduce",
    "scan",
    "sort",
    "window",
]
