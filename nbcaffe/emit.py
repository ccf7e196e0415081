"""Write the module that holds one kernel for one target: its callees, its body, and the loop around it."""

import ast
import re
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from types import CodeType, ModuleType
from typing import Any

from .cache import store
from .kmath import FUNCTIONS
from .lessons import thing
from .rewrite import Device, Dialect, Rewrite, Source, constant

CPU = Dialect(
    words={"team_range": "range"},
    silent=frozenset({"team_sum", "team_max"}),
    mathematics=FUNCTIONS,
)
CUDA = Dialect(words={word: word for word in ("team_range", "team_sum", "team_max")}, mathematics=FUNCTIONS)

# What is missing is missing on purpose.  nnan, ninf: a NaN in a net must stay one.  arcp: vector loops would divide by
# reciprocals where the last elements of each thread's part divide exactly, and the bits show the number of threads.
# reassoc: a loop from the disk cache summed to other bits than the same loop just compiled (seen; the cause is not
# known, perhaps one more pass of the optimiser), so a resumed run could differ.  contract: which product of a b + c d
# the sum takes unrounded may differ between vectors and the elements left over, which depend on the number of threads.
FAST = {"nsz", "afn"}

CPU_HEAD = """\
import math
import numpy as np
from numba import carray, cfunc, njit, prange, uint64 as unsigned

FAST = {fast}
real = np.{dtype}
"""

CUDA_HEAD = """\
import math
import numpy as np
from numba import uint32 as unsigned
from nbcaffe.device import cuda
from nbcaffe.team import team_range, team_sum, team_max

real = np.{dtype}
"""

# The simulator runs plain Python, where an unsigned index is an int.
SIM_HEAD = CUDA_HEAD.replace("from numba import uint32 as unsigned\n", "").replace("\nreal", "unsigned = int\nreal")


FINISH = """

@cfunc("void(CPointer(float32), intp)", cache=True, error_model="numpy", fastmath=FAST)
def run(p, n):
    y = carray(p, n)
    for i in range(n):
        {name}(i, y)
"""

RULE = """

@cfunc(
    "void(CPointer(float32), CPointer(float32), CPointer(float32), intp, CPointer(float32), CPointer(float32), intp)",
    cache=True, error_model="numpy", fastmath=FAST,
)
def run(p, q, r, apart, s, t, n):
    w, g, histories, now, found = carray(p, n), carray(q, n), carray(r, ({count}, apart)), carray(s, 64), carray(t, 2)
    for i in range(n):
        {name}({args})
"""

LAUNCHERS = ("run", "serial", "parallel", "launch")
# what launchers call their arguments and counters
OURS = re.compile(r"[ain]\d+|i|j|row|rest|inner|step|[pqrstnwgy]|apart|histories|now|found")


@dataclass
class Part:
    """One function of a generated module: its rewritten tree, its decorator, the file its lines belong to."""

    tree: ast.FunctionDef
    decorator: str
    file: str


class Module:
    """Collects a body and everything it calls, callees first."""

    def __init__(self, dialect: Dialect, dtype: str, decorate: Callable[[bool], str]):
        self.dialect, self.dtype, self.decorate = dialect, dtype, decorate
        self.constants: dict[str, str] = {}
        self.parts: list[Part] = []
        self.taken: dict[str, Any] = dict.fromkeys(LAUNCHERS)

    def body(self, source: Source, arrays: set[str]) -> str:
        """Add the body, last of all; return what it is called here."""
        name = self.add(source, arrays)
        while name in self.taken or OURS.fullmatch(name):
            name += "_"
        self.parts[-1].tree.name = name
        return name

    def add(self, source: Source, arrays: set[str], *, exact: bool = False) -> str:
        exact_types = self.dtype == "float64"
        dialect = Dialect(
            self.dialect.words, self.dialect.silent, {} if exact or exact_types else self.dialect.mathematics
        )
        rewrite = self.rewriter(source, arrays, dialect, exact)
        tree = rewrite.run()
        renamed = {name: self.need(rewrite, name, value) for name, value in rewrite.used.items()}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in renamed:
                node.id = renamed[node.id]
        self.parts.append(Part(tree, self.decorate(exact), source.file))
        return tree.name

    def rewriter(self, source: Source, arrays: set[str], dialect: Dialect, exact: bool) -> Rewrite:
        return Rewrite(source, arrays, dialect)

    def need(self, rewrite: Rewrite, name: str, value: Any) -> str:
        """Make the outside name ``name`` known to the module; return what it is called there."""
        if name == "real" or (isinstance(value, ModuleType) and constant(value)):
            return name if name == "real" else str(constant(value))
        if isinstance(value, Device):
            return self.callee(name, value)
        text = constant(value)
        if text is None and not any(value is known for known in (int, float, min, max, abs, range, len)):
            rewrite.fail(rewrite.places.get(name, rewrite.source.tree), thing(name, value))
        return self.name(name, text) if text is not None else name

    def name(self, name: str, text: str) -> str:
        unique = name
        while unique in LAUNCHERS or self.constants.get(unique, text) != text:
            unique += "_"
        self.constants[unique] = text
        return unique

    def callee(self, name: str, device: Device) -> str:
        for known, value in self.taken.items():
            if value is device:
                return known
        while name in self.taken:
            name += "_"
        self.taken[name] = device
        return self.add(named(device.source, name), set(), exact=device.exact)

    def text(self, head: str, loop: str) -> str:
        constants = "".join(f"{name} = {text}\n" for name, text in self.constants.items())
        functions = "".join(f"\n\n{part.decorator}{ast.unparse(part.tree)}\n" for part in self.parts)
        return f"{head}{constants}{functions}{loop}"

    def load(self, stem: str, head: str, loop: str) -> ModuleType:
        """Store the module's text and execute it, each function under its author's file and lines."""
        path = store(stem, self.text(head, loop))
        module = ModuleType(path.stem)
        module.__file__ = str(path)
        run = partial(exec_in, module)
        run(compile(self.text(head, "").split("\n\n\n")[0], str(path), "exec"))
        for part in self.parts:
            run(compile(ast.Module([decorated(part)], []), part.file, "exec"))
        vars(module)["__body__"] = vars(module)[self.parts[-1].tree.name]
        offset = self.text(head, "").count("\n")
        run(compile("\n" * offset + loop, str(path), "exec"))
        return module


def named(source: Source, name: str) -> Source:
    """The same function under another name; its tree is not copied but for the top, as nobody changes it."""
    tree = copy(source.tree)
    tree.name = name
    return replace(source, tree=tree)


def exec_in(module: ModuleType, code: CodeType) -> None:
    import sys

    sys.modules[module.__name__] = module  # Numba's cache looks functions up by their module's name
    exec(code, vars(module))


def decorated(part: Part) -> ast.FunctionDef:
    if part.decorator:
        decorator = ast.parse(part.decorator.strip().removeprefix("@"), mode="eval").body
        for node in ast.walk(decorator):
            ast.copy_location(node, part.tree)
        part.tree.decorator_list = [decorator]
    return ast.fix_missing_locations(part.tree)


def cpu_loop(name: str, ndim: int, args: list[str]) -> str:
    """Two launchers with exactly the body's arguments: generic ones do not vectorise."""
    sizes, indices = [f"n{d}" for d in range(ndim)], [f"i{d}" for d in range(ndim)]
    out = ""
    for kind, option, outer in (("serial", "", "range"), ("parallel", ", parallel=True", "prange")):
        out += f'\n\n@njit(cache=True, error_model="numpy", fastmath=FAST{option})\n'
        out += f"def {kind}({', '.join(sizes + args)}):\n"
        for d in range(ndim):
            out += "    " * (d + 1) + f"for i{d} in {'range' if d else outer}(n{d}):\n"
        out += "    " * (ndim + 1) + f"{name}({', '.join(indices + args)})\n"
    return out


def cuda_loop(name: str, ndim: int, args: list[str], team: bool) -> str:
    """Rows or planes along y, the rest flattened along x: at most one unsigned division an axis."""
    sizes = [f"n{d}" for d in range(ndim)]
    head = f"\n\ndef launch({', '.join(sizes + args)}):\n"
    if team:
        return head + (
            "    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y\n"
            f"    if row < n0:\n        {name}({', '.join(['row', *args])})\n"
        )
    if ndim == 1:
        return head + (
            "    i = cuda.grid(1)\n    step = cuda.gridsize(1)\n    while i < n0:\n"
            f"        {name}({', '.join(['unsigned(i)', *args])})\n        i += step\n"
        )
    out = head + f"    inner = {' * '.join(sizes[1:])}\n    i0 = cuda.blockIdx.y\n    while i0 < n0:\n"
    out += "        j = cuda.grid(1)\n        while j < inner:\n            rest = unsigned(j)\n"
    for d in range(ndim - 1, 1, -1):
        out += f"            i{d} = rest % unsigned(n{d})\n            rest = rest // unsigned(n{d})\n"
    indices = ["i0", "rest", *(f"i{d}" for d in range(2, ndim))]
    out += f"            {name}({', '.join(indices + args)})\n"
    out += "            j += cuda.gridsize(1)\n        i0 += cuda.gridDim.y\n"
    return out


def own_names(source: Source, ndim: int) -> list[str]:
    """Names for a loop's arguments: the author's could be those of its counters."""
    return [f"a{k}" for k in range(len(source.args) - ndim)]


def cpu_decorator(exact: bool) -> str:
    # exact functions (our exp, log, tanh) keep their order of operations; contraction only makes them closer
    flags = "fastmath={'contract'}, forceinline=True" if exact else "fastmath=FAST, inline='always'"
    return f'@njit(error_model="numpy", {flags})\n'


def cpu_head(dtype: str) -> str:
    return CPU_HEAD.format(fast=sorted(FAST), dtype=dtype).replace("[", "{").replace("]", "}")


def cpu_module(source: Source, ndim: int, dtype: str, arrays: set[str]) -> ModuleType:
    module = Module(CPU, dtype, cpu_decorator)
    name = module.body(source, arrays)
    return module.load(source.tree.name, cpu_head(dtype), cpu_loop(name, ndim, own_names(source, ndim)))


def finish_module(source: Source) -> ModuleType:
    """A body ``(i, y)`` as C code ``run(first, count)``, for engines to call on float32 results."""
    module = Module(CPU, "float32", cpu_decorator)
    return module.load("finish", cpu_head("float32"), FINISH.format(name=module.body(source, {"y"})))


def rule_module(source: Source, histories: int, numbers: list[float]) -> ModuleType:
    """An update's body as C code ``run(w, g, h, apart, now, found, count)``, its numbers written into the text.

    The histories lie ``apart`` floats from each other, the first at h; nothing looks at the sizes of now and found.
    """
    module = Module(CPU, "float32", cpu_decorator)
    kept = [f"histories[{k}]" for k in range(histories)]
    arrays = {"w", "g", "now", "found", *(f"h{k}" for k in range(histories))}
    args = ["i", "w", "g", *kept, "now", "found", *(f"real({number!r})" for number in numbers)]
    name = module.body(source, arrays)
    loop = RULE.format(name=name, count=max(histories, 1), args=", ".join(args))
    return module.load("rule", cpu_head("float32"), loop)


def cuda_module(source: Source, ndim: int, dtype: str, arrays: set[str], *, team: bool, simulated: bool) -> ModuleType:
    module = Module(CUDA, dtype, lambda exact: "" if simulated else "@cuda.jit(device=True)\n")
    name = module.body(source, arrays)
    head = (SIM_HEAD if simulated else CUDA_HEAD).format(dtype=dtype)
    stem = f"{source.tree.name}_{'sim' if simulated else 'cuda'}"
    loop = cuda_loop(name, ndim, own_names(source, ndim), team)
    return module.load(stem, head, loop)
