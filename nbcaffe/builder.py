"""Layers of a net file, one by one: from what the user wrote to a checked LayerSpec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .layer import REGISTRY, Layer
from .params import Param, bind, did_you_mean
from .passes.blocks import BLOCK_KEYS, UNROLL, finished, locals_of
from .passes.legacy import listed
from .passes.templates import Entry, Expansion, Scope
from .passes.wiring import connect
from .spec import LAYER_KEYS, Block, LayerSpec
from .yamlfile import Located, Problems, load

CAFFE_ENGINES = ("DEFAULT", "CAFFE", "CUDNN")  # any layer may name one, where there is no choice too
NOT_DEFAULTS = ("name", "type", "bottom", "top")
Kind = type[Layer] | None


def read_block(path: Path, variables: Mapping[str, Any]) -> Block:
    """The unroll block that is a file's first layer, with the file's variables set."""
    problems = Problems()
    document = load(path)
    entries, _ = Expansion(problems).document(document, Scope(variables, {}, (str(path),)))
    problems.raise_all()
    builder = LayerBuilder(problems)
    spec = builder.spec(builder.flat(entries[0]), 0)
    problems.raise_all()
    assert spec.block is not None
    return spec.block


def members(kind: Kind, group: str) -> list[str]:
    """The parameters of a layer type that caffe.proto keeps in message field ``group``."""
    return [name for name, p in kind.params.items() if (p.group or kind.param_group) == group] if kind else []


class LayerBuilder:
    """Turns entries of a file into LayerSpecs; collects what is wrong in ``problems``."""

    def __init__(self, problems: Problems, imports_failed: bool = False):
        self.problems, self.imports_failed = problems, imports_failed
        self.checked: dict[int, Located] = {}  # defaults of a type, by the identity of their mapping

    def flat(self, entry: Entry) -> Located:
        """The layer's keys over its type's defaults, ``xxx_param`` groups dissolved."""
        if entry.layer.get("type") == UNROLL:
            return entry.layer.like({**entry.layer, "layers": [self.flat(inner) for inner in entry.inside]})
        kind = self.kind(entry.layer.get("type"))
        own = self.ungroup(entry.layer, kind, f"layer {entry.layer.get('name')!r}: ")
        if kind and "engine" not in kind.params and own.get("engine") in CAFFE_ENGINES:
            del own["engine"]
        below = self.defaults(entry, str(entry.layer.get("type")))
        lines = {**{key: below.where(key) for key in below}, **own.lines}
        return Located({**below, **own}, own.path, own.line, lines)

    @staticmethod
    def kind(name: Any) -> Kind:
        return REGISTRY.get(name) if isinstance(name, str) else None

    def defaults(self, entry: Entry, name: str) -> Located:
        """The file's defaults for a type, checked once: an error there is reported there, not at each layer."""
        for other, settings in entry.defaults.items():
            if id(settings) not in self.checked:
                self.checked[id(settings)] = self.check_defaults(other, settings)
        mine = entry.defaults.get(name)
        return self.checked[id(mine)] if mine is not None else Located()

    def check_defaults(self, name: str, settings: Located) -> Located:
        kind, who = self.kind(name), f"defaults: {name}: "
        if kind is None:
            if not self.imports_failed:
                self.problems.add(settings.where(), f"defaults: no layer type {name!r}{did_you_mean(name, REGISTRY)}")
            return Located()
        flat = self.ungroup(settings, kind, who)
        good: dict[str, Any] = {}
        for key, value in flat.items():
            declared: dict[str, Param] = {**kind.params, **LAYER_KEYS}
            if key in NOT_DEFAULTS:
                self.problems.add(flat.where(key), f"{who}{key} cannot have a default")
            elif self.declared(key, kind, flat, who):
                _, errors = bind({key: declared[key]}, {key: value}, name)
                for error in errors:
                    self.problems.add(error.at or flat.where(key), f"{who}{error}")
                good |= {} if errors else {key: value}
        return flat.like(good)

    def ungroup(self, layer: Located, kind: Kind, who: str) -> Located:
        """``convolution_param: {num_output: 20}`` means ``num_output: 20``."""
        groups = {param.group or kind.param_group for param in kind.params.values()} if kind else set()
        flat = Located((), layer.path, layer.line)
        for key, value in layer.items():
            if key in groups and isinstance(value, Mapping):
                for name, inner in value.items():
                    at = value.where(name) if isinstance(value, Located) else layer.where(key)
                    self.put(flat, name if name in members(kind, key) else f"{key}.{name}", inner, at, who)
            elif key in groups:
                self.problems.add(layer.where(key), f"{who}{key}: expected a mapping, got {value!r:.60}")
            else:
                self.put(flat, key, value, layer.where(key), who)
        return flat

    def put(self, flat: Located, key: str, value: Any, where: str, who: str) -> None:
        if key in flat:
            self.problems.add(where, f"{who}{key!r} is already set at {flat.where(key)}")
        flat[key], flat.lines[key] = value, where

    def declared(self, key: str, kind: type[Layer], layer: Located, who: str) -> bool:
        if key in kind.params or key in LAYER_KEYS:
            return True
        group, _, name = key.rpartition(".")
        if group:
            near = did_you_mean(name, members(kind, group))
            self.problems.add(layer.where(key), f"{who}{group} has no field {name!r}{near}")
            return False
        groups = {param.group or kind.param_group for param in kind.params.values()}
        near = did_you_mean(key, [*kind.params, *LAYER_KEYS, *groups])
        if "?" not in near:  # the list of all: without the keys that every layer has
            near = did_you_mean(key, kind.params)
        self.problems.add(layer.where(key), f"{who}{kind.__name__} has no parameter {key!r}{near}")
        return False

    def spec(self, layer: Located, index: int) -> LayerSpec:
        """One layer, checked by itself."""
        if layer.get("type") == UNROLL:
            return self.block(layer, index)
        name, type_name = layer.get("name"), layer.get("type")
        kind = self.kind(type_name)
        self.check_type(layer, kind)
        who = f"layer {name!r}: "
        shared = {k: v for k, v in layer.items() if k in LAYER_KEYS and k != "type"}
        common, errors = bind(LAYER_KEYS, shared, "a layer")
        values: dict[str, Any] = {}
        own = [k for k in layer if k not in LAYER_KEYS]
        given: dict[str, Any] = {k: layer[k] for k in own}
        if kind is not None:
            given = {k: layer[k] for k in own if self.declared(k, kind, layer, who)}
            values, more = bind(kind.params, given, kind.__name__)
            mistyped = len(given) < len(own)  # then what seems to be missing is there under a wrong name
            errors += [error for error in more if error.key or not mistyped]
        for error in errors:
            self.problems.add(error.at or layer.where(error.key), f"{who}{error}")
        if common["include"] and common["exclude"]:
            self.problems.add(layer.where("exclude"), f"{who}expected include or exclude rules, got both")
        common |= {"name": name if isinstance(name, str) and name else f"layer {index}", "type": str(type_name)}
        return LayerSpec(**common, params=values, given=given, where=layer.where(), source=layer)

    def block(self, layer: Located, index: int) -> LayerSpec:
        """An unroll block: its step is checked once, with what it finds there when it begins."""
        self.check_type(layer, self.kind(UNROLL))
        own = {key: value for key, value in layer.items() if key in BLOCK_KEYS}  # set on the command line
        values, errors = bind(BLOCK_KEYS, own, "unroll")
        for error in errors:
            self.problems.add(layer.where(error.key), f"unroll {layer.get('name')!r}: {error}")
        layer = layer.like({**layer, "written": replace(layer["written"], **{key: values[key] for key in own})})
        _, *inner = connect(
            (locals_of(layer), *(self.spec(one, i) for i, one in enumerate(layer["layers"]))), self.problems
        )
        return LayerSpec(
            str(layer.get("name") or f"layer {index}"),
            UNROLL,
            tuple(listed(layer["bottom"])),
            tuple(listed(layer["top"])),
            block=finished(layer, tuple(inner), self.problems),
            where=layer.where(),
            source=layer,
        )

    def check_type(self, layer: Located, kind: Kind) -> None:
        name, type_name = layer.get("name"), layer.get("type")
        if not name:
            self.problems.add(layer.where("name"), f"a layer of type {type_name} needs a name")
        who = f"layer {name!r}" if name else "a layer"
        if type_name is None:
            self.problems.add(layer.where(), f"{who} needs a type")
        elif kind is None and not isinstance(type_name, str):
            self.problems.add(layer.where("type"), f"{who}: type: expected a string, got {type_name!r}")
        elif kind is None and not self.imports_failed:
            near = did_you_mean(type_name, REGISTRY)
            self.problems.add(layer.where("type"), f"{who}: no layer type {type_name!r}{near}")
