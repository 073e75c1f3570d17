"""Printed matrix products on a GPU: every tile, both orientations of both operands, batches, sizes that fit no tile."""

import numpy as np
import pytest

import flame
import flame.nn.functional as F
from flame.codegen.print_product import codes
from flame.ir.library import MatmulSpec, View
from flame.ir.tile import TILES, shape
from flame.runtime import devices, lib_tensor, products

pytestmark = pytest.mark.gpu
SIZES = {
    "one tile": ((), 128, 128, 64 * 130),
    "many tiles": ((), 1024, 2048, 512),
    "odd": ((), 1000, 968, 200),
    "several tiles a block": ((), 5000, 3000, 1000),
    "short": ((), 2048, 4096, 32),
    "batch": ((3,), 520, 392, 264),
    "wide batch": ((40,), 256, 256, 64),
}


def half(x: np.ndarray) -> np.ndarray:
    """float32 values rounded to bfloat16, as their 16 bits."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def wide(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def spec_of(batch, m, n, k, left, right, shared=False) -> MatmulSpec:
    """A product whose operands lie side by side along the named axes; `shared`: one right operand for the batch."""
    a = (*(m * k for _ in batch), *((k, 1) if left == "k" else (1, m)))
    b = (*(0 if shared else k * n for _ in batch), *((1, k) if right == "k" else (n, 1)))
    return MatmulSpec("bfloat16", batch, m, n, k, View(0, a), View(0, b))


@pytest.mark.parametrize("forms", ["kk", "kn", "mk", "mn"])
@pytest.mark.parametrize("size", SIZES)
def test_every_tile_gives_the_product(size, forms):
    device = devices.get("cuda")
    if device.target.cc != (9, 0):
        pytest.skip("wgmma is compute capability 9.0's")
    batch, m, n, k = SIZES[size]
    shared = size == "wide batch" and forms[1] == "k"
    spec = spec_of(batch, m, n, k, *forms, shared)
    rng = np.random.default_rng(1)
    count = int(np.prod(batch, dtype=int))
    a = half(rng.standard_normal((count, *((m, k) if forms[0] == "k" else (k, m)))))
    b = half(rng.standard_normal((1 if shared else count, *((n, k) if forms[1] == "k" else (k, n)))))
    left = wide(a) if forms[0] == "k" else wide(a).swapaxes(1, 2)
    right = wide(b).swapaxes(1, 2) if forms[1] == "k" else wide(b)
    expected = np.matmul(left, right)
    assert shape(spec) is not None
    made = codes(spec)
    assert len(made) == sum(t.cluster == 1 or forms[1] == "k" for t in TILES)
    buffers = [device.pool.buffer(x.nbytes, "test") for x in (a, b)]
    for buffer, x in zip(buffers, (a, b), strict=True):
        device.upload(x, buffer)
    out = device.pool.buffer(expected.size * 2, "test")
    found = np.empty(expected.shape, np.uint16)
    kernels = device.kernels([c for _, c in made])
    for (tile, c), function in zip(made, kernels, strict=True):
        run = lib_tensor.bind(spec, tile, c, function, 132)
        device._fill(out.address, out.nbytes)
        for _ in range(3):
            run(buffers[0].address, buffers[1].address, out.address, stream=device.stream.handle)
        device.download_from(out.address, found)
        error = np.linalg.norm(wide(found) - expected) / np.linalg.norm(expected)
        assert error < 3e-3, (tile.name, error)


def values(rng, *shapes):
    return [
        flame.tensor((rng.standard_normal(s) / s[-1] ** 0.25).astype(np.float32), device="cuda").bfloat16()
        for s in shapes
    ]


@pytest.mark.parametrize("kind", ["bias gelu", "residual", "two results", "float32", "gate"])
@pytest.mark.parametrize("size", [(1000, 968, 200), (2048, 1024, 512)], ids=str)
def test_every_way_of_a_finished_product(kind, size, monkeypatch):
    """Whatever the timing would say, each tile and the library with the kernel alone give the same numbers."""
    m, n, k = size
    x, w, b, r = values(np.random.default_rng(2), (m, k), (n, k), (n,), (m, n))
    make = {
        "bias gelu": lambda p, b, r: (F.gelu(p + b),),
        "residual": lambda p, b, r: (r + p * b,),
        "two results": lambda p, b, r: ((p + b).relu(), (p + b) * r),
        "float32": lambda p, b, r: (p.float() * r,),
        "gate": lambda p, b, r: (r * (p + b).sigmoid(),),
    }[kind]
    exact = make(x.double() @ w.double().T, b.double(), r.double())
    count = len(TILES) - sum(t.cluster > 1 for t in TILES) + 1
    for number in range(count):
        flame.values._ready.clear()  # a program keeps its ways
        monkeypatch.setattr(products, "remembered", lambda *_: None)
        monkeypatch.setattr(products, "choose", lambda p, r, s, v, ways, z, i=number: ways[i % len(ways)])
        found = make(x @ w.T, b, r)
        flame.realize(*found)
        for y, e in zip(found, exact, strict=True):
            error = ((y.double() - e).norm() / e.norm()).item()
            assert error < 6e-3, (kind, number, error)
