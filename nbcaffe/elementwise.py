"""Layers of one scalar function: give ``f``; both targets, both passes and the tests come by themselves.

A class that derives from :class:`Elementwise` states ``f(x, ..., parameters)``.  Arguments that are declared parameters
are passed on; the others are the bottoms, in this order.  The derivatives are derived from the text of ``f``
(:mod:`nbcaffe.derive`) unless they are given.
"""

from collections.abc import Callable, Sequence
from math import isfinite, prod
from typing import Any, ClassVar, NamedTuple

from .blob import Blob
from .derive import derivative
from .errors import KernelError
from .formula import BLOCK, Formula, Writer, arguments, read_formula
from .kernel import Kernel, kernel
from .layer import Layer
from .params import Filler, FillerSpec
from .rewrite import Device, source_from
from .sums import LANES, add_column_sums, blocks


class Learned(Filler):
    """A learned number in a scalar function: a weight with gradient, filler, ``lr_mult`` and all.

    Parameters
    ----------
    init : float or filler
        What it starts from; in YAML a number or a filler under its name changes it.
    shape : {"channel", "shared"}
        One value for each channel (axis 1), or one for all.
    key : str
        Its name in YAML, where that is not the name in ``f``.
    """

    kind = "a number, or a filler such as {type: gaussian, std: 0.1}"
    wrong: tuple = ("no_such_filler", True, {"type": "gaussian", "no_such_key": 1}, ["xavier"])

    def __init__(self, init: Any, shape: str = "channel", *, key: str = "", doc: str = ""):
        if shape not in ("channel", "shared"):
            raise KernelError(f"Learned: shape is 'channel' or 'shared', got {shape!r}")
        self.shape, self.key = shape, key
        super().__init__(init, doc=doc)

    def __set_name__(self, owner: type, name: str) -> None:
        self.argument, self.key = name, self.key or name
        super().__set_name__(owner, self.key)

    def convert(self, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return FillerSpec(value=float(value))
        return super().convert(value)


class Layout(NamedTuple):
    """How a blob is cut into rows, so that each row has one value of each learned number, or each column has."""

    form: str  # "flat": nothing is learned; "rows": a channel is a row; "columns": it is a column
    rows: int
    width: int
    channels: int


@kernel
def add_rows(c, sums, diff, step):
    """Add the sums of every ``step``-th row, from row ``c``, to the gradient of channel ``c``."""
    total = 0.0
    for row in range(c, sums.shape[0], step):
        for lane in range(sums.shape[1]):
            total += sums[row, lane]
    diff[c] += total


class Elementwise(Layer, abstract=True):
    """One top, computed element by element from bottoms of one size: ``top = f(bottoms, parameters)``.

    Attributes
    ----------
    f : function
        Of scalars, with branches, loops, :mod:`math`, look-ups in small arrays and other ``@device`` functions.
    df, df_<name> : function, optional
        Its derivative by the only bottom, or by the argument ``<name>``.  It names what it needs: arguments of ``f``,
        and ``y`` for the top.  A layer whose derivatives need only ``y`` can run in place.
    surrogate : function, optional
        The backward pass differentiates this one in the place of ``f``; it names which arguments of ``f`` it needs.
    """

    per_sample = True
    f: ClassVar[Callable]
    surrogate: ClassVar[Callable | None] = None
    formula: ClassVar[Formula]
    learned: ClassVar[dict[str, Learned]] = {}
    arity: ClassVar[int | None] = None
    upstream: ClassVar[str] = "top_diff[{at}]"  # the gradient that reaches one element of f
    stand_in = False  # a check sets it: forward computes the surrogate
    _kernels: ClassVar[dict[tuple, Kernel]]

    def __init_subclass__(cls, abstract: bool = False, surrogate: Callable | None = None, **keywords: Any):
        if surrogate is not None:
            cls.surrogate = staticmethod(surrogate)
        super().__init_subclass__(abstract, **keywords)

    @classmethod
    def complete(cls) -> None:
        cls.params = {p.name: p for p in cls.params.values()}
        cls.learned = {p.argument: p for p in cls.params.values() if isinstance(p, Learned)}
        cls.formula = formula = read_formula(cls, cls.learned)
        cls._kernels = {}
        cls.num_bottom = len(formula.bottoms)
        if "bottom_shapes" not in vars(cls):
            cls.bottom_shapes = cls.bottom_shapes[:1] * cls.num_bottom
        if "backward_needs" not in vars(cls):
            cls.backward_needs = formula.needs
            cls.inplace = cls.num_bottom == 1 and "bottom" not in formula.needs
        if not cls.__module__.startswith("nbcaffe.") and cls.differentiable != ():
            for name in formula.derived:  # an author hears at once what has no derivative
                cls.derive((name,))

    @classmethod
    def derive(cls, names: tuple[str, ...]) -> Device:
        """The derivatives by ``names`` as one scalar function; its ``source`` can be read."""
        return derivative(cls.formula.smooth(names), names)

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        first = bottom[0]
        for blob in bottom[1:]:
            if blob.count != first.count:
                self.fail(f"needs bottoms of one size, got shapes {' and '.join(str(b.shape) for b in bottom)}")
        self.layout = self.cut(first.shape)
        form, rows, width, _ = self.layout
        for name, learned in self.learned.items():
            self.weight(self.learned_shape(name, first.shape), getattr(self, learned.key))
        groups, lanes = (-(-rows // BLOCK), width) if form == "columns" else (rows, LANES)
        self.sums = {name: self.buffer((groups, lanes)) for name in self.learned}
        return [first.shape]

    def per_channel(self, name: str) -> bool:
        """Whether the learned number ``name`` has a value for each channel."""
        return self.learned[name].shape == "channel"

    def learned_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[1] if len(shape) > 1 else 1,) if self.per_channel(name) else ()

    def cut(self, shape: tuple[int, ...]) -> Layout:
        if not self.learned:
            return Layout("flat", 1, prod(shape), 1)
        batch, rest = (shape[0], shape[1:]) if len(shape) > 1 else (1, shape)
        if len(shape) < 2 or not any(map(self.per_channel, self.learned)):
            return Layout("rows", batch, prod(rest), 1)
        if prod(rest[1:]) == 1:
            return Layout("columns", batch, rest[0], rest[0])
        return Layout("rows", batch * rest[0], prod(rest[1:]), rest[0])

    def kernel(self, direction: str, names: tuple[str, ...] = ()) -> Kernel:
        """The kernel of one direction for this layout, made when first asked for."""
        each = tuple(name for name in self.learned if self.per_channel(name))
        key = (direction, self.layout.form, each, names)
        if key not in self._kernels:
            writer = Writer(self.formula, self.layout.form, each)
            if direction == "backward":
                text, scope = writer.backward(names, self.upstream, self.derive)
            else:
                text, scope = writer.forward(
                    self.formula.f if direction == "forward" else self.formula.surrogate or self.formula.f
                )
            team = direction == "backward" and self.layout.form != "flat"
            self._kernels[key] = Kernel(source_from(text, scope, self.formula.f.source.file), team=team)
        return self._kernels[key]

    def view(self, array: Any) -> Any:
        """A blob's array, or a learned number's, as the kernels index it."""
        _, rows, width, _ = self.layout
        return array.reshape(width) if self.layout.form == "flat" else array.reshape(rows, width)

    def constants(self) -> list:
        return [getattr(self, name) for name in self.formula.parameters]

    @property
    def finite(self) -> bool:
        """Whether its parameters can be written into a body."""
        return all(isinstance(value, int | float) and isfinite(value) for value in self.constants())

    def call(self, name: str, fn: Device, taken: Sequence[str], y: str = "") -> str:
        """The text of a call of ``fn``, one of its scalar functions, on bottoms and top of these names."""
        known = {"y": y, **dict(zip(self.formula.bottoms, taken, strict=True))}
        known |= {param: repr(getattr(self, param)) for param in self.formula.parameters if param not in known}
        return f"{name}({', '.join(known[argument] for argument in arguments(fn))})"

    def numbers(self) -> list:
        """The learned numbers, and how many channels take turns."""
        data = [w.data.reshape(w.count) for w in self.weights]
        return [*data, self.layout.channels] if data else []

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.evaluate(bottom, top[0].data)

    def evaluate(self, bottom: Sequence[Blob], out: Any) -> None:
        """Launch f, or its stand-in where a check asks for it, for each element."""
        run = self.kernel("surrogate" if self.stand_in and self.surrogate else "forward")
        shape = self.layout.width if self.layout.form == "flat" else (self.layout.rows, self.layout.width)
        run[shape](*(self.view(b.data) for b in bottom), *self.numbers(), self.view(out), *self.constants())

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.differentiate(bottom, top, self.view(top[0].data), self.view(top[0].diff))

    def differentiate(self, bottom: Sequence[Blob], top: Sequence[Blob], y: Any, dy: Any, *more: Any) -> None:
        """Launch the gradients that are asked for; ``more`` is what ``upstream`` names beside ``top_diff``."""
        moved = [b for b, need in zip(bottom, self.propagate_down, strict=True) if need]
        names = [n for n, need in zip(self.formula.bottoms, self.propagate_down, strict=True) if need]
        learning = [n for n, need in zip(self.learned, self.param_propagate, strict=True) if need]
        if not names and not learning:
            return
        run = self.kernel("backward", (*names, *learning))
        outputs = [*(self.view(b.diff) for b in moved), *(self.sums[n].data for n in learning)]
        values = (*(self.view(b.data) for b in bottom), *self.numbers(), y, dy)
        form, _, width, channels = self.layout
        run[width if form == "flat" else self.groups](*values, *outputs, *more, *self.constants())
        for index, name in enumerate(self.learned):
            if name in learning:
                diff = self.weights[index].diff.reshape(self.weights[index].count)
                if form == "columns" and self.per_channel(name):
                    sums = self.sums[name].data
                    add_column_sums[blocks(channels)](sums, sums, diff)
                else:
                    add_rows[diff.size](self.sums[name].data, diff, diff.size)

    @property
    def groups(self) -> int:
        """How many rows of partial sums there are."""
        return next(iter(self.sums.values())).shape[0]


class Activation(Elementwise, abstract=True):
    """``y = f(x, parameters)``: one input; see :class:`Elementwise`."""

    arity = 1
    same_name = True
