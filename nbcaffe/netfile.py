"""Net files: from YAML, or a mapping, to a checked NetSpec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import layers  # noqa: F401  (defines the built-in types)
from .builder import LayerBuilder
from .caffe.document import load_net
from .net_spec import NetSpec as NetInPython
from .params import bind, did_you_mean
from .passes.imports import import_layers
from .passes.overrides import apply_overrides, read_overrides, variables_of
from .passes.sharing import freeze
from .passes.templates import Expansion, Scope, net_part
from .passes.wiring import connect
from .spec import NET_KEYS, NetSpec
from .yamlfile import Located, Problems, located


def read_net(source: Any, overrides: Iterable[str] = (), any_type: bool = False) -> NetSpec:
    """Read and check a net.

    Parameters
    ----------
    source : path, YAML text, mapping, nbcaffe.NetSpec or NetParameter
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
    document = net_part(net_document(source))
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


def net_document(source: Any) -> Located:
    """The mapping of whatever a net is given as."""
    if isinstance(source, NetInPython):
        return source.document()
    return located(source, "") if isinstance(source, Mapping) else load_net(source)


def _check_variables(overrides: Iterable, document: Located, problems: Problems) -> None:
    known = document.get("vars")
    known = known if isinstance(known, Mapping) else {}
    for override in overrides:
        if override.path[0] == "vars" and (len(override.path) != 2 or override.path[1] not in known):
            name = ".".join(override.path[1:])
            problems.add(override.where, f"the file has no variable {name!r}{did_you_mean(name, known)}")
