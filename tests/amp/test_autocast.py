"""Regions of autocast: who is cast, when, and what comes back."""

import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flame
import flame.nn.functional as F
from flame.errors import DeviceError, DTypeError, FlameError
from flame.ir.graph import toposort

A = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


@pytest.fixture
def a() -> flame.Tensor:
    return flame.tensor(A)


def test_products_are_bfloat16_inside_and_only_there(a: flame.Tensor):
    with flame.autocast("cpu"):
        for y in (a @ a, a.matmul(a), flame.mm(a, a), F.linear(a, a)):
            assert y.dtype is flame.bfloat16
        assert (a + a).dtype is flame.float32
        assert (a @ a + a).dtype is flame.float32
    assert (a @ a).dtype is flame.float32


def test_regions_nest(a: flame.Tensor):
    with flame.autocast("cpu", flame.float16):
        assert flame.get_autocast_dtype("cpu") is flame.float16
        with flame.autocast("cpu", flame.bfloat16):
            assert (a @ a).dtype is flame.bfloat16
            with flame.autocast("cpu", enabled=False):
                assert not flame.is_autocast_enabled("cpu")
                assert (a @ a).dtype is flame.float32
            assert (a @ a).dtype is flame.bfloat16
        assert (a @ a).dtype is flame.float16
    assert not flame.is_autocast_enabled()
    assert flame.get_autocast_dtype("cpu") is flame.bfloat16
    assert flame.get_autocast_dtype("cuda") is flame.float16


def test_a_region_ends_where_an_error_leaves_it(a: flame.Tensor):
    with pytest.raises(FlameError), flame.autocast("cpu"):
        flame.matmul(a, flame.ones(3, 3))
    assert not flame.is_autocast_enabled()
    with flame.autocast("cpu"):
        with pytest.raises(FlameError):
            flame.matmul(a, flame.ones(3, 3))
        assert (a @ a).dtype is flame.bfloat16  # the call that failed has put the region back


def test_a_region_of_another_device_leaves_tensors_alone(a: flame.Tensor):
    with flame.autocast("cuda"):
        assert flame.is_autocast_enabled("cuda")
        assert not flame.is_autocast_enabled("cpu")
        assert (a @ a).dtype is flame.float32
        assert a.bfloat16().exp().dtype is flame.bfloat16
        with flame.autocast("cpu"):
            assert (a @ a).dtype is flame.bfloat16


def test_a_decorator_and_a_generator(a: flame.Tensor):
    @flame.autocast("cpu")
    def product() -> flame.Tensor:
        return a @ a

    @flame.autocast("cpu")
    def products() -> Iterator[flame.Tensor]:
        yield a @ a
        yield a @ a

    assert product().dtype is flame.bfloat16
    for y in products():
        assert y.dtype is flame.bfloat16
        assert (a @ a).dtype is flame.float32  # the caller is outside
    assert product.__name__ == "product"


def test_each_thread_has_its_own_region(a: flame.Tensor):
    found: list[Any] = []
    with flame.autocast("cpu"):
        other = threading.Thread(target=lambda: found.append((a @ a).dtype))
        other.start()
        other.join()
    assert found == [flame.float32]


def test_float64_and_integers_are_left_alone(a: flame.Tensor):
    with flame.autocast("cpu"):
        assert (a.double() @ a.double()).dtype is flame.float64
        assert (a.long() @ a.long()).dtype is flame.int64
        assert F.mse_loss(a.double(), a.double()).dtype is flame.float64


def test_operands_of_several_dtypes_meet_in_one(a: flame.Tensor):
    with flame.autocast("cpu"):
        assert F.linear(a.bfloat16(), a, flame.ones(4)).dtype is flame.bfloat16
        assert flame.addmm(flame.ones(4), a, a.half()).dtype is flame.bfloat16
        assert F.mse_loss(a.bfloat16(), a).dtype is flame.float32
        assert flame.cat([a.bfloat16(), a]).dtype is flame.float32
        assert flame.cat([a.bfloat16(), a.bfloat16()]).dtype is flame.bfloat16
        assert flame.linalg.multi_dot([a, a, a]).dtype is flame.bfloat16
        assert flame.matmul(input=a, other=a).dtype is flame.bfloat16


def test_what_names_its_dtype_gets_it(a: flame.Tensor, monkeypatch: pytest.MonkeyPatch):
    from flame.amp.lists import CUDA, TABLES

    monkeypatch.setitem(TABLES, "cpu", CUDA)
    half = a.bfloat16()
    with flame.autocast("cpu"):
        assert half.sum().dtype is flame.float32
        assert half.sum(dtype=flame.bfloat16).dtype is flame.bfloat16
        assert F.softmax(half, -1).dtype is flame.float32
        assert F.softmax(half, -1, dtype=flame.float64).dtype is flame.float64
        assert (half**2).dtype is (2**half).dtype is flame.float32
        assert F.gelu(half).dtype is F.elu(half).dtype is flame.bfloat16


def test_binary_cross_entropy_is_refused_as_by_pytorch(a: flame.Tensor, monkeypatch: pytest.MonkeyPatch):
    from flame.amp.lists import CUDA, TABLES

    monkeypatch.setitem(TABLES, "cpu", CUDA)
    p = a.sigmoid()
    with flame.autocast("cpu"), pytest.raises(DTypeError, match="binary_cross_entropy_with_logits"):
        F.binary_cross_entropy(p, p)
    with flame.autocast("cpu"), flame.autocast("cpu", enabled=False):
        assert F.binary_cross_entropy(p, p).dtype is flame.float32


def test_parameters_and_their_gradients_stay_float32(a: flame.Tensor):
    layer = flame.nn.Linear(4, 4)
    x = a.clone().requires_grad_()
    with flame.autocast("cpu"):
        y = layer(x)
        assert y.dtype is flame.bfloat16
        y.float().sum().backward()
    assert layer.weight.dtype is layer.weight.grad.dtype is layer.bias.grad.dtype is x.grad.dtype is flame.float32
    assert np.allclose(layer.weight.grad.numpy(), np.tile(A.sum(0), (4, 1)), rtol=0.02, atol=0.02)
    assert np.allclose(x.grad.numpy(), np.tile(layer.weight.numpy().sum(0), (4, 1)), rtol=0.02, atol=0.02)


def test_a_weight_is_cast_once_in_a_region(a: flame.Tensor):
    with flame.autocast("cpu"):
        y = F.linear(F.linear(a, a), a) @ a
    casts = [n for n in toposort([y.node]) if n.op.name == "cast" and n.src[0] is a.node]
    assert len(casts) == 1


def test_layers_of_several_products():
    x = flame.randn(2, 3, 8)
    attention = flame.nn.MultiheadAttention(8, 2, batch_first=True)
    with flame.autocast("cpu"):
        assert attention(x, x, x)[0].dtype is attention(x, x, x, need_weights=False)[0].dtype is flame.bfloat16
        assert flame.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)(x).dtype is flame.float32
        assert flame.nn.Conv2d(1, 2, 3)(flame.ones(1, 1, 5, 5)).dtype is flame.bfloat16


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers_keep_their_state_in_half(name: str):
    x, whole, cell = flame.randn(2, 3, 4), getattr(flame.nn, name)(4, 5), getattr(flame.nn, f"{name}Cell")(4, 5)
    with flame.autocast("cpu"):
        out, state = whole(x)
        again, _ = whole(out[..., :4].float(), state)
        one = cell(x[0])
    for y in (out, again, *(state if name == "LSTM" else (state,)), *(one if name == "LSTM" else (one,))):
        assert y.dtype is flame.bfloat16
    assert whole(x)[0].dtype is flame.float32
    assert np.allclose(out.float().detach().numpy(), whole(x)[0].detach().numpy(), atol=0.02)


def test_misuse():
    with pytest.raises(DeviceError, match=r"autocast.*'tpu'.*'cuda'"):
        flame.autocast("tpu")
    with pytest.raises(DTypeError, match="bfloat16"):
        flame.autocast("cpu", flame.float32)
    flame.autocast("cpu", flame.float32, enabled=False)  # says nothing
    assert flame.autocast("cuda:0").device == "cuda"


def test_listed_functions_are_found_when_unpickled():
    for function in (F.softmax, F.linear, flame.exp, flame.matmul, flame.linalg.multi_dot):
        assert pickle.loads(pickle.dumps(function)) is function
    assert flame.exp is flame.Tensor.exp


class Square(flame.autograd.Function):
    """Tells in which dtypes it computed."""

    seen: tuple[Any, ...] = ()

    @staticmethod
    @flame.amp.custom_fwd(device_type="cpu")
    def forward(ctx: Any, x: flame.Tensor) -> flame.Tensor:
        ctx.save_for_backward(x)
        return x @ x

    @staticmethod
    @flame.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: flame.Tensor) -> flame.Tensor:
        (x,) = ctx.saved_tensors
        y = x.T @ x
        Square.seen = (*Square.seen, y.dtype)
        return (grad @ x.T + x.T @ grad).to(x.dtype)


class Wide(flame.autograd.Function):
    @staticmethod
    @flame.amp.custom_fwd(device_type="cpu", cast_inputs=flame.float32)
    def forward(ctx: Any, x: flame.Tensor) -> flame.Tensor:
        Square.seen = (*Square.seen, x.dtype, flame.is_autocast_enabled("cpu"))
        return x @ x

    @staticmethod
    @flame.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: flame.Tensor) -> flame.Tensor:
        Square.seen = (*Square.seen, (grad @ grad).dtype)
        return grad


def test_a_function_of_ones_own_runs_backward_in_the_region_of_its_forward(a: flame.Tensor):
    Square.seen = ()
    x = a.clone().detach().requires_grad_()
    with flame.autocast("cpu"):
        y = Square.apply(x)
        assert y.dtype is flame.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype is flame.float32
    Square.apply(x).sum().backward()
    assert Square.seen == (flame.bfloat16, flame.float32)


def test_a_function_of_ones_own_may_ask_for_float32(a: flame.Tensor):
    Square.seen = ()
    x = a.bfloat16().requires_grad_()
    with flame.autocast("cpu"):
        y = Wide.apply(x)
        assert y.dtype is flame.float32
        y.sum().backward()
    assert Square.seen == (flame.float32, False, flame.float32)
    assert x.grad.dtype is flame.bfloat16


def test_the_way_of_an_undecorated_forward_is_told(a: flame.Tensor):
    class Half(flame.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: flame.Tensor) -> flame.Tensor:
            return x * 2

        @staticmethod
        @flame.amp.custom_bwd(device_type="cpu")
        def backward(ctx: Any, grad: flame.Tensor) -> flame.Tensor:
            return grad

    x = a.clone().requires_grad_()
    with pytest.raises(FlameError, match="custom_fwd"):
        Half.apply(x).sum().backward()
