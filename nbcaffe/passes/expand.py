"""A net as flat YAML: what it is after variables, templates, repeats, defaults and overrides."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..spec import LayerSpec, NetSpec, ParamSpec, StateRule
from ..yamlfile import dump


def expand(spec: NetSpec) -> str:
    """One line per layer; read back, it gives an equal spec."""
    document: dict[str, Any] = {"name": spec.name} if spec.name else {}
    if spec.force_backward:
        document["force_backward"] = True
    if spec.freeze:
        document["freeze"] = list(spec.freeze)
    if spec.imports:
        document["import"] = list(spec.imports)
    document["layers"] = [_layer(layer) for layer in spec.layers]
    return dump(document)


def _layer(layer: LayerSpec) -> dict[str, Any]:
    line = {"name": layer.name, "type": layer.type, "bottom": _short(layer.bottom), "top": _short(layer.top)}
    line.update(layer.given)
    if layer.param:
        line["param"] = [_param(one) for one in layer.param]
    for key in ("loss_weight", "propagate_down"):
        if getattr(layer, key):
            line[key] = _short(getattr(layer, key))
    for key in ("include", "exclude"):
        if getattr(layer, key):
            line[key] = _short([_rule(rule) for rule in getattr(layer, key)])
    if layer.phase:
        line["phase"] = layer.phase
    return line


def _short(values: Any) -> Any:
    """Repeated fields accept one value."""
    return values[0] if len(values) == 1 else list(values)


def _param(one: ParamSpec) -> dict[str, Any]:
    return {key: value for key, value in asdict(one).items() if key in one.wrote}


def _rule(rule: StateRule) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(rule).items()
        if value not in (None, ())
    }
