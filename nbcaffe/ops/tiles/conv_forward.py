"""Convolution, forward.

A tile's pixels are broadcast straight from the padded image; the weights lie packed as ``[block of channels][input
channel][ky][kx][lane]``.  A group is an image with its own weights.
"""

from numba import njit, prange

from ..simd import addr, invoke
from .copies import framed


@njit(cache=True, parallel=True)
def forward(
    image, finish, lane_count, x, w, bias, y, scratch, images, groups, channels, height, width, outputs,
    out_height, out_width, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, rows, pitch, threads,
):  # fmt: skip
    """All images; ``channels`` and ``outputs`` are those of one group; ``finish`` is run on what is written."""
    blocks = (outputs + lane_count - 1) // lane_count
    units, w_block = images * groups * blocks, channels * kernel_h * kernel_w * lane_count
    room = scratch.size // threads
    for t in prange(threads):
        own = addr(scratch, t * room)
        padded, held = own, -1
        for unit in range(units * t // threads, units * (t + 1) // threads):
            n, first = unit // blocks, unit % blocks * lane_count
            if n != held:
                sizes = (channels, channels, height, width, pad_h, pad_w)
                padded = framed(x, n, *sizes, own, room, rows, pitch)
                held = n
            at = n % groups * blocks + unit % blocks
            source = (padded, channels, height, rows, pitch)
            filters = (addr(w, at * w_block), kernel_w * lane_count, addr(bias, at * lane_count))
            to, planes = addr(y, (n * outputs + first) * out_height * out_width), outputs - first
            target = (to, planes, out_height, out_width)
            invoke(image, source + filters + target + (kernel_h, stride_h, pad_h))
            if finish != 0:
                invoke(finish, (to, min(lane_count, planes) * out_height * out_width))
