"""Winograd convolution: strips of the image to spectra, products of spectra, and back.

A strip is a row of tiles; strips are counted through all images.  Spectra of the data lie as
``[position][tile][channel]``, those of the filters as ``[position][group][block of outputs][channel][lane]``.
"""

from numba import njit, prange

from ..simd import addr, invoke, lanes, vput_columns, vrows, vst, vzero
from .copies import add_columns, turn


@njit
def fill(x, channels, height, width, top, rows, left, strip, row):
    """Rows of up to 16 planes, from ``top`` on, to a strip of ``row`` floats a row; zeros where the image is not."""
    zero, plane, first = vzero(), height * width, max(0, -left)
    columns = min(width, row // 16 - left) - first
    for y in range(top, top + rows):
        to = strip + (y - top) * row
        for k in range(0, row, 16):
            vst(to + k, zero)
        if 0 <= y < height:
            turn(x + (y * width + first), plane, min(16, channels), columns, to + (left + first) * 16, 16)


@njit
def empty(strip, row, y, channels, plane, rows, width):
    """The strip's pixels inside the image to up to 16 planes of it."""
    for r in range(rows):
        for k in range(0, width, 16):
            pixels = vrows(strip + (r * row + k * 16), 16, 16, 1)
            vput_columns(pixels, y + (r * width + k), plane, channels, lanes(0, width - k), 1)


@njit(cache=True, parallel=True)
def filter_spectra(transform, packed, spectra, blocks, channels, taps, lane_count, apart):
    """Packed weights, ``[block][channel][tap][lane]``, to spectra."""
    vectors = lane_count // 16
    for unit in prange(blocks * vectors):
        first, lane = unit // vectors * channels, unit % vectors * 16
        source, target = addr(packed, first * taps * lane_count + lane), addr(spectra, first * lane_count + lane)
        invoke(transform, (source, lane_count, channels, target, lane_count, apart))


@njit(cache=True, parallel=True)
def forward(
    transform, product, invert, finish, lane_count, x, filters, bias, zeros, y, strips, spectra, sums, images, groups,
    channels, height, width, outputs, out_height, out_width, pad_h, pad_w, m, n, together, pitch, apart,
    filters_apart, sums_pitch, sums_apart, threads,
):  # fmt: skip
    """Some strips at a time; ``channels`` and ``outputs`` are those of one group; ``finish`` runs on what it wrote."""
    down, across, blocks = (out_height + m - 1) // m, (out_width + m - 1) // m, (outputs + lane_count - 1) // lane_count
    total, row = images * down, (across * m + n - m) * 16
    shares = (total + together - 1) // together
    for t in prange(threads):
        strip = addr(strips, t * (strips.size // threads))
        spectrum, products = addr(spectra, t * (spectra.size // threads)), addr(sums, t * (sums.size // threads))
        for unit in range(groups * shares * t // threads, groups * shares * (t + 1) // threads):
            g, first = unit // shares, unit % shares * together
            end = min(total, first + together)
            for s in range(first, end):
                for c in range(0, channels, 16):
                    source = addr(x, ((s // down * groups + g) * channels + c) * height * width)
                    fill(source, channels - c, height, width, s % down * m - pad_h, n, pad_w, strip, row)
                    to = spectrum + ((s - first) * across * pitch + c)
                    invoke(transform, (strip, row, across, to, pitch, apart))
            for k in range(n * n):
                # A^T has ones in the column of the number 1: what is added at position (1, 1) all outputs gain
                start = addr(bias, g * blocks * lane_count) if k == n + 1 else addr(zeros, 0)
                weights = addr(filters, k * filters_apart + g * blocks * channels * lane_count)
                operands = (spectrum + k * apart, 1, pitch, weights, lane_count, channels * lane_count, blocks)
                to = products + k * sums_apart
                invoke(product, operands + (channels, (end - first) * across, start, 0, to, sums_pitch))
            for s in range(first, end):
                rows = min(m, out_height - s % down * m)
                for c in range(0, outputs, 16):
                    source = products + ((s - first) * across * sums_pitch + c)
                    invoke(invert, (strip, across * m * 16, across, source, sums_pitch, sums_apart))
                    image = ((s // down * groups + g) * outputs + c) * out_height * out_width
                    to = addr(y, image + s % down * m * out_width)
                    empty(strip, across * m * 16, to, outputs - c, out_height * out_width, rows, out_width)
                    for p in range(min(16, outputs - c) if finish != 0 else 0):
                        invoke(finish, (to + p * out_height * out_width, rows * out_width))


@njit(cache=True, parallel=True)
def backward_weights(
    transform, transform_diff, product, invert, lane_count, x, dy, zeros, strips, spectra, diffs, products, sums,
    bias_rows, bias_sums, images, groups, channels, height, width, outputs, out_height, out_width, pad_h, pad_w, m, n,
    together, pitch, apart, diffs_pitch, diffs_apart, products_apart,
):  # fmt: skip
    """``sums[group, 16 outputs, weight, lane]``: products summed over some strips at a time, in the order of strips."""
    down, across, blocks = (out_height + m - 1) // m, (out_width + m - 1) // m, (outputs + lane_count - 1) // lane_count
    total, row, vectors, taps = images * down, (across * m + n - m) * 16, (outputs + 15) // 16, (n - m + 1) ** 2
    for g in range(groups):
        for first in range(0, total, together):
            count = min(together, total - first)
            for i in prange(count):
                strip, image, top = (
                    addr(strips, i * (strips.size // together)),
                    (first + i) // down,
                    (first + i) % down * m,
                )
                for c in range(0, channels, 16):
                    source = addr(x, ((image * groups + g) * channels + c) * height * width)
                    fill(source, channels - c, height, width, top - pad_h, n, pad_w, strip, row)
                    invoke(transform, (strip, row, across, addr(spectra, i * across * pitch + c), pitch, apart))
                for c in range(0, outputs, 16):
                    source = addr(dy, ((image * groups + g) * outputs + c) * out_height * out_width)
                    fill(source, outputs - c, out_height, out_width, top, m, 0, strip, across * m * 16)
                    add_columns(strip, m * across * m, 16, addr(bias_rows, i * vectors * 16 + c), 1)
                    to = addr(diffs, i * across * diffs_pitch + c)
                    invoke(transform_diff, (strip, across * m * 16, across, to, diffs_pitch, diffs_apart))
            fresh = 1 if first == 0 else 0
            add_columns(addr(bias_rows, 0), count, vectors * 16, addr(bias_sums, g * vectors * 16), fresh)
            for k in prange(n * n):
                to = addr(products, k * products_apart)
                start, start_pitch = (addr(zeros, 0), 0) if fresh else (to, diffs_pitch)
                a, b = addr(spectra, k * apart), addr(diffs, k * diffs_apart)
                operands = (a, pitch, 1, b, diffs_pitch, lane_count, blocks, count * across, channels)
                invoke(product, operands + (start, start_pitch, to, diffs_pitch))
        for unit in prange(channels * vectors):
            c, v = unit // vectors, unit % vectors
            to = addr(sums, ((g * vectors + v) * channels + c) * taps * 16)
            invoke(invert, (to, 16, 1, addr(products, c * diffs_pitch + v * 16), 0, products_apart))
