"""What kernels do: which float types they compute in, and which elements each index reads and writes.

For the second, bodies run as plain Python, one index after the other, on arrays that keep a book.
"""

import linecache
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import numba
import numpy as np
from numba.core import ir, types

from ..emit import CPU, Module
from ..kernel import Kernel, signature
from .case import Case
from .finding import Finding

HEAD = "import math\nimport numpy as np\n\nunsigned = int\nreal = np.{dtype}\n"
MOST = 4096  # indices of a launch; larger ones run compiled and unwatched

Handle = Callable[[Kernel, tuple[int, ...], tuple], None]


@contextmanager
def launches(handle: Handle) -> Iterator[Callable]:
    """Each launch of a kernel calls ``handle(kernel, shape, args)`` instead; yields how one is bound otherwise."""
    bind = Kernel.bind
    setattr(Kernel, "bind", lambda kernel, shape, *args: (partial(handle, kernel, shape, args),))  # noqa: B010
    try:
        yield bind
    finally:
        setattr(Kernel, "bind", bind)  # noqa: B010


# -- float64 -----------------------------------------------------------------------------------------------------------


def no_double(case: Case) -> Finding:
    """No value of a float32 kernel has type float64, literals aside, which are converted when it is compiled."""
    seen: dict[tuple, tuple[Kernel, tuple]] = {}
    with launches(lambda kernel, shape, args: note(seen, bind, kernel, shape, args)) as bind:
        case.run()
    faults = dict.fromkeys(text for kernel, call in seen.values() for text in doubles(kernel, call))
    return Finding(float(len(faults)), "; ".join(faults))


def note(seen: dict, bind: Callable, kernel: Kernel, shape: tuple[int, ...], args: tuple) -> None:
    fn, *rest = bind(kernel, shape, *args)
    fn(*rest)
    bound = rest[len(shape) :]
    arrays = [a for a in bound if hasattr(a, "dtype") and a.dtype.kind == "f"]
    if arrays and arrays[0].dtype == np.float32:
        seen.setdefault((id(kernel), *map(signature, bound)), (kernel, (shape, tuple(bound))))


def doubles(kernel: Kernel, call: tuple) -> Iterator[str]:
    """One sentence for each line of the body, or of what it calls, that computes in float64."""
    shape, args = call
    module = kernel.module("cpu", len(shape), "float32", kernel.arrays(len(shape), args))
    body = getattr(module, kernel.source.tree.name)
    if not hasattr(body, "overloads"):  # NUMBA_DISABLE_JIT
        return
    kinds = (*(types.int64 for _ in shape), *(numba.typeof(a) for a in args))
    body.compile(kinds)
    annotation = body.overloads[kinds].type_annotation
    for statement in (s for block in annotation.blocks.values() for s in block.body):
        if not isinstance(statement, ir.Assign) or literal(statement.value, annotation.typemap):
            continue
        if annotation.typemap.get(statement.target.name) in (types.float64, types.complex128):
            loc = statement.loc
            line = linecache.getline(loc.filename, loc.line).strip()
            advice = "an integer in it? write float(n); np.float64, or an array of it?"
            yield f"kernel {kernel.__name__!r} computes in float64 at {loc.filename}:{loc.line}: `{line}`: {advice}"
            return


def literal(value: Any, typemap: dict) -> bool:
    """A number as it stands in the text, or ``float('inf')``: on its way into ``real(...)``."""
    if isinstance(value, ir.Expr) and value.op == "call":
        return any(isinstance(getattr(typemap[a.name], "literal_value", None), str) for a in value.args)
    return isinstance(value, ir.Const | ir.Global | ir.FreeVar | ir.Arg)


# -- who reads and writes what ---------------------------------------------------------------------------------------


class Book:
    """For one launch: which index wrote and which read each element."""

    def __init__(self) -> None:
        self.index: tuple[int, ...] = ()
        self.writers: dict[int, tuple] = {}
        self.readers: dict[int, tuple] = {}
        self.fault = ""

    def watch(self, name: str, value: Any) -> Any:
        return Watched(name, value, self) if isinstance(value, np.ndarray) and value.ndim else value

    def wrote(self, address: int, name: Callable[[], str]) -> None:
        other = self.writers.setdefault(address, self.index)
        reader = self.readers.get(address, self.index)
        if other != self.index:
            self.blame(f"{indices(other)} and {indices(self.index)} both write {name()}")
        elif reader != self.index:
            self.blame(f"{indices(reader)} reads {name()}, which {indices(self.index)} writes")

    def read(self, address: int, name: Callable[[], str]) -> None:
        writer = self.writers.get(address, self.index)
        if writer != self.index:
            self.blame(f"{indices(self.index)} reads {name()}, which {indices(writer)} writes")
        if self.readers.setdefault(address, self.index) != self.index:
            self.readers[address] = SEVERAL

    def blame(self, text: str) -> None:
        self.fault = self.fault or text


SEVERAL = ("another",)


def indices(index: tuple) -> str:
    return "another index" if index is SEVERAL else f"index {', '.join(map(str, index))}"


class Watched:
    """An array argument of a body; it looks like an array where a body may look."""

    def __init__(self, name: str, array: np.ndarray, book: Book):
        self.name, self.array, self.book = name, array, book
        self.shape, self.ndim, self.size, self.dtype = array.shape, array.ndim, array.size, array.dtype
        self.start, self.strides = array.ctypes.data, array.strides

    def __len__(self) -> int:
        return len(self.array)

    def address(self, key: Any) -> tuple[int, tuple[int, ...]] | None:
        """Where an element lies, and its full index; None for a slice, which is not watched."""
        try:
            index = tuple(operator.index(k) for k in (key if isinstance(key, tuple) else (key,)))
        except TypeError:
            return None
        if len(index) != self.ndim:
            return None
        for position, n in zip(index, self.shape, strict=True):
            if not 0 <= position < n:
                raise IndexError(f"{self.name}{list(index)} is outside its shape {self.shape}")
        return self.start + sum(i * s for i, s in zip(index, self.strides, strict=True)), index

    def __getitem__(self, key: Any) -> Any:
        place = self.address(key)
        if place is None:
            return self.array[key]
        self.book.read(place[0], lambda: f"{self.name}{list(place[1])}")
        return self.array[place[1]]

    def __setitem__(self, key: Any, value: Any) -> None:
        place = self.address(key)
        if place is not None:
            self.book.wrote(place[0], lambda: f"{self.name}{list(place[1])}")
        self.array[key if place is None else place[1]] = value


class Tracer:
    """Runs launches in Python; keeps the first fault."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.bind: Callable = Kernel.bind
        self.bodies: dict[tuple, Callable] = {}

    def __call__(self, kernel: Kernel, shape: tuple[int, ...], args: tuple) -> None:
        fn, *rest = self.bind(kernel, shape, *args)  # also checks the number of arguments
        args = tuple(rest[len(shape) :])
        if math.prod(shape) > MOST or not any(isinstance(a, np.ndarray) for a in args):
            fn(*rest)
            return
        body, book = self.body(kernel, shape, args), Book()
        names = kernel.source.args[len(shape) :]
        given = [
            Watched(n, a, book) if isinstance(a, np.ndarray) and a.ndim else a for n, a in zip(names, args, strict=True)
        ]
        place = f"kernel {kernel.__name__!r} ({kernel.where})"
        for book.index in product(*(range(n) for n in shape)):
            try:
                body(*book.index, *given)
            except IndexError as error:
                raise Outside(f"{place}: {indices(book.index)}: {error}") from None
        if book.fault:
            self.faults.append(f"{place}: {book.fault}; a body may write only what its index owns")

    def body(self, kernel: Kernel, shape: tuple[int, ...], args: tuple) -> Callable:
        arrays = kernel.arrays(len(shape), args)
        dtype = next((a.dtype for a in args if hasattr(a, "dtype") and a.dtype.kind == "f"), np.dtype(np.float32)).name
        key = (id(kernel), dtype, arrays)
        if key not in self.bodies:
            module = Module(CPU, dtype, lambda exact: "")
            name = module.add(kernel.source, set(arrays))
            self.bodies[key] = getattr(module.load(f"{name}_watched", HEAD.format(dtype=dtype), ""), name)
        return self.bodies[key]


class Outside(Exception):
    """A body reads or writes outside an array: nothing compiled may run it."""


def owned(case: Case) -> Finding:
    """Each index writes its own elements, and none reads what another writes: no race, at any number of threads."""
    tracer = Tracer()
    try:
        with launches(tracer) as tracer.bind, np.errstate(all="ignore"):
            case.run()
    except Outside as error:
        return Finding(math.inf, str(error))
    return Finding(float(len(tracer.faults)), "; ".join(dict.fromkeys(tracer.faults)))
