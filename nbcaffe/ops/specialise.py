"""One kernel template, many constants: each choice becomes a module of its own.

A template is an ordinary module with defaults at its top, ``MR, NV = 12, 2``: it can be imported, linted and tested.
:func:`specialise` writes a copy with other numbers (same lines, so tracebacks still point into the template's text)
to the kernel cache and imports it under a real module name, so that Numba's disk cache finds the machine code again in
the next process.  The copy is named by a hash of everything that its machine code depends on.
"""

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

from ..cache import store
from ..errors import KernelError
from ..kernel import build, launch

ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package


def specialise(template: str, **constants: int) -> ModuleType:
    """The module ``nbcaffe.ops.tiles.<template>`` with other constants: ``specialise("product", MR=13, NV=2)``."""
    return _specialised(template, tuple(sorted(constants.items())))


@cache
def _specialised(template: str, constants: tuple[tuple[str, int], ...]) -> ModuleType:
    path = Path(__file__).resolve().parent / "tiles" / f"{template}.py"
    text = substitute(path.read_text(encoding="utf-8"), dict(constants), str(path))
    text += (
        f"\n# {__package__}.tiles.{template} {constants}, from sources {fingerprint(path)}, numba {numba.__version__}\n"
    )
    return load(store(template, text))


def load(path: Path) -> ModuleType:
    """Import a file as a sibling of its template, known to ``sys.modules`` before its kernels ask for it."""
    name = f"{__package__}.tiles.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def substitute(text: str, constants: dict[str, int], where: str) -> str:
    """``text`` with other numbers in the assignments at its top; a constant that is not there is an error."""
    lines, missing = text.splitlines(keepends=True), dict(constants)
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and node.lineno == node.end_lineno:
            names = [n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name)]
            if set(names) & set(constants):
                old = ast.literal_eval(node.value)
                values = old if isinstance(old, tuple) else (old,)
                new = [missing.pop(name, value) for name, value in zip(names, values, strict=True)]
                line = lines[node.lineno - 1]
                rest = line[node.value.end_col_offset :]
                lines[node.lineno - 1] = line[: node.value.col_offset] + ", ".join(map(str, new)) + rest
    if missing:
        raise KernelError(f"{where}: no constants named {', '.join(missing)} at the top of this template")
    return "".join(lines)


def fingerprint(path: Path, root: Path = ROOT) -> str:
    """A hash of the module's source and that of every nbcaffe module it imports, directly or not."""
    seen: dict[str, str] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if str(file) not in seen:
            seen[str(file)] = text = file.read_text(encoding="utf-8")
            waiting += imported(file, text, root)
    digest = hashlib.sha256()
    for _, text in sorted(seen.items()):
        digest.update(text.encode())
    return digest.hexdigest()[:20]


def imported(file: Path, text: str, root: Path) -> list[Path]:
    """The files of the nbcaffe modules that a module imports."""
    found = set()
    package = ".".join(file.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    paths = [root.joinpath(*name.split(".")).with_suffix(".py") for name in found if name.startswith("nbcaffe.")]
    return [path for path in paths if path.is_file()]


def issue(kernel: Any, *args: Any) -> None:
    """Compile now, run now or at each step: what a layer's setup launches must not compile in the first step."""
    if hasattr(kernel, "compile"):  # absent under NUMBA_DISABLE_JIT
        build(kernel, args, kernel.__name__)
    launch(kernel, *args)
