"""``nbcaffe draw``: a net as a picture, in Graphviz's language; the program ``dot`` turns it into SVG, PNG or PDF."""

from __future__ import annotations

import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .layer import REGISTRY, Layer
from .net import Net
from .netfile import read_net
from .params import Filler
from .passes.inplace import plan_inplace
from .passes.phase import filter_phase
from .passes.sharing import share_params
from .passes.splits import insert_splits
from .passes.unroll import unroll
from .spec import LayerSpec, NetSpec

TEXT, PICTURES = (".dot", ".gv"), (".svg", ".png", ".pdf")
RANKDIRS = ("TB", "LR", "BT", "RL")
OWN, LOSS, METRIC = "#f7c6e0", "#f4a6a0", "#e3e3e3"
FAMILIES = {  # file in layers/ -> colour
    "data": "#cfe2f3",
    "convolution": "#b6d7a8",
    "inner_product": "#c9daf8",
    "pooling": "#ffe599",
    "deconvolution": "#b6d7a8",
    "activation": "#f9cb9c",
    "dropout": "#f9cb9c",
    "batch_norm": "#d9d2e9",
    "normalization": "#d9d2e9",
    "scale": "#d9d2e9",
}
OTHER = "#f3f3f3"
Shapes = Mapping[tuple[str, str], tuple[int, ...]]  # (layer, top) -> shape


def run(args: Namespace) -> int:
    """Write the picture that the command line asks for."""
    kind = kind_of(args.output)
    selection = {"phase": args.phase or "TRAIN", "level": args.level, "stages": tuple(args.stage)}
    if args.shapes:
        net = Net(args.net, overrides=args.set, memory="plan", **selection)
        text = dot(net, rankdir=args.rankdir)
    else:
        text = dot(filter_phase(read_net(args.net, overrides=tuple(args.set)), *selection.values()), args.rankdir)
    if args.output:
        write(text, args.output, kind)
    else:
        sys.stdout.write(text)
    return 0


def draw_net_to_file(net: Any, filename: str | Path, rankdir: str = "LR", phase: str | None = None) -> None:
    """pycaffe's name: draw a net, or what is left of a file's net in a phase, into a file of any of the formats."""
    kind = kind_of(str(filename))
    write(draw_net(net, rankdir, phase), str(filename), kind)


def draw_net(net: Any, rankdir: str = "LR", phase: str | None = None) -> str:
    """The text for Graphviz of a Net (with its shapes), a NetSpec, a path or a mapping."""
    if isinstance(net, Net):
        return dot(net, rankdir)
    spec = net if isinstance(net, NetSpec) else read_net(net)
    return dot(filter_phase(spec, phase) if phase else spec, rankdir)


def dot(net: Net | NetSpec, rankdir: str = "TB") -> str:
    """A net in Graphviz's language: a box for each layer, an arrow for each blob that one makes and another reads.

    Layers that run in place are dashed; a dotted line joins layers that share a weight. The arrows of a Net carry the
    shapes of their blobs.
    """
    if rankdir not in RANKDIRS:
        raise ConfigError(f"rankdir: expected one of {', '.join(RANKDIRS)}, got {rankdir!r}")
    shapes: Shapes = {}
    if isinstance(net, Net):
        shapes = {(n.spec.name, t): b.shape for n in net.graph.nodes for t, b in zip(n.spec.top, n.top, strict=True)}
        spec = without_splits(net.spec)
        inplace = {n.spec.name for n in net.graph.nodes if n.inplace}
    else:
        spec = share_params(unroll(net, every=True))
        inplace = set(plan_inplace(insert_splits(spec)))
    lines = [f"digraph {quoted(spec.name or 'net')} {{", f"  rankdir={rankdir}"]
    lines += ['  node [shape=box style="rounded,filled" fontname="Helvetica" fontsize=11]']
    lines += ['  edge [fontname="Helvetica" fontsize=9]']
    lines += [f"  {line}" for line in (*boxes(spec, inplace), *arrows(spec, shapes), *shared(spec))]
    return "\n".join([*lines, "}\n"])


def without_splits(spec: NetSpec) -> NetSpec:
    """A bound net as its author wrote it: each layer reads the blob that a Split only passed on."""
    origin = {top: layer.bottom[0] for layer in spec.layers if layer.type == "Split" for top in layer.top}
    kept = (layer for layer in spec.layers if layer.type != "Split")
    return replace(spec, layers=tuple(replace(one, bottom=tuple(origin.get(b, b) for b in one.bottom)) for one in kept))


def boxes(spec: NetSpec, inplace: set[str]) -> Iterator[str]:
    """One node a layer: its name, its type, what its author gave it."""
    for index, layer in enumerate(spec.layers):
        given = [f"{k}: {v}" for k, v in layer.given.items() if isinstance(v, int | float | str) and "filler" not in k]
        given = [text for text in given if len(text) <= 30][:4]
        here = layer.name in inplace or bool(set(layer.bottom) & set(layer.top))
        label = "\n".join([layer.name, layer.type + " (in place)" * here, *given])
        style = ' style="rounded,filled,dashed"' if here else ""
        yield f"n{index} [label={quoted(label)} fillcolor={quoted(colour(layer))}{style}]"


def colour(layer: LayerSpec) -> str:
    """By the family of the layer: losses and metrics first, those of a user's file last."""
    kind: type[Layer] = REGISTRY[layer.type]
    folder, _, family = kind.__module__.rpartition(".")
    if any(layer.loss_weights()):
        return LOSS
    if kind.differentiable == () and kind.num_bottom != 0:
        return METRIC
    if kind.num_bottom == 0:
        return FAMILIES["data"]
    return FAMILIES.get(family, OTHER) if folder.startswith("nbcaffe") else OWN


def arrows(spec: NetSpec, shapes: Shapes) -> Iterator[str]:
    """From the last layer that wrote a blob to each that reads it; blobs that nobody reads end in their name."""
    makers: dict[str, int] = {}
    unread: dict[tuple[int, str], None] = {}
    for index, layer in enumerate(spec.layers):
        for blob in layer.bottom:
            maker = makers.get(blob)
            if maker is not None:
                yield f"n{maker} -> n{index}{labelled(spec.layers[maker], blob, shapes)}"
                unread.pop((maker, blob), None)
        for blob in layer.top:
            makers[blob] = index
            unread[index, blob] = None
    for number, (maker, blob) in enumerate(unread):
        yield f"o{number} [label={quoted(blob)} shape=plaintext style={quoted('')}]"
        yield f"n{maker} -> o{number}{labelled(spec.layers[maker], blob, shapes, named=True)}"


def labelled(maker: LayerSpec, blob: str, shapes: Shapes, named: bool = False) -> str:
    """The blob's name, unless the layer has it too, and its shape, where it is known."""
    shape = shapes.get((maker.name, blob))
    words = [] if blob == maker.name or named else [blob]
    words += ["×".join(map(str, shape)) or "1"] if shape is not None else []
    return f" [label={quoted(' '.join(words))}]" if words else ""


def shared(spec: NetSpec) -> Iterator[str]:
    """A dotted line from each owner of a weight to each layer that uses it, too."""
    places = {layer.name: index for index, layer in enumerate(spec.layers)}
    homes: dict[str, int] = {}
    for index, layer in enumerate(spec.layers):
        if layer.home and has_weights(layer) and homes.setdefault(layer.home, index) != index:
            before, homes[layer.home] = homes[layer.home], index
            yield f"n{before} -> n{index} [label={quoted(layer.home)} style=dotted dir=none constraint=false]"
        for rule in layer.param:
            if rule.owner and places.get(rule.owner[0], index) != index:
                how = "style=dotted dir=none constraint=false"
                yield f"n{places[rule.owner[0]]} -> n{index} [label={quoted(rule.name)} {how}]"


def has_weights(layer: LayerSpec) -> bool:
    """Whether its type has something to share: a filler says how that starts."""
    return any(isinstance(param, Filler) for param in REGISTRY[layer.type].params.values())


def quoted(text: str) -> str:
    """A string of Graphviz's language; lines stay lines."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def kind_of(output: str | None) -> str:
    """The ending of the output's name, if it is one that can be written."""
    ending = Path(output).suffix.lower() if output else TEXT[0]
    if ending not in (*TEXT, *PICTURES):
        raise ConfigError(f"{output}: expected a name that ends in {', '.join((*TEXT, *PICTURES))}")
    return ending


def write(text: str, output: str, kind: str) -> None:
    """The text itself, or what Graphviz makes of it."""
    try:
        if kind in TEXT:
            Path(output).write_text(text, encoding="utf-8")
            return
        program = shutil.which("dot")
        if program is None:
            raise ConfigError(
                f"{output}: {kind[1:].upper()} is drawn by Graphviz's program `dot`, which is not installed here "
                "(https://graphviz.org/download); write -o net.dot, which any viewer of Graphviz files shows"
            )
        command = [program, f"-T{kind[1:]}", "-o", output]
        done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror or error}") from None
    if done.returncode:
        raise ConfigError(f"{output}: {program} failed: {done.stderr.strip()}")
