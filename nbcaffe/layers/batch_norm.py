"""Batch normalization with Caffe's running sums."""

import math
from collections.abc import Sequence
from math import prod
from typing import Any

from ..blob import Blob
from ..kernel import Kernel, kernel, real, team_range, team_sum
from ..layer import Layer
from ..params import Bool, FillerSpec, Float
from ..sums import LANES, blocks, lanes_for, row_moments
from .scale import Scale
from .scaled_norm import Scaled
from .structural import copy


@kernel
def batch_moments(c, means, spreads, mean, variance, width):
    """Mean and biased variance of one channel, from those of its planes."""
    planes = means.shape[0]
    total = 0.0
    for n in range(planes):
        total += means[n, c]
    middle = total / real(planes)
    spread = 0.0
    for n in range(planes):
        off = means[n, c] - middle
        spread += spreads[n, c] + real(width) * off * off
    mean[c] = middle
    variance[c] = spread / real(planes * width)


@kernel
def stored_moments(c, mean_sum, variance_sum, weight, mean, variance):
    """The running sums over their weight; before the first batch, zeros."""
    factor = 1.0 / weight[0] if weight[0] != 0.0 else 0.0
    mean[c] = mean_sum[c] * factor
    variance[c] = variance_sum[c] * factor


@kernel
def add_moments(c, mean, variance, mean_sum, variance_sum, fraction, unbias):
    mean_sum[c] = fraction * mean_sum[c] + mean[c]
    variance_sum[c] = fraction * variance_sum[c] + unbias * variance[c]


@kernel
def add_weight(i, weight, fraction):
    weight[i] = fraction * weight[i] + 1.0


@kernel
def normalize(n, c, i, x, mean, variance, eps, y):
    y[n, c, i] = (x[n, c, i] - mean[c]) * (1.0 / math.sqrt(variance[c] + eps))


@kernel
def divide(n, c, i, dy, variance, eps, dx):
    dx[n, c, i] = dy[n, c, i] * (1.0 / math.sqrt(variance[c] + eps))


@kernel(team=True)
def plane_gradients(row, x, dy, mean, lanes, more, sums, dots):
    """For each plane the sum of its gradient, and of its gradient times the distance from the mean."""
    width, used = x.shape[1], min(lanes.shape[1], x.shape[1])
    middle = mean[row % mean.shape[0]]
    for lane in team_range(used):
        lanes[row, lane] = 0.0
        more[row, lane] = 0.0
    for start in range(0, width, LANES):
        for lane in team_range(min(LANES, width - start)):
            lanes[row, lane] += dy[row, start + lane]
            more[row, lane] += dy[row, start + lane] * (x[row, start + lane] - middle)
    total = 0.0
    dot = 0.0
    for lane in team_range(used):
        total += lanes[row, lane]
        dot += more[row, lane]
    sums[row], dots[row] = team_sum(total), team_sum(dot)


@kernel
def batch_gradients(c, sums, dots, variance, eps, mean_dy, slope, scale):
    """What one channel's gradients lose: their mean, and ``slope`` times the distance from the mean."""
    total = 0.0
    dot = 0.0
    for n in range(sums.shape[0]):
        total += sums[n, c]
        dot += dots[n, c]
    mean_dy[c] = total * scale
    slope[c] = dot * scale / (variance[c] + eps)


@kernel
def normalize_backward(n, c, i, x, dy, mean, variance, eps, mean_dy, slope, dx):
    inverse = 1.0 / math.sqrt(variance[c] + eps)
    dx[n, c, i] = (dy[n, c, i] - mean_dy[c] - (x[n, c, i] - mean[c]) * slope[c]) * inverse


@kernel(team=True)
def column_moments(block, x, mean, variance):
    """Mean and biased variance of LANES columns, where a channel is a column."""
    first, rows = block * LANES, x.shape[0]
    for lane in team_range(min(LANES, x.shape[1] - first)):
        mean[first + lane] = 0.0
        variance[first + lane] = 0.0
    for row in range(rows):
        for lane in team_range(min(LANES, x.shape[1] - first)):
            mean[first + lane] += x[row, first + lane]
    for lane in team_range(min(LANES, x.shape[1] - first)):
        mean[first + lane] /= real(rows)
    for row in range(rows):
        for lane in team_range(min(LANES, x.shape[1] - first)):
            off = x[row, first + lane] - mean[first + lane]
            variance[first + lane] += off * off
    for lane in team_range(min(LANES, x.shape[1] - first)):
        variance[first + lane] /= real(rows)


@kernel(team=True)
def column_gradients(block, x, dy, mean, sums, dots):
    """What :func:`plane_gradients` finds, summed over all items, for LANES columns."""
    first = block * LANES
    for lane in team_range(min(LANES, x.shape[1] - first)):
        sums[0, first + lane] = 0.0
        dots[0, first + lane] = 0.0
    for row in range(x.shape[0]):
        for lane in team_range(min(LANES, x.shape[1] - first)):
            sums[0, first + lane] += dy[row, first + lane]
            dots[0, first + lane] += dy[row, first + lane] * (x[row, first + lane] - mean[first + lane])


@kernel
def normalize_columns(n, c, x, mean, variance, eps, y):
    y[n, c] = (x[n, c] - mean[c]) * (1.0 / math.sqrt(variance[c] + eps))


@kernel
def divide_columns(n, c, dy, variance, eps, dx):
    dx[n, c] = dy[n, c] * (1.0 / math.sqrt(variance[c] + eps))


@kernel
def normalize_columns_backward(n, c, x, dy, mean, variance, eps, mean_dy, slope, dx):
    inverse = 1.0 / math.sqrt(variance[c] + eps)
    dx[n, c] = (dy[n, c] - mean_dy[c] - (x[n, c] - mean[c]) * slope[c]) * inverse


COLUMNS = {
    normalize: normalize_columns,
    divide: divide_columns,
    normalize_backward: normalize_columns_backward,
}


class BatchNorm(Layer):
    """Each channel minus its mean, over its standard deviation: of the batch while training, stored ones in TEST.

    ``y = (x - mean) / sqrt(variance + eps)``, the biased variance.  A forward pass with the batch's moments adds them
    to running sums that are not learned: blob 0 of means, blob 1 of unbiased variances, blob 2 of their weight; before
    that each is multiplied by ``moving_average_fraction``.  With stored moments the gradient takes them as constants.
    A Scale layer with ``bias_term: true`` behind it brings the learned factors and shifts.  In place it keeps a copy of
    its bottom.

    Ioffe and Szegedy, *Batch normalization: accelerating deep network training*, ICML 2015.
    """

    scaled: Scaled | None = None  # this and the Scale behind it in one
    use_global_stats = Bool(None, doc="normalize with the stored moments; if not given, in TEST only")
    moving_average_fraction = Float(0.999, ge=0, le=1, doc="how much of the running sums stays with each batch")
    eps = Float(1e-5, ge=0, doc="added to the variance")
    inplace = True
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((4, 3, 5),)
    examples = ({}, {"eps": 0.1, "bottom": [(6, 4)]}, {"use_global_stats": True, "eps": 0.5}, {"phase": "TEST"})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        if not shape:
            self.fail("needs a bottom with at least one axis, got a scalar")
        channels = shape[1] if len(shape) > 1 else 1
        self.stored = self.phase == "TEST" if self.use_global_stats is None else self.use_global_stats
        self.sizes = (shape[0], channels, prod(shape[2:]))
        self.planes = (shape[0] * channels, self.sizes[2])
        self.scaled, zero = None, FillerSpec()
        self.running = [self.weight((size,), zero, learned=False) for size in (channels, channels, 1)]
        self.mean, self.variance = (self.buffer(channels, keep=True) for _ in range(2))
        self.mean_dy, self.slope = (self.buffer(channels) for _ in range(2))
        self.lanes, self.more = (self.buffer(lanes_for(self.planes)) for _ in range(2))
        self.columns = self.sizes[2] == 1
        self.parts = [self.buffer((1 if self.columns else shape[0], channels)) for _ in range(2)]
        self.copy = self.buffer(bottom[0].count, keep=True) if self.overwriting and not self.stored else None
        return [shape]

    def scaled_by(self, layer: Layer) -> bool:
        self.scaled = None
        lost = self.overwriting and self.stored  # what the sums need
        if isinstance(layer, Scale) and Scaled.fits(layer, self.sizes) and not lost:
            self.scaled = Scaled(layer, self.buffer)
        return self.scaled is not None

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        x, mean, variance = bottom[0].data, self.mean.data, self.variance.data
        if self.copy:
            copy[x.size](x.reshape(x.size), self.copy.data)
        self.moments(x.reshape(self.planes), mean, variance)
        if self.scaled:
            self.scaled.forward(x, mean, variance, self.eps, top[0].data)
        else:
            self.spread(normalize, [x], top[0].data, mean, variance, self.eps)

    def spread(self, kernel: Kernel, large: Sequence[Any], out: Any, *numbers: Any) -> None:
        """Run an element kernel on arrays of the bottom's shape; a loop over planes of one value would be slow."""
        form, kernel = (self.sizes[:2], COLUMNS[kernel]) if self.columns else (self.sizes, kernel)
        kernel[form](*(array.reshape(form) for array in large), *numbers, out.reshape(form))

    def moments(self, x: Any, mean: Any, variance: Any) -> None:
        """Those to normalize with; those of the batch join the running sums."""
        channels, (mean_sum, variance_sum, weight) = self.sizes[1], (w.data for w in self.running)
        if self.stored:
            stored_moments[channels](mean_sum, variance_sum, weight, mean, variance)
            return
        if self.columns:
            column_moments[blocks(channels)](x.reshape(self.sizes[:2]), mean, variance)
        else:
            means, spreads = (part.data for part in self.parts)
            flat = [part.reshape(self.planes[0]) for part in (means, spreads)]
            row_moments[self.planes[0]](x, self.lanes.data, *flat)
            batch_moments[channels](means, spreads, mean, variance, self.sizes[2])
        m = self.sizes[0] * self.sizes[2]
        fraction, unbias = self.moving_average_fraction, m / (m - 1.0) if m > 1 else 1.0
        add_moments[channels](mean, variance, mean_sum, variance_sum, fraction, unbias)
        add_weight[1](weight, fraction)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        x, dy, dx = self.copy.data if self.copy else bottom[0].data, top[0].diff, bottom[0].diff
        mean, variance, eps = self.mean.data, self.variance.data, self.eps
        if self.stored and not self.scaled:
            self.spread(divide, [dy], dx, variance, eps)
            return
        sums, dots = (part.data for part in self.parts)
        if self.columns:
            form = self.sizes[:2]
            column_gradients[blocks(form[1])](x.reshape(form), dy.reshape(form), mean, sums, dots)
        else:
            rows = self.planes[0]
            arrays = (x.reshape(self.planes), dy.reshape(self.planes), mean, self.lanes.data, self.more.data)
            plane_gradients[rows](*arrays, sums.reshape(rows), dots.reshape(rows))
        mean_dy, slope = self.mean_dy.data, self.slope.data
        scale = 1.0 / max(self.sizes[0] * self.sizes[2], 1)
        if self.scaled:
            lost = 0.0 if self.stored else scale
            self.scaled.backward(x, dy, (sums, dots), (mean, variance), eps, lost, (mean_dy, slope), dx)
            return
        batch_gradients[self.sizes[1]](sums, dots, variance, eps, mean_dy, slope, scale)
        self.spread(normalize_backward, [x, dy], dx, mean, variance, eps, mean_dy, slope)
