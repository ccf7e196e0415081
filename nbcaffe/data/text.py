"""Batches of a text for language models: symbols, and the symbol that follows each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import rng
from ..errors import DataError
from .hdf5_files import locate
from .order import Ordered, RowOrder
from .vocabulary import Vocabulary, read_text

WORD = re.compile(r"<\w+>|\w+(?:['’-]\w+)*|[^\w\s]")
TOPS = {1: ("data",), 2: ("data", "label"), 3: ("data", "cont", "label")}  # by their number


class TextSource(Ordered):
    """Windows of ``steps`` symbols of a text, time first: arrays of shape (steps, batch).

    Stateful, the text is cut into ``batch_size`` streams and sample n of each batch goes on where sample n of the last
    one ended; an epoch is one walk along the streams.  Otherwise windows follow each other in one line, or, shuffled,
    in a fresh order and cut at other places in each epoch.  What is left over at an end is not read.

    Parameters
    ----------
    source
        Text files in UTF-8, read one after the other.
    unit : {"char", "word"}
        Symbols are characters, or words and single punctuation marks; white space is kept only with characters.
    vocabulary
        A `Vocabulary` file; without it the vocabulary is that of the whole source.
    min_count, max_size
        See :meth:`Vocabulary.of`.
    part
        Where in the source to begin and end, as fractions.
    key
        Of the random order.
    folder
        Where relative paths start.

    Attributes
    ----------
    size
        Windows of an epoch.
    vocabulary
        Of the whole source, whatever the part.
    """

    def __init__(
        self,
        source: Sequence[str | Path],
        batch_size: int,
        steps: int,
        *,
        unit: str = "char",
        vocabulary: str | Path = "",
        min_count: int = 1,
        max_size: int = 0,
        part: Sequence[float] = (0.0, 1.0),
        stateful: bool = True,
        shuffle: bool = False,
        key: int = 0,
        folder: str | Path | None = None,
    ):
        if stateful and shuffle:
            raise DataError("a shuffled text has no streams that go on; add stateful: false")
        if len(part) != 2 or not part[0] < part[1]:
            raise DataError(f"part: expected where to begin and where to end, such as [0, 0.9], got {list(part)}")
        if vocabulary and (min_count > 1 or max_size):
            raise DataError(
                "min_count and max_size choose a vocabulary, and the one of a file is chosen; leave them out"
            )
        paths = [locate(path, folder) for path in source]
        self.name = ", ".join(map(str, paths)) or "source"
        text = "".join(map(read_text, paths))
        symbols = text if unit == "char" else WORD.findall(text)
        self.vocabulary = (
            Vocabulary.load(locate(vocabulary, folder), unit)
            if vocabulary
            else Vocabulary.of(symbols, unit, min_count, max_size)
        )
        self.batch_size, self.steps, self.stateful, self.key = batch_size, steps, stateful, key
        self.begin, end = (int(len(symbols) * fraction) for fraction in part)
        self.indices = self._encoded(symbols)[self.begin : end]
        self.order = RowOrder(np.array([self._windows(shuffle)]), 1, shuffle, key)
        self.rewind()

    def _encoded(self, symbols: Sequence[str]) -> np.ndarray:
        try:
            return self.vocabulary.encode(symbols)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from None

    def _windows(self, shuffle: bool) -> int:
        """How many windows an epoch has; each needs one symbol more than it is long, for its last label."""
        steps, streams = self.steps, self.batch_size if self.stateful else 1
        found = len(self.indices)
        if found < streams * steps + 1:
            need = f"{streams} streams of {steps} steps" if self.stateful else f"{steps} steps"
            raise DataError(
                f"{self.name}: {found} symbols (from symbol {self.begin} on) are too few: {need} and the label of the "
                f"last one need {streams * steps + 1}; make batch_size or steps smaller, or the part longer"
            )
        self.stream = (found - 1) // streams
        # a shuffled epoch begins at any of the first symbols, and leaves room for that
        self.spare = steps - 1 if shuffle and found > 2 * steps else 0
        return streams * ((self.stream - self.spare) // steps)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of a batch of symbols, of what goes on, and of labels."""
        return ((self.steps, self.batch_size),) * 3

    def rewind(self) -> None:
        """Start again at the beginning of the part."""
        super().rewind()
        self.starts = self.rows

    def read(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill one, two or three arrays with the next batch of data (and label, or cont and label)."""
        rows, epochs, after = self.order.take(*self._cursor, arrays[0].shape[1])
        self.starts = self._starts(rows, epochs)
        at = np.arange(self.steps)[:, None] + self.starts
        cont = np.ones(at.shape, np.float32)
        cont[0] = self._goes_on(rows)
        values = {"data": self.indices[at], "cont": cont, "label": self.indices[at + 1]}
        for array, name in zip(arrays, TOPS[len(arrays)], strict=True):
            array[...] = values[name]
        self._cursor, self.rows = after, rows

    def _starts(self, rows: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """The place in the part of the first symbol of each window."""
        if self.stateful:
            return rows % self.batch_size * self.stream + rows // self.batch_size * self.steps
        key = rng.key(self.key, "shift")
        shifts = {int(e): int(rng.words(key, int(e), 1)[0][0]) % (self.spare + 1) for e in np.unique(epochs)}
        return rows * self.steps + np.array([shifts[int(epoch)] for epoch in epochs])

    def _goes_on(self, rows: np.ndarray) -> np.ndarray:
        """Which windows go on where the last batch ended: none in a batch that is not one window of each stream."""
        whole = self.stateful and len(rows) == self.batch_size and rows[0] % self.batch_size == 0
        return (rows >= self.batch_size) & whole

    @property
    def ids(self) -> list[str]:
        """What to call each sample of the last batch in a message."""
        first = self.starts + self.begin
        return [f"symbols {start} to {start + self.steps - 1} of {self.name}" for start in first]
