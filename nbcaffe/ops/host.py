"""What the vector registers hold that Numba compiles for: this machine's, or what ``NUMBA_CPU_NAME`` and others say."""

import platform
from functools import cache

from numba import config
from numba.core.codegen import get_host_cpu_features


@cache
def registers() -> tuple[int, int]:
    """How many vector registers there are, and how many of them a ``vec16`` takes.

    AVX-512 has 32 registers of 16 floats, AVX2 16 of 8, NEON 32 of 4, and x86-64 at its least 16 of 4.
    """
    if has("avx512f"):
        return 32, 1
    if has("avx"):
        return 16, 2
    return 32 if platform.machine().lower() in ("arm64", "aarch64") else 16, 4


def fits(rows: int, vectors: int) -> bool:
    """Whether a tile stays in registers, with one more row for what is multiplied and a register for a number.

    A tile that does not is spilled by LLVM at each step, and takes up to four times as long.
    """
    count, each = registers()
    return (rows + 1) * vectors * each < count


def masks() -> bool:
    """Whether loads and stores can leave out lanes; elsewhere LLVM makes a branch of each lane."""
    return has("avx")


def has(feature: str) -> bool:
    """Whether Numba's code may use a feature that LLVM has a name for."""
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return f"+{feature}" in features.split(",")
