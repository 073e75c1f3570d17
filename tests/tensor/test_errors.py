"""Bad input: a clear error at the user's line, and everything usable after it."""

import gc
import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import flame
from flame import values
from flame.errors import (
    DeviceError,
    DTypeError,
    FreedError,
    GradError,
    IndexingError,
    OutOfMemoryError,
    ShapeError,
)
from flame.runtime import devices
from flame.tensor import assign

ROOT = Path(__file__).resolve().parents[2]
INSIDE = str(Path(flame.__file__).parent)


@pytest.fixture
def x():
    return flame.tensor(np.arange(6.0).reshape(2, 3).astype(np.float32))


def last_user_frame(caught):
    """The innermost frame of a traceback that is not FLAME's: the statement to look at."""
    frames = [e for e in caught.traceback if not str(e.path).startswith(INSIDE)]
    return str(frames[-1].statement)


CASES = {
    "shapes": (lambda x: x + flame.ones(4), ShapeError, ["(2, 3)", "(4,)", "reshape"]),
    "shapes with attributes": (lambda x: x.expand(4, 3), ShapeError, ["(2, 3)", "(4, 3)", "size 1"]),
    "matmul": (lambda x: x @ x, ShapeError, ["matmul", "(2, 3)", "transpose"]),
    "reshape": (lambda x: x.reshape(4, 2), ShapeError, ["(2, 3)", "(4, 2)", "6", "8"]),
    "dim": (lambda x: x.sum(2), IndexingError, ["sum", "2", "-2"]),
    "dim below": (lambda x: x.softmax(-3), IndexingError, ["-3"]),
    "dim twice": (lambda x: x.sum((0, -2)), IndexingError, ["twice"]),
    "index": (lambda x: x[2], IndexingError, ["2", "dimension 0"]),
    "too many indices": (lambda x: x[0, 0, 0], IndexingError, ["3", "(2, 3)"]),
    "index by float": (lambda x: x[flame.ones(2)], DTypeError, ["float32"]),
    "index by uint8": (lambda x: x[(x > 1).to(flame.uint8)], DTypeError, ["uint8", "mask", ".bool()"]),
    "gather by float": (lambda x: x.gather(1, x), DTypeError, ["gather", "float32"]),
    "dtype": (lambda x: x.long().mean(), DTypeError, ["mean", "int64", ".float()"]),
    "bool minus bool": (lambda x: (x > 1) - (x > 2), DTypeError, ["sub", "bool"]),
    "where of numbers": (lambda x: flame.where(x, x, x), DTypeError, ["bool", "x > 0"]),
    "no number": (lambda x: x + "one", DTypeError, ["add", "'one'"]),
    "none": (lambda x: x * None, DTypeError, ["mul", "None"]),
    "item": (lambda x: x.item(), ShapeError, ["item", "(2, 3)"]),
    "truth": (lambda x: bool(x), ShapeError, ["any()"]),
    "length": (lambda x: len(x.sum()), ShapeError, ["0-d"]),
    "no gradient": (lambda x: x.sum().backward(), GradError, ["requires_grad=True"]),
    "integers": (lambda x: x.long().requires_grad_(), GradError, ["int64"]),
    "integers from the start": (lambda x: flame.tensor([1], requires_grad=True), DTypeError, ["int64"]),
    "wrong gradient": (lambda x: setattr(x, "grad", flame.ones(2)), GradError, ["(2,)", "(2, 3)"]),
    "no gradient at all": (lambda x: setattr(x, "grad", 1.0), GradError, ["float"]),
    "in place": (lambda x: x.requires_grad_().add_(1), GradError, ["no_grad"]),
    "in place shape": (lambda x: x.add_(flame.ones(4, 2, 3)), ShapeError, ["(4, 2, 3)", "(2, 3)"]),
    "device": (lambda x: x.to("gpu"), DeviceError, ["gpu", "cuda"]),
    "ragged": (lambda x: flame.tensor([[1], [1, 2]]), DTypeError, ["ragged"]),
    "complex": (lambda x: flame.tensor(np.zeros(2, complex)), DTypeError, ["complex128"]),
    "negative size": (lambda x: flame.zeros(2, -3), ShapeError, ["-3"]),
    "size by float": (lambda x: flame.zeros(2.5), ShapeError, ["2.5"]),
    "norm of a function": (lambda x: flame.grad(lambda y: y * 2)(x), GradError, [".sum()"]),
    "argument": (lambda x: flame.grad(lambda y: y.sum())(3), GradError, ["argument 0"]),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named_at_the_users_line(name, x):
    call, error, words = CASES[name]
    with pytest.raises(error) as caught:
        call(x)
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)
    assert inspect.getsource(call).split("lambda x:", 1)[1][:12] in last_user_frame(caught)
    np.testing.assert_array_equal((x * 2).numpy(), np.arange(6).reshape(2, 3) * 2)


def test_backward_of_several_numbers():
    w = flame.ones(3, requires_grad=True)
    y = w * 2
    with pytest.raises(GradError, match=r"one number, got shape \(3,\).*\.sum\(\)"):
        y.backward()
    y.backward(flame.tensor([1.0, 2, 3]))
    assert w.grad.tolist() == [2, 4, 6]


def test_backward_twice_names_the_first():
    w = flame.ones(3, requires_grad=True)
    loss = (w * 2).sum()
    loss.backward()
    with pytest.raises(GradError, match=rf"second time.*{re.escape(__file__)}:\d+.*retain_graph=True"):
        loss.backward()
    assert w.grad.tolist() == [2, 2, 2]
    assert loss.item() == 6


def test_a_wrong_seed_leaves_no_gradient():
    w = flame.ones(3, requires_grad=True)
    with pytest.raises(GradError, match=r"\(2,\).*\(3,\)"):
        (w * 2).backward(flame.ones(2))
    assert w.grad is None


def test_a_tensor_on_another_device_is_refused(x, monkeypatch):
    class Other:
        name = "other"

    y = flame.tensor([1.0])
    monkeypatch.setattr(y, "device", Other())
    with pytest.raises(DeviceError, match=r"cpu and other.*\.to\("):
        x + y


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU")
def test_a_gpu_that_is_not_there(x):
    for call in (x.cuda, lambda: flame.zeros(2, device="cuda"), lambda: x.to("cuda:3")):
        with pytest.raises(DeviceError, match=r"'cuda.*device='cpu'.*flame info"):
            call()
    assert x.sum().item() == 15


# --- memory given away ------------------------------------------------------------------------------------------------
def step(w):
    with flame.no_grad():
        assign([(w, w - w.grad)])


def test_a_graph_whose_parameters_were_donated():
    """PyTorch: 'modified by an inplace operation'."""
    w = flame.tensor([3.0, 4.0], requires_grad=True)
    y = w * w
    y.numpy()
    (w * 2).sum().backward()
    step(w)
    y.sum().backward()
    with pytest.raises(FreedError, match=rf"donated at {re.escape(__file__)}:\d+.*clone\(\)"):
        w.grad.numpy()
    w.grad = None
    (w * w).sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]


def test_a_freed_buffer_is_an_error_not_garbage(x):
    values.get(x.node).free()
    for _ in range(2):
        with pytest.raises(FreedError, match="freed"):
            (x + 1).numpy()
    with pytest.raises(FreedError):
        x.numpy()
    assert flame.ones(2).tolist() == [1, 1]


# --- memory that is not there -----------------------------------------------------------------------------------------
def test_out_of_memory_says_who_holds_what_and_passes():
    pool = devices.get("cpu").pool
    held = flame.ones(1 << 18).realize()  # the holder
    pending = flame.ones(1 << 20) * 2.0
    gc.collect()
    pool.trim()
    before = pool.stats()
    with flame.config(memory_limit=before.reserved + (1 << 20)):
        for _ in range(2):
            with pytest.raises(OutOfMemoryError) as caught:
                pending.realize()
            holder = inspect.getsource(test_out_of_memory_says_who_holds_what_and_passes).splitlines()
            line = next(i for i, text in enumerate(holder) if "# the holder" in text)
            start = test_out_of_memory_says_who_holds_what_and_passes.__code__.co_firstlineno
            assert f"{__file__}:{start + line}" in str(caught.value)
            assert "4.0 MiB" in str(caught.value)
            assert "FLAME_MEMORY_LIMIT" in str(caught.value)
        assert flame.ones(3).sum().item() == 3, "small work still fits"
    del caught
    gc.collect()
    assert pool.stats().in_use == before.in_use
    assert pending.sum().item() == 1 << 21
    assert held.sum().item() == 1 << 18


def test_a_step_without_memory_changes_no_parameter():
    w = flame.tensor(np.ones((300, 300), np.float32), requires_grad=True)
    keep = w.detach()  # so that the step needs memory of its own
    ((w * 3).sum()).backward()
    pool = devices.get("cpu").pool
    pool.trim()
    with flame.config(memory_limit=pool.stats().reserved), pytest.raises(OutOfMemoryError):
        step(w)
    assert w.sum().item() == 90000
    step(w)
    assert w.sum().item() == -180000
    assert keep.sum().item() == 90000


def test_a_failing_plan_leaves_its_tensors_pending(monkeypatch, x):
    a, b = x * 7.5, x - 3.25
    total = (a + b).sum()

    def fails(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flame.runtime.execute.Executable.run", fails)
        with pytest.raises(KeyboardInterrupt):
            flame.realize(a, b)
        with pytest.raises(KeyboardInterrupt):
            total.item()
    with monkeypatch.context() as patch:
        patch.setattr("flame.compiler.compile_graph", fails)
        c = a.exp()
        with pytest.raises(KeyboardInterrupt):
            c.numpy()
    expected = np.arange(6).reshape(2, 3) * 7.5
    np.testing.assert_array_equal(a.numpy(), expected)
    np.testing.assert_allclose(c.numpy(), np.exp(expected), rtol=1e-5)
    assert total.item() == (expected + x.numpy() - 3.25).sum()


# --- other processes --------------------------------------------------------------------------------------------------
def run(code, cache, *, interrupt_at="", environment=()):
    """A script in a process of its own; SIGINT is sent when it prints `interrupt_at`."""
    env = os.environ | {"FLAME_CACHE": str(cache), "PYTHONPATH": str(ROOT)} | dict(environment)
    args = [sys.executable, "-u", "-c", textwrap.dedent(code)]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=ROOT) as child:
        lines = []
        for line in child.stdout:
            lines.append(line.strip())
            if interrupt_at and line.strip() == interrupt_at:
                time.sleep(0.05)
                child.send_signal(signal.SIGINT)
        errors = child.stderr.read()
    assert child.returncode == 0, errors
    return lines, errors


SMALL = """
    import flame
    x = flame.tensor([1.0, 2.0, 3.0])
    print((x.exp() * 2.5 + x).sum().item())
"""


def test_a_damaged_cache_entry_is_compiled_again(tmp_path):
    first, _ = run(SMALL, tmp_path)
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert files
    for damage in (b"", b"garbage" * 100, None):
        for f in files:
            data = f.read_bytes()
            f.write_bytes(data[: len(data) // 2] if damage is None else damage)
        assert run(SMALL, tmp_path)[0] == first


def test_a_cache_directory_that_cannot_be_used(tmp_path):
    first, _ = run(SMALL, tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    lines, errors = run(SMALL, blocked / "below")
    assert lines == first
    assert errors.count("Warning") == 1
    assert str(blocked) in errors


def test_a_read_only_cache_directory(tmp_path):
    first, _ = run(SMALL, tmp_path / "other")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o500)
    assert run(SMALL, tmp_path / "cache")[0] == first


INTERRUPTED = """
    import signal, flame, numpy as np
    signal.signal(signal.SIGINT, signal.default_int_handler)
    w = flame.tensor(np.ones(5, np.float32), requires_grad=True)
    outs = [(w * k).exp().sum(0) + k for k in np.linspace(0.01, 0.2, 40).astype(float).tolist()]
    with flame.config(fuse={fuse}):
        print("go")
        try:
            while True:
                flame.realize(*outs)
                outs = [o.detach() * (1 + k / 100) + w.sum() for k, o in enumerate(outs)]
        except KeyboardInterrupt:
            print("interrupted")
    outs = [(w * k).exp().sum(0) + k for k in np.linspace(0.01, 0.2, 40).astype(float).tolist()]
    flame.realize(*outs)
    sum(outs).backward()
    k = np.linspace(0.01, 0.2, 40)
    print(np.allclose([o.item() for o in outs], 5 * np.exp(k) + k), np.allclose(w.grad.numpy(), (k * np.exp(k)).sum()))
"""


@pytest.mark.parametrize("fuse", [True, False])
def test_ctrl_c_during_compilation(tmp_path, fuse):
    """The cache is empty: the signal arrives among kernels that compile side by side."""
    lines, _ = run(INTERRUPTED.format(fuse=fuse), tmp_path, interrupt_at="go")
    assert lines == ["go", "interrupted", "True True"]


RUNNING = """
    import signal, threading, flame, numpy as np
    from flame.tensor import assign
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pairs = [flame.tensor(np.zeros((64, 64), np.float32)) for _ in range(20)]
    one = flame.tensor(np.ones((64, 64), np.float32))
    def step():
        assign([(p, p + (p * 0 + one) @ one / 64) for p in pairs])
    step()
    print("go")
    try:
        while True:
            step()
    except KeyboardInterrupt:
        print("interrupted")
    for p in pairs:  # a step happened to a parameter, or it did not
        found = p.numpy()
        assert (found == found[0, 0]).all() and found[0, 0] == int(found[0, 0]), found
    before = [p.numpy()[0, 0] for p in pairs]
    assert max(before) - min(before) <= 1, before
    step()
    print(np.array_equal([p.numpy()[0, 0] for p in pairs], np.add(before, 1)))
"""


def test_ctrl_c_during_a_run(tmp_path):
    for _ in range(3):
        lines, _ = run(RUNNING, tmp_path, interrupt_at="go")
        assert lines == ["go", "interrupted", "True"]
