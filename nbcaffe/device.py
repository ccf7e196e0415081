"""Where arrays live and kernels run: the only module that knows ``numba.cuda``."""

import os
from math import prod
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numba import cuda

from .errors import DeviceError

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
THREADS = 256
ALIGNMENT = 64  # a vector register; NumPy's own large arrays start 16 bytes after such a boundary


def running() -> Any:
    """In the simulator: the ``cuda`` of the kernel that runs."""
    from numba.cuda.simulator import kernel

    return kernel._get_kernel_context()


class Device(Protocol):
    """What a net needs of a target beside kernels."""

    name: str

    def zeros(self, shape: Any, dtype: Any = np.float32) -> Any: ...
    def upload(self, target: Any, values: Any) -> None: ...
    def download(self, array: Any) -> np.ndarray: ...


def grid(shape: tuple[int, ...], team: bool) -> tuple:
    """Blocks and threads for a launch; small in the simulator, where each thread is Python's."""
    if team:
        lanes, rows = (4, 1) if SIMULATED else (32, 8)
        return -(-shape[0] // rows), (lanes, rows)
    threads, most = (4, 2) if SIMULATED else (THREADS, 132 * 32)
    inner = prod(shape[1:]) if len(shape) > 1 else shape[0]
    x = max(1, min(-(-inner // threads), most))
    return (x, min(shape[0], 2 if SIMULATED else 65535)) if len(shape) > 1 else x, threads


class Cpu:
    """NumPy arrays, Numba's threads."""

    name = "cpu"

    def zeros(self, shape: Any, dtype: Any = np.float32) -> np.ndarray:
        dtype, shape = np.dtype(dtype), (shape,) if isinstance(shape, int) else tuple(shape)
        raw = np.zeros(prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)

    def upload(self, target: np.ndarray, values: Any) -> None:
        target[...] = values

    def download(self, array: np.ndarray) -> np.ndarray:
        return array


class Cuda:
    """Device arrays, CUDA kernels; the simulator looks the same from here."""

    name = "cuda"

    def zeros(self, shape: Any, dtype: Any = np.float32) -> Any:
        return cuda.to_device(np.zeros(shape, dtype))

    def upload(self, target: Any, values: Any) -> None:
        host = np.array(np.broadcast_to(values, target.shape), target.dtype, order="C")  # a copy: no stride is 0
        target.copy_to_device(host)

    def download(self, array: Any) -> np.ndarray:
        return array.copy_to_host()


def device_of(array: Any) -> Device:
    """Where an array lives: who moves numbers asks the array, as launches do."""
    return Cpu() if isinstance(array, np.ndarray) else Cuda()


def pretend_capability(capability: tuple[int, int]) -> None:
    """Answer for a GPU that is not there: nested device functions ask the driver which one it is, even offline."""
    from numba.cuda import dispatcher

    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)


def get_device(name: str) -> Device:
    """``cpu``, ``cuda`` or ``sim`` (CUDA's simulator, chosen before Numba starts by ``NUMBA_ENABLE_CUDASIM=1``)."""
    if name == "cpu":
        return Cpu()
    if name not in ("cuda", "sim"):
        raise DeviceError(f"device: expected cpu, cuda or sim, got {name!r}")
    if name == "sim" and not SIMULATED:
        raise DeviceError(
            "device sim: set NUMBA_ENABLE_CUDASIM=1 before Python starts, or pass --device sim to a script"
        )
    if not SIMULATED and not cuda.is_available():
        raise DeviceError(
            "device cuda: no CUDA GPU was found; use --device cpu, or --device sim to try CUDA code slowly"
        )
    return Cuda()


__all__ = ["SIMULATED", "Cpu", "Cuda", "Device", "cuda", "device_of", "get_device", "grid"]
