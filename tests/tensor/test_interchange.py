"""Values in and out: NumPy, DLPack, pickle, copy, and Python's own protocols."""

import array
import copy
import ctypes
import gc
import io
import pickle
import warnings

import ml_dtypes
import numpy as np
import pytest

import flame
from flame import values
from flame.errors import DTypeError, ExportError, FlameError, GradError, ShapeError
from flame.runtime import dlpack
from flame.runtime.buffer import Borrowed
from flame.tensor import assign, memory
from tests.surface.sides import interpreted

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


def address(t: flame.Tensor) -> int:
    return memory(t).address


def plain(dtype: str) -> np.ndarray:
    return np.array([[0, 1, 1], [3, 0, 100]]).astype(getattr(flame, dtype).numpy)


# --- NumPy ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_and_its_tensor_share_memory_both_ways(dtype):
    given = plain(dtype)
    t = flame.from_numpy(given)
    assert t.dtype is getattr(flame, dtype) and t.shape == (2, 3)
    assert np.shares_memory(t.numpy(), given)
    given[0, 0] = 1
    assert t.tolist()[0][0] == 1


def test_what_cannot_be_shared_is_copied():
    wide = np.arange(12.0).reshape(3, 4)
    crooked = np.frombuffer(b"\0" + np.arange(3.0).tobytes(), np.float64, offset=1)
    for given in (wide.T, wide[:, ::2], wide[::-1], crooked, wide[:0]):
        t = flame.from_numpy(given)
        assert not isinstance(memory(t), Borrowed)
        np.testing.assert_array_equal(t.numpy(), given)
    fixed = np.arange(3.0)
    fixed.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.shares_memory(flame.from_numpy(fixed).numpy(), fixed)
    with pytest.raises(DTypeError, match="list"):
        flame.from_numpy([1.0])
    with pytest.raises(DTypeError, match="complex"):
        flame.from_numpy(np.zeros(2, np.complex64))


def test_numpy_gives_the_tensors_own_memory_read_only():
    t = (flame.arange(6).reshape(2, 3) * 2).realize()
    seen = t.numpy()
    assert seen.ctypes.data == address(t) and not seen.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        seen[0, 0] = 1
    assert np.array(t).flags.writeable
    del t
    gc.collect()
    noise = [flame.full((2, 3), 7).realize() for _ in range(20)]  # would take the memory, were it free
    assert seen.tolist() == [[0, 2, 4], [6, 8, 10]] and len(noise) == 20
    assert flame.tensor(2.5).numpy().shape == () and not flame.scalar(3.0).numpy().flags.writeable
    assert flame.zeros(0, 3).numpy().shape == (0, 3)
    assert flame.zeros(2, dtype=flame.bfloat16).numpy().dtype == ml_dtypes.bfloat16
    assert flame.ones(2, requires_grad=True).numpy(force=True).tolist() == [1.0, 1.0]


def test_memory_that_somebody_sees_is_never_taken_over():
    w = flame.tensor(np.arange(32, dtype=np.float32))
    seen, before = w.numpy(), address(w)
    assign([(w, w + 1)])
    assert seen.tolist() == [float(i) for i in range(32)]
    assert address(w) != before
    seen = None
    before = address(w)
    assign([(w, w + 1)])
    assert address(w) == before, "memory that nobody sees any more is taken over again"
    assert w.tolist() == [i + 2.0 for i in range(32)]


def test_memory_of_an_array_is_never_written():
    given = np.arange(32, dtype=np.float32)
    w = flame.from_numpy(given)
    for _ in range(3):
        assign([(w, w * 2)])
    w += 1
    w.realize()
    assert given.tolist() == [float(i) for i in range(32)]
    assert w.tolist() == [8.0 * i + 1 for i in range(32)]


def test_asking_numpy_for_an_array():
    t = flame.tensor([1.5, 2.5])
    assert np.asarray(t).ctypes.data == address(t)
    assert np.asarray(t, np.float64).dtype == np.float64
    assert np.asarray(t, np.float32).ctypes.data == address(t)
    assert np.array(t, copy=True).ctypes.data != address(t)
    with pytest.raises(ValueError, match="copy"):
        np.array(t, np.int32, copy=False)
    np.testing.assert_array_equal(np.sqrt(t), np.sqrt([1.5, 2.5]).astype(np.float32))
    with interpreted():
        assert (np.float32(2) * t).tolist() == [3.0, 5.0] and isinstance(np.ones(2, np.float32) + t, flame.Tensor)


def test_bytes_of_other_objects():
    assert flame.frombuffer(b"\1\2\3", dtype=flame.uint8).tolist() == [1, 2, 3]
    numbers = array.array("f", [1.0, 2.0, 3.0])
    t = flame.frombuffer(numbers, dtype=flame.float32, count=2, offset=4)
    numbers[1] = 7.0
    assert t.tolist() == [7.0, 3.0]
    assert flame.frombuffer(memoryview(numbers), dtype=flame.float32, requires_grad=True).requires_grad
    for wrong in ({"count": 4}, {"offset": 13}, {"offset": 1}, {"count": 1, "offset": -4}):
        with pytest.raises(ShapeError, match="frombuffer"):
            flame.frombuffer(numbers, dtype=flame.float32, **wrong)


def test_as_tensor_and_asarray():
    t, given = flame.tensor([1.0, 2.0]), np.arange(3.0)
    assert flame.as_tensor(t) is t
    assert flame.as_tensor(t, dtype=flame.float64).dtype is flame.float64
    assert np.shares_memory(flame.as_tensor(given).numpy(), given)
    assert flame.as_tensor(given, dtype=flame.float32).dtype is flame.float32
    assert flame.as_tensor([1, 2]).tolist() == [1, 2]
    assert np.shares_memory(flame.asarray(given, copy=False).numpy(), given)
    assert not np.shares_memory(flame.asarray(given, copy=True).numpy(), given)
    assert flame.asarray([1.0], requires_grad=True).requires_grad
    with pytest.raises(ExportError, match="copy"):
        flame.asarray(given.reshape(3, 1).repeat(2, 1).T, copy=False)


def test_tensors_from_nested_things():
    one, two = flame.tensor(1.0), flame.tensor(2.0)
    assert flame.tensor([[one, two], [3.0, two * 2]]).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert flame.tensor([flame.tensor([1, 2]), flame.tensor([3, 4])]).dtype is flame.int64
    assert flame.tensor([flame.tensor(1.0, dtype=flame.float64)]).dtype is flame.float64
    assert flame.tensor(range(3)).tolist() == [0, 1, 2]
    assert flame.tensor(i / 2 for i in range(3)).tolist() == [0.0, 0.5, 1.0]
    assert flame.tensor(np.float32(1.5)).dtype is flame.float32

    class Celsius:
        def __array__(self, dtype=None, copy=None):
            return np.array([20.0, 21.0])

    assert flame.tensor(Celsius()).tolist() == [20.0, 21.0]
    with pytest.raises(DTypeError, match="ragged"):
        flame.tensor([[1, 2], [3]])


# --- DLPack -----------------------------------------------------------------------------------------------------------
NUMPY_KNOWS = [d for d in DTYPES if d != "bfloat16"]


@pytest.mark.parametrize("dtype", NUMPY_KNOWS)
def test_dlpack_with_numpy_both_ways(dtype):
    given = plain(dtype)
    t = flame.from_dlpack(given)
    assert t.dtype is getattr(flame, dtype) and np.shares_memory(t.numpy(), given)
    back = np.from_dlpack(t)
    assert np.shares_memory(back, given) and not back.flags.writeable
    np.testing.assert_array_equal(back, given)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 4, 1), (0, 2)])
def test_dlpack_with_pytorch_both_ways(dtype, shape):
    torch = pytest.importorskip("torch")
    given = (torch.arange(12)[: int(np.prod(shape))].reshape(shape) % 5).to(getattr(torch, dtype))
    t = flame.from_dlpack(given)
    assert t.dtype is getattr(flame, dtype) and t.tolist() == given.tolist()
    back = torch.from_dlpack(t)
    assert back.dtype == given.dtype and torch.equal(back, given)
    if given.numel():
        assert address(t) == given.data_ptr() == back.data_ptr()


@pytest.mark.parity
def test_dlpack_of_memory_in_another_order():
    torch = pytest.importorskip("torch")
    given = torch.arange(24.0).reshape(2, 3, 4)
    with interpreted():
        for view in (given.permute(2, 0, 1), given[:, ::2], given[1:, :, 1:3], given[:1].expand(3, 3, 4)):
            assert flame.from_dlpack(view).tolist() == view.tolist()
        turned = np.arange(6.0)[::-1]
        assert flame.from_dlpack(turned).tolist() == turned.tolist()
        with pytest.raises(ExportError, match="row-major"):
            flame.from_dlpack(given.permute(2, 0, 1), copy=False)


def test_memory_lives_as_long_as_somebody_reads_it():
    made = flame.arange(100).clone() * 3
    seen = np.from_dlpack(made.realize())
    assert len(dlpack._given) == 1
    del made
    gc.collect()
    noise = [flame.full((100,), 7).realize() for _ in range(20)]
    assert seen.tolist() == [3 * i for i in range(100)] and noise
    del seen
    gc.collect()
    assert not dlpack._given

    told = []

    class Giver:
        """An array that tells when it is let go."""

        def __init__(self):
            self.held = np.arange(3.0)

        def __dlpack_device__(self):
            return self.held.__dlpack_device__()

        def __dlpack__(self, **options):
            values = dlpack.Memory(self.held.ctypes.data, (3,), None, flame.float64, (1, 0), False, self.held)
            return dlpack.give(values, True, before=lambda: told.append("done"))

    t = flame.from_dlpack(Giver())
    gc.collect()
    assert t.tolist() == [0.0, 1.0, 2.0] and not told
    del t
    gc.collect()
    assert told == ["done"]


def test_another_library_declares_the_same_functions_its_own_way(monkeypatch):
    """As cuDNN's frontend does: `ctypes.pythonapi.NAME` is one object for the whole process."""
    shared = ctypes.pythonapi.PyCapsule_GetPointer
    monkeypatch.setattr(shared, "argtypes", [ctypes.py_object, ctypes.c_char_p])
    assert flame.from_dlpack(np.arange(3.0)).tolist() == [0, 1, 2]
    monkeypatch.setattr(ctypes.pythonapi.PyCapsule_IsValid, "argtypes", [ctypes.py_object, ctypes.c_char_p])
    assert flame.from_dlpack(np.arange(3.0)).tolist() == [0, 1, 2]


def test_a_capsule_that_nobody_takes_lets_go_and_one_is_taken_once():
    t = flame.tensor([1.0, 2.0])
    capsule = t.__dlpack__(max_version=(1, 0))
    assert len(dlpack._given) == 1
    assert flame.from_dlpack(capsule).tolist() == [1.0, 2.0]
    with pytest.raises(ExportError, match="fresh"):
        flame.from_dlpack(capsule)
    unused = t.__dlpack__()
    del unused, capsule
    gc.collect()
    assert not dlpack._given


def test_a_reader_who_cannot_be_told_not_to_write_gets_a_copy():
    t = flame.tensor([1.0, 2.0])
    old = dlpack.take(t.__dlpack__())
    assert old.address != address(t) and not old.read_only
    new = dlpack.take(t.__dlpack__(max_version=(1, 2)))
    assert new.address == address(t) and new.read_only
    assert dlpack.take(t.__dlpack__(max_version=(1, 0), copy=True)).address != address(t)
    assert t.__dlpack_device__() == (1, 0)
    with pytest.raises(ExportError, match="read-only"):
        t.__dlpack__(copy=False)
    with pytest.raises(ExportError, match="detach"):
        flame.ones(1, requires_grad=True).__dlpack__()
    with pytest.raises(ExportError, match="move it"):
        t.__dlpack__(dl_device=(2, 0))
    with pytest.raises(DTypeError, match="no __dlpack__"):
        flame.from_dlpack([1.0])
    assert not hasattr(t, "__cuda_array_interface__")


# --- pickle and copy --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    for dtype in DTYPES:
        t = flame.from_numpy(plain(dtype))
        back = pickle.loads(pickle.dumps(t, protocol))
        assert back.dtype is t.dtype and back.tolist() == t.tolist()
    for t in (flame.tensor(1.5, requires_grad=True), flame.zeros(0, 2), flame.scalar(2.0)):
        back = pickle.loads(pickle.dumps(t, protocol))
        assert (back.tolist(), back.shape, back.requires_grad) == (t.tolist(), t.shape, t.requires_grad)


def test_pickle_of_a_module_an_optimizer_state_and_a_computed_tensor():
    net = flame.nn.Linear(2, 3)
    back = pickle.loads(pickle.dumps(net))
    assert isinstance(back.weight, flame.nn.Parameter) and back.weight.requires_grad
    assert back.weight.tolist() == net.weight.tolist()
    computed = net.weight * 2
    assert pickle.loads(pickle.dumps(computed)).tolist() == computed.tolist()
    elsewhere = pickle.dumps(net).replace(b"\x8c\x03cpu", b"\x8c\x03gpu")
    with pytest.raises(FlameError, match="map_location"):
        pickle.loads(elsewhere)
    with flame.map_location("cpu"):
        assert pickle.load(io.BytesIO(elsewhere)).bias.tolist() == net.bias.tolist()


def test_copies_are_leaves_of_their_own_and_cost_nothing():
    w = flame.tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    twin, shallow = copy.deepcopy(w), copy.copy(w)
    assert address(twin) == address(w)
    assert twin.requires_grad and twin.is_leaf and twin.grad.tolist() == [2.0, 4.0] and shallow.grad is None
    with flame.no_grad():
        w.mul_(3.0)
    assign([(w, w + 1)])
    assert (w.tolist(), twin.tolist(), shallow.tolist()) == ([4.0, 7.0], [1.0, 2.0], [1.0, 2.0])
    twin.grad = None
    (twin * 5).sum().backward()
    assert twin.grad.tolist() == [5.0, 5.0] and w.grad.tolist() == [2.0, 4.0]
    with pytest.raises(GradError, match="detach"):
        copy.deepcopy(w * 2)
    shared = flame.ones(2)
    a, b = copy.deepcopy([shared, shared])
    assert a is b and a is not shared
    given = np.ones(2)
    mine = copy.deepcopy(flame.from_numpy(given))
    given[:] = 5
    assert mine.tolist() == [1.0, 1.0]


def test_deepcopy_of_a_module_trains_apart():
    net = flame.nn.Linear(2, 1)
    twin = copy.deepcopy(net)
    before = net.weight.tolist()
    flame.optim.SGD(twin.parameters(), lr=1.0)
    twin(flame.ones(1, 2)).sum().backward()
    flame.optim.SGD(twin.parameters(), lr=1.0).step()
    assert net.weight.tolist() == before != twin.weight.tolist() and net.weight.grad is None


# --- Python's protocols -----------------------------------------------------------------------------------------------
def test_python_asks():
    t = flame.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in t] == [[1, 2], [3, 4]] and len(t) == 2
    assert 3 in t and 7 not in t and flame.tensor([1, 9]) in t
    assert [10, 20, 30][flame.tensor(1)] == 20 and range(5)[flame.tensor([2])] == 2
    assert complex(flame.tensor(2.0)) == 2 + 0j and int(flame.tensor(2.7)) == 2 and float(flame.tensor(2)) == 2.0
    assert len({t, t, t.clone()}) == 2
    assert t.is_cpu and not t.is_cuda and t.device.type == "cpu" and t.device.index is None and str(t.device) == "cpu"
    for wrong, error in (
        (lambda: iter(flame.tensor(1.0)), ShapeError),
        (lambda: "a" in t, DTypeError),
        (lambda: bool(t), ShapeError),
        (lambda: [0][flame.tensor(0.0)], DTypeError),
        (lambda: len(flame.tensor(1.0)), ShapeError),
        (lambda: t.item(), ShapeError),
        (lambda: t.size(2), IndexError),
    ):
        with pytest.raises(error):
            wrong()


def test_data_is_the_value_without_gradients():
    w = flame.tensor([1.0, 2.0], requires_grad=True)
    y = (w * w).sum()
    assert not w.data.requires_grad
    w.data -= 0.5
    w.data.mul_(2.0)
    w.data[0] = w.data[0] * 1
    assert w.tolist() == [1.0, 3.0] and w.requires_grad and w.is_leaf
    y.backward()
    assert w.grad.tolist() == [2.0, 4.0], "the graph was made of the value before"
    w.grad = None
    (w * w).sum().backward()
    assert w.grad.tolist() == [2.0, 6.0]
    w.data = flame.zeros(3)
    assert w.shape == (3,) and w.requires_grad
    for wrong, error in ((flame.zeros(2).long(), DTypeError), ([1.0], DTypeError)):
        with pytest.raises(error, match="data"):
            w.data = wrong
    computed = w * 2
    with pytest.raises(GradError, match="leaf"):
        computed.data = w


def test_a_large_tensor_is_printed_from_its_edges(monkeypatch):
    """On a GPU only these are copied: here the pieces are taken from an array, and counted."""
    from flame import printing

    for shape in ((2000,), (40, 50), (5, 400), (11, 12, 13), (1500, 2), (2, 3, 700), (7, 3, 2, 40), (3,)):
        whole, read = np.random.default_rng(0).normal(size=shape), []

        def part(start, count, whole=whole, read=read):
            read.append(count)
            return whole.ravel()[start : start + count]

        found = printing.pieces(shape, whole.dtype, part)
        np.testing.assert_array_equal(found, printing.edges(whole))
        assert sum(read) == found.size


def test_nothing_is_left_behind():
    gc.collect()
    before = values.count()
    for _ in range(3):
        copy.deepcopy(flame.from_dlpack(flame.ones(4).numpy()))
    gc.collect()
    assert values.count() <= before
