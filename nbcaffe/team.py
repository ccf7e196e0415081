"""Team words on CUDA: a warp shares a row by shuffles; in the simulator, which has none, through shared memory."""

import numpy as np

from .device import SIMULATED, cuda

LANES = 32


def simulated_words():
    """The same three words over a shared array, for the simulator's threads."""

    @cuda.jit(device=True)
    def team_range(n):
        return range(cuda.threadIdx.x, n, cuda.blockDim.x)

    @cuda.jit(device=True)
    def team_sum(value):
        box = cuda.shared.array(LANES, np.float64)
        cuda.syncthreads()
        box[cuda.threadIdx.x] = value
        cuda.syncthreads()
        return type(value)(sum(box[: cuda.blockDim.x]))

    @cuda.jit(device=True)
    def team_max(value):
        box = cuda.shared.array(LANES, np.float64)
        cuda.syncthreads()
        box[cuda.threadIdx.x] = value
        cuda.syncthreads()
        return type(value)(max(box[: cuda.blockDim.x]))

    return team_range, team_sum, team_max


def warp_words():
    """Butterfly shuffles: every lane ends with the result, in the same order on each run."""

    @cuda.jit(device=True)
    def team_range(n):
        return range(cuda.threadIdx.x, n, LANES)

    @cuda.jit(device=True)
    def team_sum(value):
        for distance in (16, 8, 4, 2, 1):
            value += cuda.shfl_xor_sync(0xFFFFFFFF, value, distance)
        return value

    @cuda.jit(device=True)
    def team_max(value):
        for distance in (16, 8, 4, 2, 1):
            other = cuda.shfl_xor_sync(0xFFFFFFFF, value, distance)
            value = other if other > value else value
        return value

    return team_range, team_sum, team_max


team_range, team_sum, team_max = simulated_words() if SIMULATED else warp_words()
