"""The driver on a GPU: memory, streams, events, launches and graphs."""

import ctypes
import threading

import numpy as np
import pytest

from flame.errors import DeviceError
from flame.runtime import cuda, cuda_compile
from tests.gpu.device_kernel import OnDevice, on_gpu
from tests.runtime.printed import source

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _device():
    assert cuda.available(), cuda.why_not()
    cuda.use(0)


def test_the_device_describes_itself():
    found = cuda.device(0)
    assert found.name and found.cc >= (7, 5) and found.multiprocessors > 0 and found.shared >= 48 * 1024
    free, total = cuda.memory_info()
    assert 0 < free <= total <= found.memory
    with pytest.raises(DeviceError, match="there is no cuda:99"):
        cuda.device(99)


def test_memory_goes_there_and_back():
    x, stream = np.arange(1000, dtype=np.int32), cuda.Stream()
    first, second = cuda.allocate(x.nbytes), cuda.allocate(x.nbytes)
    assert first % 256 == 0
    out = np.zeros_like(x)
    cuda.copy_in(first, x.ctypes.data, x.nbytes, stream)
    cuda.copy(second, first, x.nbytes, stream)
    cuda.fill(second, 255, 8, stream)
    cuda.copy_out(out.ctypes.data, second, x.nbytes, stream)
    stream.synchronize()
    assert out[:2].tolist() == [-1, -1] and np.array_equal(out[2:], x[2:])
    cuda.free(first)
    cuda.free(second)


def test_pinned_memory():
    address = cuda.allocate_host(4096)
    held = (ctypes.c_uint8 * 4096).from_address(address)
    held[:4] = b"\1\2\3\4"
    with OnDevice(np.zeros(4, np.uint8)) as there:
        cuda.copy_in(there.address, address, 4)
        assert there.read().tolist() == [1, 2, 3, 4]
    cuda.free_host(address)


def test_no_memory_left_is_a_memory_error():
    with pytest.raises(MemoryError, match="OUT_OF_MEMORY"):
        cuda.allocate(1 << 50)
    cuda.free(cuda.allocate(1024))  # the context still works


def test_a_wrong_call_names_itself():
    with pytest.raises(DeviceError, match="loading kernel k failed: CUDA_ERROR"):
        cuda.load(b"no machine code" * 10, "k")


def test_streams_wait_for_events():
    one, two = cuda.Stream(), cuda.Stream()
    address = cuda.allocate(1 << 26)
    start = one.record(timed=True)
    cuda.fill(address, 1, 1 << 26, one)
    end = one.record(timed=True)
    two.wait(end)
    later = two.record()
    later.synchronize()
    assert end.done() and later.done() and end.since(start) > 0
    cuda.free(address)


COUNT = "store1_int64(a0, thread(), load1_int64(a0, thread()) + n)"


def counter(threads: int = 32):
    """A loaded kernel that adds n to each element."""
    cubin = cuda_compile.compile_cuda(
        source(COUNT, 1), "k", ("address",), (("cc", cuda.device(0).cc), ("threads", threads))
    )
    return cuda.load(cubin, "k")


def test_a_packed_launch_reads_its_cells_each_time():
    function, stream, x = counter(), cuda.Stream(), np.zeros(32, np.int64)
    assert function.attribute("NUM_REGS") > 0 and function.attribute("LOCAL_SIZE_BYTES") == 0
    with OnDevice(x) as there:
        cells = (ctypes.c_int64 * 2)(5, there.address)
        start = ctypes.addressof(cells)
        launch = cuda.pack(function, 1, 32, [start, start + 8])
        launch(stream.handle)
        stream.synchronize()
        cells[0] = 100
        launch()
        assert there.read().tolist() == [105] * 32


def test_a_graph_replays():
    function, stream = counter(), cuda.Stream()
    with OnDevice(np.zeros(32, np.int64)) as there:
        cells = (ctypes.c_int64 * 2)(1, there.address)
        start = ctypes.addressof(cells)
        launch = cuda.pack(function, 1, 32, [start, start + 8])
        with cuda.record(stream) as graphs:
            for _ in range(10):
                launch(stream.handle)
        assert there.read().tolist() == [0] * 32
        for _ in range(3):
            graphs[0].launch(stream)
        stream.synchronize()
        assert there.read().tolist() == [30] * 32


def test_threads_use_the_device(recwarn):
    found = []

    def work():
        cuda.use(0)
        x = np.zeros(32, np.int64)
        on_gpu(COUNT, [x], n=7)
        found.append(int(x.sum()))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert found == [7 * 32] * 4


@pytest.mark.parametrize("assembler", [cuda_compile._by_jitlink, cuda_compile._by_driver, cuda_compile._by_ptxas])
def test_every_assembler_gives_a_kernel_that_runs(assembler):
    cc = cuda.device(0).cc
    ptx = cuda_compile.ptx_cuda(source(COUNT, 1), "k", ("address",), (("cc", cc), ("threads", 32)))
    try:
        cubin, _ = assembler(ptx, cc)
    except (ImportError, OSError, RuntimeError) as problem:
        pytest.skip(f"not on this machine: {problem}")
    function = cuda.load(cubin, "k")
    with OnDevice(np.zeros(32, np.int64)) as there:
        cells = (ctypes.c_int64 * 2)(3, there.address)
        start = ctypes.addressof(cells)
        cuda.pack(function, 1, 32, [start, start + 8])()
        assert there.read().tolist() == [3] * 32
