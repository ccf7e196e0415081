"""pycaffe's Classifier: a net with what its pictures need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import io
from .errors import ConfigError
from .net import TEST, Net


class PictureNet(Net):
    """A net whose first input takes pictures, through a :class:`io.Transformer`."""

    def __init__(
        self,
        model_file: Any,
        pretrained_file: Any = None,
        mean: Any = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ):
        super().__init__(model_file, TEST, pretrained_file)
        if not self.inputs or len(self.blobs[self.inputs[0]].shape) != 4:
            shape = self.blobs[self.inputs[0]].shape if self.inputs else "none"
            raise ConfigError(f"net {self.name!r}: expected an Input of shape (N, K, H, W) for pictures, got {shape}")
        self.input = self.inputs[0]
        self.transformer = io.Transformer({self.input: self.blobs[self.input].shape})
        self.transformer.set_transpose(self.input, (2, 0, 1))
        given = {"mean": mean, "input_scale": input_scale, "raw_scale": raw_scale, "channel_swap": channel_swap}
        for name, value in given.items():
            if value is not None:
                getattr(self.transformer, f"set_{name}")(self.input, value)
        self.made_of = {"model_file": model_file, **given}

    def scores(self, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """The net's first output for pictures (H, W, K) of any size."""
        samples = [self.transformer.preprocess(self.input, picture) for picture in pictures]
        shape = self.blobs[self.input].shape[1:]
        return self.forward_all(**{self.input: np.stack([np.broadcast_to(s, shape) for s in samples])})[self.outputs[0]]


class Classifier(PictureNet):
    """Classes of pictures, from the middle or from ten crops of each.

    Parameters
    ----------
    model_file, pretrained_file
        The net, whose first input takes pictures and whose first output gives the classes, and its weights.
    image_dims : (height, width), optional
        Size that pictures are brought to before they are cropped; by default that of the input.
    mean, input_scale, raw_scale, channel_swap
        See :class:`io.Transformer`.
    """

    def __init__(
        self,
        model_file: Any,
        pretrained_file: Any = None,
        image_dims: Sequence[int] | None = None,
        mean: Any = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ):
        super().__init__(model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = self.blobs[self.input].shape[2:]
        self.image_dims = tuple(int(n) for n in (self.crop_dims if image_dims is None else image_dims))
        if len(self.image_dims) != 2 or any(np.less(self.image_dims, self.crop_dims)):
            wanted = f"(height, width) of at least {self.crop_dims}, the input's"
            raise ConfigError(f"image_dims: expected {wanted}, got {self.image_dims}")
        self.made_of["image_dims"] = image_dims

    def predict(self, inputs: Iterable[Any], oversample: bool = True) -> np.ndarray:
        """Probabilities (N, classes) of pictures (H, W, K), RGB of 0 to 1 as ``io.load_image`` gives them.

        With ``oversample`` the mean over four corners, middle and their mirror images; else the middle alone.
        """
        pictures = [io.resize_image(im, self.image_dims) for im in io.arrays_of(inputs, "predict")]
        crops: Any = io.oversample(pictures, self.crop_dims) if oversample else [self._middle(im) for im in pictures]
        found = self.scores(crops)
        return found.reshape(len(pictures), 10, -1).mean(axis=1) if oversample else found

    def _middle(self, picture: np.ndarray) -> np.ndarray:
        (height, width), (y, x) = self.crop_dims, np.subtract(self.image_dims, self.crop_dims) // 2
        return picture[y : y + height, x : x + width]
