"""Net files: from YAML, or a mapping, to a checked NetSpec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import layers  # noqa: F401  (defines the built-in types)
from .caffe.document import load_net
from .layer import REGISTRY, Layer
from .params import Param, bind, did_you_mean
from .passes.imports import import_layers
from .passes.overrides import apply_overrides, read_overrides, variables_of
from .passes.sharing import freeze
from .passes.templates import Entry, Expansion, Scope, net_part
from .passes.wiring import connect
from .spec import LAYER_KEYS, NET_KEYS, LayerSpec, NetSpec
from .yamlfile import Located, Problems, located

CAFFE_ENGINES = (
    "DEFAULT",
    "CAFFE",
    "CUDNN",
)  # any layer may name one, where there is no choice too
NOT_DEFAULTS = ("name", "type", "bottom", "top")
Kind = type[Layer] | None


def read_net(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = (), any_type: bool = False) -> NetSpec:
    """Read and check a net.

    Parameters
    ----------
    source : path, YAML text or mapping
        A file is YAML, or one of Caffe's; a mapping has the keys of a YAML file.
    overrides : iterable of str
        ``layer.key=value``, and ``vars.name=value`` for a variable of the file.

    any_type : bool
        Take layers of unknown types as they are, for a net that is only to be written again.

    Raises
    ------
    ConfigError
        With everything that is wrong, sorted by line.
    """
    problems = Problems()
    document = net_part(located(source, "") if isinstance(source, Mapping) else load_net(source))
    wanted = read_overrides(overrides, problems)
    expansion = Expansion(problems)
    start = Scope(variables_of(wanted), {}, (str(Path(document.path).resolve()),))
    entries, _ = expansion.document(document, start)
    _check_variables(wanted, document, problems)
    before = len(problems.found)
    imports = import_layers(expansion.imports, problems)
    builder = LayerBuilder(problems, imports_failed=any_type or len(problems.found) > before)
    flat = apply_overrides([builder.flat(entry) for entry in entries], wanted, problems)
    specs = connect(tuple(builder.spec(layer, index) for index, layer in enumerate(flat)), problems)
    header, errors = bind(NET_KEYS, {k: v for k, v in document.items() if k in NET_KEYS}, "a net")
    for error in errors:
        problems.add(document.where(error.key), error)
    specs = freeze(specs, header["freeze"], document.where("freeze"), problems)
    if not specs:
        problems.add(document.where("layers"), "the net has no layers")
    problems.raise_all()
    return NetSpec(layers=specs, imports=imports, where=document.where(), **header)


def _check_variables(overrides: Iterable, document: Located, problems: Problems) -> None:
    known = document.get("vars")
    known = known if isinstance(known, Mapping) else {}
    for override in overrides:
        if override.path[0] == "vars" and (len(override.path) != 2 or override.path[1] not in known):
            name = ".".join(override.path[1:])
            problems.add(override.where, f"the file has no variable {name!r}{did_you_mean(name, known)}")


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
