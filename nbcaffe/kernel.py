"""Write a loop body once; run it on the CPU, on a GPU or in the CUDA simulator.

A body's leading arguments are the index of what it computes; the rest are arrays and numbers::

    @kernel
    def add_bias(row, col, y, b):
        y[row, col] += b[col]

    add_bias[y.shape](y, b)

Three forms.  *Element*: the index names one output.  *Row*: it names a row or a plane, and the body loops inside it.
*Team* (``@kernel(team=True)``): a row shared by a team through :func:`team_range`, :func:`team_sum` and
:func:`team_max`: one worker on the CPU, a warp on CUDA.  A body writes only what its index owns, so the order of
every sum, and with it every bit, is the same on each run and for each number of threads.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from . import threads  # noqa: F401  (chooses the threading layer before Numba starts one)
from .checked import Watched, checked_module, checking, records
from .device import SIMULATED, cuda, grid
from .emit import cpu_module, cuda_module
from .errors import KernelError
from .kinds import refuse_mixtures
from .lessons import complaint
from .rewrite import Device, Source, source_of

SERIAL_BELOW = 16384  # a parallel region costs more than this many cheap outputs

Step = partial[Any]
Bind = Callable[..., tuple]
_recording: list[Step] | None = None
_bind: Bind | None = None
_observers: list[Callable[[str, float], None]] = []


def launch(fn: Callable, *args: Any) -> None:
    """Run ``fn(*args)`` now or, while a net is being bound, append it to the list of bound steps."""
    if _recording is None:
        fn(*args)
    else:
        _recording.append(partial(fn, *args))


@contextmanager
def recording() -> Iterator[list[Step]]:
    """Collect what is launched inside as bound steps instead of running it."""
    global _recording
    outer, steps = _recording, []  # type: tuple[list[Step] | None, list[Step]]
    _recording = steps
    try:
        yield steps
    finally:
        _recording = outer


@contextmanager
def intercepted(bind: Bind) -> Iterator[None]:
    """Launches inside run what ``bind(kernel, shape, *args)`` says in the place of :meth:`Kernel.bind`."""
    global _bind
    outer, _bind = _bind, bind
    try:
        yield
    finally:
        _bind = outer


def on_compile(observer: Callable[[str, float], None]) -> None:
    """Call ``observer(kernel name, seconds)`` after each compilation that the disk cache did not save."""
    _observers.append(observer)


def notify(name: str, seconds: float) -> None:
    """Tell the observers of :func:`on_compile` that a kernel was compiled."""
    for observer in _observers:
        observer(name, seconds)


def build(dispatcher: Any, args: tuple, name: str) -> None:
    """Have Numba compile for these arguments, and tell the observers unless the disk cache had it."""
    start, misses = time.perf_counter(), sum(dispatcher.stats.cache_misses.values())
    dispatcher.compile(tuple(dispatcher.typeof_pyval(a) for a in args))
    if sum(dispatcher.stats.cache_misses.values()) > misses:
        notify(name, time.perf_counter() - start)


class Kernel:
    """A body, compiled on first use for each target, number of axes, dtype and kinds of argument."""

    def __init__(self, body: Callable | Source, *, team: bool = False):
        self.body, self.team = body, team
        self.__name__ = body.tree.name if isinstance(body, Source) else body.__name__
        self.__doc__ = getattr(body, "__doc__", None)
        self._modules: dict[tuple, Any] = {}
        self._compiled: dict[tuple, Any] = {}
        if not getattr(body, "__module__", "").startswith("nbcaffe."):
            _ = self.source  # an author hears at once what is wrong with a body; ours are read when they run

    @cached_property
    def source(self) -> Source:
        return self.body if isinstance(self.body, Source) else source_of(self.body)

    def __getitem__(self, shape: int | tuple[int, ...]) -> Callable[..., None]:
        shape = shape if isinstance(shape, tuple) else (shape,)
        return lambda *args: launch(*(_bind or Kernel.bind)(self, shape, *args))

    def bind(self, shape: tuple[int, ...], *args: Any) -> tuple:
        """The compiled launcher for these arguments, followed by what to call it with."""
        expected = self.source.args[len(shape) :]
        if len(args) != len(expected):
            takes = f"{len(expected)} arguments after its {len(shape)} indices ({', '.join(expected)})"
            raise KernelError(f"{self.where}: kernel {self.__name__!r} takes {takes}, got {len(args)}")
        arrays = [a for a in args if hasattr(a, "shape") and a.shape != ()]
        dtype = next((np.dtype(a.dtype) for a in arrays if a.dtype.kind == "f"), np.dtype(np.float32))
        args = tuple(dtype.type(a) if isinstance(a, float | np.floating) else a for a in args)
        if not arrays or isinstance(arrays[0], np.ndarray):
            if checking():
                return (self.on_watch(shape, dtype, args), *shape, *args)
            work = max([prod(shape), *(a.size for a in arrays)])
            form = "serial" if work < SERIAL_BELOW or shape[0] < 2 else "parallel"
            return (self.on_cpu(form, shape, dtype, args), *shape, *args)
        return (self.on_cuda(shape, dtype, args), *shape, *args)

    @property
    def where(self) -> str:
        return f"{self.source.file}:{self.source.tree.lineno}"

    def arrays(self, ndim: int, args: tuple) -> frozenset[str]:
        return frozenset(
            n for n, a in zip(self.source.args[ndim:], args, strict=True) if hasattr(a, "shape") and a.shape != ()
        )

    def on_cpu(self, form: str, shape: tuple[int, ...], dtype: np.dtype, args: tuple) -> Callable:
        module = self.module("cpu", len(shape), dtype.name, self.arrays(len(shape), args))
        dispatcher = getattr(module, form)
        kinds = (form, len(shape), *(signature(a) for a in args))
        if kinds not in self._compiled:
            if hasattr(dispatcher, "compile"):  # absent under NUMBA_DISABLE_JIT
                floats = {n for n, a in zip(self.source.args[len(shape) :], args, strict=True) if is_float(a)}
                if dtype == np.float32:
                    refuse_mixtures(self.source, floats)
                self.compile(dispatcher, (*shape, *args))
            self._compiled[kinds] = dispatcher  # not before: the next call of one that does not compile says so again
        return self._compiled[kinds]

    def on_watch(self, shape: tuple[int, ...], dtype: np.dtype, args: tuple) -> Callable:
        """The launcher of checked mode."""
        dims = {n: a.ndim for n, a in zip(self.source.args[len(shape) :], args, strict=True) if np.ndim(a)}
        key = ("checked", len(shape), dtype.name, frozenset(dims.items()))
        if key not in self._modules:
            self._modules[key] = checked_module(self.source, len(shape), dtype.name, dims)
        module, sites = self._modules[key]
        kinds = ("checked", len(shape), *(signature(a) for a in args))
        if kinds not in self._compiled and hasattr(module.serial, "compile"):
            self.compile(module.serial, (*shape, *args, records(len(shape), args)))
        return self._compiled.setdefault(kinds, Watched(module.serial, self.source, len(shape), sites))

    def compile(self, dispatcher: Any, args: tuple) -> None:
        try:
            build(dispatcher, args, self.__name__)
        except NumbaError as error:
            where, what = complaint(error, self.where)
            # Numba's own traceback is the __context__, which Python does not show: --traceback does
            raise KernelError(f"{where}: kernel {self.__name__!r} does not compile: {what}") from None

    def module(self, target: str, ndim: int, dtype: str, arrays: frozenset[str]) -> Any:
        key = (target, ndim, dtype, arrays)
        if key not in self._modules:
            if target == "cpu":
                self._modules[key] = cpu_module(self.source, ndim, dtype, set(arrays))
            else:
                simulated = target == "sim"
                make = partial(cuda_module, team=self.team, simulated=simulated)
                self._modules[key] = make(self.source, ndim, dtype, set(arrays))
        return self._modules[key]

    def on_cuda(self, shape: tuple[int, ...], dtype: np.dtype, args: tuple) -> Callable:
        key = ("cuda", len(shape), dtype, self.arrays(len(shape), args))
        if key not in self._compiled:
            module = self.module("sim" if SIMULATED else "cuda", len(shape), dtype.name, key[3])
            self._compiled[key] = cuda.jit(module.launch)
        return self._compiled[key][grid(shape, self.team)]


def is_float(value: Any) -> bool:
    return isinstance(value, float | np.floating) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")


def signature(value: Any) -> tuple:
    return (value.dtype.str, value.ndim) if hasattr(value, "ndim") and value.ndim else (type(value),)


def kernel(body: Callable | None = None, *, team: bool = False) -> Any:
    """Make a loop body a :class:`Kernel`; ``team=True`` lets a team share each row."""
    return Kernel(body, team=team) if body else partial(Kernel, team=team)


def device(fn: Callable) -> Device:
    """Mark a function of scalars that kernel bodies may call."""
    return Device(fn)


def real(value: Any) -> Any:
    """In a body: the number in the kernel's own float type (float32 in nets, float64 in gradient checks)."""
    return float(value)


def team_range(n: int) -> range:
    """In a team body: this worker's share of ``range(n)``."""
    return range(n)


def team_sum(value: Any) -> Any:
    """In a team body: the sum of ``value`` over the team, known to every worker."""
    return value


def team_max(value: Any) -> Any:
    """In a team body: the maximum of ``value`` over the team, known to every worker."""
    return value
