"""Which layers a net has in one phase, level and set of stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..spec import Block, NetSpec
from .sharing import Layers, named, names_of
from .wiring import check_wiring


def filter_phase(spec: NetSpec, phase: str, level: int = 0, stages: Iterable[str] = ()) -> NetSpec:
    """The net as it is in one state; blobs that then nobody makes are an error."""
    stages = tuple(stages)
    layers = kept(spec.layers, phase, level, stages)
    check_wiring(layers, f" in phase {phase}")
    freeze = tuple(name for name in spec.freeze if named(name, names_of(layers)))
    return replace(spec, layers=layers, freeze=freeze)


def kept(layers: Layers, phase: str, level: int, stages: tuple[str, ...]) -> Layers:
    """The layers that are there in this state, inside of blocks too."""
    there = (layer for layer in layers if layer.included(phase, level, stages))

    def inside(block: Block) -> Block:
        return replace(block, layers=kept(block.layers, phase, level, stages))

    return tuple(replace(layer, block=inside(layer.block)) if layer.block else layer for layer in there)
