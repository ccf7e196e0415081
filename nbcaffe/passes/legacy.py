"""Headers of old net files: ``input``, ``input_shape``, ``input_dim``."""

from __future__ import annotations

from typing import Any

from ..yamlfile import Located, Problems


def legacy_input(document: Located, problems: Problems) -> Located | None:
    """The Input layer that such a header stands for."""
    if not any(key in document for key in ("input", "input_shape", "input_dim")):
        return None
    names = listed(document.get("input"))
    shapes = listed(document.get("input_shape"))
    dims = listed(document.get("input_dim"))
    if shapes and all(type(size) is int for size in shapes):
        shapes = [shapes]
    where = document.where("input_dim" if dims else "input_shape" if shapes else "input")
    if dims and shapes:
        problems.add(where, "expected input_shape or input_dim, got both")
    elif dims and len(dims) != 4 * len(names):
        problems.add(where, f"input_dim: expected 4 numbers for each input, got {len(dims)} for {len(names)}")
    elif shapes and len(shapes) != len(names):
        problems.add(where, f"input_shape: expected one shape for each input, got {len(shapes)} for {len(names)}")
    shape = shapes or [dims[k : k + 4] for k in range(0, len(dims), 4)]
    items = {"name": "input", "type": "Input", "top": names, "shape": shape}
    return Located(items, document.path, document.line, dict.fromkeys(items, where))


def listed(value: Any) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]
