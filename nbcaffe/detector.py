"""pycaffe's Detector: classes of windows in pictures, as R-CNN has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from . import io
from .classifier import PictureNet
from .errors import ConfigError, DataError, NbcaffeError

Windows = Iterable[Sequence[float]]


class Detector(PictureNet):
    """Classes of windows, each warped to the size of the net's input.

    Parameters
    ----------
    model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap
        As for :class:`nbcaffe.Classifier`.
    context_pad : int, optional
        Pixels on each side of the warped window that show what is around it; outside of the picture it is the mean.

    Girshick et al., *Rich feature hierarchies for accurate object detection and semantic segmentation*, CVPR 2014.
    """

    def __init__(
        self,
        model_file: Any,
        pretrained_file: Any = None,
        mean: Any = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ):
        super().__init__(model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap)
        self.context_pad = context_pad or 0
        shape = self.blobs[self.input].shape[1:]
        if type(self.context_pad) is not int or not 0 <= 2 * self.context_pad < min(shape[1:]):
            wanted = f"an int of at least 0 and less than half of {min(shape[1:])}"
            raise ConfigError(f"context_pad: expected {wanted}, got {context_pad!r}")
        self.background = self.transformer.deprocess(self.input, np.zeros(shape))  # the mean, as a picture
        self.made_of["context_pad"] = context_pad

    def detect_windows(self, images_windows: Iterable[tuple[Any, Windows]]) -> list[dict[str, Any]]:
        """Score windows (ymin, xmin, ymax, xmax) of picture files, given as (file, windows) pairs.

        Returns for each window a dict of its ``window``, ``prediction`` and ``filename``.
        """
        found: list[dict[str, Any]] = []
        crops = []
        for filename, windows in images_windows:
            picture = io.load_image(filename)
            for window in windows:
                try:
                    crops.append(self.crop(picture, window))
                except DataError as error:
                    raise DataError(f"{filename}: {error}") from None
                found.append({"window": window, "filename": filename})
        predictions = self.scores(crops) if crops else ()
        return [{**one, "prediction": scores} for one, scores in zip(found, predictions, strict=True)]

    def detect_selective_search(self, image_fnames: Iterable[Any]) -> NoReturn:
        """Not here: the windows come from a program for MATLAB."""
        raise NbcaffeError(
            "detect_selective_search: selective search is a program for MATLAB that nbcaffe does not ship; make the "
            "windows with a tool of yours and call detect_windows([(file, windows), ...])"
        )

    def crop(self, im: np.ndarray, window: Sequence[float]) -> np.ndarray:
        """A window of a picture (H, W, K), with its context if there is any."""
        if len(window) != 4 or not np.isfinite(np.asarray(window, float)).all():
            raise DataError(f"window {window!r}: expected four numbers (ymin, xmin, ymax, xmax)")
        box = [int(edge) for edge in window]
        height, width = im.shape[:2]
        if not (0 <= box[0] < box[2] <= height and 0 <= box[1] < box[3] <= width):
            raise DataError(f"window {box}: expected (ymin, xmin, ymax, xmax) inside of {height} x {width} pixels")
        if not self.context_pad:
            return im[box[0] : box[2], box[1] : box[3]]
        size = self.background.shape[:2]
        source, target = zip(
            *(around(box[axis], box[axis + 2], im.shape[axis], size[axis], self.context_pad) for axis in (0, 1)),
            strict=True,
        )
        out = self.background.copy()
        out[target] = io.resize_image(im[source], [place.stop - place.start for place in target])
        return out


def around(low: int, high: int, extent: int, size: int, context: int) -> tuple[slice, slice]:
    """Along one axis: what of the picture a window with its context shows, and where in the crop that is.

    The window with its context is ``size / (size - 2 context)`` as long as the window; as in Caffe its ends count as
    if both were inside.
    """
    half = (high - low + 1) / 2
    reach = half * size / (size - 2 * context)
    first, last = round(low + half - reach), round(low + half + reach)
    scale = size / (last - first + 1)
    before = round(max(0, -first) * scale)
    first, last = max(first, 0), min(last, extent)
    length = max(1, min(round((last - first + 1) * scale), size - before))
    return slice(first, last), slice(before, before + length)
