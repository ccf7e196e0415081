"""What a net is, before it runs: its flat text, and a table of layers, shapes, work and memory."""

from argparse import Namespace
from math import prod

from rich.console import Console
from rich.table import Table

from .graph import Node
from .net import Net
from .netfile import read_net
from .passes.expand import expand as flat_text
from .passes.phase import filter_phase


def expand(args: Namespace) -> int:
    """Print the flat net; with a phase, only what that phase keeps."""
    spec = read_net(args.net, overrides=tuple(args.set))
    if args.phase:
        spec = filter_phase(spec, args.phase, args.level, tuple(args.stage))
    print(flat_text(spec), end="")
    return 0


def show(args: Namespace) -> int:
    """Print the table of a net."""
    net = Net(
        args.net,
        args.phase or "TRAIN",
        level=args.level,
        stages=args.stage,
        overrides=args.set,
        memory="plan",
    )
    Console().print(table(net))
    for line in totals(net):
        print(line)
    return 0


def table(net: Net) -> Table:
    """One row a layer; splits, which nobody wrote, are left out."""
    out = Table(title=f"{net.name} ({net.phase})", title_justify="left")
    for heading in ("layer", "type", "tops", "weights"):
        out.add_column(heading)
    for heading in ("params", "multiply-adds", "bytes"):
        out.add_column(heading, justify="right")
    for node in net.graph.nodes:
        if node.spec.type == "Split":
            continue
        tops = "  ".join(f"{b.name} {by(b.shape)}" for b in node.top)
        weights = "  ".join(by(w.shape) for w in node.layer.weights)
        own = sum(w.count for w in node.layer.weights if w.owner is w)
        size = sum(b.count for b in node.top) * net.dtype.itemsize
        work = multiply_adds(node)
        name = node.spec.name + (" (in place)" if node.inplace else "")
        out.add_row(name, node.spec.type, tops, weights, number(own), number(work), number(size))
    return out


def by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def number(n: int) -> str:
    return f"{n:,}" if n else ""


def multiply_adds(node: Node) -> int:
    """Of one forward pass; layers that know theirs say so in ``multiply_adds``."""
    return getattr(node.layer, "multiply_adds", 0)


def predicted_bytes(net: Net) -> dict[str, int]:
    """Bytes of arrays the net will hold, by role; ``history`` is that of a solver with one value a weight."""
    params = sum(-(-w.count // 16) * 16 for w in net.parameters) * net.dtype.itemsize
    gradients = params if net.param_diff is not None else 0
    return {"activations, diffs, work space": net.activation_bytes, "weights": params, "weight diffs": gradients}


def totals(net: Net) -> list[str]:
    """The lines under the table."""
    roles = predicted_bytes(net)
    learned = sum(prod(w.shape) for w in net.parameters)
    work = sum(multiply_adds(node) for node in net.graph.nodes)
    lines = [f"parameters       {learned:,}", f"multiply-adds    {work:,} forward"]
    lines += [f"memory           {sum(roles.values()):,} bytes: " + ", ".join(f"{k} {v:,}" for k, v in roles.items())]
    history = roles["weights"]
    if net.phase == "TRAIN" and history:
        lines.append(f"while training   {sum(roles.values()) + history:,} bytes with the solver's history (SGD)")
    return lines
