"""Compiling and loading CPU kernels: fresh processes, workers, errors."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flame.config import config
from flame.errors import CompileError
from flame.runtime import cache, cpu_compile, workers
from tests.runtime.cpu_kernel import elementwise, load, source

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def directory(tmp_path):
    with config(cache_dir=tmp_path / "cache"):
        yield tmp_path / "cache"


def jobs(count, first=0):
    made = []
    for k in range(first, first + count):
        text = elementwise(f"x0 + float32({k})", ["float32"], ["float32"], "float32", f"add_{k}")
        made.append(workers.Job("cpu", text, f"add_{k}", ("address", "address")))
    return made


def check(made, codes):
    x, out = np.arange(4, dtype=np.float32), np.empty(4, np.float32)
    for job, code in zip(made, codes, strict=True):
        cpu_compile.load_cpu(code, job.name, job.signature)(0, 4, 0, x.ctypes.data, out.ctypes.data)
        assert out.tolist() == (x + int(job.name.split("_")[1])).tolist()


def python(script, directory, **variables):
    environment = {**os.environ, "FLAME_CACHE": str(directory), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=100)


FRESH = """
import sys
from tests.runtime.test_compile_cpu import *
MAKE = '''{make}'''
made = [workers.Job(*parts) for parts in {parts!r}]
codes = workers.compile_all(made)
assert "numba" not in sys.modules, "loading must not import numba"
for job, code in zip(made, codes):
    f = cpu_compile.load_cpu(code, job.name, job.signature)
    x, out = np.array([0.5, 1.5], np.float64), np.empty(2)
    f(0, 2, 0, x.ctypes.data, out.ctypes.data)
    print(*out)
"""


def test_a_fresh_process_loads_what_another_compiled_without_numba(directory):
    """Each calls the C library, whose functions a process that never imported Numba must find."""
    functions = ["exp", "tanh", "erf", "sin", "log1p"]
    made = [
        workers.Job("cpu", elementwise(f"{f}(x0)", [f], ["float64"], "float64"), "kernel", ("address", "address"))
        for f in functions
    ]
    text = elementwise(
        "to_float64(power(to_float32(x0), to_float32(x0)))",
        ["power", "to_float32", "to_float64"],
        ["float64"],
        "float64",
    )
    made.append(workers.Job("cpu", text, "kernel", ("address", "address")))
    text = elementwise("modulo(x0, x0 + x0)", ["modulo"], ["float64"], "float64")
    made.append(workers.Job("cpu", text, "kernel", ("address", "address")))
    workers.compile_all(made)
    parts = [(j.target, j.source, j.name, j.signature) for j in made]
    ran = python(FRESH.format(make="", parts=parts), directory)
    assert ran.returncode == 0, ran.stderr
    got = np.array([line.split() for line in ran.stdout.splitlines()], float)
    x = np.array([0.5, 1.5])
    want = [np.exp(x), np.tanh(x), [0.5204998778, 0.9661051465], np.sin(x), np.log1p(x), x**x, x]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_key_knows_kernel_signature_and_machine(monkeypatch):
    one, two = ("address",), ("address", "address")
    parts = [("a", "f", one), ("b", "f", one), ("a", "g", one), ("a", "f", ("float32",)), ("a", "f", two)]
    keys = {cpu_compile.key_cpu(*p) for p in parts}
    monkeypatch.setattr(cpu_compile, "host", lambda: ("another", ""))
    keys.add(cpu_compile.key_cpu("a", "f", ("address",)))
    monkeypatch.setattr(cpu_compile, "host", lambda: ("another", "+avx"))
    keys.add(cpu_compile.key_cpu("a", "f", ("address",)))
    assert len(keys) == 7


@pytest.mark.parametrize(("body", "says"), [
    (["store1_float32(out0, 0, nosuchname)"], "nosuchname"),
    (["store1_float32(out0, 0, sin(sin))"], "sin"),
    (["store1_float32(out0 0)"], "syntax"),
])  # fmt: skip
def test_a_compile_error_names_the_file_and_the_reason(body, says):
    text = source(["store1_float32", "sin"], body, ["out0"], "broken")
    with pytest.raises(CompileError) as caught:
        cpu_compile.compile_cpu(text, "broken", ("address",))
    message = str(caught.value)
    path = cache.source_file(text, "broken")
    assert str(path) in message
    assert path.read_text() == text
    assert says in message.replace(str(path), "").lower()
    assert message.startswith("kernel broken did not compile: ")
    assert "\n" not in message
    assert ": (" not in message, "the reason does not end in the middle"


def test_a_name_the_prelude_has_not_is_a_compile_error():
    with pytest.raises(CompileError, match="load1_float33"):
        cpu_compile.compile_cpu(source(["load1_float33"], ["pass"], ["a"]), "kernel", ("address",))


def test_a_part_of_the_grid():
    kernel = load(elementwise("x0 + x0", [], ["int32"], "int32"), ["address"] * 2)
    x, out = np.arange(10, dtype=np.int32), np.zeros(10, np.int32)
    kernel(3, 7, 10, x.ctypes.data, out.ctypes.data)
    assert out.tolist() == [0, 0, 0, 6, 8, 10, 12, 0, 0, 0]


def test_equal_names_do_not_meet():
    """Two kernels of one name, and one loaded twice."""
    out = np.empty(3, np.int64)
    kernels = [
        load(source(["store1_int64"], [f"store1_int64(out0, {k % 3}, {k})"], ["out0"]), ["address"])
        for k in (0, 1, 2, 2)
    ]
    for kernel in kernels:
        kernel(0, 1, 0, out.ctypes.data)
    assert out.tolist() == [0, 1, 2]


# Workers.


def test_results_come_in_order_and_equal_jobs_once(monkeypatch):
    compiled = []
    monkeypatch.setattr(
        workers, "compile_here", lambda job, real=workers.compile_here: (compiled.append(job), real(job))[1]
    )
    made = [*jobs(2), *jobs(2)]
    seen = []
    check(made, workers.compile_all(made, lambda done, every: seen.append((done, every))))
    assert compiled == jobs(2)
    assert seen == [(1, 2), (2, 2)]
    check(made, workers.compile_all(made))
    assert len(compiled) == 2, "the second time they are in the cache"
    assert workers.compile_all([]) == []


def warm_worker():
    """An idle worker that has imported Numba."""
    (worker,) = workers.POOL.take(1)
    assert worker.ready.wait(60)
    workers.POOL.give_back([worker])
    return worker


def test_workers_compile_what_this_process_does_not(monkeypatch):
    with config(compile_workers=2):
        worker = warm_worker()
        here = []
        monkeypatch.setattr(
            workers, "compile_here", lambda job, real=workers.compile_here: (here.append(job), real(job))[1]
        )
        made = jobs(12)
        check(made, workers.compile_all(made))
        assert 0 < len(here) < 12
        assert worker.alive
        assert worker in workers.POOL.idle, "it waits for the next plan"


def test_a_dying_worker_loses_nothing():
    with config(compile_workers=2):
        worker = warm_worker()
        os.kill(worker.process.pid, signal.SIGSTOP)  # it takes a job and never answers
        made = jobs(6, 100)
        killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -KILL {worker.process.pid}"])
        check(made, workers.compile_all(made))
        killer.wait()
        assert not worker.alive
        check(jobs(6, 110), workers.compile_all(jobs(6, 110)))


def test_garbage_from_a_worker_loses_nothing(monkeypatch):
    with config(compile_workers=2):
        worker = warm_worker()
        monkeypatch.setattr(workers, "_receive", lambda pipe: (_ for _ in ()).throw(EOFError))
        check(jobs(4, 200), workers.compile_all(jobs(4, 200)))
        assert not worker.alive


def test_a_kernel_that_does_not_compile_names_itself_also_among_many():
    broken = workers.Job(
        "cpu", source(["store1_float32"], ["store1_float32(out0, 0, nosuchname)"], ["out0"], "bad"), "bad", ("address",)
    )
    with config(compile_workers=2):
        warm_worker()
        for at in (0, 5):
            made = jobs(8, 300 + 10 * at)
            made.insert(at, broken)
            with pytest.raises(CompileError, match=r"bad did not compile.*nosuchname"):
                workers.compile_all(made)
        check(jobs(4, 390), workers.compile_all(jobs(4, 390)))


def test_ctrl_c_leaves_everything_usable(monkeypatch):
    def interrupted(job):
        raise KeyboardInterrupt

    with config(compile_workers=2):
        worker = warm_worker()
        with monkeypatch.context() as patch:
            patch.setattr(workers, "compile_here", interrupted)
            with pytest.raises(KeyboardInterrupt):
                workers.compile_all(jobs(6, 400))
        assert not worker.alive
        check(jobs(6, 400), workers.compile_all(jobs(6, 400)))


LEAVING = """
from tests.runtime.test_compile_cpu import *
(worker,) = workers.POOL.take(1)
worker.ready.wait(60)
workers.POOL.give_back([worker])
print(worker.process.pid, flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["pass", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_workers_end_with_the_process(directory, end):
    ran = python(LEAVING.format(end=end), directory)
    pid = int(ran.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the worker outlived its process")


def test_a_script_without_a_main_guard(directory):
    """It runs once: workers never import the user's script."""
    script = """
print("once")
from flame.config import config
from tests.runtime.test_compile_cpu import jobs, check, workers
config.compile_workers = 2
check(jobs(10, 500), workers.compile_all(jobs(10, 500)))
"""
    path = directory.parent / "script.py"
    path.write_text(script)
    environment = {**os.environ, "FLAME_CACHE": str(directory), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=100)
    assert (ran.returncode, ran.stdout) == (0, "once\n"), ran.stderr


def test_two_processes_compile_the_same(directory):
    script = "from tests.runtime.test_compile_cpu import *\ncheck(jobs(5), workers.compile_all(jobs(5)))"
    environment = {**os.environ, "FLAME_CACHE": str(directory), "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)]
    assert [p.wait(100) for p in running] == [0, 0]
    assert len([p for p in directory.rglob("cpu/*") if p.is_file()]) == 5
