"""LeNet's training step, batch 64: nbcaffe against PyTorch's fastest mode on the same CPU.

``python benchmarks/lenet.py --torch PYTHON`` alternates separate processes (PyTorch's spinning threads spoil a shared
one), takes the median step of each, and prints the ratio of each round and their median.  Both train the same net from
the same weights on the same batch first, and their losses are compared.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

SHAPES = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "ip1": (500, 800), "ip2": (10, 500)}
WARM, STEPS, RATE, MOMENTUM, DECAY = 20, 200, 0.01, 0.9, 5e-4


def problem():
    """Seeded weights and one batch, the same for both."""
    rng = np.random.default_rng(0)
    weights = {k: (rng.uniform(-1, 1, s) * np.sqrt(3 / np.prod(s[1:]))).astype("f") for k, s in SHAPES.items()}
    return weights, rng.standard_normal((64, 1, 28, 28)).astype("f"), rng.integers(0, 10, 64)


def measure(step):
    """Losses of the first steps, then the median milliseconds of the following ones."""
    losses = [step() for _ in range(WARM)]
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"losses": losses, "ms": statistics.median(times) * 1e3}


def ours():
    from nbcaffe.solver.loop import Solver

    weights, x, labels = problem()
    layers = [
        {"name": "data", "type": "Input", "top": ["data", "label"], "shape": [[64, 1, 28, 28], [64]]},
        {"name": "conv1", "type": "Convolution", "bottom": "data", "num_output": 20, "kernel_size": 5},
        {"name": "pool1", "type": "Pooling", "kernel_size": 2, "stride": 2},
        {"name": "conv2", "type": "Convolution", "num_output": 50, "kernel_size": 5},
        {"name": "pool2", "type": "Pooling", "kernel_size": 2, "stride": 2},
        {"name": "ip1", "type": "InnerProduct", "num_output": 500},
        {"name": "relu1", "type": "ReLU"},
        {"name": "ip2", "type": "InnerProduct", "num_output": 10},
        {"name": "loss", "type": "SoftmaxWithLoss", "bottom": ["ip2", "label"]},
    ]
    settings = {"base_lr": RATE, "lr_policy": "fixed", "momentum": MOMENTUM, "weight_decay": DECAY, "max_iter": 10**6}
    solver = Solver({**settings, "net_param": {"name": "lenet", "layers": layers}})
    for name, values in weights.items():
        solver.net.params[name][0].data[...] = values
    solver.net.blobs["data"]._data[...] = x
    solver.net.blobs["label"]._data[...] = labels

    def step():
        solver.step(1)
        return solver.net.loss()

    return measure(step)


def torchs(mode):
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(2)
    weights, x, labels = problem()
    net = nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip
    with torch.no_grad():
        for layer, values in zip([m for m in net if hasattr(m, "weight")], weights.values(), strict=True):
            layer.weight.copy_(torch.from_numpy(values))
            layer.bias.zero_()
    x, labels = torch.from_numpy(x), torch.from_numpy(labels)
    if mode == "channels_last":
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), RATE, MOMENTUM, weight_decay=DECAY, fused=mode != "eager")

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return {**measure(step), "version": torch.__version__}


def child(python, mode):
    done = subprocess.run([python, __file__, "--run", mode], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", choices=("nbcaffe", "eager", "fused", "channels_last"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(ours() if args.run == "nbcaffe" else torchs(args.run)))
        return
    ratios = []
    for _ in range(args.rounds):
        mine = child(sys.executable, "nbcaffe")
        peers = {mode: child(args.torch, mode) for mode in ("eager", "fused", "channels_last")}
        mode, best = min(peers.items(), key=lambda item: item[1]["ms"])
        apart = max(abs(a - b) for a, b in zip(mine["losses"], best["losses"], strict=True))
        ratios.append(mine["ms"] / best["ms"])
        print(
            f"nbcaffe {mine['ms']:.2f} ms, PyTorch {best['version']} {mode} {best['ms']:.2f} ms, "
            f"ratio {ratios[-1]:.2f}, losses apart by at most {apart:.1e}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} of {args.rounds} rounds")


if __name__ == "__main__":
    main()
