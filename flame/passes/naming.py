"""Name kernels by what they compute, so that equal kernels are compiled once, whatever their outer extent."""

import hashlib
from dataclasses import replace

from flame.ir import show
from flame.ir.loop import Kernel
from flame.ir.plan import Plan, map_kernels


def name_kernels(plan: Plan) -> Plan:
    """Two kernels have one name if, and only if, they are the same text."""
    return map_kernels(plan, name_kernel)


def name_kernel(k: Kernel) -> Kernel:
    """The kernel, its name followed by a digest of its text."""
    digest = hashlib.sha256(show.kernel(k, sizes=False).encode()).hexdigest()
    return replace(k, name=f"{k.name}_{digest[:8]}")
