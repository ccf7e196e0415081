"""Class labels: where they are, what they count for, and that none is out of range."""

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from ..blob import Blob
from ..device import device_of
from ..errors import LabelError
from ..kernel import device
from ..layer import Layer


@device
def label_state(value, classes, ignored, ignores):
    """0 for a label to count, 1 for one to ignore, 2 for one that no class has."""
    if not -2147483648.0 < value < 2147483648.0:  # NaN too
        return 2
    whole = int(value)
    if ignores != 0 and whole == ignored:
        return 1
    return 0 if 0 <= whole < classes else 2


class Labelled(Layer, abstract=True):
    """Scores in bottom 0, one class label in bottom 1 for each place outside the class axis.

    Kernels write :func:`label_state` and the label for each place; :meth:`guard` looks at them after the pass.
    """

    ignore_label: Any  # declared by each layer, since Caffe keeps it in different groups
    differentiable: ClassVar[tuple[int, ...] | None] = (0,)

    def places(self, bottom: Sequence[Blob], axis: int) -> tuple[int, int, int]:
        """Sizes (outer, classes, inner) of the scores around the class axis; declares the buffers for the labels."""
        shape, labels = bottom[0].shape, bottom[1].shape
        axes = len(shape)
        along = axis + axes if axis < 0 else axis
        if not 0 <= along < axes:
            self.fail(f"axis {axis} is none of the {axes} axes of the scores, {shape}")
        outer, classes, inner = prod(shape[:along]), shape[along], prod(shape[along + 1 :])
        if prod(labels) != outer * inner:
            expected = (*shape[:along], *shape[along + 1 :])
            self.fail(
                f"scores of shape {shape} need {outer * inner} labels (shape {expected}, integers 0 to {classes - 1}), "
                f"got shape {labels}"
            )
        self.state = self.buffer((outer, inner), "int32", keep=True)
        self.seen = self.buffer((outer, inner), keep=True)
        self.sizes = (outer, classes, inner)
        return self.sizes

    @property
    def ignored(self) -> tuple[int, int]:
        """The label to ignore and whether there is one, for kernels."""
        return (0, 0) if self.ignore_label is None else (self.ignore_label, 1)

    def guard(self) -> None:
        download = device_of(self.state.data).download
        state = download(self.state.data)
        if state.size == 0 or state.max() < 2:
            return
        _, classes, inner = self.sizes
        item, place = divmod(int((state.reshape(-1) == 2).argmax()), inner)
        value = float(download(self.seen.data)[item, place])
        shown = int(value) if value == value and abs(value) < 2**31 else value
        at = f"item {item}" + (f", position {place}" if inner > 1 else "")
        ignored = f" (or {self.ignore_label}, which is ignored)" if self.ignore_label is not None else ""
        raise LabelError(
            f"{self.place}: label {shown} at {at} of the batch, expected 0 to {classes - 1}{ignored}; "
            "correct the data, set ignore_label, or raise num_output"
        )
