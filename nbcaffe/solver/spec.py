"""What a solver file says, checked and frozen: Caffe's SolverParameter in YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..caffe.document import load_solver
from ..caffe.schema import need
from ..errors import ConfigError, NbcaffeError
from ..params import Param, ParamError, bind, did_you_mean
from ..passes.imports import import_layers
from ..weight_files import split_files
from ..yamlfile import Located, Problems, dump, located, parse
from .policies import POLICIES, rate
from .rules import UPDATES
from .settings import SETTINGS, NetState

NET_SOURCES = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")
INLINE = "solver"  # the key of a net file that holds its solver


@dataclass(frozen=True)
class SolverSpec:
    """All settings of a solver, as attributes of their names in Caffe."""

    params: ClassVar[dict[str, Param]] = SETTINGS

    values: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None  # the file; relative paths count from its folder

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("values", {})
        if name not in values:
            raise AttributeError(f"a solver has no setting {name!r}{did_you_mean(name, values)}")
        return values[name]

    @property
    def folder(self) -> Path:
        return self.path.parent if self.path else Path()

    @property
    def name(self) -> str:
        """What runs and snapshots are called: the file's name, or its folder's where that is just `solver`."""
        if self.path is None:
            return "solver"
        stem = self.path.stem
        return self.path.absolute().parent.name if stem == "solver" and self.path.absolute().parent.name else stem

    @property
    def weight_files(self) -> list[Path]:
        """Where ``weights`` lie: counted from the solver file's folder, else from the working directory."""
        files = [file for text in self.values["weights"] for file in split_files(text)]
        return [file if file.exists() and not (self.folder / file).exists() else self.folder / file for file in files]

    def where(self, key: str) -> str:
        """``file:line`` of a setting, or what else it was given by."""
        return self.given.where(key) if isinstance(self.given, Located) else str(self.path or "the solver")

    @property
    def text(self) -> str:
        """Every setting that is not left out, as YAML; nets that are written inside stand in the run's net file."""
        shown = {k: v for k, v in self.values.items() if v is not None and v != () and not k.endswith("net_param")}
        states = {k: [vars(state) for state in v] for k, v in shown.items() if k.endswith("_state")}
        return dump({**shown, **states})

    @property
    def train_source(self) -> Any:
        """The net to train: a path or a mapping."""
        return next(iter(self._sources(*NET_SOURCES[:4])))

    @property
    def test_sources(self) -> list[tuple[Any, NetState]]:
        """Each test net with its state: their own first, then the shared one as test_iter asks."""
        own = self._sources("test_net", "test_net_param")
        shared = self._sources("net", "net_param")
        missing = max(len(self.test_iter) - len(own), 0)
        sources = own + shared[:1] * missing
        states = self.test_state or (NetState(),) * len(sources)
        return list(zip(sources, states, strict=True))

    def _sources(self, *keys: str) -> list[Any]:
        found = []
        for key in keys:
            value = self.values[key]
            listed = value if isinstance(value, tuple) else () if value is None else (value,)
            found += [str(self.folder / v) if isinstance(v, str) else v for v in listed]
        return found


def read_solver(source: Any, overrides: Iterable[str] = (), net: str | None = None) -> SolverSpec:
    """A solver from a file, YAML text or a mapping; all that is wrong with it in one ConfigError.

    ``overrides`` are ``key=value``; ``net`` is a net file to use instead of the solver's nets.
    A net file may hold its solver under ``solver:``.
    """
    document = located(source, "<solver>") if isinstance(source, Mapping) else load_solver(source)
    problems = Problems()
    given = settings_of(document, problems)
    if net is not None:
        for key in NET_SOURCES:
            given.pop(key, None)
        given["net"] = str(Path(net).absolute())
    for text in overrides:
        override(given, text, problems)
    path = Path(document.path) if document.path and not document.path.startswith("<") else None
    imports = import_named(given, path, problems)
    declared = declared_for(given)
    values, errors = bind(declared, given, "the solver")
    for error in errors:
        problems.add(error.at or given.where(error.key), error)
    wrong = {error.key for error in errors}
    for key, message in misfits(values, given, declared):
        if key not in wrong:
            problems.add(given.where(key), message)
    problems.raise_all()
    spec = SolverSpec({**values, "import": imports}, given, path)
    try:
        rate(spec, 0)  # a policy that fails says so now
    except ConfigError as error:
        raise ConfigError(f"{given.where('lr_policy')}: {error}") from error
    return spec


def import_named(given: Located, path: Path | None, problems: Problems) -> tuple[str, ...]:
    """Run the Python files that the solver, or the net inside it, names; what they define can be used in the file."""
    folder = path.parent if path else Path()
    found: dict[str, str] = {}
    for mapping in (given, given.get("net_param")):
        if isinstance(mapping, Located):
            named = mapping.get("import", ())
            files = [named] if isinstance(named, str) else named if isinstance(named, (list, tuple)) else []
            found |= {str(folder / file): mapping.where("import") for file in files if isinstance(file, str)}
    imports = import_layers(found, problems)
    problems.raise_all()  # names that the files would have defined must not look wrong
    return imports


def declared_for(given: Mapping[str, Any]) -> dict[str, Param]:
    """Caffe's settings, and those of the chosen policy and update."""
    declared = dict(SETTINGS)
    for key, table in (("lr_policy", POLICIES), ("type", UPDATES)):
        chosen = given.get(key)
        if isinstance(chosen, str) and chosen in table:
            declared |= table[chosen].params
    return declared


def settings_of(document: Located, problems: Problems) -> Located:
    """The solver's own mapping: the document, or what stands under ``solver:`` in a net file."""
    if INLINE not in document and "layers" not in document:
        return net_inside(document.like(document))
    inside = document.get(INLINE)
    if not isinstance(inside, Located):
        what = "expected a mapping of solver settings" if INLINE in document else f"a net without {INLINE!r}: settings"
        problems.add(document.where(INLINE), f"{what}; name a solver file, or add `solver: {{base_lr: 0.01, ...}}`")
        return document.like({"base_lr": 0.0, "net_param": {}})
    inside = inside.like(inside)
    if "layers" in document:
        net = document.like({key: value for key, value in document.items() if key != INLINE})
        inside.setdefault("net_param", net)
    return net_inside(inside)


def net_inside(given: Located) -> Located:
    """``net: {layers: ...}`` is the net itself, which Caffe calls net_param."""
    if isinstance(given.get("net"), Mapping) and "net_param" not in given:
        given["net_param"], given.lines["net_param"] = given.pop("net"), given.where("net")
    return given


def override(given: Located, text: str, problems: Problems) -> None:
    """Take over one ``key=value`` of the command line."""
    key, equals, value = text.partition("=")
    where = f"--set {text}"
    if not equals:
        problems.add(where, "expected KEY=VALUE")
        return
    given[key] = parse(value, where)
    given.lines[key] = where


def misfits(
    values: Mapping[str, Any], given: Mapping[str, Any], declared: Mapping[str, Param]
) -> Iterable[tuple[str, str]]:
    """Settings that are right each by itself but not together: key and message."""
    if values["snapshot_format"] == "BINARYPROTO":
        try:
            need("google.protobuf")  # now, and not when the first snapshot falls due
        except NbcaffeError as error:
            yield "snapshot_format", f"snapshot_format BINARYPROTO: {error}"
    name = values["lr_policy"]
    for key in POLICIES[name].needs:
        if key not in declared:
            near = did_you_mean(key, declared)
            yield "lr_policy", f"lr_policy {name!r} ({POLICIES[name].place}) needs {key!r}, which is no setting{near}"
        elif values[key] in (None, ()):
            yield "lr_policy", f"lr_policy {name!r} needs {key!r}: {declared[key].doc}"
    if "max_iter" in POLICIES[name].needs and values["max_iter"] == 0:
        yield "max_iter", f"max_iter: lr_policy {name!r} divides by it; expected an int and >= 1, got 0"
    yield from UPDATES[values["type"]].misfits(values, declared)
    if list(values["stepvalue"]) != sorted(set(values["stepvalue"])):
        yield "stepvalue", f"stepvalue: expected iterations that rise, got {list(values['stepvalue'])}"
    trains = [key for key in NET_SOURCES[:4] if values[key] is not None]
    if len(trains) != 1:
        got = " and ".join(trains) or "none"
        yield (trains or ["net"])[-1], f"expected one net to train (net: FILE is the usual way), got {got}"
    if values["reinit"] and not values["weights"]:
        yield "reinit", "reinit: there are no weights to leave out; give weights, too"
    yield from test_misfits(values, given, trains)


def test_misfits(values: Mapping[str, Any], given: Mapping[str, Any], trains: list[str]) -> Iterable[tuple[str, str]]:
    """Caffe's rules for how many test nets, iterations and states there are."""
    own = len(values["test_net"]) + len(values["test_net_param"])
    shared = any(key in ("net", "net_param") for key in trains)
    count = len(values["test_iter"])
    if count < own or (count > own and not shared):
        yield "test_iter", f"test_iter: expected {own}, one for each test net, got {count}"
    if values["test_state"] and len(values["test_state"]) != count:
        yield "test_state", f"test_state: expected {count}, one for each test_iter, got {len(values['test_state'])}"
    if count and "test_interval" not in given:
        yield "test_iter", "test_iter needs test_interval: iterations from test to test"
    if values["test_interval"] and not count:
        yield "test_interval", "test_interval needs test_iter: a number of batches, or `all`"
    if len(values["train_state"]) > 1:
        yield "train_state", "train_state: expected one state, got a list"


__all__ = ["SETTINGS", "NetState", "ParamError", "SolverSpec", "read_solver"]
