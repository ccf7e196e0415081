"""A data source: two spirals, made when asked for; its cursor is in snapshots, so a run resumes to the bit."""

import numpy as np

from nbcaffe import Float, Int, RowSource, Source, rng


class Spirals(Source):
    """Points (N, 2) on two spirals around 0, and which of the two each lies on (N,)."""

    samples = Int(1000, ge=2, doc="points in an epoch")
    batch_size = Int(ge=1, doc="points in a batch")
    turns = Float(1.5, gt=0, doc="how often each spiral winds around 0")
    noise = Float(0.02, ge=0, doc="standard deviation of what is added to both coordinates")
    num_top = 2
    examples = ({"batch_size": 8},)

    def setup(self, bottom):
        if self.source is None:
            key = rng.key(self.key, self.phase)  # other noise in tests
            self.shift = self.noise * rng.normal(key, 2 * self.samples).reshape(-1, 2)
            self.source = RowSource(self.points, self.samples, self.batch_size, shuffle=self.phase == "TRAIN", key=key)
        return [(self.batch_size, 2), (self.batch_size,)]

    def points(self, rows):
        """The samples of these numbers: one array for each top."""
        label, radius = rows % 2, (rows + 0.5) / self.samples
        angle = np.pi * (2.0 * self.turns * radius + label)
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + self.shift[rows], label
