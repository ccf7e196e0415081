"""A team body: on a GPU the threads of a warp share a row, on the CPU one worker has it alone."""

import math

from nbcaffe import Filler, Float, Layer, kernel
from nbcaffe.kernel import real, team_range, team_sum


@kernel(team=True)
def rms_norm(n, x, scale, y, inverse, eps):
    total = 0.0
    for c in team_range(x.shape[1]):
        total += x[n, c] * x[n, c]
    factor = 1.0 / math.sqrt(team_sum(total) / real(x.shape[1]) + eps)
    inverse[n] = factor
    for c in team_range(x.shape[1]):
        y[n, c] = scale[c] * x[n, c] * factor


@kernel(team=True)
def rms_norm_backward(n, x, scale, inverse, dy, dx):
    total = 0.0
    for c in team_range(x.shape[1]):
        total += scale[c] * dy[n, c] * x[n, c]
    factor = inverse[n]
    pull = team_sum(total) * factor * factor / real(x.shape[1])
    for c in team_range(x.shape[1]):
        dx[n, c] = factor * (scale[c] * dy[n, c] - pull * x[n, c])


@kernel
def scale_gradient(c, x, inverse, dy, dscale):
    """One body a channel: the sum has one order, and nobody else writes ``dscale[c]``."""
    total = 0.0
    for n in range(x.shape[0]):
        total += dy[n, c] * x[n, c] * inverse[n]
    dscale[c] += total


class RMSNorm(Layer):
    """Every sample of an (N, C) bottom over its root mean square, times a learned scale for each channel."""

    eps = Float(1e-6, gt=0, doc="added to the mean of squares")
    filler = Filler({"type": "constant", "value": 1.0}, doc="how the scale starts")
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((3, 5),)

    def setup(self, bottom):
        self.rows, self.scale = bottom[0].shape[0], self.weight(bottom[0].shape[1:], self.filler)
        self.inverse = self.buffer(self.rows, keep=True)
        return [bottom[0].shape]

    def forward(self, bottom, top):
        rms_norm[self.rows](bottom[0].data, self.scale.data, top[0].data, self.inverse.data, self.eps)

    def backward(self, bottom, top):
        x, dy, inverse = bottom[0].data, top[0].diff, self.inverse.data
        if self.param_propagate[0]:
            scale_gradient[self.scale.shape](x, inverse, dy, self.scale.diff)
        if self.propagate_down[0]:
            rms_norm_backward[self.rows](x, self.scale.data, inverse, dy, bottom[0].diff)
