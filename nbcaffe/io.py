"""pycaffe's ``caffe.io``: pictures from files, and what turns them into a net's input; Caffe's messages as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .caffe.blobs import shape_of
from .caffe.datum import LARGEST, Sample, datum_bytes
from .caffe.schema import message
from .caffe.text import parse_binary
from .errors import ConfigError, DataError, NumericError, ShapeError
from .params import did_you_mean

GREY = (0.2125, 0.7154, 0.0721)  # of red, green and blue: scikit-image's
ORDERS = {0: Image.Resampling.NEAREST, 1: Image.Resampling.BILINEAR, 3: Image.Resampling.BICUBIC}


class Transformer:
    """Turns pictures (H, W, K) into the inputs (K, H, W) of a net, and back.

    Parameters
    ----------
    inputs : mapping
        For each input of the net its shape, as in ``{"data": net.blobs["data"].data.shape}``.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]):
        self.inputs = {name: tuple(map(int, shape)) for name, shape in inputs.items()}
        self.transpose: dict[str, tuple[int, ...]] = {}
        self.channel_swap: dict[str, tuple[int, ...]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: Any) -> np.ndarray:
        """A picture as float32 input: resize, transpose, swap channels, times raw_scale, minus mean, times input_scale.

        ``data`` (H, W, K) itself is not changed.  Raises ShapeError where the result does not fit the input, and
        NumericError where the picture holds a NaN or an infinity.
        """
        shape = self._shape(in_)
        if len(shape) != 4:
            raise ShapeError(f"input {in_!r} has shape {shape}; a Transformer is for inputs of four axes (N, K, H, W)")
        out = finite(data, f"preprocess({in_!r})").copy()
        if out.shape[:2] != shape[2:]:
            out = resize_image(out, shape[2:])
        if in_ in self.transpose:
            if out.ndim != len(self.transpose[in_]):
                raise ShapeError(f"preprocess({in_!r}): expected a picture (H, W, K), got shape {np.shape(data)}")
            out = out.transpose(self.transpose[in_])
        if in_ in self.channel_swap and len(out) == len(self.channel_swap[in_]):
            out = out[list(self.channel_swap[in_])]
        self._check_fit(in_, out.shape)
        if in_ in self.raw_scale:
            out = out * np.float32(self.raw_scale[in_])
        if in_ in self.mean:
            out = out - self.mean[in_]
        if in_ in self.input_scale:
            out = out * np.float32(self.input_scale[in_])
        return out

    def deprocess(self, in_: str, data: Any) -> np.ndarray:
        """The picture (H, W, K) that :meth:`preprocess` makes this input of; what it resized keeps the input's size."""
        shape = self._shape(in_)
        out = np.array(data, np.float32)
        if out.ndim == len(shape) and len(out) == 1:
            out = out[0]
        self._check_fit(in_, out.shape)
        if in_ in self.input_scale:
            out = out / np.float32(self.input_scale[in_])
        if in_ in self.mean:
            out = out + self.mean[in_]
        if in_ in self.raw_scale:
            out = out / np.float32(self.raw_scale[in_])
        if in_ in self.channel_swap:
            out = out[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            out = out.transpose(np.argsort(self.transpose[in_]))
        return out

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Order of the picture's axes, (2, 0, 1) for (H, W, K) to (K, H, W)."""
        self.transpose[in_] = self._order(in_, order, len(self._shape(in_)) - 1, "axes of a sample")

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Order of the channels after the transposition, (2, 1, 0) for RGB to BGR."""
        self.channel_swap[in_] = self._order(in_, order, self._shape(in_)[1], "channels")

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Factor before the mean is subtracted: 255 for nets that take pictures of 0 to 255."""
        self.raw_scale[in_] = self._scale(in_, scale, "set_raw_scale")

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Factor at the end."""
        self.input_scale[in_] = self._scale(in_, scale, "set_input_scale")

    def set_mean(self, in_: str, mean: Any) -> None:
        """What is subtracted, in the net's order of axes and channels: one number a channel, or (K, H, W) or (H, W)."""
        shape, values = self._shape(in_)[1:], finite(mean, f"set_mean({in_!r})")
        fits = values.shape == shape[:1] if values.ndim == 1 else (1,) * (3 - values.ndim) + values.shape == shape
        if not fits:
            raise ShapeError(
                f"set_mean({in_!r}): expected shape {shape[:1]} (one number a channel) or {shape}, got {values.shape}; "
                "mean.mean(1).mean(1) gives the mean of each channel"
            )
        self.mean[in_] = values[:, None, None] if values.ndim == 1 else values

    def _shape(self, in_: str) -> tuple[int, ...]:
        if in_ not in self.inputs:
            raise ConfigError(f"Transformer: no input {in_!r}{did_you_mean(in_, self.inputs)}")
        return self.inputs[in_]

    def _order(self, in_: str, order: Sequence[int], count: int, what: str) -> tuple[int, ...]:
        if sorted(order) != list(range(count)):
            raise ConfigError(f"input {in_!r}: expected an order of the {count} {what}, each once, got {tuple(order)}")
        return tuple(map(int, order))

    def _scale(self, in_: str, scale: float, who: str) -> float:
        self._shape(in_)
        if not np.isscalar(scale) or not np.isreal(scale) or not np.isfinite(scale) or not scale:
            raise ConfigError(f"{who}({in_!r}): expected a number that is not 0, got {scale!r}")
        return float(scale)

    def _check_fit(self, in_: str, shape: tuple[int, ...]) -> None:
        wanted = self.inputs[in_][1:]
        if len(shape) > len(wanted) or any(a not in (1, b) for a, b in zip(shape[::-1], wanted[::-1], strict=False)):
            hint = "" if in_ in self.transpose else f"; set_transpose({in_!r}, (2, 0, 1)) puts the channels first"
            raise ShapeError(f"input {in_!r}: expected a sample of shape {wanted}, got {shape}{hint}")


def finite(data: Any, who: str) -> np.ndarray:
    """An array of real numbers as float32, or an error that says where a NaN or an infinity is."""
    values = np.asarray(data)
    if values.dtype.kind not in "biuf" or not values.size:
        raise ShapeError(f"{who}: expected an array of numbers, got {values.dtype} of shape {values.shape}")
    values = values.astype(np.float32, copy=False)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise NumericError(f"{who}: {len(bad)} values are NaN or infinite, the first at {tuple(bad[0].tolist())}")
    return values


# Pictures


def load_image(filename: str | Path, color: bool = True) -> np.ndarray:
    """A picture file as float32 of 0 to 1, (H, W, 3) in RGB; without ``color`` (H, W, 1).

    A grey file gives three equal channels, transparency is left out.
    """
    try:
        with Image.open(filename) as picture:
            if picture.width * picture.height > LARGEST:
                raise DataError(f"{filename}: {picture.width} x {picture.height} pixels; at most {LARGEST} are read")
            values = _pixels(picture)
    except FileNotFoundError:
        raise DataError(f"{filename}: no such file") from None
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them raise
        raise DataError(f"{filename}: not a picture, or damaged: {error}") from None
    if values.ndim == 2:
        return np.repeat(values[:, :, None], 3 if color else 1, axis=2)
    return values if color else (values @ np.array(GREY, np.float32))[:, :, None]


def _pixels(picture: Image.Image) -> np.ndarray:
    """Grey (H, W) or RGB (H, W, 3)."""
    if picture.mode.startswith("I"):  # Pillow's modes of 16 bits
        return np.asarray(picture).astype(np.float32) / np.float32(65535)
    if picture.mode == "F":
        return np.asarray(picture, np.float32)
    kept = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    return np.asarray(kept).astype(np.float32) / np.float32(255)


def resize_image(im: Any, new_dims: Sequence[int], interp_order: int = 1) -> np.ndarray:
    """A picture (H, W, K) of any number of channels in another size, ``new_dims`` = (height, width), as float32.

    ``interp_order`` is 0 (nearest), 1 (linear) or 3 (cubic).  Pillow resizes: what it makes smaller it averages over,
    where the scikit-image of Caffe's days took single points.
    """
    values = finite(im, "resize_image")
    height, width = (int(n) for n in new_dims)
    if values.ndim not in (2, 3) or min(height, width) < 1:
        raise ShapeError(f"resize_image: expected (H, W, K) and sizes >= 1, got {values.shape} and {(height, width)}")
    if interp_order not in ORDERS:
        raise ConfigError(f"resize_image: interp_order: expected 0, 1 or 3, got {interp_order!r}")
    planes = values.reshape(*values.shape[:2], -1).transpose(2, 0, 1)
    resized = [Image.fromarray(np.ascontiguousarray(p)).resize((width, height), ORDERS[interp_order]) for p in planes]
    return np.stack([np.asarray(p, np.float32) for p in resized], axis=-1).reshape(height, width, *values.shape[2:])


def oversample(images: Sequence[Any], crop_dims: Sequence[int]) -> np.ndarray:
    """Ten crops of each picture, (10 N, h, w, K): four corners and the middle, then these mirrored."""
    pictures = [finite(image, f"oversample: picture {i}") for i, image in enumerate(images)]
    h, w = (int(n) for n in crop_dims)
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise ShapeError(f"oversample: expected pictures (H, W, K) of one size, got {sorted(shapes) or 'none'}")
    height, width, _ = next(iter(shapes))
    if not (0 < h <= height and 0 < w <= width):
        raise ShapeError(f"oversample: crops of {h} x {w} do not fit into pictures of {height} x {width}")
    places = [(y, x) for y in (0, height - h) for x in (0, width - w)] + [((height - h) // 2, (width - w) // 2)]
    crops = [[picture[y : y + h, x : x + w] for y, x in places] for picture in pictures]
    return np.concatenate([[*five, *(crop[:, ::-1] for crop in five)] for five in crops])


# Caffe's messages


def blobproto_to_array(blob: Any, return_diff: bool = False) -> np.ndarray:
    """The data of a BlobProto, or its diff, as float32."""
    kind = "diff" if return_diff else "data"
    values = np.array(getattr(blob, kind) or getattr(blob, f"double_{kind}"), np.float32)
    shape = shape_of(blob)
    if values.size != np.prod(shape, dtype=np.int64):
        raise DataError(f"BlobProto: {values.size} numbers of {kind} do not fill the shape {shape}")
    return values.reshape(shape)


def array_to_blobproto(arr: Any, diff: Any = None) -> Any:
    """A BlobProto of an array, and of its diff."""
    blob, values = message("BlobProto"), np.asarray(arr, np.float32)
    blob.shape.SetInParent()
    blob.shape.dim.extend(values.shape)
    blob.data.extend(values.ravel().tolist())
    if diff is not None:
        if np.shape(diff) != values.shape:
            raise ShapeError(f"array_to_blobproto: the data has shape {values.shape}, the diff {np.shape(diff)}")
        blob.diff.extend(np.asarray(diff, np.float32).ravel().tolist())
    return blob


def array_to_datum(arr: Any, label: int | None = None) -> Any:
    """A Datum of an array (channels, height, width): bytes where it holds uint8, else floats."""
    values = np.asarray(arr)
    if values.ndim != 3:
        raise ShapeError(f"array_to_datum: expected an array (channels, height, width), got shape {values.shape}")
    return parse_binary(datum_bytes(values, 0 if label is None else int(label)), "Datum", "array_to_datum")


def datum_to_array(datum: Any) -> np.ndarray:
    """The array (channels, height, width) in a Datum, uint8 or float32; an encoded picture is decoded, to BGR."""
    return Sample(datum.SerializeToString(), "datum_to_array").array()


def arrays_of(images: Iterable[Any], who: str) -> list[np.ndarray]:
    """Pictures (H, W, K), each checked."""
    pictures = [finite(image, f"{who}: picture {i}") for i, image in enumerate(images)]
    for i, picture in enumerate(pictures):
        if picture.ndim != 3:
            raise ShapeError(f"{who}: picture {i}: expected (H, W, K), got shape {picture.shape}")
    if not pictures:
        raise ShapeError(f"{who}: expected a list of pictures, got none")
    return pictures
