"""What kernels do: which float types they compute in, and which elements each index reads and writes.

For the second, bodies run in checked mode, as plain Python, one index after the other.
"""

import linecache
import math
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numba.core import ir, types

from ..checked import OwnershipError, Watched, watched
from ..kernel import Kernel, intercepted, signature
from .case import Case
from .finding import Finding

MOST = 4096  # indices of a launch; larger ones run compiled and unwatched

# -- float64 -----------------------------------------------------------------------------------------------------------


def no_double(case: Case) -> Finding:
    """No value of a float32 kernel has type float64, literals aside, which are converted when it is compiled."""
    seen: dict[tuple, tuple[Kernel, tuple]] = {}

    def note(kernel: Kernel, shape: tuple[int, ...], *args: Any) -> tuple:
        bound = kernel.bind(shape, *args)
        given = bound[1 + len(shape) :]
        arrays = [a for a in given if hasattr(a, "dtype") and a.dtype.kind == "f"]
        if arrays and arrays[0].dtype == np.float32:
            seen.setdefault((id(kernel), *map(signature, given)), (kernel, (shape, given)))
        return bound

    with intercepted(note):
        case.run()
    faults = dict.fromkeys(text for kernel, call in seen.values() for text in doubles(kernel, call))
    return Finding(float(len(faults)), "; ".join(faults))


def doubles(kernel: Kernel, call: tuple) -> Iterator[str]:
    """One sentence for each line of the body, or of what it calls, that computes in float64."""
    shape, args = call
    module = kernel.module("cpu", len(shape), "float32", kernel.arrays(len(shape), args))
    body = module.__body__
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


# -- who reads and writes what: checked mode, as plain Python ---------------------------------------------------------


def owned(case: Case) -> Finding:
    """Each index writes its own elements, and none reads what another writes: no race, at any number of threads."""
    made: dict[tuple, Watched] = {}

    def bind(kernel: Kernel, shape: tuple[int, ...], *args: Any) -> tuple:
        fn, *rest = kernel.bind(shape, *args)  # also checks the number of arguments
        given = tuple(rest[len(shape) :])
        if math.prod(shape) > MOST or not any(isinstance(a, np.ndarray) for a in given):
            return (fn, *rest)
        key = (id(kernel), len(shape), *map(signature, given))
        if key not in made:
            made[key] = watched(kernel.source, len(shape), given)
        return (made[key], *rest)

    try:
        with intercepted(bind), np.errstate(all="ignore"):
            case.run()
    except OwnershipError as error:
        return Finding(math.inf, str(error))
    return Finding()
