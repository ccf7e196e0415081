"""Names of what a template makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..yamlfile import Located
from .legacy import listed
from .variables import Outside, unwrap


def prefixed(layers: list[Located], prefix: str) -> list[Located]:
    """Rename the layers of a template and the blobs they make; the caller's blobs keep their names."""
    made: dict[str, str] = {}
    out = []
    for layer in layers:
        name, bottoms, tops = layer.get("name"), layer.get("bottom"), layer.get("top")
        inside = isinstance(name, str) and not isinstance(name, Outside)
        new: dict[str, Any] = {**layer, "name": f"{prefix}{name}"} if inside else dict(layer)
        read = [blob for blob in listed(bottoms) if isinstance(blob, str)]
        renamed = {blob: made[blob] for blob in read if blob in made and not isinstance(blob, Outside)}
        if bottoms is not None:
            new["bottom"] = _each(bottoms, renamed)
        if tops is not None:
            mine = [blob for blob in listed(tops) if type(blob) is str and (blob in renamed or blob not in read)]
            made.update({blob: f"{prefix}{blob}" for blob in mine})
            new["top"] = _each(tops, {blob: made[blob] for blob in mine})
        elif inside:
            made[str(name)] = new["name"]
        out.append(layer.like(unwrap(new)))
    return out


def _each(value: Any, names: Mapping[str, str]) -> Any:
    """One blob or a list of them, under their new names."""
    if isinstance(value, list):
        return [_each(v, names) for v in value]
    return names.get(value, value) if type(value) is str else value
