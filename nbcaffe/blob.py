"""Named N-dimensional arrays with values and gradients."""

from math import prod
from typing import Any

from .device import device_of
from .errors import NbcaffeError, ShapeError
from .params import FillerSpec

MOST = 2**31 - 1  # Caffe's limit too: an index fits 32 bits on a GPU


class Blob:
    """``data`` and ``diff`` of one shape, views into a net's arenas; the shape comes first, the memory at bind time."""

    def __init__(self, shape: tuple[int, ...], name: str = ""):
        self.name = name
        self.shape = checked(shape, name)
        self._data: Any = None
        self._diff: Any = None
        self.overwritten_by = ""  # what the memory plan put in its place

    @property
    def data(self) -> Any:
        self._data = self._fitting(self._data)
        return self._usable(self._data, "data")

    @property
    def diff(self) -> Any:
        self._diff = self._fitting(self._diff)
        return self._usable(self._diff, "diff")

    def _fitting(self, array: Any) -> Any:
        """Between a blob's ``reshape`` and its net's: zeros of the new shape, which the net then takes over."""
        pending = array is not None and array.shape != self.shape
        return device_of(array).zeros(self.shape, array.dtype) if pending else array

    def _usable(self, array: Any, what: str) -> Any:
        if self.overwritten_by:
            raise NbcaffeError(
                f"blob {self.name!r}: its {what} was overwritten by {self.overwritten_by}, as the memory plan allows; "
                "build the net with memory='keep' to read every blob"
            )
        return array

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def num(self) -> int:
        return self._legacy(0)

    @property
    def channels(self) -> int:
        return self._legacy(1)

    @property
    def height(self) -> int:
        return self._legacy(2)

    @property
    def width(self) -> int:
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        return self.shape[axis] if axis < len(self.shape) else 1

    def reshape(self, *shape: int) -> None:
        """Ask for another shape: ``data`` has it at once, the rest of the net at its ``reshape()`` or ``forward()``."""
        self.shape = checked(shape, self.name)

    def __repr__(self) -> str:
        return f"Blob({self.name!r}, {'x'.join(map(str, self.shape)) or 'scalar'})"


class Weight(Blob):
    """A learned blob: what fills it, and how the solver treats it; one that is not ``learned`` has multipliers of 0."""

    def __init__(self, shape: tuple[int, ...], filler: FillerSpec, name: str = "", learned: bool = True):
        super().__init__(shape, name)
        self.filler, self.learned = filler, learned
        self.lr_mult, self.decay_mult = float(learned), float(learned)
        self.offset = 0  # in the arena of its net
        self.address = ("", 0)  # the name it is kept under, and its number there
        self.owner: Weight = self  # another layer's weight where a param name is shared
        self.late = False  # its gradient is computed when it is updated, and kept nowhere

    @property
    def root(self) -> "Weight":
        """The weight whose memory this one has."""
        return self if self.owner is self else self.owner.root

    @property
    def diff(self) -> Any:
        if self.late:
            raise NbcaffeError(
                f"layer {self.address[0]!r}: the gradient of weight {self.address[1]} is used as it is computed; "
                "to read it, build the solver with memory='keep' or give it a callback on_gradients_ready"
            )
        return super().diff


class Buffer:
    """Work space of a layer or engine; ``keep`` holds it from the forward to the backward pass, ``carried`` beyond.

    One that is ``only`` for a pass, forward or backward, has no memory in the other, nor in a net without that pass.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, keep: bool, carried: bool = False, only: str = ""):
        self.shape, self.dtype, self.keep, self.carried, self.only = shape, dtype, keep, carried, only
        self.data: Any = None


def checked(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    shape = tuple(int(n) for n in shape)
    if any(n < 0 for n in shape) or prod(shape) > MOST:
        raise ShapeError(f"blob {name!r}: a shape needs sizes of at least 0 and at most {MOST} elements, got {shape}")
    return shape
