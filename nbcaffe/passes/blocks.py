"""``unroll:`` blocks of a net file: one time step, what goes in and out of it, and what a step hands to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..params import Bool, Choice, Int, Param, Str, bind, did_you_mean
from ..spec import STARTS, Block, LayerSpec, State, declare
from ..yamlfile import Located, Problems
from .legacy import listed

UNROLL = "Unroll"  # the layer type that stands for a block


class Names(Param[Mapping[str, str]]):
    """``{blob in the step: blob outside}``."""

    kind = "a mapping of blobs like {x: embedded}"
    wrong = (3, ["a"], {"a": 1})

    def convert(self, value: Any) -> Any:
        ok = isinstance(value, Mapping) and all(isinstance(v, str) and v for pair in value.items() for v in pair)
        return dict(value) if ok else self.fail(value)


class States(Param[tuple[State, ...]]):
    """``{h: {next: h_new, init: h0}}``; ``{h: h_new}`` is short for a next without more."""

    kind = "states like {h: {next: h_new, num_output: 256}}"
    wrong = (3, ["h"], {"h": 3}, {"h": {"next": "a", "no_such_key": 1}})
    keys = declare(
        next=Str(doc="the blob that the next step reads"),
        init=Str("zeros", doc="zeros, learned, carry, or the blob that is the first value"),
        num_output=Int(None, ge=1, doc="size of one sample's value"),
        shape=Param(None, doc="shape of one sample's value, where it has several axes"),
    )

    def convert(self, value: Any) -> Any:
        return (
            tuple(self.state(name, given) for name, given in value.items())
            if isinstance(value, Mapping)
            else (self.fail(value))
        )

    def state(self, name: str, given: Any) -> State:
        given = {"next": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping):
            self.fail(given)
        values, errors = bind(self.keys, given, f"state {name!r}")
        if errors:
            raise errors[0]
        one = values["shape"] if values["num_output"] is None else [values["num_output"]]
        sizes = tuple(listed(one))
        if not all(type(size) is int and size > 0 for size in sizes):
            self.fail(given)
        return State(name, values["next"], values["init"], sizes)


BLOCK_KEYS = declare(
    inputs=Names({}, doc="blobs with time as their first axis, under the name that the step has for one time's part"),
    state=States({}, doc="what a step hands to the next"),
    outputs=Names({}, doc="blobs of the step that are put together along time, and the tops they become"),
    last=Names({}, doc="blobs of the last step, and the tops they become"),
    cont=Str("", doc="blob (T, N): 0 where a new sequence begins, 1 where the one before goes on"),
    lengths=Str("", doc="blob (N): the length of each sequence; states stay as they were from there on"),
    reverse=Bool(False, doc="go from the last time to the first"),
    steps=Int(None, ge=1, doc="number of time steps T; left out: as many as the inputs have"),
    mode=Choice("fused", "unrolled", doc="unrolled: a flat net; fused: the same numbers from fewer, larger products"),
)


def block_layer(body: Located, inside: Sequence[Located], problems: Problems) -> Located:
    """A block as one layer of the file: its bottoms and tops, so that it is wired and renamed like any other."""
    name = body.get("name")
    keys = ("name", "layers", *BLOCK_KEYS)
    for key in body:
        if key not in keys:
            problems.add(body.where(key), f"unroll: no key {key!r}{did_you_mean(key, keys)}")
    known = {key: value for key, value in body.items() if key in BLOCK_KEYS}
    values, errors = bind(BLOCK_KEYS, known, "unroll")
    for error in errors:
        problems.add(body.where(error.key), f"unroll: {error}")
    reads = outside(inside, {*values["inputs"], *(state.name for state in values["state"])})
    block = Block((), **values, outside=tuple(reads))
    lines = {**body.lines, **{blob: where for blob, where in reads.items() if blob not in body}}
    made = {"name": name, "type": UNROLL, "bottom": list(block.bottom), "top": list(block.top)}
    return Located({**made, "written": block, "layers": list(inside)}, body.path, body.line, lines)


def outside(inside: Sequence[Located], local: set[str]) -> dict[str, str]:
    """Blobs that the step's layers read of the net around it, and where."""
    made = local | {top for layer in inside for top in listed(layer.get("top", layer.get("name")))}
    reads = ((blob, layer.where("bottom")) for layer in inside for blob in listed(layer.get("bottom")))
    return {blob: where for blob, where in reads if isinstance(blob, str) and blob not in made}


def finished(layer: Located, layers: tuple[LayerSpec, ...], problems: Problems) -> Block:
    """The block with its layers checked, under the names that blobs outside have by now."""
    written: Block = layer["written"]
    who = f"unroll {layer.get('name')!r}: "
    made = {top for one in layers for top in one.top}
    known = made | {*written.inputs, *(state.name for state in written.state)}
    for state in written.state:
        if state.next not in made:
            problems.add(
                layer.where("state"),
                f"{who}state {state.name!r} is never produced: no layer of the step makes {state.next!r}"
                + did_you_mean(state.next, made),
            )
        if state.init in STARTS and not state.shape:
            problems.add(
                layer.where("state"),
                f"{who}state {state.name!r} starts from {state.init}: give its size, as in "
                f"{{next: {state.next}, num_output: 256}}, or a blob to start from, as in init: {state.name}0",
            )
    for key, wanted in (("outputs", written.outputs), ("last", written.last)):
        for blob in wanted:
            if blob not in known:
                problems.add(layer.where(key), f"{who}{key}: the step makes no blob {blob!r}{did_you_mean(blob, made)}")
            held = {state.next for state in written.state} | {state.name for state in written.state}
            if key == "last" and written.lengths and blob not in held:
                problems.add(
                    layer.where(key), f"{who}last: with lengths only states keep their last value, not {blob!r}"
                )
    if not written.outputs and not written.last:
        problems.add(layer.where(), f"{who}it needs outputs or last: nothing of it could be read outside")
    if not written.inputs and written.steps is None:
        problems.add(layer.where(), f"{who}it needs inputs, or steps: nothing says how many steps there are")
    if written.mode == "unrolled" and written.steps is None:
        problems.add(layer.where("mode"), f"{who}mode: unrolled needs steps, the number of time steps")
    return renamed(
        replace(written, layers=layers), dict(zip(written.bottom, listed(layer["bottom"]), strict=True)), layer
    )


def renamed(block: Block, names: Mapping[str, str], layer: Located) -> Block:
    """The block after a template's prefix has changed the names of blobs outside."""
    tops = dict(zip(block.top, listed(layer["top"]), strict=True))

    def new(blob: str) -> str:
        return names.get(blob, blob)

    return replace(
        block,
        layers=tuple(
            replace(one, bottom=tuple(new(b) if b in block.outside else b for b in one.bottom)) for one in block.layers
        ),
        inputs={inner: new(outer) for inner, outer in block.inputs.items()},
        state=tuple(replace(s, init=new(s.init)) if s.blob else s for s in block.state),
        outputs={inner: tops[outer] for inner, outer in block.outputs.items()},
        last={inner: tops[outer] for inner, outer in block.last.items()},
        cont=new(block.cont),
        lengths=new(block.lengths),
        outside=tuple(new(blob) for blob in block.outside),
    )


def locals_of(layer: Located) -> LayerSpec:
    """A layer that makes what a step finds there when it begins; its inputs come first."""
    block: Block = layer["written"]
    tops = tuple(dict.fromkeys((*block.inputs, *(state.name for state in block.state), *block.outside)))
    source = Located({"top": list(tops)}, layer.path, layer.line)
    return LayerSpec(f"{layer.get('name')} begins", "Input", top=tops, where=layer.where(), source=source)
