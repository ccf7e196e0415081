"""Long sums: of each row by lanes, which SIMD and warps share, and of columns; their order never changes."""

from math import prod
from typing import Any

from ..kernel import kernel, real, team_range, team_sum

LANES = 32


@kernel(team=True)
def row_sums(row, x, lanes, out):
    """The sum of each row."""
    width, used = x.shape[1], min(lanes.shape[1], x.shape[1])
    for lane in team_range(used):
        lanes[row, lane] = 0.0
    for start in range(0, width, LANES):
        for lane in team_range(min(LANES, width - start)):
            lanes[row, lane] += x[row, start + lane]
    total = 0.0
    for lane in team_range(used):
        total += lanes[row, lane]
    out[row] = team_sum(total)


@kernel(team=True)
def row_dots(row, a, b, lanes, out):
    """The sum of the products of two rows."""
    width, used = a.shape[1], min(lanes.shape[1], a.shape[1])
    for lane in team_range(used):
        lanes[row, lane] = 0.0
    for start in range(0, width, LANES):
        for lane in team_range(min(LANES, width - start)):
            lanes[row, lane] += a[row, start + lane] * b[row, start + lane]
    total = 0.0
    for lane in team_range(used):
        total += lanes[row, lane]
    out[row] = team_sum(total)


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


@kernel(team=True)
def add_column_sums(block, x, out):
    """Add the sum of each column to ``out``; a team has the next LANES columns."""
    first = block * LANES
    for row in range(x.shape[0]):
        for lane in team_range(min(LANES, x.shape[1] - first)):
            out[first + lane] += x[row, first + lane]


@kernel(team=True)
def add_column_dots(block, a, b, out):
    """Add the sum of each column of products to ``out``; a team has the next LANES columns."""
    first = block * LANES
    for row in range(a.shape[0]):
        for lane in team_range(min(LANES, a.shape[1] - first)):
            out[first + lane] += a[row, first + lane] * b[row, first + lane]


def blocks(columns: int) -> int:
    """How many teams :func:`add_column_sums` takes for so many columns."""
    return -(-columns // LANES)


def lanes_for(shape: tuple[int, ...]) -> tuple[int, int]:
    """Work space for the sums of the rows of a matrix."""
    return (shape[0], min(LANES, max(shape[1], 1)))


def flat(*arrays: Any) -> list[Any]:
    return [a.reshape(prod(a.shape)) for a in arrays]
