"""Datum: a labelled picture or array in a database of Caffe's."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from ..errors import DataError
from .schema import message
from .text import parse_binary

LARGEST = 1 << 28  # pixels of one picture; a larger one is a decompression bomb


class Sample:
    """A parsed Datum."""

    def __init__(self, content: bytes, who: str):
        self.datum, self.who = parse_binary(content, "Datum", who), who
        self.label = int(self.datum.label)

    def array(self, color: bool | None = None) -> np.ndarray:
        """Channels, height, width; bytes or float32.

        An encoded picture is decoded: to BGR with ``color`` True, to grey with False, with None to what it is.
        """
        d = self.datum
        if d.encoded:
            return decode(d.data, color, self.who)
        if color is not None:
            raise DataError(f"{self.who}: force_color and force_gray are for encoded pictures, and this one is raw")
        shape = (d.channels, d.height, d.width)
        values = np.frombuffer(d.data, np.uint8) if d.data else np.array(d.float_data, np.float32)
        if min(shape) < 1 or values.size != shape[0] * shape[1] * shape[2]:
            raise DataError(f"{self.who}: {values.size} values do not make {shape[0]} x {shape[1]} x {shape[2]}")
        return values.reshape(shape)


def decode(content: bytes, color: bool | None, who: str) -> np.ndarray:
    """A picture file as bytes: channels (blue, green, red, or one), height, width."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return pixels(picture, color, who)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them raise
        raise DataError(f"{who}: not a picture, or damaged: {error}") from None


def pixels(picture: Image.Image, color: bool | None, who: str) -> np.ndarray:
    """The pixels of an open picture as Caffe orders them."""
    if picture.width * picture.height > LARGEST:
        raise DataError(f"{who}: {picture.width} x {picture.height} pixels; at most {LARGEST} are read")
    if color is None:
        color = picture.mode not in ("1", "L", "I", "I;16")
    if not color:
        return grey(picture)[None]
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1].transpose(2, 0, 1))


# How much red, green and blue count: the weights that libpng and OpenCV make of 0.299 and 0.587, and their shift
PNG_GREY, OTHER_GREY = ((9797, 19234, 3737), 0, 15), ((4899, 9617, 1868), 1 << 13, 14)


def grey(picture: Image.Image) -> np.ndarray:
    """One channel, as OpenCV loads a grey picture: libjpeg and libpng do it themselves, and libpng rounds down."""
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    if picture.format == "JPEG":
        picture.draft("L", picture.size)
        return np.asarray(picture.convert("L"))
    weights, half, shift = PNG_GREY if picture.format == "PNG" else OTHER_GREY
    return ((np.asarray(picture.convert("RGB")).astype(np.int32) @ np.array(weights) + half) >> shift).astype(np.uint8)


def datum_bytes(values: np.ndarray, label: int) -> bytes:
    """A Datum of bytes or of floats."""
    datum: Any = message("Datum")
    datum.channels, datum.height, datum.width = values.shape
    datum.label = label
    if values.dtype == np.uint8:
        datum.data, datum.encoded = np.ascontiguousarray(values).tobytes(), False  # as convert_imageset writes it
    else:
        datum.float_data.extend(values.astype(np.float32).ravel().tolist())
    return datum.SerializeToString()
