"""A block that stands for one time step becomes T copies of it, whose weights are the same.

Step t of block ``rnn`` has the layers ``rnn/t/name`` and the blobs ``rnn/t/blob``; t is the place in time, whichever
way the block runs.  Weights are kept under the step's own name, ``rnn/name``, so that they fit a net of any length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..spec import Block, LayerSpec, NetSpec, State, builtin


def unroll(spec: NetSpec, every: bool = False) -> NetSpec:
    """Write out the blocks whose mode is unrolled; with ``every`` also the fused ones that say how many steps."""
    layers: list[LayerSpec] = []
    for layer in spec.layers:
        block = layer.block
        if block is not None and block.steps and (every or block.mode == "unrolled"):
            layers += unrolled(layer, block.steps)
        else:
            layers.append(layer)
    return replace(spec, layers=tuple(layers))


def unrolled(spec: LayerSpec, steps: int) -> tuple[LayerSpec, ...]:
    """The flat layers of a block with this many steps; blocks inside it included."""
    return tuple(Unrolling(spec, steps).layers())


class Unrolling:
    """One block on its way to a flat list."""

    def __init__(self, spec: LayerSpec, steps: int):
        assert spec.block is not None
        self.spec, self.block, self.steps = spec, spec.block, steps
        self.outer = dict(zip(self.block.bottom, spec.bottom, strict=True))
        self.tops = dict(zip(self.block.top, spec.top, strict=True))
        times = range(steps)
        self.order = times[::-1] if self.block.reverse else times
        self.held = {state.next for state in self.block.state} if self.block.lengths else set()

    def layers(self) -> list[LayerSpec]:
        block = self.block
        out = [self.unstack(name, outer) for name, outer in self.sequences(block).items()]
        first = self.order[0]
        values = {state.name: self.first_value(state, out) for state in block.state}
        for time in self.order:
            out += self.step(time, values, fresh=time == first)
        out += [self.stack(inner, top) for inner, top in block.outputs.items()]
        out += [self.last(inner, top, values) for inner, top in block.last.items()]
        out += [self.keep(state, values) for state in block.state if state.init == "carry"]
        return out

    @staticmethod
    def sequences(block: Block) -> dict[str, str]:
        """What is cut along time: the inputs, and the marks of where sequences begin."""
        return {**block.inputs, **({"cont": block.cont} if block.cont else {})}

    # -- one step ------------------------------------------------------------------------------------------------

    def step(self, time: int, values: dict[str, str], fresh: bool) -> list[LayerSpec]:
        """The layers of one step; ``values`` are the states' blobs, before and after."""
        block, out = self.block, []
        names = {blob: self.outer[blob] for blob in block.outside}
        names |= {name: self.at(time, name) for name in block.inputs}
        for state in block.state:
            names[state.name] = values[state.name]
            cont = self.mark(time, fresh)
            if cont:
                names[state.name] = self.at(time, f"{state.name}_cont")
                out.append(self.make(names[state.name], "Scale", (values[state.name], cont), axis=0))
        for layer in block.layers:
            out += self.copy(layer, time, names)
        for state in block.state:
            if block.lengths:
                new, old = names[state.next], values[state.name]
                out.append(self.hold(f"{state.next}_held", time, (new, old)))
                values[state.name] = out[-1].top[0]
            else:
                values[state.name] = names[state.next]
        if block.lengths:
            out += [self.hold(f"{blob}_masked", time, (names[blob],)) for blob in block.outputs]
        return out

    def mark(self, time: int, fresh: bool) -> str:
        """The blob that says whether this step goes on from the one before; backwards it is the later one's mark."""
        if not self.block.cont or (self.block.reverse and fresh):
            return ""
        return self.at(time + 1 if self.block.reverse else time, "cont")

    def copy(self, layer: LayerSpec, time: int, names: dict[str, str]) -> list[LayerSpec]:
        """One layer of the step at one time."""
        bottom = tuple(names[blob] for blob in layer.bottom)
        for blob in layer.top:
            if blob not in layer.bottom:
                names[blob] = self.at(time, blob)
        one = replace(
            layer,
            name=self.at(time, layer.name),
            bottom=bottom,
            top=tuple(names[blob] for blob in layer.top),
            home=f"{self.home}/{layer.home or layer.name}",
            frozen=layer.frozen or self.spec.frozen,
        )
        return list(unrolled(one, layer.block.steps)) if layer.block and layer.block.steps else [one]

    def hold(self, blob: str, time: int, bottom: tuple[str, ...]) -> LayerSpec:
        checked = {"steps": self.steps} if time == 0 and len(bottom) == 2 else {}
        return self.make(self.at(time, blob), "Hold", (*bottom, self.outer[self.block.lengths]), time=time, **checked)

    # -- before the first step and after the last ------------------------------------------------------------------

    def unstack(self, name: str, outer: str) -> LayerSpec:
        tops = tuple(self.at(time, name) for time in range(self.steps))
        return replace(self.make(f"{self.spec.name}/{name}", "Unstack", (self.outer[outer],)), top=tops)

    def first_value(self, state: State, before: list[LayerSpec]) -> str:
        """The blob that a state starts from."""
        if state.blob:
            return self.outer[state.blob]
        name = f"{self.spec.name}/{state.name}"
        given: dict[str, Any] = {"shape": list(state.shape)}
        given |= {"learned": True} if state.init == "learned" else {}
        given |= {"carry": f"{self.home}/{state.name}"} if state.init == "carry" else {}
        like, axis = self.counts_samples()
        layer = self.make(name, "InitialState", (like,), **given, **({"axis": axis} if axis else {}))
        before.append(replace(layer, home=f"{self.home}/{state.name}"))
        return name

    def counts_samples(self) -> tuple[str, int]:
        """A blob outside and which of its axes is the batch."""
        block = self.block
        sequences = [block.cont, *block.inputs.values()]
        others = [block.lengths, *(state.blob for state in block.state), *block.outside]
        found = [(blob, 1) for blob in sequences if blob] + [(blob, 0) for blob in others if blob]
        return self.outer[found[0][0]], found[0][1]

    def stack(self, inner: str, top: str) -> LayerSpec:
        blob = f"{inner}_masked" if self.block.lengths else inner
        bottom = tuple(self.at(time, blob) for time in range(self.steps))
        return replace(self.make(f"{self.spec.name}/{inner}_stacked", "Stack", bottom), top=(self.tops[top],))

    def last(self, inner: str, top: str, values: Mapping[str, str]) -> LayerSpec:
        ends = {state.next: values[state.name] for state in self.block.state}
        ends |= {state.name: values[state.name] for state in self.block.state}
        bottom = (ends.get(inner) or self.at(self.order[-1], inner),)
        return replace(self.make(f"{self.spec.name}/{inner}_last", "Split", bottom), top=(self.tops[top],))

    def keep(self, state: State, values: Mapping[str, str]) -> LayerSpec:
        name = f"{self.home}/{state.name}"
        made = self.make(f"{self.spec.name}/{state.name}_kept", "KeepState", (values[state.name],), carry=name)
        return replace(made, top=())

    # -- names ----------------------------------------------------------------------------------------------------

    @property
    def home(self) -> str:
        return self.spec.home or self.spec.name

    def at(self, time: int, name: str) -> str:
        return f"{self.spec.name}/{time}/{name}"

    def make(self, name: str, kind: str, bottom: Iterable[str], **given: Any) -> LayerSpec:
        """A layer of the pass's own, whose top has its name."""
        return builtin(LayerSpec(name, kind, tuple(bottom), (name,), given=given, where=self.spec.where))
