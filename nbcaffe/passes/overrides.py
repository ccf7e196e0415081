"""``--set layer.key=value``: the command line's last word on a net file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..layer import REGISTRY
from ..params import did_you_mean
from ..yamlfile import Located, Problems, parse
from .blocks import UNROLL


@dataclass(frozen=True)
class Override:
    """``path`` are the words before the equals sign."""

    path: tuple[str, ...]
    value: Any
    text: str

    @property
    def where(self) -> str:
        return f"--set {self.text}"


def read_overrides(texts: Iterable[str], problems: Problems) -> list[Override]:
    """Values are YAML: ``conv1.kernel_size=[3, 5]``."""
    found = []
    for text in texts:
        key, equals, value = text.partition("=")
        path = tuple(word.strip() for word in key.split("."))
        if not equals or len(path) < 2 or not all(path):
            problems.add(f"--set {text}", "expected layer.key=value, as in conv1.num_output=64")
            continue
        try:
            found.append(Override(path, parse(value, f"--set {text}"), text))
        except ConfigError as error:
            problems.add("", error)
    return found


def variables_of(overrides: Iterable[Override]) -> dict[str, Any]:
    """``vars.batch=32`` sets a variable of the file."""
    return {o.path[1]: o.value for o in overrides if o.path[0] == "vars" and len(o.path) == 2}


def apply_overrides(layers: list[Located], overrides: Iterable[Override], problems: Problems) -> list[Located]:
    """Set the keys of flat layers; a name that stands in both phases is set in both."""
    for override in overrides:
        if override.path[0] == "vars":
            continue
        words, names = override.path, set(_names(layers))
        split = next((k for k in range(len(words) - 1, 0, -1) if ".".join(words[:k]) in names), None)
        if split is None:
            name = ".".join(words[:-1])
            problems.add(override.where, f"no layer {name!r}{did_you_mean(name, names)}")
            continue
        name, path = ".".join(words[:split]), words[split:]
        layers = _everywhere(layers, name, path, override, problems)
    return layers


def _names(layers: list[Located], block: str = "") -> Iterator[str]:
    """Of all layers; one inside an unroll block has the block's name before its own: ``rnn/gates``."""
    for layer in layers:
        yield f"{block}{layer.get('name')}"
        if layer.get("type") == UNROLL:
            yield from _names(layer["layers"], f"{block}{layer.get('name')}/")


def _everywhere(
    layers: list[Located], name: str, path: tuple[str, ...], override: Override, problems: Problems
) -> list[Located]:
    out = []
    for layer in layers:
        own = str(layer.get("name"))
        if own == name:
            layer = _set(layer, path, override, problems)
        elif layer.get("type") == UNROLL and name.startswith(f"{own}/"):
            inner = _everywhere(layer["layers"], name[len(own) + 1 :], path, override, problems)
            layer = layer.like({**layer, "layers": inner})
        out.append(layer)
    return out


def _set(layer: Located, path: tuple[str, ...], override: Override, problems: Problems) -> Located:
    known = REGISTRY.get(str(layer.get("type")))
    groups = {known.param_group, *(p.group for p in known.params.values())} if known else set()
    if len(path) > 1 and path[0] in groups:  # conv1.convolution_param.num_output, as in prototxt
        path = path[1:]
    if path[0] in ("name", "type"):
        problems.add(override.where, f"the {path[0]} of a layer cannot be set")
        return layer
    try:
        value = _put(layer.get(path[0]), path[1:], override.value)
    except ConfigError as error:
        problems.add(override.where, f"layer {layer['name']!r}: {path[0]}: {error}")
        return layer
    changed = layer.like({**layer, path[0]: value})
    changed.lines[path[0]] = override.where
    return changed


def _put(old: Any, path: tuple[str, ...], value: Any) -> Any:
    """``old`` with the entry at ``path`` replaced; numbers count in lists."""
    if not path:
        return value
    word, rest = path[0], path[1:]
    if word.isdigit() and (old is None or isinstance(old, list)):
        index, items = int(word), list(old or [])
        items += [{} for _ in range(index + 1 - len(items))]
        items[index] = _put(items[index], rest, value)
        return items
    if old is None or isinstance(old, dict):
        return {**(old or {}), word: _put((old or {}).get(word), rest, value)}
    raise ConfigError(f"has no {word!r} to set, it is {old!r}; set it as a whole")
