"""How the time of a training step grows with batch, depth and width, and what part of it is fixed.

``PYTHONPATH=. python benchmarks/scaling.py [--plot FILE]`` trains LeNet, CIFAR-10 quick and a plain stack of 3x3
convolutions at growing sizes and prints a table: the fastest step at each size, the fit ``time = a + b n`` (least
squares of relative errors, so that each size counts alike), its largest error, the fixed share ``a`` of the step at a
size, and the number of bound steps.  ``n`` is the batch, the depth, or the width's square: what the arithmetic grows
with.  All sizes of a series are built first and take turns, so that a busy minute disturbs them alike; the fastest of
all steps counts.  Where other jobs use the machine ``--threads 1`` is disturbed less.  ``--plot`` draws the series with
their fits (needs matplotlib).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SERIES = {  # name: sizes, power of the size that the work grows with, size at which the fixed share is told
    "lenet batch": (BATCHES, 1, 16),
    "cifar10_quick batch": (BATCHES, 1, 16),
    "stack batch": (BATCHES, 1, 16),
    "stack depth": ((2, 4, 8, 16, 32), 1, 8),
    "stack width": ((16, 32, 48, 64, 96, 128), 2, 64),
}
STACK = {"batch": 16, "depth": 4, "width": 32}
SECONDS = 0.25  # that a size has in each round, or one step


def stack(batch, depth, width):
    """Pictures of 16x16, ``depth`` times a convolution and a ReLU, a classifier."""
    layers = [{"name": "data", "type": "Input", "shape": [[batch, width, 16, 16]]}]
    layers += [{"name": "label", "type": "Input", "shape": [[batch]]}]
    bottom = "data"
    for i in range(depth):
        layers.append({"name": f"conv{i}", "type": "Convolution", "bottom": bottom, "num_output": width})
        layers[-1] |= {"kernel_size": 3, "pad": 1, "weight_filler": {"type": "msra"}}
        layers.append({"name": f"relu{i}", "type": "ReLU"})
        bottom = f"relu{i}"
    layers.append({"name": "scores", "type": "InnerProduct", "num_output": 10, "weight_filler": {"type": "xavier"}})
    return {"layers": [*layers, {"name": "loss", "type": "SoftmaxWithLoss", "bottom": ["scores", "label"]}]}


def build(name, size):
    """A solver of the series' net at a size."""
    from nbcaffe.solver.loop import Solver

    net, axis = name.split()
    settings = {"base_lr": 1e-5, "lr_policy": "fixed", "momentum": 0.9, "weight_decay": 5e-4, "random_seed": 1}
    if net == "stack":
        settings["net_param"] = stack(**{**STACK, axis: size})
        return Solver(settings, memory="plan")
    return Solver({**settings, "net": str(HERE / f"nets/{net}.yaml")}, memory="plan", overrides=[f"vars.{axis}={size}"])


def child(name, rounds):
    """Print the fastest step in ms, and the bound steps, at each size."""
    solvers = [build(name, size) for size in SERIES[name][0]]
    rng = np.random.default_rng(0)
    for solver in solvers:
        data, label = (solver.net.blobs[blob]._data for blob in ("data", "label"))
        data[...], label[...] = rng.standard_normal(data.shape), rng.integers(0, 10, label.shape)
        solver.step(2)
    least = [np.inf] * len(solvers)
    for _ in range(rounds):
        for index, solver in enumerate(solvers):
            end = time.perf_counter() + SECONDS
            while True:
                start = time.perf_counter()
                solver.step(1)
                now = time.perf_counter()
                least[index] = min(least[index], (now - start) * 1e3)
                if now > end:
                    break
    counts = [sum(len(steps.steps) for steps in (s.net._forward, s.net._backward)) for s in solvers]
    counts = [n + len(s.update.steps) for n, s in zip(counts, solvers, strict=True)]
    print(json.dumps({"ms": least, "steps": counts}))


def measure(name, args):
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "NUMBA_NUM_THREADS": str(args.threads)}
    command = [sys.executable, __file__, "--run", name, str(args.rounds)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def fit(n, ms):
    """``a, b`` and the largest relative error of ``a + b n``."""
    design = np.stack([1 / ms, n / ms], axis=1)
    (a, b), *_ = np.linalg.lstsq(design, np.ones(len(n)), rcond=None)
    return a, b, np.abs((a + b * n) / ms - 1).max()


def row(name, found):
    """A row of the table."""
    sizes, power, at = SERIES[name]
    a, b, error = fit(np.array(sizes, float) ** power, np.array(found["ms"]))
    times = ", ".join(f"{size}: {time:.2f}" for size, time in zip(sizes, found["ms"], strict=True))
    steps = sorted({min(found["steps"]), max(found["steps"])})
    told = f"{a:.3f} + {b:.5f} n", f"{error:.0%}", at, f"{a / (a + b * at**power):+.1%}", " to ".join(map(str, steps))
    return f"| {name} | {times} | {' | '.join(map(str, told))} |"


def draw(results, path):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install 'nbcaffe[plot]'") from None
    figure = Figure(figsize=(4 * len(results), 4), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True):
        sizes, power, _ = SERIES[name]
        n, ms = np.array(sizes, float), np.array(found["ms"])
        a, b, _ = fit(n**power, ms)
        axes.loglog(n, ms, "o", label="fastest step")
        axes.loglog(n, a + b * n**power, label=f"{a:.2f} + {b:.2g} n" + ("²" if power == 2 else ""))
        axes.set(title=name, xlabel=name.split()[1], ylabel="ms")
        axes.set_xticks(sizes, map(str, sizes))
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", action="append", choices=SERIES, help="default: all; may be repeated")
    parser.add_argument("--rounds", type=int, default=10, help="turns that each size takes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", help="where to write the picture, by its ending SVG, PNG or PDF")
    args = parser.parse_args()
    print("| series | fastest step in ms by size | fit, ms | largest error | at | fixed | bound steps |")
    print("|---|---|---|---|---|---|---|", flush=True)
    results = {}
    for name in args.series or SERIES:
        results[name] = measure(name, args)
        print(row(name, results[name]), flush=True)
    if args.plot:
        draw(results, args.plot)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        child(sys.argv[2], int(sys.argv[3]))
    else:
        main()
