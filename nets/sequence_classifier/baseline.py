"""``python nets/sequence_classifier/baseline.py``: what a mean frame tells, without a net and without time.

Each utterance becomes the mean of its frames; the class whose mean is nearest wins.  Distances are plain ones, and
those of linear discriminant analysis: by the covariance within the classes (Mahalanobis).
"""

from pathlib import Path

import h5py
import numpy as np

DATA = Path(__file__).with_name("data")


def mean_frames(path):
    """The mean frame of each utterance, and who speaks."""
    with h5py.File(path) as file:
        frames, offsets, label = (file[name][()] for name in ("data", "offsets", "label"))
    return np.add.reduceat(frames, offsets[:-1]) / np.diff(offsets)[:, None], label


if __name__ == "__main__":
    (known, speaker), (asked, wanted) = (mean_frames(DATA / name) for name in ("train.h5", "test.h5"))
    means = np.stack([known[speaker == k].mean(axis=0) for k in range(9)])
    within = known - means[speaker]
    away = asked[:, None] - means
    for name, metric in (("plain", np.eye(12)), ("covariance within classes", np.linalg.inv(within.T @ within))):
        nearest = np.einsum("nki,ij,nkj->nk", away, metric, away).argmin(axis=1)
        print(f"nearest class mean, {name}: {(nearest == wanted).mean():.2%} of {len(wanted)}")
