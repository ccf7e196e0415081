"""Baselines: the most frequent sentence, and the sentence of the training picture that is nearest, shrunk to 16x16."""

from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from nbcaffe.decoding import edit_distance

FOLDER = Path(__file__).parent / "data"


def read(name):
    """Pictures as vectors without their mean, and sentences without the end."""
    with h5py.File(FOLDER / f"{name}.h5") as file:
        small = file["data"][:].reshape(-1, 3, 16, 4, 16, 4).mean(axis=(3, 5)).reshape(len(file["data"]), -1)
        sentences = np.split(file["target"][:], file["target_offsets"][1:-1])
    return small - small.mean(axis=1, keepdims=True), [tuple(line[:-1].tolist()) for line in sentences]


def tell(who, wanted, found):
    edits = [edit_distance(a, b) for a, b in zip(wanted, found, strict=True)]
    print(f"{who}: {edits.count(0) / len(edits):.1%} exact, word error rate {sum(edits) / sum(map(len, wanted)):.1%}")


if __name__ == "__main__":
    pictures, sentences = read("train")
    (frequent, _), *_ = Counter(sentences).most_common(1)
    for part in ("val", "test"):
        others, wanted = read(part)
        distances = (pictures**2).sum(axis=1) - 2 * others @ pictures.T
        tell(f"{part}, most frequent sentence", wanted, [frequent] * len(wanted))
        tell(f"{part}, nearest picture", wanted, [sentences[i] for i in distances.argmin(axis=1)])
