"""Team words on CUDA: a warp shares a row by shuffles; in the simulator, which has none, through shared memory."""

import numpy as np

from .device import SIMULATED, cuda, running

LANES = 32


def simulated_words():
    """The same three words over a shared array, for the simulator's threads.

    They are plain functions that ask for the running kernel's ``cuda``: of device functions, Numba's own simulator
    takes it away again while another thread still runs (numba-cuda's counts the threads).
    """

    def team_range(n):
        return range(running().threadIdx.x, n, running().blockDim.x)

    def shared(value):
        box = running().shared.array(LANES, np.float64)
        running().syncthreads()
        box[running().threadIdx.x] = value
        running().syncthreads()
        return box[: running().blockDim.x]

    def team_sum(value):
        return type(value)(sum(shared(value)))

    def team_max(value):
        return type(value)(max(shared(value)))

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
