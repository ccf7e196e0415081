"""The layer contract: declare parameters, infer shapes, compute forward and backward."""

import linecache
import re
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from .blob import Blob, Buffer, Weight
from .errors import ConfigError, ShapeError
from .lessons import WORDS
from .params import FillerSpec, Param

REGISTRY: dict[str, type["Layer"]] = {}

Count = int | tuple[int, int | None]


class Layer:
    """Base of every layer; defining a subclass makes its name a ``type`` in YAML.

    Attributes
    ----------
    num_bottom, num_top : int or (int, int or None)
        How many blobs it reads and makes; None means any number.
    inplace : bool
        Whether the top may take the bottom's memory.
    same_name : bool
        Whether its top may bear the bottom's name although it needs memory of its own.
    backward_needs : set
        Whose data the backward pass reads: "bottom", "top", both or neither.
    differentiable : tuple of int, or None
        The bottoms that can get a gradient; None means all, () means no backward pass.
    shares : str
        "" for own tops, "data" if each top is the bottom's data, "both" if also its diff (a view).
    resizes : bool
        Whether each pass may give the tops other shapes; :meth:`prepare` says which.
    per_sample : bool
        Whether each item along the first axis of its blobs is computed by itself; a recurrent net then takes all time
        steps at once where it can.
    examples : tuple of dict
        Parameters, and ``bottom``: a list of shapes; ``num_top`` if it is not the least.
        They are the layer's tests, its snippet and its benchmark.
    """

    params: ClassVar[dict[str, Param]] = {}
    param_group: ClassVar[str] = ""
    num_bottom: ClassVar[Count] = 1
    num_top: ClassVar[Count] = 1
    inplace: ClassVar[bool] = False
    same_name: ClassVar[bool] = False
    backward_needs: ClassVar[frozenset[str]] = frozenset({"bottom", "top"})
    differentiable: ClassVar[tuple[int, ...] | None] = None
    shares: ClassVar[str] = ""
    resizes: ClassVar[bool] = False
    per_sample: ClassVar[bool] = False
    loss: ClassVar[bool] = False
    kinks: ClassVar[tuple[float, ...]] = ()
    block: Any = None  # of an Unroll: the step that it repeats
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    bottom_shapes: ClassVar[tuple[tuple[int, ...], ...]] = ((2, 3, 5, 4),)

    def __init_subclass__(cls, abstract: bool = False, **keywords: Any):
        super().__init_subclass__(**keywords)
        cls.params = {**cls.params, **{k: v for k, v in vars(cls).items() if isinstance(v, Param)}}
        if abstract:
            return
        refuse_reserved(cls)
        known = REGISTRY.get(cls.__name__)
        if known and known.__module__ != cls.__module__ and home(known) != home(cls):
            raise TypeError(
                f"layer type {cls.__name__!r} is already defined in {known.__module__}; give yours another name"
            )
        cls.complete()
        cls.param_group = vars(cls).get("param_group") or snake(cls.__name__) + "_param"
        REGISTRY[cls.__name__] = cls

    def __init__(self, name: str = "", phase: str = "TRAIN", where: str = "", **values: Any):
        self.name, self.phase, self.where = name or type(self).__name__, phase, where
        defaults = {k: p.default for k, p in self.params.items()}
        vars(self).update({**defaults, **values})
        self.weights: list[Weight] = []
        self.type = type(self).__name__
        self.buffers: list[Buffer] = []
        self.propagate_down: list[bool] = []
        self.param_propagate: list[bool] = []  # which weights need their gradient
        self.seed = 0
        self.key = 0  # of the random generator, from the seed and the name
        self.clock: Any = None  # the pass that is running, in the target's memory
        self.dtype = np.dtype(np.float32)
        self.target = "cpu"
        self.num_tops = 1  # how many tops this one was given
        self.overwriting = False  # it runs in place: after the forward pass its bottom is gone
        self.top_names: tuple[str, ...] = ()
        self.states: dict[str, Buffer] = {}  # of its net: what is carried from one pass to the next, by name
        self._declared = 0

    @classmethod
    def complete(cls) -> None:
        """A family's own work on a new class, before its type is known; it may refuse."""

    def plan(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        """:meth:`setup` for these shapes; work space is declared anew, weights only the first time."""
        self.buffers, self._declared = [], 0
        return self.setup(bottom)

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        """Return the tops' shapes; declare weights and work space."""
        raise NotImplementedError

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Launch what computes the tops' data."""
        raise NotImplementedError

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Launch what overwrites the bottoms' diffs and adds to the weights' diffs."""
        raise NotImplementedError

    def prepare(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> list[tuple[int, ...]]:
        """Of a layer that ``resizes``: the tops' shapes in this pass, whose bottoms are there."""
        return [blob.shape for blob in top]

    def embed(self, index: int, table: "Layer") -> bool:
        """Whether this layer takes over the passes of the Embed that makes its bottom ``index``."""
        return False

    def finish(self, activation: "Layer") -> bool:
        """Whether this layer applies the activation that overwrites its top in its own forward pass."""
        return False

    def postpone(self) -> Sequence[Weight]:
        """The weights whose gradient this layer can leave to the update, as :meth:`gradient_factors`."""
        return ()

    def gradient_factors(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> Sequence[tuple[Weight, Any, Any]]:
        """Of such weights: matrices a (n, rows) and b (n, columns), the gradient being ``a^T b``."""
        return ()

    def scaled_by(self, layer: "Layer") -> bool:
        """Whether this layer takes over the passes of the Scale that alone reads its top, and writes that one's top."""
        return False

    def repeat(self, copies: Sequence["Layer"]) -> bool:
        """Whether this layer prepares its weights once for copies of it that run in turn in a recurrent layer.

        If so, :meth:`before_forward` and :meth:`before_backward` launch that, before the first of them runs.
        """
        return False

    def before_forward(self) -> None:
        """See :meth:`repeat`."""

    def before_backward(self) -> None:
        """See :meth:`repeat`."""

    def guard(self) -> None:
        """Look at what a forward pass left behind and raise where the input was bad."""

    @cached_property  # not a property: pycaffe's Python layers are given theirs
    def blobs(self) -> list[Weight]:
        """The weights, under pycaffe's name."""
        return self.weights

    @property
    def multiply_adds(self) -> int:
        """Of one forward pass, where products make up the work; known after :meth:`setup`."""
        return 0

    def weight(self, shape: tuple[int, ...], filler: FillerSpec, learned: bool = True) -> Weight:
        """Declare the next blob that is saved with the net; one that is not learned, the layer itself computes."""
        index, self._declared = self._declared, self._declared + 1
        if index == len(self.weights):
            self.weights.append(Weight(shape, filler, f"{self.name}/{index}", learned))
        elif self.weights[index].shape != tuple(shape):
            self.fail(f"the new input asks for weights of {tuple(shape)}, but it has {self.weights[index].shape}")
        return self.weights[index]

    def buffer(self, shape: Any, dtype: str = "", keep: bool = False, carried: bool = False, way: str = "") -> Buffer:
        """Declare work space; its ``data`` is there in forward and backward, and ``keep`` holds it between them.

        What is ``carried`` is zeros at the beginning and keeps its values from one pass to the next.  With ``way``, the
        name of a direction that :meth:`pass_of` knows, it is there in that pass only.
        """
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.buffers.append(Buffer(shape, dtype or self.dtype.name, keep, carried, self.pass_of(way)))
        return self.buffers[-1]

    def pass_of(self, way: str) -> str:
        """In which pass an engine's direction runs: forward, or the gradient of "data" or "weights"; "" is any."""
        return "backward" if way in ("data", "weights") else way

    def axis_of(self, blob: Blob, axis: int) -> int:
        """``axis`` of a blob counted from the front, or an error that says how many there are."""
        axes = len(blob.shape)
        if not -axes <= axis < axes:
            self.fail(f"axis {axis} is none of the {axes} axes of the bottom, {blob.shape}")
        return axis % axes

    @property
    def place(self) -> str:
        """Line of the net file, name and type, for messages: ``net.yaml:5: layer 'data' (HDF5Data)``."""
        return f"{self.where + ': ' if self.where else ''}layer {self.name!r} ({type(self).__name__})"

    def fail(self, message: str) -> None:
        raise ShapeError(f"{self.place}: {message}")

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """A test value for bottom ``index``; labels and the like override this."""
        return rng.standard_normal(shape)


class Loss(Layer, abstract=True):
    """A layer whose first top is a scalar that training minimises; its default loss_weight is 1."""

    loss = True
    num_bottom: ClassVar[Count] = 2


KEYS = {
    "name",
    "type",
    "bottom",
    "top",
    "phase",
    "param",
    "loss_weight",
    "include",
    "exclude",
    "home",
}  # of every layer


def refuse_reserved(cls: type[Layer]) -> None:
    """Raise where a parameter takes a name that the layer itself, its YAML or a kernel body uses."""
    bases = [vars(base) for base in cls.__mro__[1:] if issubclass(base, Layer)]
    own = {name for base in bases for name, value in base.items() if callable(value) or isinstance(value, property)}
    own |= {*vars(Layer), *vars(Layer()), *KEYS, *WORDS}
    for name, value in vars(cls).items():
        if isinstance(value, Param) and name in own:
            file, line = declaration(name)
            raise ConfigError(
                f"{file}:{line}: {cls.__name__}: parameter {name!r} has the name of something that every layer or "
                f"kernel body uses; call it {name}_value or the like"
            )


def declaration(name: str) -> tuple[str, int]:
    """Where the class that is being defined declares ``name``; the class's own line if that cannot be read."""
    frame = sys._getframe(1)
    while frame.f_code.co_name in ("refuse_reserved", "__init_subclass__") and frame.f_back:
        frame = frame.f_back
    file, first = frame.f_code.co_filename, frame.f_lineno
    linecache.checkcache(file)
    for line in range(first, len(linecache.getlines(file)) + 1):
        if re.match(rf"\s+{name}\s*[:=]", linecache.getline(file, line)):
            return file, line
    return file, first


def home(cls: type) -> str:
    """The file that a class stands in, or the name of its module: two modules may be one file that was run twice."""
    return str(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__)


def snake(name: str) -> str:
    """``InnerProduct`` to ``inner_product``, as caffe.proto names its messages."""
    known = {"ReLU": "relu", "PReLU": "prelu", "ELU": "elu", "TanH": "tanh", "LRN": "lrn", "MVN": "mvn", "SPP": "spp"}
    known |= {
        "BNLL": "bnll",
        "HDF5Data": "hdf5_data",
        "HDF5Output": "hdf5_output",
        "LSTM": "recurrent",
        "RNN": "recurrent",
    }
    if name in known:
        return known[name]
    return "".join(("_" if i and c.isupper() else "") + c.lower() for i, c in enumerate(name))
