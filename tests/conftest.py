"""What a test needs and the machine lacks is skipped with its reason: a GPU (`gpu`), PyTorch (`parity`)."""

import importlib.util
from pathlib import Path

import pytest

from flame.config import config
from flame.runtime import cuda

config.pending_limit *= 100  # thousands of tests in one process: what their tables and FLAME's caches hold is no user's


def lacking_gpu() -> str:
    """Why GPU tests cannot run here; empty where they can. A machine with a GPU but no packages must not skip."""
    return "" if Path("/dev/nvidiactl").exists() else cuda.why_not()


def lacking_torch() -> str:
    """Why parity tests cannot run here; empty where they can."""
    return "" if importlib.util.find_spec("torch") else "PyTorch is missing: pip install torch==2.13.0"


LACKING = {"gpu": lacking_gpu, "parity": lacking_torch}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marked tests are skipped with the reason above."""
    for name, lacking in LACKING.items():
        if reason := lacking():
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=reason))
