"""Layers that the user wrote in place, as Caffe's prototxts do, but that need their bottom after their top is made."""

from __future__ import annotations

from dataclasses import replace

from ..layer import REGISTRY
from ..spec import LayerSpec, NetSpec


def keep_apart(spec: NetSpec) -> NetSpec:
    """Give the bottom of such a layer another name: the blob's own name stands for what comes out, as in Caffe."""
    layers: list[LayerSpec] = []
    for layer in spec.layers:
        known = REGISTRY[layer.type]
        blob = layer.bottom[0] if layer.bottom else ""
        if known.same_name and not known.inplace and layer.top[:1] == (blob,):
            before = f"{blob}_before_{layer.name}"
            layers = [renamed(one, blob, before) for one in layers]
            layer = replace(layer, bottom=(before, *layer.bottom[1:]))
        layers.append(layer)
    return replace(spec, layers=tuple(layers))


def renamed(layer: LayerSpec, old: str, new: str) -> LayerSpec:
    def change(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in names)

    return replace(layer, bottom=change(layer.bottom), top=change(layer.top))
