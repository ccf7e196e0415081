"""Baseline: a test word is spoken like the training word whose spelling is nearest (fewest edits, then the first).

`python nets/seq2seq/baseline.py` takes every tenth of the test words, some minutes on one core.
"""

from pathlib import Path

import h5py
import numpy as np

from nbcaffe.decoding import edit_distance

FOLDER = Path(__file__).parent / "data"


def read(name):
    """Spellings, padded with -1, their lengths, and phones without the end."""
    with h5py.File(FOLDER / f"{name}.h5") as file:
        letters = np.split(file["data"][:], file["offsets"][1:-1])
        phones = np.split(file["target"][:], file["target_offsets"][1:-1])
    lengths = np.array([len(word) for word in letters])
    table = np.full((len(letters), lengths.max()), -1, np.int8)
    for row, word in zip(table, letters, strict=True):
        row[: len(word)] = word
    return table, lengths, [spoken[:-1].tolist() for spoken in phones]


def nearest(word, table, lengths):
    """Index of the nearest row: Levenshtein's table for all rows at once."""
    steps = np.arange(table.shape[1] + 1, dtype=np.int8)
    costs = np.tile(steps, (len(table), 1))
    for number, letter in enumerate(word, 1):
        best = np.minimum(costs[:, 1:] + 1, costs[:, :-1] + (table != letter))
        costs = np.concatenate([np.full((len(table), 1), number, np.int8), best], axis=1)
        costs = np.minimum.accumulate(costs - steps, axis=1) + steps  # insertions
    return int(costs[np.arange(len(table)), lengths].argmin())


if __name__ == "__main__":
    table, lengths, spoken = read("train")
    words, sizes, wanted = (part[::10] for part in read("test"))
    found = [spoken[nearest(word[:size], table, lengths)] for word, size in zip(words, sizes, strict=True)]
    errors = [edit_distance(a, b) for a, b in zip(wanted, found, strict=True)]
    print(f"{len(words)} words: phoneme error rate {sum(errors) / sum(map(len, wanted)):.2%}, ", end="")
    print(f"word error rate {np.mean(np.array(errors) > 0):.2%}")
