"""Winograd: the transforms between pixels and spectra, 16 channels at a time.

A *strip* is a row of tiles as ``[row][pixel][16 channels]``; a *spectrum* is the N x N numbers of a tile after its
transform.  Spectra lie by position, ``apart`` floats between two positions of one, ``pitch`` floats between neighbours.
"""

from ..cook_toom import vsandwich
from ..simd import machine_code, vput, vrows

M, R = 4, 3  # outputs of a tile and taps of the kernel, along each axis
N = M + R - 1
TAPS, SIZE = R * R, N * N


@machine_code("pii" + "pii")
def inputs(strip, row, count, spectra, pitch, apart):
    """Windows of N x N inputs, M pixels from one to the next."""
    for t in range(count):
        vput(vsandwich(vrows(strip + t * M * 16, row, N, N), "B", M, R), spectra + t * pitch, apart, 1)


@machine_code("pii" + "pii")
def filters(taps, tap, count, spectra, pitch, apart):
    """Filters, ``tap`` floats between two taps."""
    for c in range(count):
        vput(vsandwich(vrows(taps + c * TAPS * tap, tap, TAPS, 1), "G", M, R), spectra + c * pitch, apart, 1)


@machine_code("pii" + "pii")
def outputs(strip, row, count, spectra, pitch, apart):
    """Back: spectra to the M x M pixels of each tile."""
    for t in range(count):
        vput(vsandwich(vrows(spectra + t * pitch, apart, SIZE, 1), "A", M, R), strip + t * M * 16, row, M)


@machine_code("pii" + "pii")
def output_diffs(strip, row, count, spectra, pitch, apart):
    """For the gradient of the weights the top's diff is the filter, and the R x R weights are the output: F(R, M)."""
    for t in range(count):
        vput(vsandwich(vrows(strip + t * M * 16, row, M, M), "G", R, M), spectra + t * pitch, apart, 1)


@machine_code("pii" + "pii")
def filter_diffs(taps, tap, count, spectra, pitch, apart):
    """Back: spectra to the gradients of R x R taps."""
    for c in range(count):
        vput(vsandwich(vrows(spectra + c * pitch, apart, SIZE, 1), "A", R, M), taps + c * TAPS * tap, tap, 1)
