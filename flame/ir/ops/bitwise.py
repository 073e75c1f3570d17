# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
"""Operators on the bits of integers, and on truth values, of which there is one bit."""

import numpy as np

from flame.ir import rules, special
from flame.ir.ops.elementwise import elementwise, nothing

elementwise("bitwise_and", "({0} & {1})", np.bitwise_and, nothing, dtype=rules.bits, doc="The bits that both have.")
elementwise("bitwise_or", "({0} | {1})", np.bitwise_or, nothing, dtype=rules.bits, doc="The bits that one has.")
elementwise("bitwise_xor", "({0} ^ {1})", np.bitwise_xor, nothing, dtype=rules.bits, doc="The bits that just one has.")
elementwise("bitwise_not", "(~{0})", np.bitwise_not, nothing, dtype=rules.whole, doc="Every bit the other way.")
elementwise(
    "bitwise_left_shift",
    "shift_left({0}, {1})",
    special.shift_left,
    nothing,
    dtype=rules.whole,
    doc="The bits moved up by a count; 0 for a count out of range.",
)
elementwise(
    "bitwise_right_shift",
    "shift_right({0}, {1})",
    special.shift_right,
    nothing,
    dtype=rules.whole,
    doc="The bits moved down by a count, copying the sign; a count out of range is the largest one.",
)
elementwise("gcd", "gcd({0}, {1})", special.gcd, nothing, dtype=rules.whole, doc="Greatest common divisor.")
