"""YAML with addresses: every mapping knows the file and line of each of its keys."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError
from .params import did_you_mean


class Located(dict):
    """A mapping that remembers where it was written.

    ``lines`` gives the line of each key; a string there is a whole address, for a key that came from elsewhere.
    """

    def __init__(self, items: Any = (), path: str = "", line: int = 0, lines: Mapping[str, int | str] | None = None):
        super().__init__(items)
        self.path, self.line, self.lines = path, line, dict(lines or {})

    def where(self, key: object = None) -> str:
        """``file:line`` of a key, or of the mapping itself."""
        line = self.lines.get(key, self.line)  # type: ignore[call-overload]
        if isinstance(line, str):
            return line
        return f"{self.path}:{line}" if line else self.path

    def like(self, items: Any) -> Located:
        """Another mapping at the same address."""
        return Located(items, self.path, self.line, self.lines)


def located(value: Any, path: str) -> Any:
    """Give every plain mapping inside ``value`` the address ``path``."""
    if isinstance(value, Located):
        return value
    if isinstance(value, Mapping):
        return Located(((k, located(v, path)) for k, v in value.items()), path)
    if isinstance(value, (list, tuple)):
        return [located(v, path) for v in value]
    return value


class Problems:
    """Collects what is wrong with a file, to say it all at once, sorted by line."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, where: str, message: object) -> None:
        if (where, str(message)) not in self.found:
            self.found.append((where, str(message)))

    def __bool__(self) -> bool:
        return bool(self.found)

    def lines(self) -> list[str]:
        """The messages; files in the order they were first named, lines in order inside each."""
        files = list(dict.fromkeys(_address(where)[0] for where, _ in self.found))
        ordered = sorted(self.found, key=lambda f: (files.index(_address(f[0])[0]), _address(f[0])[1]))
        return [f"{where}: {message}" if where else message for where, message in ordered]

    def raise_all(self) -> None:
        if self.found:
            raise ConfigError("\n".join(self.lines()))


def _address(where: str) -> tuple[str, int]:
    path, _, line = where.rpartition(":")
    return (path, int(line)) if line.isdigit() else (where, 0)


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's plain scalars that keeps lines and rejects repeated keys."""

    yaml_implicit_resolvers: dict = {}

    def __init__(self, stream: str, path: str):
        super().__init__(stream)
        self.path, self.problems = path, Problems()

    def reject_repeats(self, node: yaml.MappingNode) -> None:
        seen: dict[object, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self.problems.add(f"{self.path}:{line}", "a key must be a word, got a list or a mapping")
            elif key in seen:
                self.problems.add(f"{self.path}:{line}", f"{key!r} is already set on line {seen[key]}")
            seen.setdefault(key, line)

    def mapping(self, node: yaml.MappingNode) -> Located:
        self.reject_repeats(node)  # before merge keys (<<) bring in what the mapping may override
        self.flatten_mapping(node)
        out = Located((), self.path, node.start_mark.line + 1)
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                key = self.construct_object(key_node, deep=True)
                out[key] = self.construct_object(value_node, deep=True)
                out.lines[key] = key_node.start_mark.line + 1
        return out


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes exactly the strings which the loader would read as something else."""

    yaml_implicit_resolvers: dict = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", "~nN"),
    "int": (r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|\.[0-9]+[eE][-+]?[0-9]+)"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "merge": (r"<<", "<"),
}
for _tag, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}",
            re.compile(f"(?:{_pattern})$"),
            [*_first, ""] if _tag == "null" else list(_first),
        )
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value, 16 if "x" in node.value else 10))
_Dumper.add_representer(Located, lambda dumper, data: dumper.represent_dict(data.items()))
_Dumper.add_representer(tuple, lambda dumper, data: dumper.represent_list(data))
_Dumper.add_representer(dict, lambda dumper, data: dumper.represent_dict(data.items()))


def _is_text(source: str) -> bool:
    return "\n" in source or ": " in source or source.lstrip().startswith(("{", "["))


def read_text(path: str | Path) -> str:
    """The text of a configuration file, or a ConfigError that says why there is none."""
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = did_you_mean(path.name, beside)
        raise ConfigError(f"{path}: no such file{near if '?' in near else ''}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def parse(text: str, path: str) -> Any:
    """Any YAML value; mappings are Located."""
    loader = None
    try:
        loader = _Loader(text, path)
        value = loader.get_single_data()
        loader.problems.raise_all()
    except yaml.reader.ReaderError as error:
        row, code = text.count("\n", 0, error.position) + 1, error.character
        number = ord(code) if isinstance(code, str) else code
        raise ConfigError(f"{path}:{row}: character number {number} is not allowed in YAML") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        why = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{path}{line}: not YAML: {why}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    finally:
        if loader:
            loader.dispose()
    return value


def load(source: str | Path, name: str | None = None) -> Located:
    """Read a YAML file, or YAML text (which has a line break, a ``: `` or a leading brace)."""
    text = isinstance(source, str) and _is_text(source)
    path = name or ("<text>" if text else str(source))
    document = parse(str(source) if text else read_text(source), path)
    if document is None:
        raise ConfigError(f"{path}: the file is empty")
    if not isinstance(document, Located):
        raise ConfigError(f"{path}:1: expected a mapping (key: value), got {type(document).__name__} {document!r:.60}")
    return document


def dump(value: Mapping[str, Any]) -> str:
    """Flat readable YAML: one top-level key a line, and one line for each item of a list of mappings."""
    dumper = _Dumper(io.StringIO(), sort_keys=False)
    node = dumper.represent_data(dict(value))
    _set_style(node.value)
    return yaml.serialize(node, Dumper=_Dumper, width=1 << 30, allow_unicode=True)


def _set_style(pairs: Iterable[tuple[yaml.Node, yaml.Node]]) -> None:
    """Block style for the document and its lists of mappings, flow style below."""
    for _, node in pairs:
        if isinstance(node, yaml.CollectionNode):
            items = node.value if isinstance(node, yaml.SequenceNode) else []
            node.flow_style = not any(isinstance(item, yaml.MappingNode) for item in items)
            for item in items:
                item.flow_style = True
