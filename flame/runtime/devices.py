"""Which devices there are, by name."""

import functools

from flame.config import config
from flame.errors import DeviceError
from flame.runtime import cuda
from flame.runtime.device import Device
from flame.runtime.device_cpu import CPUDevice
from flame.runtime.device_cuda import CUDADevice


@functools.cache
def get(name: str) -> Device:
    """The device "cpu", "cuda" or "cuda:N"; raises DeviceError, with the way out, where there is none."""
    if name == "cpu":
        return CPUDevice()
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise DeviceError(f"there is no device {name!r}; choose 'cpu', 'cuda' or 'cuda:N'")
    if not cuda.available():
        raise DeviceError(f"device {name!r} was asked for, but {cuda.why_not()}; use device='cpu', or run `flame info`")
    if int(number or 0) >= cuda.count():
        raise DeviceError(f"device {name!r} was asked for, but this machine has {cuda.count()} GPU(s), numbered from 0")
    if not number:
        return get(f"{kind}:0")
    return CUDADevice(int(number))


@functools.cache
def best() -> str:
    """The first GPU where there is one, else the CPU."""
    return "cuda:0" if cuda.available() else "cpu"


def default() -> Device:
    """The device of new tensors: config.device, else the first GPU, else the CPU."""
    return get(config.device or best())
