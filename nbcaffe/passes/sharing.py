"""Weights with a name: who owns them, and that all who share them agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from ..params import did_you_mean
from ..spec import LayerSpec, NetSpec, ParamSpec
from ..yamlfile import Problems

Layers = tuple[LayerSpec, ...]


def share_params(spec: NetSpec) -> NetSpec:
    """Name the owner of every shared weight and give all sharers the same multipliers.

    As in Caffe: the first layer with the name owns it; a multiplier that two of them write must be equal; one that
    only a later layer writes holds for all. Run it on one phase (after :func:`filter_phase`).
    """
    problems = Problems()
    owners: dict[str, tuple[str, int]] = {}
    agreed: dict[str, ParamSpec] = {}
    for layer in spec.layers:
        for index in range(len(layer.param)):
            rule = layer.param_spec(index)
            if rule.name:
                owner = owners.setdefault(rule.name, (layer.name, index))
                agreed[rule.name] = _agree(agreed.get(rule.name), rule, layer, owner, problems)
    problems.raise_all()

    def resolved(layer: LayerSpec, index: int) -> ParamSpec:
        rule = layer.param_spec(index)
        if not rule.name:
            return rule
        both, owner = agreed[rule.name], owners[rule.name]
        return replace(
            rule,
            lr_mult=both.lr_mult,
            decay_mult=both.decay_mult,
            owner=None if owner == (layer.name, index) else owner,
        )

    return replace(
        spec,
        layers=tuple(
            replace(layer, param=tuple(resolved(layer, i) for i in range(len(layer.param)))) for layer in spec.layers
        ),
    )


def _agree(
    known: ParamSpec | None, rule: ParamSpec, layer: LayerSpec, owner: tuple[str, int], problems: Problems
) -> ParamSpec:
    """What is known of a shared weight after one more layer has spoken."""
    if known is None:
        return rule
    for key in ("lr_mult", "decay_mult"):
        mine, theirs = getattr(rule, key), getattr(known, key)
        if key in rule.written and key in known.written and mine != theirs:
            problems.add(
                layer.at("param"),
                f"layer {layer.name!r}: shared param {rule.name!r} has {key} {mine:g} "
                f"here, but {theirs:g} in layer {owner[0]!r}; write it once, or the same",
            )
        elif key in rule.written and key not in known.written:
            known = replace(known, written=known.written | {key}, **{key: mine})
    return known


def shape_conflict(rule: ParamSpec, owner: Iterable[int], shape: Iterable[int]) -> str | None:
    """Why a weight of this shape cannot be the owner's, if so: STRICT asks for its shape, PERMISSIVE for its count."""
    owner, shape = tuple(owner), tuple(shape)
    if rule.share_mode == "PERMISSIVE":
        fits, what = _count(owner) == _count(shape), "count"
    else:
        fits, what = owner == shape, "shape"
    if fits:
        return None
    other = rule.owner[0] if rule.owner else "its owner"
    return f"shared param {rule.name!r} has another {what} here {shape} than in layer {other!r} {owner}"


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def named(pattern: str, names: Iterable[str]) -> set[str]:
    """The names that a name, or a pattern like ``conv*``, stands for."""
    return {name for name in names if name == pattern or fnmatchcase(name, pattern)}


def freeze(layers: Layers, names: Iterable[str], where: str, problems: Problems) -> Layers:
    """Mark the layers that must not learn; a name may be a pattern like ``conv*``."""
    frozen: set[str] = set()
    for name in names:
        found = named(name, names_of(layers))
        if not found:
            problems.add(where, f"freeze: no layer {name!r}{did_you_mean(name, names_of(layers))}")
        frozen |= found
    return _freeze(layers, frozen)


def names_of(layers: Layers, block: str = "") -> list[str]:
    """Of all layers; one inside an unroll block has the block's name before its own: ``rnn/gates``."""
    names = []
    for layer in layers:
        names.append(f"{block}{layer.name}")
        if layer.block is not None:
            names += names_of(layer.block.layers, f"{block}{layer.name}/")
    return names


def _freeze(layers: Layers, frozen: set[str], block: str = "") -> Layers:
    """Blocks are frozen layer by layer, whole if their own name is frozen."""
    out = []
    for layer in layers:
        name = f"{block}{layer.name}"
        if layer.block is not None:
            inside = names_of(layer.block.layers, f"{name}/") if name in frozen else ()
            inner = _freeze(layer.block.layers, frozen | set(inside), f"{name}/")
            layer = replace(layer, block=replace(layer.block, layers=inner))
        out.append(_frozen(layer) if name in frozen else layer)
    return tuple(out)


def freeze_more(spec: NetSpec, names: Iterable[str], where: str) -> NetSpec:
    """Freeze layers beside those that the net's own file freezes."""
    problems, names = Problems(), tuple(names)
    layers = freeze(spec.layers, names, where, problems)
    problems.raise_all()
    return replace(spec, layers=layers, freeze=(*spec.freeze, *names))


def _frozen(layer: LayerSpec) -> LayerSpec:
    """Nothing of a frozen layer changes: BatchNorm takes the moments it has, unless the file says otherwise."""
    if "use_global_stats" in layer.params and layer.params["use_global_stats"] is None:
        stored = {"use_global_stats": True}
        layer = replace(layer, params={**layer.params, **stored}, given={**layer.given, **stored})
    return replace(layer, frozen=True)
