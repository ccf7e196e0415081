"""A layer written in plain Python against pycaffe's interface, on any target: its arrays are on the host."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..blob import Blob
from ..device import device_of
from ..errors import ConfigError, NbcaffeError
from ..fillers import given
from ..kernel import launch
from ..layer import Layer
from ..params import Bool, Str, did_you_mean


class HostBlob:
    """A Blob as pycaffe has it: ``data`` and ``diff`` are NumPy arrays, on the host the blob's own memory."""

    def __init__(self, blob: Blob, owner: Layer):
        self.blob, self.owner = blob, owner
        self.settled = False  # its shape, in the midst of a pass
        self._host: dict[str, np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "num", "channels", "height", "width", "count"):
            return getattr(self.blob, name)
        raise AttributeError(f"a Blob has no attribute {name!r}")

    @property
    def data(self) -> np.ndarray:
        return self._array("_data")

    @property
    def diff(self) -> np.ndarray:
        return self._array("_diff")

    def _array(self, slot: str) -> np.ndarray:
        array = getattr(self.blob, slot)
        if isinstance(array, np.ndarray):
            return array
        if slot not in self._host or self._host[slot].shape != self.blob.shape:
            self._host[slot] = np.zeros(self.blob.shape, self.owner.dtype)
            self.fetch(slot)
        return self._host[slot]

    def fetch(self, *slots: str) -> None:
        """Copy from the target, if its arrays are not the host's."""
        for slot in slots:
            array = getattr(self.blob, slot)
            if array is not None and not isinstance(array, np.ndarray):
                self._host[slot] = np.array(device_of(array).download(array))

    def store(self, slot: str) -> None:
        array = getattr(self.blob, slot)
        if array is not None and not isinstance(array, np.ndarray):
            device_of(array).upload(array, self._host[slot])

    def reshape(self, *shape: int) -> None:
        if self.settled and tuple(shape) != self.blob.shape:
            self.owner.fail(
                f"forward wants the shape {tuple(shape)} for {self.blob.name!r}, which has {self.blob.shape}; "
                "shapes are given in reshape, which runs before each pass"
            )
        self.blob.reshape(*shape)


class Weights(list):
    """``self.blobs`` of a Python layer: weights that its ``setup`` adds and fills."""

    owner: Layer

    def add_blob(self, *shape: int) -> HostBlob:
        """A learned blob of zeros; what ``setup`` writes into its data is what training starts from."""
        self.append(HostBlob(Blob(shape, f"{self.owner.name}/{len(self)}"), self.owner))
        return self[-1]


class HalfSquaredDistance:
    """The smallest such class: half the squared distance of two bottoms; ``param_str`` is a factor."""

    param_str: str

    def setup(self, bottom: Any, top: Any) -> None:
        self.factor = float(self.param_str or 1)

    def reshape(self, bottom: Any, top: Any) -> None:
        top[0].reshape()

    def forward(self, bottom: Any, top: Any) -> None:
        self.distance = bottom[0].data - bottom[1].data
        top[0].data[...] = 0.5 * self.factor * (self.distance**2).sum()

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        for index, sign in enumerate((1, -1)):
            if propagate_down[index]:
                bottom[index].diff[...] = sign * self.factor * top[0].diff * self.distance


class Python(Layer):
    """A class of yours with pycaffe's methods: ``setup``, ``reshape``, ``forward``, ``backward``.

    ``setup(bottom, top)`` runs once, ``reshape(bottom, top)`` gives the tops their shapes, then before each pass too,
    ``forward(bottom, top)`` fills ``top[i].data``, ``backward(top, propagate_down, bottom)`` fills ``bottom[i].diff``.
    It finds ``self.param_str``, ``self.phase`` and ``self.blobs`` (``self.blobs.add_blob(3, 4)`` in ``setup``).  Arrays
    are NumPy's; on a GPU they are copied to the host and back, which is slow: a layer of kernels runs there itself.
    The module is looked for in the net's folder, then as Python does.  ``loss_weight: 1`` makes it a loss.
    """

    module = Str(doc="the Python module that holds the class")
    layer = Str(doc="the class")
    param_str = Str("", doc="what the class finds as self.param_str")
    share_in_parallel = Bool(False, doc="accepted for Caffe's files; changes nothing here")
    num_bottom = (0, None)
    num_top = (0, None)
    resizes = True
    bottom_shapes = ((3, 2), (3, 2))
    examples = (
        {"module": "nbcaffe.layers.python_layer", "layer": "HalfSquaredDistance", "param_str": "0.5", "num_top": 1},
    )
    user: Any = None

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        bottoms = [HostBlob(blob, self) for blob in bottom]
        tops = [HostBlob(Blob((), f"top {index}"), self) for index in range(self.num_tops)]
        if self.user is None:
            self.user = self.create()
            self.user.setup(bottoms, tops)
        for view in self.user.blobs:
            view.blob = self.weight(view.shape, given(view.data))
        self.user.reshape(bottoms, tops)
        self.fresh = True  # reshape has been called for the next pass
        return [view.shape for view in tops]

    def create(self) -> Any:
        """The user's object, with what pycaffe gives it."""
        with net_folder(self.where):
            try:
                module = importlib.import_module(self.module)
            except ModuleNotFoundError as error:
                raise ConfigError(f"{self.place}: module {self.module!r}: {missing(error, self.module)}") from error
        kind = getattr(module, self.layer, None)
        if not isinstance(kind, type):
            classes = [name for name, value in vars(module).items() if isinstance(value, type)]
            raise ConfigError(
                f"{self.place}: module {self.module!r} has no class {self.layer!r}{did_you_mean(self.layer, classes)}"
            )
        user: Any = kind(self.name, self.phase) if issubclass(kind, Layer) else kind()
        user.param_str, user.phase, user.blobs = self.param_str, self.phase, Weights()
        user.blobs.owner = self
        return user

    def prepare(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> list[tuple[int, ...]]:
        """pycaffe calls reshape before each pass; data layers load their next batch there."""
        views = [HostBlob(Blob(blob.shape, blob.name), self) for blob in top]
        if not self.fresh:
            self.user.reshape([HostBlob(blob, self) for blob in bottom], views)
        self.fresh = False
        return [view.shape for view in views]

    def views(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> tuple[list[HostBlob], list[HostBlob]]:
        both = [HostBlob(blob, self) for blob in bottom], [HostBlob(blob, self) for blob in top]
        for view in both[1]:
            view.settled = True
        return both

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        launch(self.run_forward, *self.views(bottom, top))

    def run_forward(self, bottom: list[HostBlob], top: list[HostBlob]) -> None:
        for view in (*bottom, *self.user.blobs):
            view.fetch("_data")
        self.user.forward(bottom, top)
        for view in (*top, *self.user.blobs):
            view.store("_data")

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not hasattr(self.user, "backward"):
            raise NbcaffeError(f"{self.place}: {self.layer} has no backward; write it, or set propagate_down: false")
        launch(self.run_backward, *self.views(bottom, top))

    def run_backward(self, bottom: list[HostBlob], top: list[HostBlob]) -> None:
        for view in (*top, *bottom, *self.user.blobs):
            view.fetch("_data", "_diff")
        self.user.backward(top, list(self.propagate_down), bottom)
        for view in (*bottom, *self.user.blobs):
            view.store("_diff")


def missing(error: ModuleNotFoundError, module: str) -> str:
    if error.name == "caffe":
        return "it imports caffe; write `import nbcaffe as caffe` there"
    if error.name == module.partition(".")[0]:
        return "there is none in the net's folder nor on Python's path; set PYTHONPATH to its folder"
    return str(error)


@contextmanager
def net_folder(where: str) -> Iterator[None]:
    """Let imports look in the folder of the net file first, then in the current one."""
    net = Path(where.rpartition(":")[0])
    folders = [str(net.parent.resolve())] if net.is_file() else []
    added = [*folders, str(Path.cwd())]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)
