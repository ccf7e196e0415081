"""What a net is, before it runs: its flat text, and a table of layers, shapes, work and memory."""

from argparse import Namespace
from math import prod

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from . import through_time
from .errors import ConfigError
from .frozen import is_frozen, learning
from .net import Net
from .netfile import read_net
from .passes.expand import expand as flat_text
from .passes.phase import filter_phase
from .passes.unroll import unroll

NARROWEST = 100  # columns of the table; in a narrower terminal lines wrap, but no number is cut
MB = 2**20
# What a process holds beside arrays, in MB, as benchmarks/memory.py found it (Linux x86-64, Python 3.11, Numba 0.68.1):
IMPORTED = 202  # Python, NumPy, h5py, Numba, and what Numba makes for the first kernel of all
LOADED = 0.6  # for each kernel that the disk cache has
COMPILED = 7  # more for each that this process compiles: LLVM does not give it back


def expand(args: Namespace) -> int:
    """Print the flat net, unrolled where it says how many steps; with a phase, only what that phase keeps."""
    spec = read_net(args.net, overrides=tuple(args.set))
    if args.phase:
        spec = filter_phase(spec, args.phase, args.level, tuple(args.stage))
    print(flat_text(unroll(spec, every=True)), end="")
    return 0


def show(args: Namespace) -> int:
    """Print the table of a net; with ``--time``, what happens in its recurrent layers."""
    if args.time:
        return through_time.run(args)
    if args.plot or args.weights:
        raise ConfigError("--plot and --weights go with --time")
    phase = args.phase or "TRAIN"
    net = Net(
        args.net,
        phase,
        level=args.level,
        stages=args.stage,
        overrides=args.set,
        memory="plan",
        backward=phase == "TRAIN",  # these three as train and test do
        late_gradients=True,
    )
    Console(width=max(Console().width, NARROWEST)).print(table(net))
    for line in totals(net):
        print(line)
    return 0


def table(net: Net) -> Table:
    """One row a layer; splits, which nobody wrote, are left out."""
    out = Table(title=f"{net.name} ({net.phase})", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("layer", "type", "tops", "weights"):
        out.add_column(heading, overflow="fold")
    for heading in ("params", "multiply-adds", "bytes"):
        out.add_column(heading, justify="right", no_wrap=True)
    for node in net.graph.nodes:
        if node.spec.type == "Split":
            continue
        named = [b.name + " " if b.name != node.spec.name else "" for b in node.top]
        tops = "\n".join(name + by(b.shape) for name, b in zip(named, node.top, strict=True))
        weights = "\n".join(by(w.shape) for w in node.layer.weights)
        own = sum(w.count for w in node.layer.weights if w.owner is w)
        size = sum(b.count for b in node.top) * net.dtype.itemsize
        name = node.spec.name + ("\n(in place)" if node.inplace else "") + ("\n(frozen)" if is_frozen(node) else "")
        engine = getattr(node.layer, "engine", None)
        kind = node.spec.type + (f"\n({engine})" if engine not in (None, "DEFAULT") else "")
        out.add_row(name, kind, tops, weights, number(own), number(node.layer.multiply_adds), number(size))
    return out


def by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def number(n: int) -> str:
    return f"{n:,}" if n else ""


def predicted_bytes(net: Net) -> dict[str, int]:
    """Bytes of arrays the net will hold, by role; ``history`` is that of a solver with one value a weight."""
    sizes = {weight: -(-weight.count // 16) * 16 * net.dtype.itemsize for weight in net.parameters}
    params = sum(sizes.values())
    gradients = sum(n for weight, n in sizes.items() if not weight.late) if net.param_diff is not None else 0
    return {"activations, diffs, work space": net.activation_bytes, "weights": params, "weight diffs": gradients}


def kernels(net: Net) -> int:
    """How many compiled functions the net's bound steps call, each signature counted."""
    called = {id(step.func): step.func for steps in (net._forward, net._backward) for step in steps.steps}
    return sum(len(getattr(function, "signatures", ())) for function in called.values())


def predicted_peak(net: Net) -> dict[str, float]:
    """MB that a process will hold at most which trains the net by SGD (phase TRAIN) or runs it, by what they are for.

    An estimate, within 3 % for all nets of ``benchmarks/nets/``; what compiling holds is not in it: ``COMPILED``.
    """
    roles = predicted_bytes(net)
    history = roles["weights"] if net.phase == "TRAIN" else 0
    arrays = (sum(roles.values()) + history) / MB
    return {"arrays": arrays, "Python and Numba": IMPORTED, "kernels": LOADED * kernels(net)}


def totals(net: Net) -> list[str]:
    """The lines under the table."""
    roles = predicted_bytes(net)
    learned = sum(prod(w.shape) for w in net.parameters)
    work = sum(node.layer.multiply_adds for node in net.graph.nodes)
    lines = [f"parameters       {learned:,}", f"multiply-adds    {work:,} forward"]
    lines += [f"memory           {sum(roles.values()):,} bytes: " + ", ".join(f"{k} {v:,}" for k, v in roles.items())]
    lines += [learning(net.graph)] if net.param_diff is not None else []
    history = roles["weights"]
    if net.phase == "TRAIN" and history:
        lines.append(f"while training   {sum(roles.values()) + history:,} bytes with the solver's history (SGD)")
    if net.device.name == "cpu":
        parts, count = predicted_peak(net), kernels(net)
        told = ", ".join(f"{name} {size:,.0f}" for name, size in parts.items())
        lines.append(f"whole process    about {sum(parts.values()):,.0f} MB at its peak: {told}")
        lines.append(f"                 {COMPILED * count:,} MB more in the run that compiles its {count} kernels")
    return lines
