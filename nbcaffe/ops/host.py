"""What this machine's vector registers hold."""

import os
from functools import cache

import llvmlite.binding as llvm


@cache
def accumulators() -> int:
    """How many ``vec16`` a tile may have: beyond it LLVM spills them, and a kernel is two to four times slower.

    AVX-512 has 32 registers of 16 floats.  AVX2 has 16 of 8 and NEON 32 of 4: a ``vec16`` then takes two or four.
    """
    return 26 if has("avx512f") else 6


def masks() -> bool:
    """Whether loads and stores can leave out lanes; elsewhere LLVM makes a branch of each lane."""
    return has("avx")


def has(feature: str) -> bool:
    """Whether code for this machine may use a feature that LLVM has a name for."""
    features = os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten()
    return f"+{feature}" in features.split(",") and os.environ.get("NUMBA_CPU_NAME") != "generic"
