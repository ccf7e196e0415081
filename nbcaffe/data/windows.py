"""Windows of pictures for R-CNN: objects and background in a fixed ratio, each warped to one size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import rng
from ..errors import DataError
from .pictures import load_picture, resized
from .transform import Transform


class Window(NamedTuple):
    """A box (both corners inside) of a picture."""

    picture: str
    label: int
    overlap: float
    box: tuple[int, int, int, int]


class WindowSource:
    """Batches of windows, drawn by chance from those of a window file: first background, then objects.

    Parameters
    ----------
    transform
        Its crop_size is the size to warp to; its mean is centred on that.
    thresholds
        Overlap from which a window is an object, and below which it is background.
    context
        Pixels of the warped window that show what is around the box.
    """

    def __init__(
        self,
        path: Path,
        batch_size: int,
        transform: Transform,
        folder: Path,
        thresholds: tuple[float, float] = (0.5, 0.5),
        fraction: float = 0.25,
        context: int = 0,
        square: bool = False,
    ):
        windows = list(read_windows(path, folder))
        objects, background = thresholds
        self.kinds = (
            [window._replace(label=0) for window in windows if window.overlap < min(background, objects)],
            [window for window in windows if window.overlap >= objects],
        )
        self.batch_size, self.transform, self.fraction = batch_size, transform, fraction
        self.context, self.square, self.size, self.name = context, square, len(windows), str(path)
        for kind, found, count in zip(("background", "object"), self.kinds, self.counts(batch_size), strict=True):
            if count and not found:
                raise DataError(f"{path}: no window is {kind}, and a batch needs {count} of them")
        self.load = lru_cache(64)(load_picture)
        self.shape = (3, transform.crop_size, transform.crop_size)
        self.rewind()

    cursor: tuple[int, int]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.batch_size, *self.shape), (self.batch_size,)

    def rewind(self) -> None:
        """Draw again from the first sample on."""
        self.cursor = (0, 0)
        self.last: list[Window] = []

    def counts(self, batch: int) -> tuple[int, int]:
        """How many windows of a batch are background and objects."""
        objects = int(batch * self.fraction)
        return batch - objects, objects

    def read(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill the arrays of pictures and labels with the next batch."""
        epoch, position = self.cursor
        chosen = []
        for i in range(len(arrays[0])):
            kind = self.kinds[i >= self.counts(len(arrays[0]))[0]]
            draw = rng.words(rng.key(self.transform.key, position + i), epoch, 2)[0]
            window = kind[int(draw[0]) % len(kind)]
            mirror = bool(self.transform.mirror and draw[1] & 1)
            arrays[0][i] = self.warp(window, mirror)
            if len(arrays) > 1:
                arrays[1][i] = window.label
            chosen.append(window)
        position += len(chosen)
        self.cursor, self.last = (epoch + position // self.size, position % self.size), chosen

    @property
    def ids(self) -> list[str]:
        return [f"{window.picture}, window {window.box}" for window in self.last]

    def warp(self, window: Window, mirror: bool) -> np.ndarray:
        """The window as float32; what lies outside of its picture is 0."""
        picture, crop = self.load(window.picture, True), self.transform.crop_size
        height, width = picture.shape[1:]
        left, top, right, bottom = self.grown(window.box)
        if right < left or bottom < top or right < 0 or bottom < 0 or left >= width or top >= height:
            raise DataError(f"{window.picture}: window {window.box} lies outside of its {height} x {width} pixels")
        columns = _place(left, right, width, crop, mirror)
        rows = _place(top, bottom, height, crop, False)
        piece = picture[:, rows.lo : rows.hi, columns.lo : columns.hi]
        piece = resized(piece, rows.size, columns.size)[:, :, :: -1 if mirror else 1].astype(np.float32)
        out = np.zeros(self.shape, np.float32)
        place = (slice(None), slice(rows.at, rows.at + rows.size), slice(columns.at, columns.at + columns.size))
        out[place] = (piece - self.mean(place)) * np.float32(self.transform.scale)
        return out

    def grown(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """The box with its context, and as a square if asked for."""
        if not self.context and not self.square:
            return box
        left, top, right, bottom = box
        crop = self.transform.crop_size
        factor = crop / (crop - 2 * self.context)
        half_w, half_h = (right - left + 1) / 2, (bottom - top + 1) / 2
        x, y = left + half_w, top + half_h
        if self.square:
            half_w = half_h = max(half_w, half_h)
        edges = (x - half_w * factor, y - half_h * factor, x + half_w * factor, y + half_h * factor)
        return tuple(map(_round, edges))  # type: ignore[return-value]

    def mean(self, place: tuple[slice, ...]) -> np.ndarray:
        t = self.transform
        if t.mean is None:
            values = t.mean_value or (0.0,)
            return np.array(values, np.float32)[:, None, None]
        off = (t.mean.shape[2] - t.crop_size) // 2
        if t.mean.shape[0] != 3 or min(t.mean.shape[1:]) < off + t.crop_size:
            raise DataError(f"{self.name}: the mean file has shape {t.mean.shape}, crops have {self.shape}")
        return t.mean[(place[0], *(slice(s.start + off, s.stop + off) for s in place[1:]))]


class Place(NamedTuple):
    """Where along one axis a window is taken from the picture, and where it goes in the crop."""

    lo: int
    hi: int
    at: int
    size: int


def _place(first: int, last: int, extent: int, crop: int, mirror: bool) -> Place:
    before, after = max(0, -first), max(0, last - extent + 1)
    scale = crop / (last - first + 1)
    lo, hi = first + before, last - after + 1
    at = min(_round((after if mirror else before) * scale), crop - 1)
    return Place(lo, hi, at, max(1, min(_round((hi - lo) * scale), crop - at)))


def _round(value: float) -> int:
    """To the nearest whole number, halves away from 0."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def read_windows(path: Path, folder: Path) -> Iterator[Window]:
    """The windows of a file: for each picture `# index`, path, three sizes, a number of windows, one line a window."""
    try:
        lines = iter(enumerate(path.read_text(encoding="utf-8").split("\n"), 1))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a window file: {error}") from None
    number = 0
    try:
        for number, line in lines:
            if not line.strip():
                continue
            if not line.startswith("#"):
                raise ValueError
            number, name = next(lines)
            for _ in range(3):
                number, text = next(lines)
                int(text)
            number, text = next(lines)
            for _ in range(int(text)):
                number, text = next(lines)
                label, overlap, *box = text.split()
                left, top, right, bottom = map(int, box)
                yield Window(str(folder / name.strip()), int(label), float(overlap), (left, top, right, bottom))
    except (ValueError, StopIteration):
        what = "`# index`, path, channels, height, width, number of windows, then `class overlap x1 y1 x2 y2` lines"
        raise DataError(f"{path}:{number}: not a window file; expected for each picture {what}") from None
