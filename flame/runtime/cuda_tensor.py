"""What Hopper's tensor cores need beside arithmetic: tensor maps, barriers that count bytes, and asynchronous products.

All addresses of shared memory are 32 bits wide in int64 variables. A tensor map is a kernel parameter of 128 bytes,
whose address the kernel sees (`cuda_compile.ptx_cuda` makes it one). The instructions are those of the PTX ISA 8.0,
sections 9.7.8 (asynchronous copies), 9.7.13 (mbarrier) and 9.7.15 (wgmma).
"""

from llvmlite import ir
from numba import types

from flame.runtime.cuda_emit import F32, I8, I32, I64, VOID, asm, constant

MEMORY = "~{memory}"


def _narrow(b, values):
    return [b.trunc(v, I32) for v in values]


def told(text: str, count: int):
    """An instruction of `count` 32-bit operands without a result."""
    constraints = ",".join(["r"] * count + [MEMORY])

    def emit(b, values, context, signature):
        asm(b, VOID, text, constraints, _narrow(b, values), convergent=True)
        return context.get_dummy_value()

    return types.void, (types.int64,) * count, emit


def mapped(text: str, count: int):
    """An instruction whose first operand is a tensor map's address, and `count` 32-bit ones."""
    constraints = ",".join(["l"] + ["r"] * count + [MEMORY])

    def emit(b, values, context, signature):
        asm(b, VOID, text, constraints, [values[0], *_narrow(b, values[1:])], convergent=True)
        return context.get_dummy_value()

    return types.void, (types.int64,) * (count + 1), emit


WAIT = (
    "{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1; "
    "@done bra through; bra again; through: }"
)
BRING = "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
TOLD = {
    "count_new": ("mbarrier.init.shared::cta.b64 [$0], $1;", 2),
    "count_bytes": ("mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;", 2),
    "count_one": ("mbarrier.arrive.shared::cta.b64 _, [$0];", 1),
    "count_one_at": (
        "{ .reg .b32 there; mapa.shared::cluster.u32 there, $0, $1; mbarrier.arrive.shared::cluster.b64 _, [there]; }",
        2,
    ),
    "count_wait": (WAIT, 2),
    "counts_ready": ("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;", 0),
    "cluster_barrier": ("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;", 0),
    "group_barrier": ("bar.sync $0, 128;", 1),
    "turn_wait": ("bar.sync $0, 256;", 1),
    "turn_give": ("bar.arrive $0, 256;", 1),
    "shared_written": ("fence.proxy.async.shared::cta;", 0),
    "store_commit": ("cp.async.bulk.commit_group;", 0),
    "store_done": ("cp.async.bulk.wait_group 0;", 0),
    "wgmma_fence": ("wgmma.fence.sync.aligned;", 0),
    "wgmma_commit": ("wgmma.commit_group.sync.aligned;", 0),
    "few_registers": ("setmaxnreg.dec.sync.aligned.u32 40;", 0),
    "many_registers": ("setmaxnreg.inc.sync.aligned.u32 232;", 0),
}
MAPPED = {
    "map_prefetch": ("prefetch.tensormap [$0];", 0),
    "map_load": (f"{BRING} [$1], [$0, {{$3, $4, $5}}], [$2];", 5),
    "map_load_all": (
        f"{{ .reg .b16 all; mov.b16 all, 3; {BRING}.multicast::cluster [$1], [$0, {{$3, $4, $5}}], [$2], all; }}",
        5,
    ),
    "map_store": ("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [$0, {$2, $3, $4}], [$1];", 4),
}


def store_wait(pending: int):
    """Wait until at most that many stores still read shared memory."""
    return told(f"cp.async.bulk.wait_group.read {pending};", 0)


def cluster_rank(b):
    """Which block of its cluster this is."""
    return b.zext(asm(b, I32, "mov.u32 $0, %cluster_ctarank;", "=r", pure=True), I64)


def tile_memory(b):
    """The address of the block's dynamic shared memory."""
    found = b.module.globals.get("tile_memory")
    if found is None:
        found = ir.GlobalVariable(b.module, ir.ArrayType(I8, 0), "tile_memory", addrspace=3)
        found.align, found.linkage = 1024, "external"
    return b.zext(b.ptrtoint(found, I32), I64)


def _tuple(columns: int):
    return types.UniTuple(types.float32, columns // 2), ir.LiteralStructType([F32] * (columns // 2))


def _tied(count: int) -> str:
    return ",".join(["=f"] * count + [str(i) for i in range(count)])


def accumulators(columns: int):
    """The accumulators of a lane for 64 x `columns` of a product, all zero."""
    kind, _ = _tuple(columns)

    def emit(b, values, context, signature):
        return context.make_tuple(b, kind, [constant(F32, 0.0)] * (columns // 2))

    return kind, (), emit


def wgmma(dtype: str, columns: int, left: str, right: str):
    """64 x 16 by 16 x `columns` of shared memory added to the accumulators, or in their place where `more` is 0.

    `left` and `right` say along which axis an operand lies side by side: "k", or its own ("m", "n").
    """
    kind, struct = _tuple(columns)
    count, short = columns // 2, {"bfloat16": "bf16", "float16": "f16"}[dtype]
    names = ",".join(f"${i}" for i in range(count))
    a, other, more = (f"${2 * count + i}" for i in range(3))
    text = (
        f"{{ .reg .pred more; setp.ne.b32 more, {more}, 0; wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.{short}."
        f"{short} {{{names}}}, {a}, {other}, more, 1, 1, {int(left != 'k')}, {int(right != 'k')}; }}"
    )

    def emit(b, values, context, signature):
        old = [b.extract_value(values[0], i) for i in range(count)]
        new = asm(
            b,
            struct,
            text,
            f"{_tied(count)},l,l,r,{MEMORY}",
            [*old, values[1], values[2], b.trunc(values[3], I32)],
            convergent=True,
        )
        return context.make_tuple(b, kind, [b.extract_value(new, i) for i in range(count)])

    return kind, (kind, types.int64, types.int64, types.int64), emit


def wgmma_wait(columns: int, pending: int):
    """The accumulators when all but the last `pending` products are done."""
    kind, struct = _tuple(columns)
    count = columns // 2

    def emit(b, values, context, signature):
        old = [b.extract_value(values[0], i) for i in range(count)]
        text = f"wgmma.wait_group.sync.aligned {pending};"
        new = asm(b, struct, text, f"{_tied(count)},{MEMORY}", old, convergent=True)
        return context.make_tuple(b, kind, [b.extract_value(new, i) for i in range(count)])

    return kind, (kind,), emit


def stmatrix(dtype: str):
    """Four 8 x 8 matrices of a warp to shared memory: lane l gives row l % 8 of matrix l // 8 its address.

    Each lane has two neighbours of a row of each matrix.
    """
    short = {"bfloat16": "bf16x2", "float16": "f16x2"}[dtype]

    def emit(b, values, context, signature):
        pairs = [
            asm(b, I32, f"cvt.rn.{short}.f32 $0, $2, $1;", "=r,f,f", [values[k], values[k + 1]], pure=True)
            for k in range(1, 9, 2)
        ]
        text = "stmatrix.sync.aligned.m8n8.x4.shared.b16 [$0], {$1,$2,$3,$4};"
        asm(b, VOID, text, f"r,r,r,r,r,{MEMORY}", [b.trunc(values[0], I32), *pairs], convergent=True)
        return context.get_dummy_value()

    return types.void, (types.int64, *(types.float32,) * 8), emit
