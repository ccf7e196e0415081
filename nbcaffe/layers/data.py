"""Layers without bottoms: where a net's numbers come from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import rng
from ..blob import Blob
from ..data.hdf5 import HDF5Source
from ..data.memory import MemorySource
from ..device import device_of
from ..errors import DataError
from ..fillers import fill
from ..kernel import launch
from ..layer import Layer
from ..params import Bool, Filler, FillerSpec, Float, Int, Ints, Param, Shapes, Str


class Fillers(Param[tuple[FillerSpec, ...]]):
    """A filler, or one for each top: caffe.proto's repeated FillerParameter."""

    kind = "a filler or a list of fillers"
    wrong: tuple = ("no_such_filler", 3, {"type": "gaussian", "no_such_key": 1}, ["no_such_filler"])

    def convert(self, value: Any) -> Any:
        items = value if isinstance(value, list | tuple) else (value,)
        one = Filler()
        one.name = self.name
        return tuple(one.convert(item) for item in items)


class Source(Layer, abstract=True):
    """Tops that come from the host; a source object reads them, once each pass."""

    num_bottom = 0
    differentiable = ()
    backward_needs = frozenset()
    bottom_shapes = ()
    source: Any = None

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        launch(self.read, top)

    def read(self, top: Sequence[Blob]) -> None:
        """Read a batch into host memory and hand it to the target."""
        arrays = [device_of(blob.data).download(blob.data) for blob in top]
        try:
            self.source.read(arrays)
        except DataError as error:
            raise self.named(error) from error
        for blob, array in zip(top, arrays, strict=True):
            if array is not blob.data:
                device_of(blob.data).upload(blob.data, array)

    @property
    def folder(self) -> Path | None:
        """Where relative paths start: the folder of the net file."""
        return Path(self.where.rpartition(":")[0]).parent if self.where else None

    def load(self, make: Callable[..., Any], *facts: Any, **more: Any) -> None:
        """Make the source object of what the user gave; the next time it is there."""
        if isinstance(self.source, str | tuple):
            try:
                self.source = make(*facts, **more)
            except DataError as error:
                raise self.named(error) from error

    def named(self, error: DataError) -> DataError:
        """The same complaint, with the place in the net file that asked for the data."""
        return DataError(f"{self.place}: {error}")


class Input(Layer):
    """Tops that the user fills: ``net.blobs["data"].data[...] = ...``.  One shape for all tops, or one for each."""

    shape = Shapes(doc="shape of each top")
    num_bottom = 0
    num_top = (1, None)
    differentiable = ()
    backward_needs = frozenset()
    bottom_shapes = ()
    examples = ({"shape": [2, 3]},)

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        if len(self.shape) not in (1, self.num_tops):
            self.fail(f"needs one shape, or one for each of its {self.num_tops} tops, got {len(self.shape)}")
        return list(self.shape) * (self.num_tops if len(self.shape) == 1 else 1)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass  # the user fills the tops


class DummyData(Source):
    """Tops from fillers, for trying a net without data: the same constants or fresh random values in every pass."""

    data_filler = Fillers((), doc="one filler for all tops, or one for each; constant 0 if not given")
    shape = Shapes((), doc="one shape for all tops, or one for each")
    num = Ints((), ge=0, doc="old form of shape: the first axis; channels, height and width follow")
    channels = Ints((), ge=0, doc="old form of shape")
    height = Ints((), ge=0, doc="old form of shape")
    width = Ints((), ge=0, doc="old form of shape")
    num_top = (1, None)
    examples = (
        {"shape": [2, 3], "data_filler": {"type": "constant", "value": 1.5}},
        {"shape": [2], "data_filler": "gaussian"},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        old = (self.num, self.channels, self.height, self.width)
        if bool(self.shape) == any(old) or len({len(axis) for axis in old}) > 1:
            self.fail("needs shape, or num, channels, height and width with as many values each, and not both")
        shapes = self.shape or tuple(zip(*old, strict=True))
        fillers = self.data_filler or (FillerSpec(),)
        for name, given in (("shape", shapes), ("data_filler", fillers)):
            if len(given) not in (1, self.num_tops):
                self.fail(f"needs one {name}, or one for each of its {self.num_tops} tops, got {len(given)}")
        self.fillers = list(fillers) * (self.num_tops if len(fillers) == 1 else 1)
        return list(shapes) * (self.num_tops if len(shapes) == 1 else 1)

    def read(self, top: Sequence[Blob]) -> None:
        device = device_of(self.clock)
        now = int(device.download(self.clock)[0])
        for index, (blob, filler) in enumerate(zip(top, self.fillers, strict=True)):
            device.upload(blob.data, fill(filler, blob.shape, rng.key(self.key, index, now)))


class HDF5Data(Source):
    """Batches of datasets in HDF5 files, each top from the dataset of its name.

    ``source`` is an HDF5 file or a text file that lists several, one a line; batches run across file boundaries and
    start again at the end.  Only the rows that are needed are read.  Relative paths start at the net's folder, then at
    the working directory.
    """

    source: Any = Str(doc="an HDF5 file, or a text file with one a line")
    batch_size = Int(ge=1, doc="samples in a batch")
    shuffle = Bool(False, doc="a fresh order in each epoch, from the seed")
    scale = Float(
        1.0,
        doc="factor for the first top, so that pictures can be stored as bytes (ours, not Caffe's)",
        group="transform_param",
    )
    num_top = (1, None)
    examples = ()

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        names = self.top_names or ("data", "label")[: self.num_tops]
        given = (self.source, self.batch_size, names, self.shuffle, self.key)
        self.load(HDF5Source, *given, scale=self.scale, folder=self.folder)
        return [(self.batch_size, *shape[1:]) for shape in self.source.shapes]


class MemoryData(Source):
    """Batches of arrays that the user hands over with ``net.set_input_arrays(data, labels)``, in their order."""

    batch_size = Int(ge=1, doc="samples in a batch")
    channels = Int(ge=1, doc="channels of a sample")
    height = Int(ge=1, doc="height of a sample")
    width = Int(ge=1, doc="width of a sample")
    num_top = 2
    examples = ()

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        if self.source is None:
            self.source = MemorySource(self.batch_size, (self.channels, self.height, self.width))
        return [(self.batch_size, *shape[1:]) for shape in self.source.shapes]

    def set_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Use these samples from the next pass on."""
        self.source.set_arrays(data, labels)
