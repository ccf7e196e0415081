"""Batches of pictures with a label: from a database of Datum, or from files named in a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..caffe.datum import Sample, pixels
from ..caffe.lmdb_file import Lmdb
from ..errors import DataError
from .order import Ordered, RowOrder
from .transform import Transform


class PictureSource(Ordered):
    """Pictures one after another, from the first again after the last; a subclass says where they come from.

    Attributes
    ----------
    size
        Pictures of the whole set.
    cursor
        Epoch and position in it of the next picture; setting it resumes there, bit for bit.
    """

    def __init__(self, size: int, batch_size: int, transform: Transform, shuffle: bool = False, skip: int = 0):
        if not size:
            raise DataError(f"{self.name}: the set is empty")
        self.batch_size, self.transform = batch_size, transform
        self.order = RowOrder(np.array([size]), 1, shuffle, transform.key)
        self.start = skip % size
        self.rewind()
        picture, _, who = self.sample(0)
        self.shape = transform.shape(picture.shape, who)

    def sample(self, row: int) -> tuple[np.ndarray, int, str]:
        """Picture (channels, height, width), label, and what to call it in a message."""
        raise NotImplementedError

    def ident(self, row: int) -> str:
        raise NotImplementedError

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of a batch of pictures and of labels."""
        return (self.batch_size, *self.shape), (self.batch_size,)

    def read(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill the arrays of pictures and labels with the next batch; when that fails, the cursor stays."""
        rows, epochs, after = self.order.take(*self._cursor, len(arrays[0]))
        for i, (row, epoch) in enumerate(zip(rows, epochs, strict=True)):
            picture, label, who = self.sample(int(row))
            values = self.transform(picture, int(epoch), int(row), who)
            if values.shape != self.shape:
                raise DataError(
                    f"{who}: shape {values.shape}, the first has {self.shape}; a crop_size makes them equal"
                )
            if not np.isfinite(values).all():
                raise DataError(f"{who} holds a NaN or an infinity")
            arrays[0][i] = values
            if len(arrays) > 1:
                arrays[1][i] = label
        self._cursor, self.rows = after, rows

    @property
    def ids(self) -> list[str]:
        """What to call each sample of the last batch in a message."""
        return [self.ident(int(row)) for row in self.rows]


class DatumSource(PictureSource):
    """The records of an LMDB in the order of their keys."""

    def __init__(self, path: Path, batch_size: int, transform: Transform, color: bool | None = None):
        self.name, self.color = str(path), color
        self.database = Lmdb(path)
        self.records = self.database.records()
        super().__init__(len(self.records), batch_size, transform)

    def ident(self, row: int) -> str:
        return f"{self.name}, key {self.records[row].key[:60].decode(errors='replace')}"

    def sample(self, row: int) -> tuple[np.ndarray, int, str]:
        sample = Sample(self.database.value(self.records[row]), self.ident(row))
        return sample.array(self.color), sample.label, sample.who


class FileSource(PictureSource):
    """The pictures that a text file lists, one `path label` a line; the path may hold spaces."""

    def __init__(
        self,
        path: Path,
        batch_size: int,
        transform: Transform,
        folder: Path,
        color: bool = True,
        resize: tuple[int, int] | None = None,
        shuffle: bool = False,
        skip: int = 0,
    ):
        self.name, self.folder, self.color, self.resize = str(path), folder, color, resize
        self.entries = listed(path)
        super().__init__(len(self.entries), batch_size, transform, shuffle, skip)

    def ident(self, row: int) -> str:
        return str(self.folder / self.entries[row][0])

    def sample(self, row: int) -> tuple[np.ndarray, int, str]:
        return load_picture(self.ident(row), self.color, self.resize), self.entries[row][1], self.ident(row)


def listed(path: Path) -> list[tuple[str, int]]:
    """File names and labels."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a list of pictures: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        name, _, label = line.rpartition(" ")
        if not line.strip():
            continue
        try:
            found.append((name, int(label)))
        except ValueError:
            raise DataError(f"{path}:{number}: expected `path label`, got {line!r:.80}") from None
    return found


def load_picture(name: str, color: bool, resize: tuple[int, int] | None = None) -> np.ndarray:
    """A picture file as bytes: channels (blue, green, red, or one), height, width."""
    try:
        with Image.open(name) as picture:
            found = pixels(picture, color, name)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them raise
        raise DataError(f"{name}: not a picture, or damaged: {error}") from None
    return found if resize is None else resized(found, *resize)


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear between the four nearest pixels, as OpenCV resizes: nothing is averaged when it gets smaller."""
    out = picture.astype(np.float32)
    for axis, size in ((1, height), (2, width)):
        have = out.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * have / size - 0.5, 0, have - 1)
        low = np.minimum(at.astype(int), max(have - 2, 0))
        part = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, have - 1)
        out = out.take(low, axis) * (1 - part) + out.take(high, axis) * part
    return np.floor(out + 0.5).astype(np.uint8)
