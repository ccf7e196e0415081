"""From a document with variables, repeats, templates and includes to a flat list of layers, each with its address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..caffe.document import load_net
from ..errors import ConfigError
from ..params import did_you_mean
from ..yamlfile import Located, Problems
from .blocks import block_layer
from .legacy import legacy_input
from .prefix import prefixed
from .variables import Outside, substitute, unwrap

WHOLE_NET = ("freeze", "force_backward", "debug_info")  # cannot stand in an included file
LEGACY = ("input", "input_shape", "input_dim")
FILE_KEYS = ("name", "layers", "layer", "vars", "defaults", "include", "import", "net", "solver", *WHOLE_NET, *LEGACY)


@dataclass(frozen=True)
class Entry:
    """A layer as the user wrote it, and the defaults (by type) of the file it stands in."""

    layer: Located
    defaults: Mapping[str, Located]
    inside: tuple[Entry, ...] = ()  # of an unroll block: the layers of its step


@dataclass(frozen=True)
class Scope:
    """What a line of a file can refer to; ``chain`` are the files and templates that led here."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Located] = field(default_factory=dict)
    chain: tuple[str, ...] = ()


@dataclass(frozen=True)
class Template:
    body: list
    arguments: Mapping[str, Any]
    scope: Scope
    where: str


class Expansion:
    """Reads one net and all that it includes; collects what is wrong in ``problems``."""

    def __init__(self, problems: Problems):
        self.problems = problems
        self.templates: dict[str, Template] = {}
        self.imports: dict[str, str] = {}  # Python file -> where it is named
        self.blocks = {
            "template": self.template,
            "use": self.use,
            "repeat": self.repeat,
            "include": self.include,
            "unroll": self.unroll,
        }

    # -- files ---------------------------------------------------------------------------------------------------

    def document(self, document: Located, scope: Scope) -> tuple[list[Entry], Scope]:
        """The layers of a file, and what it defines for the file that includes it."""
        for key in document:
            if key not in FILE_KEYS:
                self.problems.add(document.where(key), f"a net file has no key {key!r}{did_you_mean(key, FILE_KEYS)}")
        scope = replace(scope, variables=self.variables(document, scope))
        entries: list[Entry] = []
        included: Mapping[str, Located] = {}
        for file in self.names(document, "include"):
            found, inner = self.file(file, document.where("include"), document.path, scope)
            entries += found
            scope = replace(scope, variables={**inner.variables, **scope.variables})
            included = merged(included, inner.defaults)
        own = substitute(self.mapping(document, "defaults"), scope.variables, "", self.problems)
        own = {kind: settings for kind, settings in own.items() if self.settings(own, kind)}
        scope = replace(scope, defaults=merged(included, own))
        for file in self.names(document, "import"):
            self.imports.setdefault(str(beside(document.path, file)), document.where("import"))
        head = legacy_input(document, self.problems)
        if head is not None:
            entries.append(Entry(head, {}))
        key = "layers" if "layers" in document else "layer"
        return entries + self.items(document.get(key), scope, document.where(key)), scope

    def file(self, name: str, where: str, base: str, scope: Scope) -> tuple[list[Entry], Scope]:
        """Another file's layers; the variables of the file that includes it win over its own."""
        path = beside(base, name)
        if str(path.resolve()) in scope.chain:
            self.problems.add(where, f"include: {path} includes itself")
            return [], Scope()
        try:
            document = net_part(load_net(path))
        except ConfigError as error:
            self.problems.add(where, f"include: {error}")
            return [], Scope()
        for key in WHOLE_NET:
            if key in document:
                self.problems.add(document.where(key), f"{key!r} belongs in the file that includes this one")
        return self.document(document, Scope(scope.variables, {}, (*scope.chain, str(path.resolve()))))

    def variables(self, document: Located, scope: Scope) -> Mapping[str, Any]:
        """The file's variables, each may use the ones above it; those of the includer and ``--set`` come first."""
        known = dict(scope.variables)
        for name, value in self.mapping(document, "vars").items():
            if name not in scope.variables:
                known[name] = substitute(value, known, document["vars"].where(name), self.problems)
        return known

    # -- lists of layers and blocks ------------------------------------------------------------------------------

    def items(self, items: Any, scope: Scope, where: str) -> list[Entry]:
        """Layers and blocks, in order."""
        if not isinstance(items, list):
            if items is not None:
                self.problems.add(where, f"layers: expected a list of layers, got {items!r:.60}")
            return []
        entries: list[Entry] = []
        for item in items:
            if not isinstance(item, Located):
                self.problems.add(where, f"expected a layer like {{name: conv1, type: Convolution}}, got {item!r:.60}")
                continue
            block = None if "type" in item else next((key for key in self.blocks if key in item), None)
            if block:
                entries += self.blocks[block](item, scope)
            else:
                entries.append(Entry(substitute(item, scope.variables, "", self.problems), scope.defaults))
        return entries

    def include(self, item: Located, scope: Scope) -> list[Entry]:
        if not self.fits(item, "include", ()):
            return []
        return [
            e
            for file in self.names(item, "include")
            for e in self.file(file, item.where("include"), item.path, scope)[0]
        ]

    def repeat(self, item: Located, scope: Scope) -> list[Entry]:
        """The layers ``n`` times, the index from 0; or once for each value of a list."""
        if not self.fits(item, "repeat", ("index", "layers")):
            return []
        times = substitute(item["repeat"], scope.variables, item.where("repeat"), self.problems)
        if not (isinstance(times, list) or (type(times) is int and times >= 0)):
            self.problems.add(item.where("repeat"), f"repeat: expected a number or a list of values, got {times!r}")
            return []
        index = item.get("index", "i")
        values = range(times) if isinstance(times, int) else times
        return [
            e
            for value in values
            for e in self.items(
                item.get("layers"), replace(scope, variables={**scope.variables, index: value}), item.where("layers")
            )
        ]

    def unroll(self, item: Located, scope: Scope) -> list[Entry]:
        """A block as one layer, with the layers of its step inside."""
        body = item["unroll"]
        if not self.fits(item, "unroll", ()) or not isinstance(body, Located):
            self.problems.add(item.where("unroll"), "unroll: expected name, inputs, state, outputs and layers")
            return []
        inside = tuple(self.items(body.get("layers"), scope, body.where("layers")))
        rest = substitute(body.like({**body, "layers": None}), scope.variables, "", self.problems)
        layer = block_layer(rest, [entry.layer for entry in inside], self.problems)
        return [Entry(layer, scope.defaults, inside)]

    def template(self, item: Located, scope: Scope) -> list[Entry]:
        """Remember a named list of layers with its arguments; one without a value must be given where it is used."""
        if self.fits(item, "template", ("args", "layers")):
            name = str(item["template"])
            if name in self.templates:
                self.problems.add(
                    item.where("template"), f"template {name!r} is already defined at {self.templates[name].where}"
                )
            layers = item.get("layers")
            if not isinstance(layers, list):
                self.problems.add(item.where("layers"), f"template {name!r}: layers: expected a list of layers")
                layers = []
            self.templates[name] = Template(layers, self.mapping(item, "args"), scope, item.where())
        return []

    def use(self, item: Located, scope: Scope) -> list[Entry]:
        """A template's layers; names and blobs made in it get the prefix."""
        name, where = str(item["use"]), item.where("use")
        template = self.templates.get(name)
        if template is None:
            self.problems.add(where, f"use: no template {name!r}{did_you_mean(name, self.templates)}")
            return []
        if f"template {name}" in scope.chain:
            self.problems.add(where, f"use: template {name!r} uses itself")
            return []
        item = substitute(item, scope.variables, where, self.problems)
        given = {k: Outside.wrap(v) for k, v in item.items() if k not in ("use", "prefix")}
        for key in given:
            if key not in template.arguments:
                self.problems.add(
                    item.where(key), f"template {name!r} has no argument {key!r}{did_you_mean(key, template.arguments)}"
                )
        prefix = item.get("prefix") or ""
        variables = {**template.scope.variables, "prefix": prefix}
        for key, default in template.arguments.items():
            if key not in given and default is None:
                self.problems.add(where, f"template {name!r} needs {key!r}")
            variables[key] = given[key] if key in given else substitute(default, variables, where, self.problems)
        inner = Scope(variables, template.scope.defaults, (*scope.chain, f"template {name}"))
        made = self.items(template.body, inner, template.where)
        named = prefixed([e.layer for e in made], prefix)
        return [replace(bare(e), layer=layer) for e, layer in zip(made, named, strict=True)]

    # -- small checks --------------------------------------------------------------------------------------------

    def fits(self, item: Located, block: str, others: tuple[str, ...]) -> bool:
        unknown = [key for key in item if key != block and key not in others]
        for key in unknown:
            self.problems.add(
                item.where(key),
                f"{block}: no key {key!r}{did_you_mean(key, (block, *others))}"
                + (" (a layer needs a type)" if key == "name" else ""),
            )
        return not unknown

    def mapping(self, item: Located, key: str) -> Located:
        value = item.get(key)
        if value is not None and not isinstance(value, Located):
            self.problems.add(item.where(key), f"{key}: expected a mapping, got {value!r:.60}")
        return value if isinstance(value, Located) else Located((), item.path, item.line)

    def settings(self, defaults: Located, key: str) -> bool:
        if not isinstance(defaults[key], Located):
            self.problems.add(
                defaults.where(key),
                f"defaults: {key}: expected parameters like {{stride: 2}}, got {defaults[key]!r:.60}",
            )
        return isinstance(defaults[key], Located)

    def names(self, item: Located, key: str) -> list[str]:
        value = item.get(key)
        names = value if isinstance(value, list) else [] if value is None else [value]
        for name in names:
            if not isinstance(name, str):
                self.problems.add(item.where(key), f"{key}: expected file names, got {value!r:.60}")
        return [name for name in names if isinstance(name, str)]


def bare(entry: Entry) -> Entry:
    """An entry whose inner layers name the caller's blobs as plain strings."""
    inside = (replace(bare(e), layer=unwrap(e.layer)) for e in entry.inside)
    return replace(entry, inside=tuple(inside))


def beside(base: str, name: str) -> Path:
    """A file named in file ``base``."""
    return Path(base).parent / name


def net_part(document: Located) -> Located:
    """A net and its solver may share a file: keys under ``net:`` count as if they stood at the top."""
    net = document.get("net")
    if isinstance(net, str):
        raise ConfigError(f"{document.where('net')}: this is a solver file; its net is {net}")
    if not isinstance(net, Located):
        return document
    rest = {key: value for key, value in document.items() if key != "net"}
    for key in net:
        if key in rest:
            raise ConfigError(f"{net.where(key)}: {key!r} is already set at {document.where(key)}")
    lines = {**document.lines, **{key: net.where(key) for key in net}}
    return Located({**rest, **net}, document.path, document.line, lines)


def merged(below: Mapping[str, Located], above: Mapping[str, Located]) -> dict[str, Located]:
    """Defaults by type; keys of ``above`` win, each keeps its address."""
    out = dict(below)
    for kind, settings in above.items():
        old = out.get(kind)
        if old is not None:
            lines = {key: source.where(key) for source in (old, settings) for key in source}
            settings = Located({**old, **settings}, settings.path, settings.line, lines)
        out[kind] = settings
    return out
