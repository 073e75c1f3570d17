"""Matrix products by the fastest of their ways: a library's, or a kernel printed for tensor cores."""

import functools
from collections.abc import Callable
from typing import Any

from flame.ir.library import FinishedSpec, MatmulSpec
from flame.ir.plan import Call, Code, Printed
from flame.ir.tile import BLOCK, Tile
from flame.runtime import lib_cublaslt, lib_tensor
from flame.runtime.choice import Way, choose, remembered
from flame.runtime.device import Action

LIBRARY = "cuBLASLt"


def bind(step: Call, device: Any) -> Action:
    """A step of a plan that makes a product, and what follows each of its elements."""
    spec, operands = step.spec, (*step.inputs, step.out, *step.more)
    product = spec.product if isinstance(spec, FinishedSpec) else spec
    library = functools.cache(lambda: _library(step, device))
    if step.printed is None:
        way, matrices = library(), ()
    else:
        way, matrices = _fastest(step, step.printed, product, device, library), (0, 1, _stored(spec))

    def run(at: Any) -> None:
        addresses = [at[s] for s in operands]
        aligned = not any(addresses[i] % BLOCK for i in matrices)
        chosen = way if aligned else library()
        memory = device.pool.buffer(chosen.workspace, "a product") if chosen.workspace else None
        chosen.run(*addresses, 0 if memory is None else memory.address)

    return run


def _stored(spec: MatmulSpec | FinishedSpec) -> int:
    """Which operand a printed kernel stores by a tensor map; the left one where it stores none so."""
    if not isinstance(spec, FinishedSpec):
        return 2
    staged = spec.staged
    return 0 if staged is None else 2 + [p.name for p in spec.rows.params].index(staged.param)


def _fastest(step: Call, printed: Printed, product: MatmulSpec, device: Any, library: Callable[[], Way]) -> Way:
    version = lib_cublaslt.version()
    made = {tile.name: functools.partial(_tile, step.spec, product, tile, code, device) for tile, code in printed.tiles}
    before = remembered(device.place, "product", step.spec, version)
    if before is not None:
        return made[before.best]() if before.best in made else library()
    device.kernels([code for _, code in printed.tiles])  # side by side
    ways = [library(), *(make() for make in made.values())]
    return choose(device.place, "product", step.spec, version, ways, printed.sizes)


def _tile(spec: Any, product: MatmulSpec, tile: Tile, code: Code, device: Any) -> Way:
    """A printed kernel."""
    (function,) = device.kernels([code])
    launch = lib_tensor.bind(product, tile, code, function, device.properties.multiprocessors)
    stream, stored, finished = device.stream.handle, _stored(spec), isinstance(spec, FinishedSpec)

    def run(*addresses: int) -> None:
        rest = addresses[2:-1] if finished else ()
        launch(addresses[0], addresses[1], addresses[stored], *rest, stream=stream)

    return Way(tile.name, run)


def _library(step: Call, device: Any) -> Way:
    """The library's product; where more follows, into memory of its own, from which the kernel alone goes on."""
    spec, stream = step.spec, device.stream
    if not isinstance(spec, FinishedSpec):
        product = lib_cublaslt.bind(spec, device.place)
        return Way(LIBRARY, lambda a, b, out, _: product(a, b, out, stream))
    assert step.printed is not None and step.printed.alone is not None
    product, code, place = lib_cublaslt.bind(spec.product, device.place), step.printed.alone, spec.place
    table = device.addresses(len(spec.kernel.params))
    (kernel,) = device.kernels([code])
    launch = device.launch(kernel, code, tuple(range(len(table))), table)

    def run(a: int, b: int, *rest: int) -> None:
        *others, memory = rest
        product(a, b, memory, stream)
        table[:] = [*others[:place], memory, *others[place:]]
        launch(table)

    return Way(f"{LIBRARY}, then {spec.kernel.name}", run, spec.nbytes)
