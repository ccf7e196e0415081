"""Pictures from a database or from files, and what a net makes of them into a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from ..blob import Blob
from ..caffe.blobs import read_binaryproto
from ..data.pictures import DatumSource, FileSource, PictureSource
from ..data.transform import Transform
from ..data.windows import WindowSource
from ..device import device_of
from ..errors import DataError
from ..kernel import launch
from ..layer import Layer
from ..params import Bool, Choice, Float, Floats, Int, Str
from .data import Source

MOVED = "transform_param"


class Pictures(Source, abstract=True):
    """A picture and its label for each sample; the pictures are transformed as transform_param says."""

    scale = Float(1.0, doc="factor, after the mean is subtracted", group=MOVED)
    mirror = Bool(False, doc="mirror every second picture, by chance", group=MOVED)
    crop_size = Int(
        0, ge=0, doc="height and width of a crop: anywhere in TRAIN, in the middle in TEST; 0: none", group=MOVED
    )
    mean_file = Str("", doc="binaryproto of a picture to subtract", group=MOVED)
    mean_value = Floats((), doc="numbers to subtract: one, or one for each channel", group=MOVED)
    num_top = (1, 2)
    examples = ()

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        self.load(self.open)
        return list(self.source.shapes[: self.num_tops])

    def open(self) -> PictureSource | WindowSource:
        raise NotImplementedError

    def find(self, name: str) -> Path:
        """A path of the net file: from its folder, then from the working directory as in Caffe."""
        beside = Path(self.where.rpartition(":")[0]).parent / name if self.where else Path(name)
        return Path(name) if not beside.exists() and Path(name).exists() else beside

    def transform(self) -> Transform:
        if self.mean_file and self.mean_value:
            raise DataError("expected mean_file or mean_value, got both")
        mean = read_binaryproto(self.find(self.mean_file)) if self.mean_file else None
        mean = mean[0] if mean is not None and mean.ndim == 4 and len(mean) == 1 else mean
        facts = (self.scale, self.mirror, self.crop_size, mean, self.mean_value)
        return Transform(self.phase == "TRAIN", self.key, *facts)


class Data(Pictures):
    """Pictures, raw or encoded, or arrays of floats from an LMDB of Datum, in the order of the keys."""

    source: Any = Str(doc="the folder of the LMDB")
    batch_size = Int(ge=1, doc="samples in a batch")
    backend = Choice("LMDB", "LEVELDB", doc="LEVELDB cannot be read: convert it with LMDB or HDF5")
    force_color = Bool(False, doc="decode encoded pictures to three channels", group=MOVED)
    force_gray = Bool(False, doc="decode encoded pictures to one channel", group=MOVED)
    rand_skip = Int(0, ge=0, doc="accepted for Caffe's files; has no effect, as in Caffe")
    force_encoded_color = Bool(False, doc="accepted for Caffe's files; has no effect, as in Caffe")
    prefetch = Int(4, ge=0, doc="accepted for Caffe's files; has no effect yet")

    def open(self) -> PictureSource:
        if self.backend == "LEVELDB":
            raise DataError("backend LEVELDB cannot be read: convert the database with LMDB or HDF5")
        if self.force_color and self.force_gray:
            raise DataError("expected force_color or force_gray, got both")
        color = True if self.force_color else False if self.force_gray else None
        return DatumSource(self.find(self.source), self.batch_size, self.transform(), color)


class ImageData(Pictures):
    """Picture files that a text file lists, one `path label` a line."""

    source: Any = Str(doc="the list")
    batch_size = Int(1, ge=1, doc="samples in a batch")
    root_folder = Str("", doc="put before every path of the list; counts from the net's folder")
    is_color = Bool(True, doc="three channels (blue, green, red), or one")
    new_height = Int(0, ge=0, doc="height to resize to; 0: as it is")
    new_width = Int(0, ge=0, doc="width to resize to; 0: as it is")
    shuffle = Bool(False, doc="a fresh order in each epoch, from the seed")
    rand_skip = Int(0, ge=0, doc="start at a picture before this one, by chance")

    def open(self) -> PictureSource:
        if bool(self.new_height) != bool(self.new_width):
            raise DataError("new_height and new_width: expected both or neither")
        resize = (self.new_height, self.new_width) if self.new_height else None
        path = self.find(self.source)
        folder = self.find(self.root_folder) if self.root_folder else path.parent
        skip = self.key % self.rand_skip if self.rand_skip else 0
        return FileSource(path, self.batch_size, self.transform(), folder, self.is_color, resize, self.shuffle, skip)


class WindowData(Pictures):
    """Windows of pictures for R-CNN, warped to crop_size: background first, then objects, drawn by chance."""

    source: Any = Str(doc="the window file")
    batch_size = Int(ge=1, doc="samples in a batch")
    fg_threshold = Float(0.5, doc="overlap from which a window is an object")
    bg_threshold = Float(0.5, doc="overlap below which a window is background")
    fg_fraction = Float(0.25, ge=0, le=1, doc="part of a batch that are objects")
    context_pad = Int(0, ge=0, doc="pixels of the warped window that show what is around the box")
    crop_mode = Choice("warp", "square", doc="square: the box grows to a square first")
    cache_images = Bool(False, doc="accepted for Caffe's files; the pictures used last are kept anyway")
    root_folder = Str("", doc="where the pictures' paths start; counts from the net's folder")

    def open(self) -> PictureSource | WindowSource:
        if self.crop_size <= 2 * self.context_pad:
            raise DataError(
                f"crop_size: expected more than twice context_pad ({self.context_pad}), got {self.crop_size}"
            )
        path = self.find(self.source)
        folder = self.find(self.root_folder) if self.root_folder else path.parent
        thresholds = (self.fg_threshold, self.bg_threshold)
        more = (thresholds, self.fg_fraction, self.context_pad, self.crop_mode == "square")
        return WindowSource(path, self.batch_size, self.transform(), folder, *more)


class HDF5Output(Layer):
    """Writes its two bottoms into the datasets `data` and `label` of an HDF5 file, one batch after another."""

    file_name = Str(doc="the file; an old one is replaced at the first pass")
    param_group = "hdf5_output_param"
    num_bottom = 2
    num_top = 0
    differentiable = ()
    backward_needs = frozenset()
    examples = ()

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        return []

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        launch(self.write, bottom)

    def write(self, bottom: Sequence[Blob]) -> None:
        """Add the batch to the file."""
        mode = "a" if vars(self).setdefault("_begun", False) else "w"
        try:
            with h5py.File(self.file_name, mode) as file:
                for name, blob in zip(("data", "label"), bottom, strict=True):
                    values = device_of(blob.data).download(blob.data)
                    if name not in file:
                        file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=values.shape)
                        continue
                    file[name].resize(len(file[name]) + len(values), axis=0)
                    file[name][-len(values) :] = values
        except OSError as error:
            raise DataError(f"{self.place}: {self.file_name}: could not be written: {error}") from None
        self._begun = True
