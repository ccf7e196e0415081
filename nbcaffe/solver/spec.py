"""What a solver file says, checked and frozen: Caffe's SolverParameter in YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..params import Bool, Choice, Float, Int, Ints, Param, ParamError, Str, Strs, bind, did_you_mean
from ..spec import PHASES, Records, declare
from ..yamlfile import Located, Problems, dump, load, located, parse
from .policies import POLICIES
from .updates import UPDATES

CAFFE_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
NET_SOURCES = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")
INLINE = "solver"  # the key of a net file that holds its solver


class Document(Param[Mapping]):
    """A net written inside the solver file."""

    kind = "a net: a mapping with layers"
    wrong = ("net.yaml", 3, [1])

    def convert(self, value: Any) -> Any:
        return value if isinstance(value, Mapping) else self.fail(value)


class Documents(Param[tuple]):
    kind = "a net or a list of nets: mappings with layers"
    wrong = ("net.yaml", 3, [1])

    def convert(self, value: Any) -> Any:
        listed = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        return listed if all(isinstance(v, Mapping) for v in listed) else self.fail(value)


class TestIter(Param[tuple]):
    """How long each test net is scored."""

    kind = "a number of batches, `all`, or a list of these, one for each test net"
    wrong = ("most", 0, -1, 1.5, True, ["all", "most"])

    def convert(self, value: Any) -> Any:
        listed = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        good = all(v == "all" or (type(v) is int and v > 0) for v in listed)
        return listed if good else self.fail(value)


@dataclass(frozen=True)
class NetState:
    """Which layers a net includes, beside those of its phase."""

    phase: str | None = None
    level: int = 0
    stage: tuple[str, ...] = ()


STATE_KEYS = declare(
    phase=Choice(*PHASES, default=None, doc="TRAIN for the train net, TEST for test nets unless given"),
    level=Int(0, doc="level for include and exclude rules"),
    stage=Strs((), doc="stages for include and exclude rules"),
)
STATE = "a state like {level: 1, stage: [deploy]}"

SETTINGS = declare(
    net=Str(None, doc="file of the net for training and testing; paths count from the solver file's folder"),
    net_param=Document(None, doc="the net itself, instead of its file"),
    train_net=Str(None, doc="file of the net for training only"),
    train_net_param=Document(None, doc="the net for training only, instead of its file"),
    test_net=Strs((), doc="files of nets for testing only"),
    test_net_param=Documents((), doc="nets for testing only, instead of their files"),
    train_state=Records(STATE_KEYS, NetState, STATE, "level and stages of the train net"),
    test_state=Records(STATE_KEYS, NetState, STATE + ", or a list of these", "level and stages of each test net"),
    test_iter=TestIter((), doc="batches that each test averages over; `all`: each sample exactly once"),
    test_interval=Int(0, ge=0, doc="iterations from test to test; 0: no tests"),
    test_compute_loss=Bool(False, doc="say the weighted total loss of a test, too"),
    test_initialization=Bool(True, doc="test before the first iteration"),
    base_lr=Float(ge=0, doc="the learning rate that the policy starts from"),
    display=Int(0, ge=0, doc="iterations from one logged loss to the next; 0: none"),
    average_loss=Int(1, ge=1, doc="iterations that the logged loss is averaged over"),
    max_iter=Int(None, ge=0, doc="number of iterations"),
    iter_size=Int(1, ge=1, doc="batches whose gradients are averaged for one update"),
    lr_policy=Choice(*POLICIES, doc="how the learning rate changes"),
    gamma=Float(None, ge=0, doc="of the policies step, exp, inv, multistep and sigmoid"),
    power=Float(None, doc="of the policies inv and poly"),
    momentum=Float(0.0, ge=0, lt=1, doc="how much of the last update goes into the next"),
    weight_decay=Float(0.0, ge=0, doc="strength of the pull of the weights towards 0"),
    regularization_type=Choice("L2", "L1", doc="weight decay by the weight (L2) or by its sign (L1)"),
    stepsize=Int(None, ge=1, doc="of the policies step and sigmoid"),
    stepvalue=Ints((), ge=0, doc="iterations, rising, at which multistep multiplies the rate by gamma"),
    clip_gradients=Float(-1.0, doc="largest L2 norm of all gradients together; below 0: no limit"),
    snapshot=Int(0, ge=0, doc="iterations from snapshot to snapshot; 0: at the end only"),
    snapshot_prefix=Str(None, doc="start of the snapshots' names; left out: the solver file's name"),
    snapshot_diff=Bool(False, doc="accepted for Caffe's files; gradients are not written into snapshots yet"),
    snapshot_format=Choice("HDF5", doc="file format; BINARYPROTO is not there yet"),
    snapshot_after_train=Bool(True, doc="write a snapshot at the end"),
    solver_mode=Choice("CPU", "GPU", doc="where to run unless --device says so"),
    device_id=Int(0, ge=0, doc="accepted for Caffe's files; has no effect yet"),
    random_seed=Int(1701, ge=-1, doc="of fillers, dropout and shuffles; -1: another one each run, noted in its folder"),
    type=Choice(*CAFFE_TYPES, doc="the update rule; so far " + ", ".join(UPDATES)),
    delta=Float(1e-8, gt=0, doc="of AdaGrad, RMSProp, AdaDelta and Adam: keeps a division from 0"),
    momentum2=Float(0.999, ge=0, lt=1, doc="of Adam: decay of the squared gradients' mean"),
    rms_decay=Float(0.99, ge=0, lt=1, doc="of RMSProp: decay of the squared gradients' mean"),
    debug_info=Bool(False, doc="accepted for Caffe's files; has no effect yet"),
    layer_wise_reduce=Bool(True, doc="accepted for Caffe's files; has no effect on one device"),
    weights=Strs((), doc="files to take initial weights from"),
)


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
    document = located(source, "<solver>") if isinstance(source, Mapping) else load(source)
    problems = Problems()
    given = settings_of(document, problems)
    if net is not None:
        for key in NET_SOURCES:
            given.pop(key, None)
        given["net"] = str(Path(net).absolute())
    for text in overrides:
        override(given, text, problems)
    values, errors = bind(SETTINGS, given, "the solver")
    for error in errors:
        problems.add(error.at or given.where(error.key), error)
    wrong = {error.key for error in errors}
    for key, message in misfits(values, given):
        if key not in wrong:
            problems.add(given.where(key), message)
    problems.raise_all()
    path = Path(document.path) if document.path and not document.path.startswith("<") else None
    return SolverSpec(values, dict(given), path)


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
    if key not in SETTINGS:
        problems.add(where, f"the solver has no setting {key!r}{did_you_mean(key, SETTINGS)}")
        return
    given[key] = parse(value, where)
    given.lines[key] = where


def misfits(values: Mapping[str, Any], given: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Settings that are right each by itself but not together: key and message."""
    policy = values["lr_policy"]
    for key in POLICIES[policy].needs:
        if values[key] in (None, ()):
            yield "lr_policy", f"lr_policy {policy!r} needs {key!r}: {SETTINGS[key].doc}"
    if list(values["stepvalue"]) != sorted(set(values["stepvalue"])):
        yield "stepvalue", f"stepvalue: expected iterations that rise, got {list(values['stepvalue'])}"
    if values["type"] not in UPDATES:
        yield "type", f"type: {values['type']!r} is not there yet; so far {', '.join(UPDATES)}"
    if values["lr_policy"] == "poly" and values["max_iter"] == 0:
        yield "max_iter", "max_iter: lr_policy 'poly' divides by it; expected an int and >= 1, got 0"
    trains = [key for key in NET_SOURCES[:4] if values[key] is not None]
    if len(trains) != 1:
        got = " and ".join(trains) or "none"
        yield (trains or ["net"])[-1], f"expected one net to train (net: FILE is the usual way), got {got}"
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
