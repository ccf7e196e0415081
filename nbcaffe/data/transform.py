"""What Caffe's data layers do to a picture: crop, mirror, subtract a mean, scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import rng
from ..errors import DataError


@dataclass
class Transform:
    """caffe.proto's TransformationParameter; random crops and mirrors depend on key, epoch and sample alone.

    Parameters
    ----------
    train
        Crop anywhere; otherwise in the middle.
    mean
        Of the size of the pictures, or None.
    mean_value
        One number, or one for each channel.
    """

    train: bool
    key: int
    scale: float = 1.0
    mirror: bool = False
    crop_size: int = 0
    mean: np.ndarray | None = None
    mean_value: tuple[float, ...] = ()

    def shape(self, shape: tuple[int, ...], who: str) -> tuple[int, ...]:
        """The shape of a transformed picture."""
        channels, height, width = shape
        if self.mean is not None and self.mean.shape != shape:
            raise DataError(f"{who}: shape {shape}, the mean file has {self.mean.shape}")
        if len(self.mean_value) not in (0, 1, channels):
            raise DataError(f"{who}: {channels} channels, but {len(self.mean_value)} numbers in mean_value")
        if self.crop_size > min(height, width):
            raise DataError(f"{who}: {height} x {width} pixels, less than crop_size {self.crop_size}")
        return (channels, self.crop_size, self.crop_size) if self.crop_size else shape

    def __call__(self, picture: np.ndarray, epoch: int, row: int, who: str) -> np.ndarray:
        """A picture (channels, height, width) as float32."""
        shape = self.shape(picture.shape, who)
        draw = (
            rng.words(rng.key(self.key, row), epoch, 3)[0] if self.mirror or (self.train and self.crop_size) else None
        )
        window = (slice(None), *self._window(picture.shape[1:], shape[1:], draw))
        out = picture[window].astype(np.float32)
        if self.mean is not None:
            out -= self.mean[window]
        elif self.mean_value:
            out -= np.array(self.mean_value, np.float32)[:, None, None]
        if self.scale != 1.0:
            out *= np.float32(self.scale)
        return out[:, :, ::-1] if self.mirror and draw is not None and draw[2] & 1 else out

    def _window(self, size: tuple[int, ...], wanted: tuple[int, ...], draw: Any) -> tuple[slice, ...]:
        free = [have - want for have, want in zip(size, wanted, strict=True)]
        if self.train and self.crop_size:
            starts = [int(word) % (room + 1) for word, room in zip(draw[:2], free, strict=True)]
        else:
            starts = [room // 2 for room in free]
        return tuple(slice(at, at + want) for at, want in zip(starts, wanted, strict=True))
