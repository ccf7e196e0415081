"""How much memory a net takes: what ``nbcaffe show`` predicts, and the peak of a process that trains it or runs it.

``PYTHONPATH=. python benchmarks/memory.py [--net NAME ...]`` runs each net of ``benchmarks/nets/`` in both phases, each
in a process of its own, and prints a row of the table in ``benchmarks/README.md``; ``--cold`` adds what a process holds
more that must compile its kernels.  "Rest" is what no array explains: the straight line in the last line, fitted to
phase TRAIN, gave the constants of ``nbcaffe/report.py``.  MB are 2**20 bytes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from nets import HERE, NETS, peak as inherited

PHASES = ("TRAIN", "TEST")
HEADINGS = "net | phase | batch | arrays MB | kernels | predicted MB | peak MB | off | imports | rest | compiling"
PASSES = 3


def peak():
    """The most memory that this process has held, in MB; a large parent's own peak would count in getrusage's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return inherited()
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 2**10


def child(name, phase, overrides):
    """Run some passes; print sizes in MB."""
    from nbcaffe.net import Net
    from nbcaffe.report import kernels, predicted_peak
    from nbcaffe.solver.loop import Solver

    imported, file = peak(), str(HERE / f"nets/{name}.yaml")
    if phase == "TRAIN":
        settings = {"base_lr": 1e-6, "lr_policy": "fixed", "momentum": 0.9, "weight_decay": 5e-4, "net": file}
        solver = Solver(settings, memory="plan", overrides=overrides)
        net, run = solver.net, solver.step
    else:
        net = Net(file, phase, memory="plan", overrides=overrides, backward=False)
        run = net.run_forward
    for _ in range(PASSES):
        run()
    parts = predicted_peak(net)
    told = {"batch": len(net.blobs["data"]._data), "arrays": parts["arrays"], "kernels": kernels(net)}
    print(json.dumps({**told, "predicted": sum(parts.values()), "imported": imported, "peak": peak()}))


def measure(name, phase, args, cache=None):
    env = {**os.environ, **({"NBCAFFE_CACHE": cache} if cache else {})}
    batch = [f"vars.batch={args.batch}"] if args.batch else []
    done = subprocess.run([sys.executable, __file__, "--run", name, phase, *batch], env=env, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.decode()[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def row(name, phase, args):
    """A row of the table; the kernels that it counts, and what no array explains."""
    measure(name, phase, args)  # fills the cache
    warm = measure(name, phase, args)
    compiling = ""
    if args.cold:
        with tempfile.TemporaryDirectory() as cache:
            compiling = f"{measure(name, phase, args, cache)['peak'] - warm['peak']:.0f}"
    rest, off = warm["peak"] - warm["arrays"], warm["predicted"] / warm["peak"] - 1
    cells = [name, phase, warm["batch"], f"{warm['arrays']:.0f}", warm["kernels"], f"{warm['predicted']:.0f}"]
    cells += [f"{warm['peak']:.0f}", f"{100 * off:+.1f} %", f"{warm['imported']:.0f}", f"{rest:.0f}", compiling]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return warm["kernels"], rest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", choices=NETS, help="default: all; may be repeated")
    parser.add_argument("--phase", action="append", choices=PHASES, help="default: both")
    parser.add_argument("--batch", type=int, help="instead of the net's own")
    parser.add_argument("--cold", action="store_true", help="with an empty kernel cache, too: a minute a net")
    args = parser.parse_args()
    print(f"| {HEADINGS} |\n" + "|---" * len(HEADINGS.split("|")) + "|", flush=True)
    found = {(phase, name): row(name, phase, args) for phase in args.phase or PHASES for name in args.net or NETS}
    trained = [values for (phase, _), values in found.items() if phase == "TRAIN"]
    if len(trained) > 2:
        each, base = np.polyfit(*zip(*trained, strict=True), 1)
        print(f"\nrest: {base:.0f} MB and {each:.2f} for each kernel")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        child(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        main()
