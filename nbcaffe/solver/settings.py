"""The settings of a solver file: Caffe's SolverParameter, declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..params import Bool, Choice, Float, Int, Ints, Param, ParamError, Str, Strs, did_you_mean
from ..spec import PHASES, Records, declare
from .policies import POLICIES
from .rules import UPDATES


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


class Registered(Param[str]):
    """A name in a table that users extend."""

    wrong = ("no_such_name", 1, ["a"])

    def __init__(self, table: Mapping[str, Any], default: str, doc: str):
        self.table = table
        self.kind = f"one of {', '.join(table)}, or what a file under `import` defines"
        super().__init__(default, doc=doc)

    def convert(self, value: Any) -> Any:
        if isinstance(value, str) and value in self.table:
            return value
        near = did_you_mean(value, self.table)
        raise ParamError(f"{self.name}: expected {self}, got {value!r}{near if '?' in near else ''}", self.name)


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
    lr_policy=Registered(POLICIES, "fixed", doc="how the learning rate changes"),
    gamma=Float(None, ge=0, doc="of the policies step, exp, inv, multistep and sigmoid"),
    warmup=Int(0, ge=0, doc="iterations over which the rate rises from 0 to what the policy says (ours, not Caffe's)"),
    power=Float(None, doc="of the policies inv and poly"),
    momentum=Float(0.0, ge=0, lt=1, doc="how much of the last update goes into the next"),
    weight_decay=Float(0.0, ge=0, doc="strength of the pull of the weights towards 0"),
    regularization_type=Choice("L2", "L1", doc="weight decay by the weight (L2) or by its sign (L1)"),
    stepsize=Int(None, ge=1, doc="of the policies step and sigmoid"),
    stepvalue=Ints((), ge=0, doc="iterations, rising, at which multistep multiplies the rate by gamma"),
    clip_gradients=Float(-1.0, doc="largest L2 norm of all gradients, summed over iter_size; below 0: none"),
    snapshot=Int(0, ge=0, doc="iterations from snapshot to snapshot; 0: at the end only"),
    snapshot_prefix=Str(None, doc="start of the snapshots' names; left out: the solver file's name"),
    snapshot_diff=Bool(False, doc="accepted for Caffe's files; gradients are not written into snapshots yet"),
    snapshot_format=Choice("HDF5", "BINARYPROTO", doc="file format; BINARYPROTO needs the extra `caffe`"),
    snapshot_after_train=Bool(True, doc="write a snapshot at the end"),
    solver_mode=Choice("CPU", "GPU", doc="where to run unless --device says so"),
    device_id=Int(0, ge=0, doc="accepted for Caffe's files; has no effect yet"),
    random_seed=Int(1701, ge=-1, doc="of fillers, dropout and shuffles; -1: another one each run, noted in its folder"),
    type=Registered(UPDATES, "SGD", doc="the update rule"),
    delta=Float(1e-8, gt=0, doc="of AdaGrad, RMSProp, AdaDelta and Adam: keeps a division from 0"),
    momentum2=Float(0.999, ge=0, lt=1, doc="of Adam: decay of the squared gradients' mean"),
    rms_decay=Float(0.99, ge=0, lt=1, doc="of RMSProp: decay of the squared gradients' mean"),
    debug_info=Bool(False, doc="record the mean magnitude of each blob, weight and gradient in each iteration"),
    layer_wise_reduce=Bool(True, doc="accepted for Caffe's files; has no effect on one device"),
    **{"import": Strs((), doc="Python files that define updates or policies; paths count from this file's folder")},
    weights=Strs((), doc="files to take initial weights from, by layer name; where two have a layer, the later"),
    reinit=Strs((), doc="layers, or patterns like fc*, that take no weights from them (ours, not Caffe's)"),
    freeze=Strs((), doc="layers that do not learn, beside those that the net freezes (ours, not Caffe's)"),
)
