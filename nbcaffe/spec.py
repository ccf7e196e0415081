"""What a net file says, checked and frozen: a NetSpec of LayerSpecs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .layer import REGISTRY, Layer
from .params import Bool, Choice, Float, Floats, Int, Param, ParamError, Str, Strs, bind
from .yamlfile import Located

PHASES = ("TRAIN", "TEST")
STARTS = ("zeros", "learned", "carry")  # first values of a state that are no blobs


@dataclass(frozen=True)
class ParamSpec:
    """How one weight learns, and the name under which layers share it.

    ``written`` holds the fields that the user gave: sharers may leave a multiplier to each other.
    """

    name: str = ""
    share_mode: str = "STRICT"
    lr_mult: float = 1.0
    decay_mult: float = 1.0
    written: frozenset[str] = field(default=frozenset(), compare=False)
    owner: tuple[str, int] | None = None  # (layer, index) of the weight it is, found by passes.sharing


@dataclass(frozen=True)
class StateRule:
    """A condition on phase, level and stages; what it does not mention may be anything."""

    phase: str | None = None
    min_level: int | None = None
    max_level: int | None = None
    stage: tuple[str, ...] = ()
    not_stage: tuple[str, ...] = ()

    def meets(self, phase: str, level: int = 0, stages: Collection[str] = ()) -> bool:
        """Whether every condition holds in this state."""
        return (
            self.phase in (None, phase)
            and (self.min_level is None or level >= self.min_level)
            and (self.max_level is None or level <= self.max_level)
            and set(self.stage) <= set(stages)
            and not set(self.not_stage) & set(stages)
        )


@dataclass(frozen=True)
class State:
    """What one step hands to the next: read as ``name``, made as ``next``; the first value is ``init``.

    ``init`` is zeros, learned, carry (what the last batch ended with) or a blob; all but the blob need the ``shape``
    that one sample's value has.
    """

    name: str
    next: str
    init: str = "zeros"
    shape: tuple[int, ...] = ()

    @property
    def blob(self) -> str:
        """The blob that is the first value, if one is."""
        return "" if self.init in STARTS else self.init


@dataclass(frozen=True)
class Block:
    """One time step and how it is repeated; outside blobs have the names that the block was written with."""

    layers: tuple[LayerSpec, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)  # name in the step -> blob outside, time first
    state: tuple[State, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)  # blob of the step -> top, time first
    last: Mapping[str, str] = field(default_factory=dict)  # blob of the last step -> top
    cont: str = ""
    lengths: str = ""
    reverse: bool = False
    steps: int | None = None
    mode: str = "fused"
    outside: tuple[str, ...] = ()  # what the step's layers read of the net around it

    @property
    def bottom(self) -> tuple[str, ...]:
        """Every blob it reads, in the order of the layer's bottoms."""
        starts = (state.blob for state in self.state)
        named = (*self.inputs.values(), self.cont, self.lengths, *starts, *self.outside)
        return tuple(dict.fromkeys(filter(None, named)))

    @property
    def top(self) -> tuple[str, ...]:
        return (*self.outputs.values(), *self.last.values())

    @property
    def known(self) -> tuple[str, ...]:
        """The blobs that the step has of its own."""
        return (*self.inputs, *(s.name for s in self.state), *(top for layer in self.layers for top in layer.top))


@dataclass(frozen=True)
class LayerSpec:
    """One layer: ``params`` holds all its declared parameters, ``given`` those that the user wrote, flat."""

    name: str
    type: str
    bottom: tuple[str, ...] = ()
    top: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    param: tuple[ParamSpec, ...] = ()
    loss_weight: tuple[float, ...] = ()
    propagate_down: tuple[bool, ...] = ()
    include: tuple[StateRule, ...] = ()
    exclude: tuple[StateRule, ...] = ()
    phase: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict, compare=False)
    frozen: bool = False  # named by the net's freeze list: no weight of it learns
    home: str = ""  # the name its weights are kept under, if that is not its own; layers of one home share them all
    block: Block | None = None  # of an Unroll: the step, and how it is repeated
    where: str = field(default="", compare=False)
    source: Located | None = field(default=None, compare=False, repr=False)

    def at(self, key: str) -> str:
        """``file:line`` of one of its keys."""
        return self.source.where(key) if self.source is not None else self.where

    def included(self, phase: str, level: int = 0, stages: Collection[str] = ()) -> bool:
        """Without ``include`` it is there unless an ``exclude`` rule holds; with it, one rule must hold."""
        if self.include:
            return any(rule.meets(phase, level, stages) for rule in self.include)
        return not any(rule.meets(phase, level, stages) for rule in self.exclude)

    def param_spec(self, index: int) -> ParamSpec:
        """The rule of weight ``index``, written or not."""
        rule = self.param[index] if index < len(self.param) else ParamSpec()
        return replace(rule, lr_mult=0.0, written=rule.written | {"lr_mult"}) if self.frozen else rule

    def loss_weights(self) -> tuple[float, ...]:
        """One for each top; the first top of a loss has 1 unless the user says otherwise."""
        if self.loss_weight:
            return self.loss_weight
        known = REGISTRY.get(self.type)
        return tuple(float(index == 0 and known is not None and known.loss) for index in range(len(self.top)))


@dataclass(frozen=True)
class NetSpec:
    """The layers in their order, and what holds for all of them."""

    name: str
    layers: tuple[LayerSpec, ...] = ()
    force_backward: bool = False
    debug_info: bool = False
    freeze: tuple[str, ...] = ()  # layers whose weights do not learn
    imports: tuple[str, ...] = ()  # Python files that define layers
    where: str = field(default="", compare=False)

    def layer(self, name: str) -> LayerSpec:
        """The first layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)


class Records(Param[tuple]):
    """A mapping, or a list of mappings, whose keys are declared like a layer's."""

    wrong = ("three", 3, [3], {"no_such_key": 1})

    def __init__(self, declared: Mapping[str, Param], make: Callable[..., Any], kind: str, doc: str):
        self.declared, self.make, self.kind = declared, make, kind
        super().__init__((), doc=doc)

    def convert(self, value: Any) -> tuple:
        return tuple(self._record(v) for v in (value if isinstance(value, (list, tuple)) else [value]))

    def _record(self, value: Any) -> Any:
        if isinstance(value, self.make):  # type: ignore[arg-type]
            return value
        if not isinstance(value, Mapping):
            self.fail(value)
        values, errors = bind(self.declared, value, "it")
        if errors:
            where = getattr(value, "where", None)
            message = f"{self.name}: " + "; ".join(map(str, errors))
            raise ParamError(message, self.name, where(errors[0].key) if where else None)
        written = {"written": frozenset(value)} if self.make is ParamSpec else {}
        return self.make(**values, **written)


class Bools(Param[tuple[bool, ...]]):
    kind = "true, false or a list of them"
    wrong = (1, "yes", [1])

    def convert(self, value: Any) -> Any:
        listed = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        return listed if all(isinstance(v, bool) for v in listed) else self.fail(value)


def declare(**params: Param) -> dict[str, Param]:
    """Parameters that stand outside a class."""
    for name, param in params.items():
        param.name = name
    return params


PARAM_KEYS = declare(
    name=Str("", doc="weights of the same name are one weight"),
    share_mode=Choice("STRICT", "PERMISSIVE", doc="whether sharers must agree in shape, or only in count"),
    lr_mult=Float(1.0, doc="multiplies the learning rate; 0 keeps the weight as it is"),
    decay_mult=Float(1.0, doc="multiplies the weight decay"),
)
RULE_KEYS = declare(
    phase=Choice(*PHASES, default=None, doc="only in this phase"),
    min_level=Int(None, doc="the smallest level"),
    max_level=Int(None, doc="the largest level"),
    stage=Strs((), doc="all of these stages are on"),
    not_stage=Strs((), doc="none of these stages is on"),
)
RULE = "a rule like {phase: TRAIN}, or a list of rules"
LAYER_KEYS = declare(
    name=Str("", doc="unique in its net"),
    type=Str("", doc="the class that does the work"),
    bottom=Strs((), doc="blobs it reads; left out: the first top of the layer before"),
    top=Strs((), doc="blobs it makes; left out: one of the layer's own name"),
    param=Records(PARAM_KEYS, ParamSpec, "a list like [{lr_mult: 1}, {lr_mult: 2}]", "one entry for each weight"),
    loss_weight=Floats((), doc="for each top, how much it counts in the loss"),
    propagate_down=Bools((), doc="for each bottom, whether it gets a gradient"),
    include=Records(RULE_KEYS, StateRule, RULE, "the layer is there only where one of these rules holds"),
    exclude=Records(RULE_KEYS, StateRule, RULE, "the layer is not there where one of these rules holds"),
    phase=Choice(*PHASES, default=None, doc="run as in this phase, whatever the net's is"),
    home=Str("", doc="name under which its weights are kept and saved; layers of the same home share them all"),
)
NET_KEYS = declare(
    name=Str("", doc="shown in tables and kept in snapshots"),
    force_backward=Bool(False, doc="compute gradients down to the inputs"),
    debug_info=Bool(False, doc="log the mean size of every blob and gradient"),
    freeze=Strs((), doc="layers whose weights do not learn"),
)


def count_range(count: int | tuple[int, int | None]) -> tuple[int, int | None]:
    """A layer's ``num_bottom`` or ``num_top`` as (fewest, most)."""
    return (count, count) if isinstance(count, int) else count


def is_source(layer_type: type[Layer]) -> bool:
    """Whether it can do without bottoms: data layers and net inputs."""
    return count_range(layer_type.num_bottom)[0] == 0


def builtin(layer: LayerSpec) -> LayerSpec:
    """A layer that a pass makes, with the values of all its declared parameters."""
    kind = REGISTRY.get(layer.type)
    return replace(layer, params=bind(kind.params, layer.given, layer.type)[0]) if kind else layer


def producers(layers: Sequence[LayerSpec]) -> list[tuple[tuple[int, int] | None, ...]]:
    """For each layer and bottom, which (layer, top) made it last: a layer in place makes its blob anew."""
    made: dict[str, tuple[int, int]] = {}
    found = []
    for index, layer in enumerate(layers):
        found.append(tuple(made.get(name) for name in layer.bottom))
        made.update({name: (index, t) for t, name in enumerate(layer.top)})
    return found
