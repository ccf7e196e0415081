"""What this machine's vector registers hold."""

import os
from functools import cache

import llvmlite.binding as llvm


@cache
def accumulators() -> int:
    """How many ``vec16`` a tile may have: beyond it LLVM spills them, and a kernel is two to four times slower.

    AVX-512 has 32 registers of 16 floats.  AVX2 has 16 of 8 and NEON 32 of 4: a ``vec16`` then takes two or four.
    """
    features = os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten()
    if "+avx512f" in features and os.environ.get("NUMBA_CPU_NAME") != "generic":
        return 26
    return 6
