"""What beginners write in a body, and what to write instead: first by the syntax tree, then by what Numba says.

A body is a small language of numbers.  :data:`FORMS` and :data:`CALLS` name what is outside it before Numba sees it;
:data:`SAYINGS` put the rest of Numba's complaints into the words of the body.
"""

import ast
import math
import re
from collections.abc import Callable, Iterator
from itertools import takewhile
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from .errors import KernelError
from .params import did_you_mean

WORDS = {"real", "unsigned", "team_range", "team_sum", "team_max", "math", "np", "float", "int", "range"}

LIST = "a body works on numbers, not on {}; name each number, or read a small np.array that stands in the module"
FORMS: dict[type[ast.AST], str] = {
    ast.List: LIST.format("lists"),
    ast.ListComp: LIST.format("lists"),
    ast.Dict: LIST.format("dictionaries"),
    ast.DictComp: LIST.format("dictionaries"),
    ast.Set: LIST.format("sets"),
    ast.SetComp: LIST.format("sets"),
    ast.GeneratorExp: "a body has no generators; write a for loop that adds up",
    ast.JoinedStr: "a body has no text; print(x) shows a number, and with NUMBA_DISABLE_JIT=1 a body is plain Python",
    ast.Lambda: "a body has no lambda; write the function by itself, def g(x): return ..., under @device",
    ast.FunctionDef: "a body has no function inside it; write it by itself under @device",
    ast.ClassDef: "a body has no class inside it; write it in the module",
    ast.Try: "a body has no try; test beforehand: if x > 0.0: ... else: ...",
    ast.With: "a body has no with; write the statements one after the other",
    ast.Import: "import stands at the top of the file, not in a body",
    ast.ImportFrom: "import stands at the top of the file, not in a body",
    ast.Global: "a body keeps nothing between calls; write results to an array argument",
    ast.Nonlocal: "a body keeps nothing between calls; write results to an array argument",
    ast.Yield: "a body has no yield; write to y[i], or return one number",
    ast.YieldFrom: "a body has no yield; write to y[i], or return one number",
    ast.Match: "a body has no match; write if, elif, else",
    ast.Starred: "a body names each argument; * is not possible",
}

SIGMOID = "1.0 / (1.0 + math.exp(-x))"
CALLS = {  # function -> what to write; {0}, {1}: its arguments
    "sigmoid": SIGMOID.replace("x", "{0}"),
    "relu": "max({0}, 0.0)",
    "softplus": "math.log(1.0 + math.exp({0}))",
    "max": "max({0}, {1})",
    "min": "min({0}, {1})",
    "abs": "abs({0})",
    "absolute": "abs({0})",
    "round": "math.floor({0} + 0.5)",
    "pow": "{0} ** {1}",
    "power": "{0} ** {1}",
    "square": "{0} * {0}",
    "sqrt": "math.sqrt({0})",
    "floor": "math.floor({0})",
    "ceil": "math.ceil({0})",
    "where": "{1} if {0} else {2}",
    "clip": "min(max({0}, {1}), {2})",
    "sign": "1.0 if {0} > 0.0 else -1.0 if {0} < 0.0 else 0.0",
    "sum": "a loop: for c in range(x.shape[1]): total += x[row, c]",
    "mean": "a loop that adds up, and divide by real(n)",
    "dot": "a loop: for k in range(n): total += a[k] * b[k]",
    "matmul": "a loop: for k in range(n): total += a[k] * b[k]",
    "array": "a small array in the module, outside the body",
    "zeros": "self.buffer(shape) in setup, and pass its data as an argument",
    "empty": "self.buffer(shape) in setup, and pass its data as an argument",
    "ones": "self.buffer(shape) in setup, and pass its data as an argument",
}
ONLY_MATH = {"pow", "sqrt", "floor", "ceil"}  # math has them, and they work; np's do not on every target

THINGS: tuple[tuple[Callable[[Any], bool], str], ...] = (  # what a name of the module may stand for
    (lambda v: v is None, "is None; a body needs a number: give it one where it is assigned"),
    (lambda v: isinstance(v, str), "is text; a body works on numbers"),
    (lambda v: isinstance(v, complex), "is complex; a body works on real numbers: two floats"),
    (lambda v: isinstance(v, list), "is a list; make it np.array([...]), or a tuple"),
    (
        lambda v: isinstance(v, dict | set),
        "is a {kind}; a body reads numbers and small arrays: make it np.array([...])",
    ),
    (
        lambda v: isinstance(v, np.ndarray) and v.size > 4096,
        "is an array of more than 4096 elements; pass it as an argument",
    ),
    (
        lambda v: isinstance(v, FunctionType) and v.__name__ == "<lambda>",
        "is a lambda; write def {name}(...): return ... under @device",
    ),
    (lambda v: isinstance(v, FunctionType), "is a plain function; mark it @device (from nbcaffe import device)"),
    (lambda v: isinstance(v, ModuleType), "is the module {module}; a body may use math"),
    (lambda v: isinstance(v, type), "is a class; a body works on numbers"),
    (lambda v: type(v).__name__ == "Kernel", "is a kernel; a body calls @device functions only"),
)
ALLOWED = "a body may use numbers, small arrays, math and @device functions"


def thing(name: str, value: Any) -> str:
    """What is wrong with using ``value`` in a body."""
    kind = type(value).__name__
    for holds, text in THINGS:
        if holds(value):
            told = text.format(name=name, kind=kind, module=getattr(value, "__name__", ""))
            return f"{name!r} {told}"
    return f"{name!r} is a {kind}; {ALLOWED}"


def review(source: Any) -> None:
    """Raise a :class:`KernelError` for the first thing in a function's text that no body may say."""
    for node, message in complaints(source):
        raise KernelError(f"{source.file}:{node.lineno}: {source.tree.name!r}: {message}")


def complaints(source: Any) -> Iterator[tuple[Any, str]]:
    tree, scope = source.tree, source.scope
    arguments = tree.args
    if arguments.vararg or arguments.kwarg:
        yield tree, "a body names each argument; *args and **kwargs are not possible"
    for word in sorted(WORDS & {a.arg for a in arguments.args}):
        yield tree, f"its argument {word!r} hides the word {word}, which bodies use; call it {word}_"
    local = {a.arg for a in arguments.args} | {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    spoken = {id(n) for node in ast.walk(tree) if speaks(node) for n in ast.walk(node)}
    for statement in tree.body[1:] if ast.get_docstring(tree) else tree.body:
        for node in ast.walk(statement):
            if id(node) in spoken and isinstance(node, ast.Constant):
                continue
            message = forbidden(node) or miscalled(node, tree.name, scope, local) or misnamed(node, scope, local)
            if message:
                yield node, message
    yield from unfinished(tree)


def speaks(node: ast.AST) -> bool:
    """Where text may stand: in raise, assert, print and float('inf')."""
    called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    return isinstance(node, ast.Raise | ast.Assert) or called in ("print", "float")


def forbidden(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        kinds = {str: "text", complex: "complex numbers", bytes: "bytes", type(None): "None"}
        what = kinds.get(type(node.value))
        return f"a body has no {what}; it works on real numbers" if what else ""
    return FORMS.get(type(node), "")


def miscalled(node: ast.AST, own: str, scope: dict[str, Any], local: set[str]) -> str:
    """A call of something that has another name here, or none."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in local:
        module = scope.get(node.value.id)
        if module is math and not hasattr(math, node.attr):
            known = f"; write {CALLS[node.attr]}".format("x", "a", "b") if node.attr in CALLS else ""
            return f"math has no {node.attr!r}{known or did_you_mean(node.attr, dir(math))}"
    if not isinstance(node, ast.Call):
        return ""
    given = [ast.unparse(a) for a in node.args] + ["a", "b", "c"]
    if ast.unparse(node.func).startswith(("np.random.", "random.")):
        return "a body draws no random numbers; words of rng.philox(key, pass, index) are the same on every target"
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        name = node.func.attr
        if node.func.value.id not in local and scope.get(node.func.value.id) is np and name in CALLS:
            return f"np.{name} works on arrays, a body on one number at a time; write {CALLS[name].format(*given)}"
    elif isinstance(node.func, ast.Name) and node.func.id not in local:
        name = node.func.id
        if name == own:
            return f"{name} calls itself; a body has no recursion: write a loop"
        code = getattr(getattr(scope.get(name), "fn", None), "__code__", None)
        takes = code.co_varnames[: code.co_argcount] if code else ()
        if code and len(takes) != len(node.args) + len(node.keywords):
            return f"{name} takes {len(takes)} arguments ({', '.join(takes)}), got {len(node.args)}; none has a default"
        if name in ("sum", "list", "dict", "open", "input", "sorted", "set", "str") and name not in scope:
            return f"{name} is Python's; {ALLOWED}" + (f": write {CALLS['sum']}" if name == "sum" else "")
    return ""


def misnamed(node: ast.AST, scope: dict[str, Any], local: set[str]) -> str:
    if not isinstance(node, ast.Name) or node.id in local:
        return ""
    if node.id == "self" and "self" not in scope:
        return "a scalar function has no self; name the layer's parameter as an argument: def f(x, beta)"
    value = scope.get(node.id, 0)
    if isinstance(value, FunctionType) and node.id not in WORDS:
        return thing(node.id, value)
    return ""


def unfinished(tree: ast.FunctionDef) -> Iterator[tuple[Any, str]]:
    """A function that returns a number on one way through it and nothing on another."""
    returns = [n for n in ast.walk(tree) if isinstance(n, ast.Return)]
    values = [n for n in returns if n.value is not None]
    if not values:
        return
    for node in returns:
        if node.value is None:
            yield node, "return without a number, where another line returns one; write return 0.0 or what it is here"
    if not ends(tree.body):
        last = tree.body[-1]
        yield last, "where this ends without a return, the function has no value; add the return that is missing"


def ends(body: list[ast.stmt]) -> bool:
    """Whether no way through these statements runs out at their end."""
    last = body[-1]
    if isinstance(last, ast.If):
        return bool(last.orelse) and ends(last.body) and ends(last.orelse)
    if isinstance(last, ast.While):
        test = last.test
        return (
            isinstance(test, ast.Constant)
            and bool(test.value)
            and not any(isinstance(n, ast.Break) for n in ast.walk(last))
        )
    return isinstance(last, ast.Return | ast.Raise)


# What Numba says

NUMBER = r"(?:float|int|uint)\d+|Literal\[int\]\(-?\d+\)"
SAYINGS: tuple[tuple[str, str], ...] = (
    (
        rf"<built-in function getitem>\)[^:]*: *getitem\((?:{NUMBER}),",
        "a number has no elements; f sees one element, so write x, not x[i]",
    ),
    (
        r"<built-in function setitem>.*setitem\(.*, (?:Uni)?Tuple\(",
        "an element holds one number, and this is a tuple; return one number, or store each in its own array",
    ),
    (
        r"<built-in function setitem>.*setitem\(.*, none\)",
        "the value is None: the function that is called has no return; write return before what it computes",
    ),
    (
        r"<built-in function setitem>.*setitem\(.*, complex",
        "an element holds a real number, and this is complex; a root or power of a negative number?",
    ),
    (
        rf"Unknown attribute '(\w+)' of type (?:{NUMBER})",
        "a number has no {0}; f sees one element, not the blob: what needs a whole row is a kernel body",
    ),
    (r"Unknown attribute '(\w+)' of type array", "an array in a body has shape and elements, but no {0}; write a loop"),
    (r"function range>?.*found for signature:?.*range\(float", "range counts with whole numbers; write range(int(n))"),
    (r"(?:Invalid use|No implementation).*\((?:\w+, )*none", "one of the values is None: a return is missing above"),
    (
        r"Cannot unify (.+) and (.+) for '(?:\w+_v\d+_)?(\w+?)(?:\.\d+)?'",
        "{2!r} is {0} on one way through the body and {1} on another; give it one kind",
    ),
    (
        r"<built-in function (\w+)>\) found for signature: \w+\((.*)\)$",
        "{0}({1}) is not known; both must be numbers",
    ),
)
PLACE = re.compile(r"^During: .+ at (.+) \((\d+)\)$", re.M)


def complaint(error: Exception, where: str) -> tuple[str, str]:
    """The file and line that Numba means, or else ``where``, and what is wrong, in the words of the body if known."""
    whole = str(error)
    places = PLACE.findall(whole)
    lines = [line.strip().removeprefix(">>> ") for line in whole.splitlines()]
    said = takewhile(lambda line: not line.startswith(("There are ", "During: ", "File ")), lines)
    text = " ".join(line for line in said if line and not line.startswith("Failed in "))
    for pattern, lesson in SAYINGS:
        if found := re.search(pattern, text):
            text = f"{lesson.format(*(g or '' for g in found.groups()))} (Numba: {text})"
            break
    return ":".join(places[-1]) if places else where, text
