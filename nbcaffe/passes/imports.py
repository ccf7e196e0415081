"""Python files that define layers for a net."""

from __future__ import annotations

import importlib.util
import sys
import traceback
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..yamlfile import Problems


def import_layers(files: Mapping[str, str], problems: Problems) -> tuple[str, ...]:
    """Run each file once per process; returns their whole paths. ``files`` maps a file to the place that names it."""
    return tuple(_import(Path(file).resolve(), where, problems) for file, where in files.items())


def module_name(path: Path) -> str:
    """Of its own for each file: two nets may each have a my_layers.py."""
    return f"{path.stem}_{zlib.crc32(str(path).encode()):08x}"


@contextmanager
def forgotten(paths: Iterable[str]) -> Iterator[None]:
    """Have these files run again when a net inside names them; if that fails, the old modules stay."""
    modules = {name: sys.modules.pop(name) for name in map(module_name, map(Path, paths)) if name in sys.modules}
    try:
        yield
    except BaseException:
        sys.modules.update(modules)
        raise


def _import(path: Path, where: str, problems: Problems) -> str:
    name = module_name(path)
    if name in sys.modules:
        return str(path)
    if not path.is_file():
        problems.add(where, f"import: {path}: no such file")
        return str(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # it may import what lies beside it
    try:
        # not the loader's exec_module: its byte code cannot be told from that of an edit in the same second
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except Exception as error:  # an author's code may raise anything
        del sys.modules[name]
        line = next(
            (
                frame.lineno
                for frame in reversed(traceback.extract_tb(error.__traceback__))
                if frame.filename == str(path)
            ),
            getattr(error, "lineno", None),
        )
        place = f"{path}:{line}" if line else str(path)
        problems.add(where, f"import: {place}: {type(error).__name__}: {error}")
    finally:
        if str(path.parent) in sys.path:
            sys.path.remove(str(path.parent))
    return str(path)
