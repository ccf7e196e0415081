"""Weights in the order of the forward tile: ``[group][block][input channel][ky][kx][lane]``, lane = output channel."""

from numba import njit, prange

from ..simd import addr, lanes, vldm, vst, vzero
from .copies import copy_rows, turn


@njit(cache=True, parallel=True)
def pack(w, packed, groups, outputs, taps, lane_count):
    """``packed[g, block, k, lane] = w[g, block * lane_count + lane, k]``; k runs over input channels and taps."""
    blocks = (outputs + lane_count - 1) // lane_count
    for unit in prange(groups * blocks):
        first = unit % blocks * lane_count
        source = addr(w, (unit // blocks * outputs + first) * taps)
        turn(source, taps, min(lane_count, outputs - first), taps, addr(packed, unit * taps * lane_count), lane_count)


@njit(cache=True, parallel=True)
def pack_flipped(w, packed, groups, outputs, channels, taps, lane_count):
    """Weights of the transposed convolution: input and output channels exchanged, taps in reverse."""
    blocks = (channels + lane_count - 1) // lane_count
    for unit in prange(groups * blocks):
        g, first = unit // blocks, unit % blocks * lane_count
        if taps == 1:
            at = addr(packed, unit * outputs * lane_count)
            copy_rows(addr(w, g * outputs * channels + first), channels, outputs, channels - first, at, lane_count)
        for co in range(outputs if taps > 1 else 0):
            source = addr(w, ((g * outputs + co) * channels + first) * taps)
            target = addr(packed, ((unit * outputs + co) * taps + taps - 1) * lane_count)
            turn(source, taps, min(lane_count, channels - first), taps, target, -lane_count)


@njit(cache=True)
def pack_bias(b, packed, groups, outputs, lane_count):
    """Each group's bias starts a new block of lanes; an empty b stands for zeros."""
    width = (outputs + lane_count - 1) // lane_count * lane_count
    for g in range(groups):
        for k in range(0, width, 16):
            to = addr(packed, g * width + k)
            if k < outputs and b.size > 0:
                vst(to, vldm(addr(b, g * outputs + k), lanes(0, outputs - k)))
            else:
                vst(to, vzero())
