"""Whole nets, a training step or a forward pass: nbcaffe against PyTorch's fastest mode on the same CPU.

``python benchmarks/nets.py --torch PYTHON [--net NAME ...]`` takes each net of ``benchmarks/nets/``, has both sides
train it from the same weights on the same batch and compares their losses, then alternates separate processes
(PyTorch's spinning threads spoil a shared one): the median step of each, the peak of its resident memory, the ratio of
each round and the median of these.  On a busy machine threads wait for each other and medians mean little; the fastest
steps of both sides are compared beside them.  ``--test`` does the same with the forward pass of the TEST phase, and
with ``--onnxruntime PYTHON`` also against ONNX Runtime.  What was found is printed as a row of the table in
``benchmarks/README.md``.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
NETS = ("lenet", "cifar10_quick", "cifar10_full", "caffenet", "googlenet", "vgg16", "resnet18", "autoencoder")
ONLY_RUN = ("pnet",)  # nets that --test takes, too
MODES = ("eager", "fused", "channels_last", "compiled")  # of PyTorch; all but the first with the fused SGD
SLOW = 1.2  # a mode that takes so many times the fastest one's time in the first round does not run again
# Else 0.001. At it these amplify rounding until losses cannot be compared, PyTorch's modes among each other neither.
RATES = {"caffenet": 1e-5, "googlenet": 1e-4, "vgg16": 1e-5, "resnet18": 5e-4}
MOMENTUM, DECAY = 0.9, 5e-4
WARM, LEAST = 3, 5  # steps before timing; steps timed at least
HEADINGS = (
    "net | batch | nbcaffe ms | PyTorch ms | ratio | lowest to highest | of the fastest steps | losses apart, first "
    "| at most | PyTorch's own | nbcaffe peak MB | PyTorch's least | ratio | predicted"
)
MORE_HEADINGS = " | ONNX Runtime ms | ratio | of the fastest steps | apart"  # with --onnxruntime

# What both sides share; nets_torch.py imports it.


def fill(name, kind, arrays):
    """Write a layer's first weights, without a temporary array: the peak of memory is measured."""
    start = {"Scale": [1, 0], "BatchNorm": [0, 1, 1], "PReLU": [0.25]}.get(kind, [0] * len(arrays))
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for value, array in zip(start, arrays, strict=False):
        array[...] = value
        if array.ndim > 1:
            rng.random(out=array.reshape(-1), dtype=np.float32)
            array -= 0.5
            array *= np.float32(2 * np.sqrt(6 / np.prod(array.shape[1:])))


def batch(shapes):
    """One batch: pictures, or the autoencoder's values from 0 to 1; and labels."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal(shapes["data"], np.float32) if len(shapes["data"]) == 4 else rng.random(shapes["data"])
    return data.astype(np.float32), rng.integers(0, 10, shapes["data"][0])


def peak():
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def sample(found):
    """Of a loss or an output, some thousand values at most."""
    values = np.ravel(found)
    return values[:: -(-values.size // 1000)].tolist()


def answer(step, args):
    """Print what the parent asked for: the first results, or the median time and the memory."""
    if args.compare:
        print(json.dumps({"values": [sample(step()) for _ in range(args.compare)]}))
        return
    for _ in range(WARM):
        step()
    times, end = [], time.perf_counter() + args.seconds
    while len(times) < LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(json.dumps({"ms": statistics.median(times) * 1e3, "least": min(times) * 1e3, "peak": peak()}))


def child_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", required=True)
    parser.add_argument("--net", required=True)
    parser.add_argument("--compare", type=int, help="how many results to print, instead of times")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


# nbcaffe's side.


def describe(name, phase, size):
    """The flat net, the shapes of its blobs and weights, and the peak that ``nbcaffe show`` predicts, in MB."""
    import yaml

    from nbcaffe.net import Net
    from nbcaffe.report import predicted_peak

    trains = phase == "TRAIN"
    options = {"memory": "plan", "backward": trains, "late_gradients": trains}
    net = Net(str(HERE / f"nets/{name}.yaml"), phase, **options, overrides=[f"vars.batch={size}"] if size else [])
    return {
        "layers": yaml.safe_load(net.text)["layers"],
        "weights": {name: [list(weight.shape) for weight in weights] for name, weights in net.params.items()},
        "shapes": {name: list(blob.shape) for name, blob in net.blobs.items()},
        "phase": phase,
        "rate": RATES.get(name, 0.001),
        "shown": sum(predicted_peak(net).values()),
    }


def ours(args):
    from nbcaffe.net import Net
    from nbcaffe.solver.loop import Solver

    given = json.loads(Path(args.net).read_text())
    source = {"name": "net", "layers": given["layers"]}
    if given["phase"] == "TRAIN":
        settings = {"base_lr": given["rate"], "lr_policy": "fixed", "momentum": MOMENTUM, "weight_decay": DECAY}
        solver = Solver({**settings, "max_iter": 10**6, "net_param": source}, memory="plan")
        net = solver.net
    else:
        net = Net(source, "TEST", memory="plan")
    kinds = {layer["name"]: layer["type"] for layer in given["layers"]}
    for name, weights in net.params.items():
        fill(name, kinds[name], [weight.data for weight in weights])
    data, labels = batch(given["shapes"])
    net.blobs["data"]._data[...] = data
    if "label" in net.blobs:
        net.blobs["label"]._data[...] = labels

    def train():
        solver.step(1)
        return net.loss()

    last = given["layers"][-1]["top"]

    def test():
        net.run_forward()
        return net.blobs[last if isinstance(last, str) else last[0]].data

    answer(train if given["phase"] == "TRAIN" else test, args)


# The parent, which imports neither side: a child's peak of memory starts from its parent's.


def child(python, *arguments, threads=None):
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore"}
    env |= {"NUMBA_NUM_THREADS": str(threads)} if threads else {}
    env.setdefault("GOMP_SPINCOUNT", "10000")  # as nbcaffe does: on a busy machine PyTorch needs it, too
    done = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, env=env)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def middle(results, what):
    return statistics.median(result[what] for result in results)


class Bench:
    """One net on both sides."""

    def __init__(self, name, size, args, folder):
        self.args = args
        phase = "TEST" if args.test else "TRAIN"
        net = child(sys.executable, __file__, "--describe", name, phase, size)
        self.name, self.size, self.shown = name, net["shapes"]["data"][0], net["shown"]
        self.file = Path(folder) / f"{name}.json"
        self.file.write_text(json.dumps(net))
        for layer in net["layers"]:
            if layer["type"] == "Dropout":
                layer["dropout_ratio"] = 0.0
        self.sure = Path(folder) / f"{name}_sure.json"
        self.sure.write_text(json.dumps(net))

    def run(self, mode, compare=0):
        """One process of nbcaffe, of ONNX Runtime, or of PyTorch in a mode."""
        others = {"nbcaffe": (sys.executable, __file__), "onnxruntime": (self.args.onnxruntime, HERE / "nets_onnx.py")}
        python, script = others.get(mode, (self.args.torch, HERE / "nets_torch.py"))
        what = ["--net", self.sure if compare else self.file, "--seconds", self.args.seconds]
        what += ["--threads", self.args.threads, "--compare", compare]
        return child(python, script, "--run", mode, *what, threads=self.args.threads)

    def apart(self):
        """Differences from eager PyTorch's losses or outputs, of the largest: our first and most, the others' most."""
        sides = ("eager", "nbcaffe", "channels_last", *(["onnxruntime"] if self.args.onnxruntime else []))
        eager, *others = (np.array(self.run(side, self.args.compared)["values"]) for side in sides)
        apart = [np.abs(side - eager).max(1) / np.abs(eager).max(1) for side in others]
        return f"{apart[0][0]:.0e}", *(f"{max(side):.0e}" for side in apart)

    def rounds(self):
        """For each round nbcaffe's result, PyTorch's best mode, its result, its least memory, and ONNX Runtime's."""
        modes = [mode for mode in self.args.modes.split(",") if not self.args.test or mode != "fused"]
        for _ in range(self.args.rounds):
            mine = self.run("nbcaffe")
            peers = {mode: self.run(mode) for mode in modes}
            best = min(peers, key=lambda mode: peers[mode]["ms"])
            lean = min(peer["peak"] for peer in peers.values())
            onnx = self.run("onnxruntime") if self.args.onnxruntime else None
            every = ", ".join(f"{mode} {peer['ms']:.2f} ms {peer['peak']:.0f} MB" for mode, peer in peers.items())
            told = f"{self.name}: nbcaffe {mine['ms']:.2f} ms {mine['peak']:.0f} MB, PyTorch {every}"
            told += f", ONNX Runtime {onnx['ms']:.2f} ms" if onnx else ""
            print(f"{told}: {mine['ms'] / peers[best]['ms']:.2f}", flush=True)
            modes = [mode for mode in modes if peers[mode]["ms"] <= SLOW * peers[best]["ms"]]
            yield mine, best, peers[best], lean, onnx

    def row(self):
        """Compare and time this net; a row of the table."""
        apart = self.apart()
        print(f"{self.name}: apart by {apart[0]}, at most {apart[1]}; the others {', '.join(apart[2:])}", flush=True)
        mine, modes, peers, lean, onnx = zip(*self.rounds(), strict=True)
        ratios = [a["ms"] / b["ms"] for a, b in zip(mine, peers, strict=True)]
        peak, least = middle(mine, "peak"), statistics.median(lean)
        cells = [self.name, self.size, f"{middle(mine, 'ms'):.1f}"]
        cells += [f"{middle(peers, 'ms'):.1f} {statistics.mode(modes)}", f"**{statistics.median(ratios):.2f}**"]
        cells += [f"{min(ratios):.2f} to {max(ratios):.2f}", f"{middle(mine, 'least') / middle(peers, 'least'):.2f}"]
        cells += [*apart[:3], f"{peak:.0f}", f"{least:.0f}", f"{peak / least:.2f}", f"{self.shown:.0f}"]
        if self.args.onnxruntime:
            ratios = [a["ms"] / b["ms"] for a, b in zip(mine, onnx, strict=True)]
            cells += [f"{middle(onnx, 'ms'):.1f}", f"**{statistics.median(ratios):.2f}**"]
            cells += [f"{middle(mine, 'least') / middle(onnx, 'least'):.2f}", apart[3]]
        return f"| {' | '.join(map(str, cells))} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--onnxruntime", metavar="PYTHON", help="with --test: a Python that has onnx and onnxruntime")
    parser.add_argument("--net", action="append", choices=NETS + ONLY_RUN, help="default: all; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing in each process, at least")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 2 seconds, 5 losses compared: a first look")
    parser.add_argument("--compared", type=int, default=20, help="iterations whose losses are compared")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--modes", default=",".join(MODES), help=f"of PyTorch (default: {','.join(MODES)})")
    parser.add_argument("--test", action="store_true", help="the forward pass of the TEST phase")
    parser.add_argument("--batch", type=int, action="append", help="instead of the net's own; may be repeated")
    args = parser.parse_args()
    if not args.test and (args.onnxruntime or set(args.net or ()) & set(ONLY_RUN)):
        parser.error(f"--onnxruntime and {', '.join(ONLY_RUN)} go with --test")
    if args.quick:
        args.rounds, args.seconds, args.compared = min(args.rounds, 3), 2.0, 5
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.net or (NETS + ONLY_RUN if args.test else NETS):
            for size in args.batch or [0]:
                rows.append(Bench(name, size, args, folder).row())
    headings = HEADINGS + (MORE_HEADINGS if args.onnxruntime else "")
    print(f"| {headings} |\n" + "|---" * len(headings.split("|")) + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    if "--describe" in sys.argv:
        print(json.dumps(describe(*sys.argv[2:4], int(sys.argv[4]))))
    elif "--run" in sys.argv:
        ours(child_arguments())
    else:
        main()
