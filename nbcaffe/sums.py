"""Long sums: of each row by lanes, which SIMD and warps share, and of columns; their order never changes."""

from math import prod
from typing import Any

from .kernel import Kernel, device, kernel, real, team_range, team_sum
from .rewrite import Device

LANES = 32  # partial sums side by side: one for each worker of a team, SIMD on a CPU


@device
def value(a, b):
    return a


@device
def product(a, b):
    return a * b


@device
def size(a, b):
    return abs(a)


def row_totals(term: Device) -> Kernel:
    """A kernel ``(a, b, lanes, out)``: the sum of ``term(a, b)`` over each row; one that needs no b gets a twice."""

    @kernel(team=True)
    def totals(row, a, b, lanes, out):
        width, used = a.shape[1], min(lanes.shape[1], a.shape[1])
        for lane in team_range(used):
            lanes[row, lane] = 0.0
        for start in range(0, width, LANES):
            for lane in team_range(min(LANES, width - start)):
                lanes[row, lane] += term(a[row, start + lane], b[row, start + lane])
        total = 0.0
        for lane in team_range(used):
            total += lanes[row, lane]
        out[row] = team_sum(total)

    return totals


def column_totals(term: Device) -> Kernel:
    """A kernel ``(a, b, out)`` that adds to ``out`` the sum of each column; a team has the next LANES columns."""

    @kernel(team=True)
    def add_totals(block, a, b, out):
        first = block * LANES
        for row in range(a.shape[0]):
            for lane in team_range(min(LANES, a.shape[1] - first)):
                out[first + lane] += term(a[row, first + lane], b[row, first + lane])

    return add_totals


row_sums, row_dots, row_sizes = row_totals(value), row_totals(product), row_totals(size)
add_column_sums, add_column_dots = column_totals(value), column_totals(product)


@kernel(team=True)
def row_moments(row, x, lanes, mean, spread):
    """The mean of each row, and the sum of the squared distances from it."""
    width, used = x.shape[1], min(lanes.shape[1], x.shape[1])
    for lane in team_range(used):
        lanes[row, lane] = 0.0
    for start in range(0, width, LANES):
        for lane in team_range(min(LANES, width - start)):
            lanes[row, lane] += x[row, start + lane]
    total = 0.0
    for lane in team_range(used):
        total += lanes[row, lane]
    middle = team_sum(total) / real(width)
    for lane in team_range(used):
        lanes[row, lane] = 0.0
    for start in range(0, width, LANES):
        for lane in team_range(min(LANES, width - start)):
            off = x[row, start + lane] - middle
            lanes[row, lane] += off * off
    total = 0.0
    for lane in team_range(used):
        total += lanes[row, lane]
    mean[row], spread[row] = middle, team_sum(total)


def blocks(columns: int) -> int:
    """How many teams :func:`add_column_sums` takes for so many columns."""
    return -(-columns // LANES)


def lanes_for(shape: tuple[int, ...]) -> tuple[int, int]:
    """Work space for the sums of the rows of a matrix."""
    return (shape[0], min(LANES, max(shape[1], 1)))


def flat(*arrays: Any) -> list[Any]:
    return [a.reshape(prod(a.shape)) for a in arrays]
