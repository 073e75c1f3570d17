"""What the counters of memory say is what was made, and by whom."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flame
from flame.errors import DeviceError
from flame.runtime import cuda as driver
from flame.runtime import devices

KIB = 1024
ROOT = Path(__file__).resolve().parents[2]


def printed(code):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout


def test_counters_follow_a_tensor():
    flame.empty_cache("cpu")
    flame.reset_peak_memory_stats("cpu")
    before = flame.memory_stats("cpu")
    assert before["allocated_bytes.all.peak"] == before["allocated_bytes.all.current"] == flame.memory_allocated("cpu")
    held = flame.full((256, KIB), 2.0, device="cpu").realize()
    during = flame.memory_stats("cpu")
    assert during["allocated_bytes.all.current"] - before["allocated_bytes.all.current"] == 1024 * KIB
    assert during["allocation.all.current"] == before["allocation.all.current"] + 1
    assert flame.memory_reserved("cpu") >= flame.memory_allocated("cpu")
    here = [line for line in during["lines"] if line.startswith(__file__)]
    assert [during["lines"][line] for line in here] == [1024 * KIB]
    del held
    assert flame.memory_allocated("cpu") == before["allocated_bytes.all.current"]
    assert flame.max_memory_allocated("cpu") == during["allocated_bytes.all.current"]
    reserved = flame.memory_reserved("cpu")
    assert flame.max_memory_reserved("cpu") == reserved
    flame.empty_cache("cpu")
    assert flame.memory_reserved("cpu") <= reserved - 1024 * KIB
    flame.reset_peak("cpu")
    assert flame.max_memory_allocated("cpu") == flame.memory_allocated("cpu")
    assert flame.max_memory_reserved("cpu") == flame.memory_reserved("cpu")


def test_the_arena_of_a_plan_counts_in_the_peak():
    x = flame.ones(256, 256, device="cpu").realize()
    flame.reset_peak("cpu")
    before = flame.memory_allocated("cpu")
    ((x @ x) @ x).sum().item()
    assert flame.memory_allocated("cpu") == before
    assert flame.max_memory_allocated("cpu") - before >= 2 * x.numel() * 4


def test_the_summary_names_lines_and_adds_up():
    held = [flame.full((KIB,), float(i), device="cpu").realize() for i in range(3)]
    text = flame.memory_summary("cpu")
    assert text.startswith("memory of cpu")
    (line,) = [line for line in text.splitlines() if __file__ in line]
    assert re.match(r" *12\.0 KiB +\d+\.\d% +3  ", line), line
    assert len(held) == 3


def test_a_summary_of_many_lines_ends_with_the_rest():
    made = "\n".join(f"a{i} = flame.tensor([{i}.0] * {100 + i}, device='cpu')" for i in range(25))
    text = printed(f"import flame\n{made}\nprint(flame.memory_summary('cpu'))")
    rows = text.split("made at\n")[1].splitlines()
    assert len(rows) == 21
    assert rows[-1].endswith("5  5 other lines")
    assert sum(float(row.split()[2].rstrip("%")) for row in rows) == pytest.approx(100, abs=2)


def test_an_empty_pool_has_a_summary():
    code = "import flame; print(flame.memory_summary('cpu')); print(flame.memory_allocated('cpu'))"
    text = printed(code)
    assert text.splitlines()[-1] == "0"


def test_a_device_may_be_given_itself_and_wrong_names_are_refused():
    assert flame.memory_allocated(devices.get("cpu")) == flame.memory_allocated("cpu")
    with pytest.raises(DeviceError, match="'tpu'"):
        flame.memory_stats("tpu")


@pytest.mark.skipif(driver.available(), reason="about machines without a GPU")
def test_without_a_gpu_questions_have_answers_and_work_is_refused():
    assert (flame.cuda.is_available(), flame.cuda.device_count()) == (False, 0)
    assert flame.cuda.memory_allocated() == flame.cuda.max_memory_reserved() == 0
    assert flame.cuda.memory_stats() == {}
    flame.cuda.empty_cache()
    flame.cuda.reset_peak_memory_stats()
    for refused in (flame.cuda.synchronize, flame.cuda.get_device_name, flame.cuda.mem_get_info):
        with pytest.raises(DeviceError, match="cuda"):
            refused()
    with pytest.raises(DeviceError, match="no GPU"):
        flame.cuda.synchronize("cpu")
