"""Batches of sequences of unequal length from an HDF5 file, padded to one number of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from ..errors import DataError
from ..params import did_you_mean
from .hdf5_files import locate, numbers, open_hdf5
from .order import BucketOrder, Ordered, RowOrder
from .ragged import Ragged, Values, held, read_ragged
from .vocabulary import Vocabulary


class SequenceSource(Ordered):
    """Sequences, padded and time first, and what belongs to them, one array for each top.

    The file has all frames (or indices) of all sequences in ``data``, one after the other, and ``offsets``: where each
    begins, and at last where the last one ends. ``label`` has a row for each sequence or for each frame; ``target``
    with ``target_offsets`` has a second sequence for each. ``vocabulary/data`` and ``vocabulary/target`` may hold the
    symbols that indices stand for.

    Parameters
    ----------
    tops
        Of `TOPS`: what to read.
    steps, target_steps
        The length to pad to.
    longer : {"error", "truncate", "skip"}
        What becomes of longer sequences.
    pad_label
        The padding of labels and targets; that of all else is 0.
    shuffle, key
        A fresh order each epoch.
    bucket
        Batches that are sorted by length at a time, see `BucketOrder`; 0: none are.
    folder
        Where relative paths start.

    Attributes
    ----------
    size
        Sequences of an epoch.
    rows
        Row in the file of each sequence of the last batch.
    """

    def __init__(
        self,
        source: str | Path,
        batch_size: int,
        tops: Sequence[str],
        steps: int,
        *,
        target_steps: int = 0,
        longer: str = "error",
        pad_label: float = -1,
        shuffle: bool = False,
        bucket: int = 0,
        key: int = 0,
        folder: str | Path | None = None,
    ):
        if bucket and not shuffle:
            raise DataError("bucket sorts a shuffled set by length; add shuffle: true")
        self.path = locate(source, folder)
        self.name, self.tops, self.batch_size, self.pad_label = str(self.path), tuple(tops), batch_size, pad_label
        wanted = {self._reads(top) for top in self.tops}
        limits = {"data": steps, "target": target_steps or steps}
        with open_hdf5(self.path) as file:
            self.parts = {name: read_ragged(self.path, file, name, limits[name]) for name in limits if name in wanted}
            if "label" in self.tops:
                self.label = self._read_label(file)
        counts = {name: len(part) for name, part in self.parts.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"{self.path}: expected as many targets as sequences of data, got {counts}")
        self.chosen = self._choose(longer)
        lengths = sum(part.stored_lengths[self.chosen] for part in self.parts.values())
        sorting = BucketOrder(lengths, batch_size, bucket, key) if bucket else None
        self.order = sorting or RowOrder(np.array([len(self.chosen)]), 1, shuffle, key)
        self.single = [TOPS[top][1](self, self.chosen[:1]).shape for top in self.tops]
        self.rewind()

    def _reads(self, top: str) -> str:
        if top not in TOPS:
            raise DataError(f"top {top!r} is nothing that sequences have{did_you_mean(top, TOPS)}")
        return TOPS[top][0]

    def _read_label(self, file: h5py.File) -> Ragged | Values:
        """One label a sequence, or a sequence of labels."""
        data, label = self.parts["data"], numbers(self.path, file, "label")
        if label.ndim > 1 or len(label) not in (len(data), data.starts[-1]):
            raise DataError(
                f"{self.path}: dataset 'label' has shape {label.shape}, expected ({len(data)},), one a sequence, or "
                f"({data.starts[-1]},), one a frame"
            )
        return (
            held(self.path, label)
            if len(label) == len(data)
            else Ragged(self.path, "label", held(self.path, label), data.starts, data.steps)
        )

    def _choose(self, longer: str) -> np.ndarray:
        """The rows that are read: all, or those that are short enough."""
        fits = np.ones(len(next(iter(self.parts.values()))), bool)
        for name, part in self.parts.items():
            fits &= part.stored_lengths <= part.steps
            if longer == "error" and not fits.all():
                row = int(np.argmin(fits))
                setting = "steps" if name == "data" else "target_steps"
                raise DataError(
                    f"{self.path}: dataset {name!r}, sequence {row} has {part.stored_lengths[row]} steps, expected at "
                    f"most {part.steps} ({setting}); raise {setting}, or give longer: truncate or longer: skip"
                )
        chosen = np.flatnonzero(fits) if longer == "skip" else np.arange(len(fits))
        if not len(chosen):
            raise DataError(f"{self.path}: all of its {len(fits)} sequences are longer than steps or target_steps")
        return chosen

    # Reading

    def shapes_of(self, batch: int) -> list[tuple[int, ...]]:
        """Shape of each top with this many sequences."""
        return [(batch,) if len(shape) == 1 else (shape[0], batch, *shape[2:]) for shape in self.single]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of the batch of each top."""
        return tuple(self.shapes_of(self.batch_size))

    def read(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill one array for each top with the next batch; when that fails, the cursor stays."""
        batch = arrays[0].shape[0 if arrays[0].ndim == 1 else 1]
        places, _, after = self.order.take(*self._cursor, batch)
        rows = self.chosen[places]
        for array, top in zip(arrays, self.tops, strict=True):
            array[...] = TOPS[top][1](self, rows)
        self._cursor, self.rows = after, rows

    def cont(self, rows: np.ndarray) -> np.ndarray:
        """1 where a sequence goes on: not at its first step, and not behind its end."""
        time = np.arange(self.parts["data"].steps)[:, None]
        return (time > 0) & (time < self.parts["data"].lengths(rows))

    def labels(self, rows: np.ndarray) -> np.ndarray:
        if isinstance(self.label, Ragged):
            return self.label.padded(rows, self.pad_label)
        found = np.array([self.label[row] for row in rows])
        if not np.isfinite(found).all():
            raise DataError(f"{self.path}: dataset 'label', row {rows[~np.isfinite(found)][0]} is not a finite number")
        return found

    def target_input(self, rows: np.ndarray) -> np.ndarray:
        """The target one step later: what a decoder has said when it says the target's next symbol."""
        target = self.parts["target"].padded(rows, 0)
        return np.concatenate([np.zeros_like(target[:1]), target[:-1]])

    @property
    def vocabularies(self) -> dict[str, Vocabulary]:
        """The vocabulary of each top that holds indices of symbols."""
        known = {top: self.parts[TOPS[top][0]].vocabulary for top in self.tops if top in INDICES}
        return {top: vocabulary for top, vocabulary in known.items() if vocabulary is not None}

    @property
    def ids(self) -> list[str]:
        """What to call each sequence of the last batch in a message."""
        return [f"sequence {row} of {self.path}" for row in self.rows]


Maker = Callable[[SequenceSource, np.ndarray], np.ndarray]
TOPS: dict[str, tuple[str, Maker]] = {  # the sequences that each belongs to, and how it is made for some rows
    "data": ("data", lambda source, rows: source.parts["data"].padded(rows, 0)),
    "lengths": ("data", lambda source, rows: source.parts["data"].lengths(rows)),
    "cont": ("data", SequenceSource.cont),
    "label": ("data", SequenceSource.labels),
    "target": ("target", lambda source, rows: source.parts["target"].padded(rows, source.pad_label)),
    "target_lengths": ("target", lambda source, rows: source.parts["target"].lengths(rows)),
    "target_input": ("target", SequenceSource.target_input),
}
INDICES = ("data", "target", "target_input")
