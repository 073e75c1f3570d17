"""The demo trains on the GPU by itself, and draws digits that are recognised."""

import json

import pytest

from flame import demo

pytestmark = pytest.mark.gpu


def test_the_demo_takes_the_gpu(tmp_path):
    assert demo.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["device"].startswith("cuda")
    assert found["recognised"] >= 0.95
    assert found["total_seconds"] < 180
