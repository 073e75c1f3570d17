"""Memory of a GPU given to others and taken from them; the same draws as on the CPU; printing from the edges."""

import copy
import gc
import pickle
import re

import numpy as np
import pytest

import flame
from flame.errors import ExportError
from flame.nn import functional as F
from flame.runtime import dlpack
from flame.runtime.buffer import Borrowed
from flame.tensor import assign, memory

pytestmark = pytest.mark.gpu


class Seen:
    """A stranger's array, as far as `__cuda_array_interface__` tells."""

    def __init__(self, t: flame.Tensor, strides: tuple[int, ...] | None = None):
        self.held, self.__cuda_array_interface__ = t, t.__cuda_array_interface__ | {"strides": strides}


def on_gpu(*shape: int) -> flame.Tensor:
    return flame.tensor(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), device="cuda")


def test_arrays_are_copies_read_only_like_the_cpus():
    t = on_gpu(2, 3)
    assert t.is_cuda and t.device.index == 0 and not t.numpy().flags.writeable
    given = np.ones(3)
    with flame.config(device="cuda"):
        u = flame.from_numpy(given)
    given[:] = 5
    assert u.is_cuda and u.tolist() == [1.0, 1.0, 1.0]


def test_the_cuda_array_interface_both_ways():
    t = on_gpu(2, 3)
    found = flame.as_tensor(Seen(t))
    assert memory(found).address == memory(t).address and found.tolist() == t.tolist()
    assert flame.as_tensor(Seen(t, strides=(12, 4))).tolist() == t.tolist()
    turned = Seen(t)
    turned.__cuda_array_interface__ |= {"shape": (3, 2), "strides": (4, 12)}
    assert flame.as_tensor(turned).tolist() == t.T.tolist()
    before = t.tolist()
    assign([(t, t + 1)])
    assert found.tolist() == before, "memory whose address was told is not written again"
    assert not hasattr(t.bfloat16(), "__cuda_array_interface__")


def test_dlpack_shares_memory_in_the_order_of_the_work():
    t = (on_gpu(1000) * 2).realize()
    assert t.__dlpack_device__() == (dlpack.CUDA, 0)
    found = flame.from_dlpack(t.__dlpack__(max_version=(1, 0)))
    assert isinstance(memory(found), Borrowed) and memory(found).address == memory(t).address
    total = (found + 1).sum()
    del found
    assert total.item() == 1000 * 999 + 1000
    gc.collect()
    assert not dlpack._given
    shifted = dlpack.Memory(memory(t).address + 4, (999,), None, t.dtype, (dlpack.CUDA, 0), False, t)
    apart = flame.from_dlpack(dlpack.give(shifted, True))
    assert not isinstance(memory(apart), Borrowed), "kernels read 16 bytes at once"
    assert apart.tolist() == t.tolist()[1:]
    host = flame.from_dlpack(t.__dlpack__(max_version=(1, 0), dl_device=(dlpack.CPU, 0)))
    assert host.is_cpu and host.tolist() == t.tolist()
    with pytest.raises(ExportError):
        t.__dlpack__(dl_device=(dlpack.CPU, 0), copy=False)
    np.testing.assert_array_equal(np.from_dlpack(t, device="cpu"), t.numpy())


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_dlpack_with_pytorch_on_the_gpu(dtype):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    given = (torch.arange(24, device="cuda").reshape(4, 6) % 3).to(getattr(torch, dtype))
    for view in (given, given.T, given[:, 1:4], given[1:]):
        assert flame.from_dlpack(view).tolist() == view.tolist()
    t = flame.from_dlpack(given)
    assert memory(t).address == given.data_ptr()
    back = torch.from_dlpack(t)
    assert back.data_ptr() == given.data_ptr() and torch.equal(back, given)


def test_pickle_and_copy_stay_on_the_gpu():
    t = on_gpu(3).requires_grad_()
    for twin in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t), copy.copy(t)):
        assert twin.is_cuda and twin.requires_grad and twin.tolist() == t.tolist()
    with flame.map_location("cpu"):
        assert pickle.loads(pickle.dumps(t)).is_cpu


def test_large_tensors_print_as_the_cpus():
    for shape in ((2000,), (40, 50), (5, 400), (11, 12, 13), (3,), (0, 2)):
        t = on_gpu(*shape)
        assert re.sub(r",\s+device='cuda:0'", "", repr(t)).split() == repr(t.cpu()).split()


DRAWS = {
    "rand": lambda d: flame.rand(1000, device=d),
    "rand float64": lambda d: flame.rand(1000, device=d, dtype=flame.float64),
    "rand bfloat16": lambda d: flame.rand(1000, device=d, dtype=flame.bfloat16).float(),
    "randn": lambda d: flame.randn(1000, device=d),
    "randint": lambda d: flame.randint(0, 10**12, (1000,), device=d),
    "randperm": lambda d: flame.randperm(1000, device=d),
    "exponential_": lambda d: flame.zeros(1000, device=d).exponential_(),
    "cauchy_": lambda d: flame.zeros(1000, device=d, dtype=flame.float64).cauchy_(),
    "multinomial": lambda d: flame.multinomial(flame.arange(50, device=d).double(), 200, True),
    "multinomial apart": lambda d: flame.multinomial(flame.arange(50, device=d).double(), 20),
    "poisson": lambda d: flame.poisson(flame.full((100,), 9.0, device=d)),
    "dropout": lambda d: F.dropout(flame.ones(1000, device=d), 0.4),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_draws_the_same_on_every_device(name):
    found = []
    for device in ("cpu", "cuda"):
        flame.manual_seed(17)
        found.append(DRAWS[name](device).numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=2e-5, atol=1e-6)
