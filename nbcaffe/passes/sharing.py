"""Weights with a name: all who share one agree on how it learns."""

from __future__ import annotations

from dataclasses import replace

from ..spec import LayerSpec, NetSpec, ParamSpec
from ..yamlfile import Problems

MULTIPLIERS = ("lr_mult", "decay_mult")


def share_params(spec: NetSpec) -> NetSpec:
    """Give all sharers of a weight the same multipliers, or say who disagrees.

    As in Caffe: multipliers that two of them write must be equal; one that only one writes holds for all.  Run it on
    one phase, after :func:`filter_phase`.
    """
    problems = Problems()
    agreed: dict[str, ParamSpec] = {}
    owners: dict[str, LayerSpec] = {}
    for layer in spec.layers:
        for one in layer.param:
            if one.name:
                owner = owners.setdefault(one.name, layer)
                agreed[one.name] = _agree(agreed.get(one.name, one), one, layer, owner, problems)
    problems.raise_all()

    def resolved(one: ParamSpec) -> ParamSpec:
        if not one.name:
            return one
        both = agreed[one.name]
        return replace(one, lr_mult=both.lr_mult, decay_mult=both.decay_mult, written=one.wrote | both.wrote)

    layers = (replace(layer, param=tuple(map(resolved, layer.param))) for layer in spec.layers)
    return replace(spec, layers=tuple(layers))


def _agree(known: ParamSpec, one: ParamSpec, layer: LayerSpec, owner: LayerSpec, problems: Problems) -> ParamSpec:
    """What is known of a shared weight after one more layer has spoken."""
    for key in MULTIPLIERS:
        mine, theirs = getattr(one, key), getattr(known, key)
        if key not in one.wrote:
            continue
        if key not in known.wrote:
            known = replace(known, written=known.wrote | {key}, **{key: mine})
        elif mine != theirs:
            problems.add(
                layer.where,
                f"layer {layer.name!r}: shared param {one.name!r} has {key} {mine:g} here, but {theirs:g} in an earlier "
                f"layer ({owner.name!r} owns it); write it once, or the same",
            )
    return known
