"""A net as flat YAML: what it is after variables, templates, repeats, defaults and overrides."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..spec import Block, LayerSpec, NetSpec, ParamSpec, State, StateRule
from ..yamlfile import dump


def expand(spec: NetSpec) -> str:
    """One line per layer; read back, it gives an equal spec."""
    return dump(as_mapping(spec))


def as_mapping(spec: NetSpec) -> dict[str, Any]:
    """What the flat file says, with the layers in the order of the spec's."""
    document: dict[str, Any] = {"name": spec.name} if spec.name else {}
    for key in ("force_backward", "debug_info"):
        if getattr(spec, key):
            document[key] = True
    if spec.imports:
        document["import"] = list(spec.imports)
    if spec.freeze:
        document["freeze"] = list(spec.freeze)
    document["layers"] = [_layer(layer) for layer in spec.layers]
    return document


def _layer(layer: LayerSpec) -> dict[str, Any]:
    if layer.block is not None:
        return {"unroll": _block(layer.name, layer.block)}
    line: dict[str, Any] = {"name": layer.name, "type": layer.type}
    line |= {key: list(blobs) for key, blobs in (("bottom", layer.bottom), ("top", layer.top)) if blobs}
    line |= layer.given
    if layer.param:
        line["param"] = [_param(rule) for rule in layer.param]
    for key in ("loss_weight", "propagate_down"):
        if getattr(layer, key):
            line[key] = list(getattr(layer, key))
    for key in ("include", "exclude"):
        if getattr(layer, key):
            line[key] = [_rule(rule) for rule in getattr(layer, key)]
    for key in ("phase", "home"):
        if getattr(layer, key):
            line[key] = getattr(layer, key)
    return {key: _short(value) if key in ("bottom", "top", "loss_weight") else value for key, value in line.items()}


def _block(name: str, block: Block) -> dict[str, Any]:
    written: dict[str, Any] = {"name": name}
    written |= {key: getattr(block, key) for key in ("steps", "mode", "cont", "lengths", "reverse")}
    written |= {key: dict(getattr(block, key)) for key in ("inputs", "outputs", "last")}
    written["state"] = {state.name: _state(state) for state in block.state}
    written["layers"] = [_layer(layer) for layer in block.layers]
    return {key: value for key, value in written.items() if value}


def _state(state: State) -> dict[str, Any]:
    line: dict[str, Any] = {"next": state.next, "init": state.init}
    return line | ({"shape": list(state.shape)} if state.shape else {})


def _short(values: list) -> Any:
    """Repeated fields accept one value."""
    return values[0] if len(values) == 1 else values


def _param(rule: ParamSpec) -> dict[str, Any]:
    written = asdict(rule)
    return {key: written[key] for key in ("name", "share_mode", "lr_mult", "decay_mult") if key in rule.written}


def _rule(rule: StateRule) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(rule).items()
        if value not in (None, ())
    }
