"""Bottoms and tops: the ones the user left out, and whether all of them fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations

from ..layer import REGISTRY
from ..params import did_you_mean
from ..spec import PHASES, LayerSpec, count_range
from ..yamlfile import Problems

Layers = tuple[LayerSpec, ...]
Members = tuple[int, ...]  # the layers that are present in some state, by position
MANY_STAGES = 6


def connect(layers: Layers, problems: Problems) -> Layers:
    """Fill in default tops and bottoms; report what is wrong in every state that has the layer."""
    groups = memberships(layers)
    layers = tuple(replace(layer, top=_default_top(layer)) for layer in layers)
    bottoms = [_default_bottom(i, layers, groups, problems) for i in range(len(layers))]
    layers = tuple(replace(layer, bottom=bottom) for layer, bottom in zip(layers, bottoms, strict=True))
    for layer in layers:
        for where, message in _counts(layer):
            problems.add(where, message)
    present = Counter(i for group in groups for i in group)
    found = Counter(fault for group in groups for fault in faults(layers, group))
    for (i, where, message), times in found.items():
        if times == present[i]:
            problems.add(where, message)
    return layers


def check_wiring(layers: Layers, state: str) -> None:
    """What is wrong in one state only shows once the state is chosen."""
    problems = Problems()
    for _, where, message in faults(layers, tuple(range(len(layers)))):
        problems.add(where, message + state)
    problems.raise_all()


def memberships(layers: Layers) -> list[Members]:
    """The different nets that phases, levels and stages can make of these layers."""
    rules = [rule for layer in layers for rule in layer.include + layer.exclude]
    levels = {0} | {rule.min_level for rule in rules if rule.min_level is not None}
    levels |= {rule.max_level + step for rule in rules if rule.max_level is not None for step in (0, 1)}
    stages = sorted({name for rule in rules for name in rule.stage + rule.not_stage})
    sizes = range(len(stages) + 1) if len(stages) <= MANY_STAGES else (0, 1, len(stages))
    sets = list(chain.from_iterable(combinations(stages, size) for size in sizes))
    states = [(phase, level, names) for phase in PHASES for level in sorted(levels) for names in sets]
    return list(dict.fromkeys(tuple(i for i, layer in enumerate(layers) if layer.included(*state)) for state in states))


def _wants(layer: LayerSpec, side: str) -> tuple[int, int | None]:
    """How many bottoms or tops its type takes, as (fewest, most); a type that nobody knows takes any number."""
    known = REGISTRY.get(layer.type)
    return count_range(getattr(known, f"num_{side}")) if known else (1, None)


def _written(layer: LayerSpec, side: str) -> bool:
    return layer.source is not None and layer.source.get(side) is not None


def _default_top(layer: LayerSpec) -> tuple[str, ...]:
    fewest, most = _wants(layer, "top")
    return layer.top if _written(layer, "top") or most == 0 or fewest > 1 else (layer.name,)


def _default_bottom(i: int, layers: Layers, groups: list[Members], problems: Problems) -> tuple[str, ...]:
    """The first top of the layer before it, which must be the same in every state."""
    layer = layers[i]
    if _written(layer, "bottom") or layer.type not in REGISTRY or _wants(layer, "bottom")[0] != 1:
        return layer.bottom
    before = [next((j for j in reversed(group) if j < i and layers[j].top), None) for group in groups if i in group]
    makers = {layers[j].top[0]: layers[j] for j in before if j is not None}
    if len(makers) > 1:
        choice = " or ".join(f"{blob!r} (of layer {maker.name!r})" for blob, maker in makers.items())
        problems.add(
            layer.where, f"layer {layer.name!r}: the layer before it depends on the phase: name its bottom, {choice}"
        )
    if not makers:
        problems.add(layer.where, f"layer {layer.name!r}: no layer before it makes a blob that it could read")
    return tuple(makers)[:1]


def _counts(layer: LayerSpec) -> Iterator[tuple[str, str]]:
    """Numbers of bottoms and tops, and the lists that must match them."""
    if layer.type not in REGISTRY:
        return
    for side, blobs in (("bottom", layer.bottom), ("top", layer.top)):
        fewest, most = _wants(layer, side)
        missing = side == "bottom" and not blobs and not _written(layer, side) and fewest == 1  # already reported
        if not missing and (len(blobs) < fewest or (most is not None and len(blobs) > most)):
            got = f"{len(blobs)} ({', '.join(blobs)})" if blobs else "none"
            yield layer.at(side), (f"layer {layer.name!r}: {layer.type} takes {_amount(fewest, most, side)}, got {got}")
    for key, side in (("loss_weight", "top"), ("propagate_down", "bottom")):
        given, blobs = getattr(layer, key), getattr(layer, side)
        if given and len(given) != len(blobs):
            yield (
                layer.at(key),
                (
                    f"layer {layer.name!r}: {key}: expected {_amount(len(blobs), len(blobs), 'value')}, "
                    f"one for each {side}, got {len(given)}"
                ),
            )


def _amount(fewest: int, most: int | None, what: str) -> str:
    several = "" if (fewest if most is None else most) == 1 else "s"
    if fewest == most:
        return f"{fewest or 'no'} {what}{several}"
    return f"at least {fewest} {what}{several}" if most is None else f"{fewest} to {most} {what}{several}"


def faults(layers: Layers, group: Members) -> Iterator[tuple[int, str, str]]:
    """(layer, address, message) for each blob nobody makes, each name used twice, each blob overwritten too early."""
    makers: dict[str, int] = {}
    names: dict[str, int] = {}
    readers: dict[tuple[str, int], list[int]] = {}
    overwrites: list[tuple[int, str, int]] = []
    for i in group:
        layer = layers[i]
        if layer.name in names:
            yield i, layer.at("name"), f"layer {layer.name!r} is already defined{_there(layers[names[layer.name]])}"
            continue
        names[layer.name] = i
        for blob in layer.bottom:
            if blob in makers:
                readers.setdefault((blob, makers[blob]), []).append(i)
            else:
                yield i, layer.at(blob if layer.block else "bottom"), _unknown(layers, group, i, blob, makers)
        for t, blob in enumerate(layer.top):
            inplace = t < len(layer.bottom) and layer.bottom[t] == blob
            if inplace and blob in makers:
                overwrites.append((i, blob, makers[blob]))
            elif blob in makers:
                other = layers[makers[blob]]
                yield (
                    i,
                    layer.at("top"),
                    (f"layer {layer.name!r}: blob {blob!r} is already made by layer {other.name!r}{_there(other)}"),
                )
            makers[blob] = i
    for i, blob, maker in overwrites:
        others = [layers[j].name for j in readers[blob, maker] if j != i] or [
            layers[maker].name for weight in layers[maker].loss_weight if weight
        ]
        if others:
            yield (
                i,
                layers[i].at("top"),
                (
                    f"layer {layers[i].name!r} overwrites blob {blob!r}, which layer "
                    f"{others[0]!r} needs too; give its top a name of its own"
                ),
            )
        known = REGISTRY.get(layers[i].type)
        # a blob that the user fills keeps its name and its memory
        filled = any(blob in layers[j].top and not layers[j].bottom for j in group if j < i)
        if known and not (known.inplace or known.shares or (known.same_name and not filled)):
            yield (
                i,
                layers[i].at("top"),
                (
                    f"layer {layers[i].name!r}: {layers[i].type} cannot run in place on blob "
                    f"{blob!r}; give its top a name of its own"
                ),
            )


def _there(layer: LayerSpec) -> str:
    return f" at {layer.where}" if layer.where else ""


def _unknown(layers: Layers, group: Members, i: int, blob: str, makers: dict[str, int]) -> str:
    later = next((layers[j] for j in group if j >= i and blob in layers[j].top), None)
    if later is layers[i]:
        hint = ": it is the layer's own top"
    elif later is not None:
        hint = f": layer {later.name!r} makes it later{_there(later)}"
    else:
        block = layers[i].block
        hint = did_you_mean(blob, [*makers, *(block.known if block else ())])
    return f"layer {layers[i].name!r} reads blob {blob!r}, which no earlier layer makes{hint}"
