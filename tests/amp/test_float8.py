"""float8 keeps values: casts are PyTorch's to the bit, elements move, and nothing is computed in it."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flame
from flame.errors import DTypeError, FlameError
from tests.surface.sides import interpreted, torch

DTYPES = ("float8_e4m3fn", "float8_e5m2")
HOW = {"oracle": interpreted, "compiled": nullcontext}


def numbers() -> np.ndarray:
    """Any bits, the range of float8 closely, and where its rules change."""
    rng = np.random.default_rng(0)
    anything = rng.integers(0, 1 << 32, 4000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = 2.0 ** rng.uniform(-20, 18, 4000) * rng.choice([-1, 1], 4000)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 448, 464, 464.001, 479.9, 480, 57344, 61439, 61440, 65536]
    ties = [2.0**-9, 2.0**-10, 2.0**-10 * 1.0001, 3 * 2.0**-10, 2.0**-16, 2.0**-17, 2.0**-17 * 1.001, 1.0625, 1.1875]
    return np.concatenate([anything, *(np.asarray(part, np.float32) for part in (near, edges, ties))])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", DTYPES)
def test_casts_are_pytorchs_to_the_bit(name: str, how: str):
    x, dtype = numbers(), getattr(flame, name)
    theirs = torch.tensor(x).to(getattr(torch, name))
    with HOW[how]():
        ours = flame.tensor(x).to(dtype)
        back, through = (
            ours.float().numpy(),
            flame.tensor(x).to(dtype).float().numpy(),
        )  # from memory, and in a register
        codes = ours.numpy()
    want, known = theirs.float().numpy(), ~np.isnan(theirs.float().numpy())
    assert (codes.view(np.uint8)[known] == theirs.view(torch.uint8).numpy()[known]).all()
    np.testing.assert_array_equal(back, want)
    np.testing.assert_array_equal(through, want)


@pytest.mark.parametrize("other", ["float16", "bfloat16", "float64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", DTYPES)
def test_casts_from_and_to_every_dtype(name: str, other: str):
    x = np.array([0, 1, 2, 3, 17, 100, 240, 7], np.float64)
    with interpreted():
        ours = flame.tensor(x).to(getattr(flame, other)).to(getattr(flame, name))
        back = ours.to(getattr(flame, other))
        theirs = torch.tensor(x).to(getattr(torch, other)).to(getattr(torch, name))
        np.testing.assert_array_equal(ours.float().numpy(), theirs.float().numpy())
        np.testing.assert_array_equal(back.float().numpy(), theirs.to(getattr(torch, other)).float().numpy())


@pytest.mark.parametrize("name", DTYPES)
def test_every_code_is_read(name: str):
    codes = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, name))
    want = torch.arange(256, dtype=torch.uint8).view(getattr(torch, name)).float().numpy()
    np.testing.assert_array_equal(flame.tensor(codes).float().numpy(), want)


@pytest.mark.parametrize("name", DTYPES)
def test_elements_move(name: str):
    dtype = getattr(flame, name)
    x = (flame.arange(12) % 8).float().reshape(3, 4)  # with three digits there is no 9
    y = x.to(dtype)
    pick = flame.tensor([2, 0])
    moves: list[Any] = [
        lambda t: t.T, lambda t: t.reshape(4, 3), lambda t: t[1:, ::2], lambda t: t[pick], lambda t: t.flip(0),
        lambda t: t.expand(2, 3, 4), lambda t: flame.cat([t, t]), lambda t: flame.stack([t, t]), lambda t: t.roll(1, 0),
        lambda t: flame.where(x > 5, t, t.flip(1)), lambda t: flame.nn.functional.pad(t, (1, 2)), lambda t: t.clone(),
        lambda t: t.index_select(1, pick), lambda t: t.masked_fill(x > 5, 2.0),
    ]  # fmt: skip
    with interpreted():
        for move in moves:
            assert move(y).dtype is dtype
            np.testing.assert_array_equal(move(y).float().numpy(), move(x).numpy())


@pytest.mark.parametrize("name", DTYPES)
def test_nothing_is_computed_in_it(name: str):
    x = flame.ones(2, 2).to(getattr(flame, name))
    calls: list[Any] = [
        lambda: x + x, lambda: x * 2.0, lambda: -x, lambda: x @ x, lambda: x.sum(), lambda: x.amax(), lambda: x.exp(),
        lambda: x == x, lambda: x < 1, lambda: x.sort(), lambda: x.cumsum(0), lambda: x.clamp(0, 1), lambda: x.abs(),
        lambda: x + flame.ones(2, 2), lambda: flame.cat([x, flame.ones(2, 2)]), lambda: flame.randn(2, dtype=x.dtype),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(FlameError, match=r"float8.*cast"):
            call()
    with pytest.raises(DTypeError, match="float8"):
        flame.set_default_dtype(x.dtype)


@pytest.mark.parametrize("name", DTYPES)
def test_it_is_made_shown_saved_and_shared(name: str, tmp_path: Path):
    dtype = getattr(flame, name)
    x = flame.tensor([1.0, -0.5, 1000.0], dtype=dtype)
    most = {"float8_e4m3fn": 448.0, "float8_e5m2": 1024.0}[name]
    assert x.tolist() == [1.0, -0.5, most]
    assert name in repr(x)
    assert (x.element_size(), x.is_floating_point()) == (1, True)
    assert flame.full((2,), 0.3, dtype=dtype).float().tolist() == [0.3125, 0.3125]
    flame.io.save_file({"x": x}, tmp_path / "a.safetensors")
    again = flame.io.load_file(tmp_path / "a.safetensors")["x"]
    assert again.dtype is dtype
    assert again.tolist() == x.tolist()
    theirs = torch.from_dlpack(x) if hasattr(torch, "from_dlpack") else None
    assert theirs is not None
    assert theirs.dtype is getattr(torch, name)
    assert theirs.float().tolist() == x.tolist()


@pytest.mark.parametrize("name", DTYPES)
def test_a_scale_lets_it_hold_numbers_of_any_size(name: str):
    dtype, digits = getattr(flame, name), {"float8_e4m3fn": 4, "float8_e5m2": 3}[name]
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(6, 8)) * 10.0 ** np.arange(-12, 12, 4)[:, None]).astype(np.float32)
    x[3] = 0
    with interpreted():
        codes, scale = flame.amp.float8_quantize(flame.tensor(x), dtype, dim=1)
        back = flame.amp.float8_dequantize(codes, scale)
        whole, one = flame.amp.float8_quantize(flame.tensor(x[0]), dtype)
        again = flame.amp.float8_dequantize(whole, one, flame.bfloat16)
    assert (codes.dtype, scale.dtype, scale.shape, one.shape) == (dtype, flame.float32, (6, 1), ())
    assert again.dtype is flame.bfloat16
    np.testing.assert_allclose(back.numpy(), x, rtol=2.0**-digits)
    np.testing.assert_allclose(again.float().numpy(), x[0], rtol=2.0**-digits + 2.0**-8)
    assert np.isfinite(back.numpy()).all()
    assert (back.numpy()[3] == 0).all()


def test_what_cannot_be_quantised_is_refused():
    x = flame.ones(3)
    for bad, dtype in ((x.long(), flame.float8_e5m2), (x, flame.float16), (x.to(flame.float8_e5m2), flame.float8_e5m2)):
        with pytest.raises(DTypeError, match="float8_quantize"):
            flame.amp.float8_quantize(bad, dtype)
    with pytest.raises(DTypeError, match="float8_dequantize"):
        flame.amp.float8_dequantize(x, x)


def test_gradients_pass_a_cast_as_in_pytorch():
    x = flame.tensor([0.3, 1.7], requires_grad=True)
    y = torch.tensor([0.3, 1.7], requires_grad=True)
    with interpreted():
        (x.to(flame.float8_e5m2).float() * flame.tensor([1.1, 3.0])).sum().backward()
        (y.to(torch.float8_e5m2).float() * torch.tensor([1.1, 3.0])).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())
