"""A metric: nothing trains on it, so there is no backward pass."""

from nbcaffe import Layer, kernel


@kernel
def choose(n, x, chosen):
    best = 0
    for c in range(x.shape[1]):
        best = c if x[n, c] > x[n, best] else best
    chosen[n] = best


@kernel
def precision(c, chosen, labels, out):
    """One body a class: each counts for itself, so that no sum is shared."""
    taken = 0.0
    right = 0.0
    for n in range(len(chosen)):
        mine = chosen[n] == c
        taken += 1.0 if mine else 0.0
        right += 1.0 if mine and int(labels[n]) == c else 0.0
    out[c] = right / taken if taken > 0.0 else 0.0


class Precision(Layer):
    """For each class, the share of right ones among the samples that were taken for it; 0 where there were none.

    Scores (N, C) and labels (N,) give a top (C,).
    """

    num_bottom = 2
    differentiable = ()
    backward_needs = frozenset()
    bottom_shapes = ((6, 3), (6,))

    def setup(self, bottom):
        self.chosen = self.buffer(bottom[0].shape[0], "int32")
        return [(bottom[0].shape[1],)]

    def forward(self, bottom, top):
        choose[self.chosen.shape](bottom[0].data, self.chosen.data)
        precision[top[0].shape](self.chosen.data, bottom[1].data, top[0].data)

    @classmethod
    def sample(cls, index, shape, rng):
        """Values for the checks: labels are no random numbers."""
        return rng.integers(0, 3, shape) if index == 1 else rng.standard_normal(shape)
