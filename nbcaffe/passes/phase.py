"""Which layers a net has in one phase, level and set of stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from ..spec import NetSpec
from .wiring import check_wiring


def filter_phase(spec: NetSpec, phase: str, level: int = 0, stages: Iterable[str] = ()) -> NetSpec:
    """The net as it is in one state; blobs that then nobody makes are an error."""
    stages = tuple(stages)
    layers = tuple(layer for layer in spec.layers if layer.included(phase, level, stages))
    check_wiring(layers, f" in phase {phase}")
    freeze = tuple(name for name in spec.freeze if any(fnmatchcase(layer.name, name) for layer in layers))
    return replace(spec, layers=layers, freeze=freeze)
