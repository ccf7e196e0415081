"""Recurrent nets, one training step: nbcaffe against PyTorch on the same CPU.

``python benchmarks/recurrent.py --torch PYTHON`` alternates separate processes, takes the median step of each and
prints the ratios of every round and their median.  Each case trains the same net from the same weights on the same
batch first, and the losses of the first steps are compared.

Cases: ``lstm`` and ``gru`` (Embed, LSTM or GRU, InnerProduct, SoftmaxWithLoss; SGD with momentum) against nn.LSTM and
nn.GRU; ``cell``, a cell that PyTorch has no fused version of, against a loop over its steps, eager and compiled.
``--fold`` lets nbcaffe fold the embedding into the product behind it (a planned net, as `nbcaffe train` makes it).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

SIZES = {"small": (25, 32, 256), "large": (50, 64, 512)}  # T, N, hidden units
SYMBOLS, RATE, MOMENTUM, WARM, STEPS = 65, 0.1, 0.9, 10, 60
GATES = {"lstm": 4, "gru": 3, "cell": 1}

CELL = """
  - unroll:
      name: rnn
      mode: {mode}
      steps: {steps}
      inputs: {{x: embed}}
      state: {{h: {{next: h_new, num_output: {units}}}}}
      outputs: {{h_new: rnn}}
      layers:
        - {{name: xg, type: InnerProduct, bottom: x, num_output: {units}}}
        - {{name: hg, type: InnerProduct, bottom: h, num_output: {units}, bias_term: false}}
        - {{name: sum, type: Eltwise, bottom: [xg, hg]}}
        - {{name: gate, type: Sigmoid, bottom: sum}}
        - {{name: new, type: Swish, bottom: sum}}
        - {{name: gated, type: Eltwise, bottom: [gate, new], operation: PROD}}
        - {{name: mixed, type: Eltwise, bottom: [gated, h], coeff: [0.5, 0.5]}}
        - {{name: h_new, type: TanH, bottom: mixed}}
"""
NET = """
layers:
  - {{name: data, type: Input, shape: [[{steps}, {batch}]]}}
  - {{name: label, type: Input, shape: [[{steps}, {batch}]]}}
  - {{name: embed, type: Embed, bottom: data, input_dim: {symbols}, num_output: {units}, bias_term: false}}
{recurrent}
  - {{name: scores, type: InnerProduct, bottom: rnn, axis: 2, num_output: {symbols}}}
  - {{name: loss, type: SoftmaxWithLoss, bottom: [scores, label], softmax_param: {{axis: 2}}}}
"""


def problem(case, size):
    """Seeded weights in PyTorch's order of gates, and one batch."""
    steps, batch, units = SIZES[size]
    rng = np.random.default_rng(0)
    rows = GATES[case] * units
    edge = units**-0.5
    weights = {
        "embed": rng.standard_normal((SYMBOLS, units)),
        **{name: rng.uniform(-edge, edge, (rows, units)) for name in ("x", "h")},
        **{name: rng.uniform(-edge, edge, rows) for name in ("bx", "bh")},
        "out": rng.uniform(-edge, edge, (SYMBOLS, units)),
        "bout": rng.uniform(-edge, edge, SYMBOLS),
    }
    if case == "cell":
        weights["bh"][:] = 0
    ids, labels = rng.integers(0, SYMBOLS, (2, steps, batch))
    return {k: v.astype("f") for k, v in weights.items()}, ids, labels


def measure(step):
    losses = [step() for _ in range(WARM)]
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"losses": losses, "ms": statistics.median(times) * 1e3}


def caffe_gates(case, w):
    """PyTorch's gates i, f, g, o in Caffe's order i, f, o, g; r, z, n are ours too."""
    if case != "lstm":
        return w
    i, f, g, o = np.split(w, 4)
    return np.concatenate([i, f, o, g])


def ours(case, size, mode, fold):
    from nbcaffe.solver.loop import Solver

    steps, batch, units = SIZES[size]
    weights, ids, labels = problem(case, size)
    recurrent = f"  - {{name: rnn, type: {case.upper()}, bottom: embed, num_output: {units}}}"
    if case == "cell":
        recurrent = CELL.format(mode=mode, steps=steps, units=units)
    text = NET.format(steps=steps, batch=batch, units=units, symbols=SYMBOLS, recurrent=recurrent)
    settings = {"base_lr": RATE, "momentum": MOMENTUM, "lr_policy": "fixed", "max_iter": 10**6, "net": text}
    solver = Solver(settings, memory="plan" if fold else "keep")
    params = solver.net.params
    own = [w for name in params if name.startswith("rnn") for w in params[name]]
    values = [caffe_gates(case, weights[k]) for k in ("x", "bx", "h", "bh")]
    if case == "lstm":
        values = [values[0], values[1] + values[3], values[2]]
    for weight, value in zip(own, values if case == "gru" else values[:3], strict=True):
        weight.data[...] = value
    for name, value in (("embed", [weights["embed"]]), ("scores", [weights["out"], weights["bout"]])):
        for weight, array in zip(params[name], value, strict=True):
            weight.data[...] = array
    solver.net.blobs["data"]._data[...] = ids
    solver.net.blobs["label"]._data[...] = labels

    def step():
        solver.step(1)
        return solver.net.loss()

    return measure(step)


def torchs(case, size, compiled):
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(2)
    _, batch, units = SIZES[size]
    weights, ids, labels = problem(case, size)
    tensors = {k: torch.from_numpy(v) for k, v in weights.items()}

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.x, self.h = nn.Linear(units, units), nn.Linear(units, units, bias=False)

        def forward(self, x):
            h, out = torch.zeros(batch, units), []
            for each in self.x(x):
                total = each + self.h(h)
                h = torch.tanh(0.5 * torch.sigmoid(total) * functional.silu(total) + 0.5 * h)
                out.append(h)
            return torch.stack(out)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(SYMBOLS, units), nn.Linear(units, SYMBOLS)
            self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[case](units, units) if case != "cell" else Loop()

        def forward(self, x, y):
            hidden = self.rnn(self.embed(x))
            hidden = hidden[0] if case != "cell" else hidden
            return functional.cross_entropy(self.out(hidden).reshape(-1, SYMBOLS), y.reshape(-1))

    net = Net()
    names = {"embed.weight": "embed", "out.weight": "out", "out.bias": "bout"}
    names |= {"rnn.weight_ih_l0": "x", "rnn.weight_hh_l0": "h", "rnn.bias_ih_l0": "bx", "rnn.bias_hh_l0": "bh"}
    names |= {"rnn.x.weight": "x", "rnn.x.bias": "bx", "rnn.h.weight": "h"}
    net.load_state_dict({k: tensors[names[k]] for k in net.state_dict()})
    if case == "lstm":  # one bias in Caffe: the second one stays out of training
        with torch.no_grad():
            net.rnn.bias_ih_l0 += net.rnn.bias_hh_l0
            net.rnn.bias_hh_l0.zero_()
        net.rnn.bias_hh_l0.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], RATE, MOMENTUM, fused=True)
    run = torch.compile(net) if compiled else net
    x, y = torch.from_numpy(ids), torch.from_numpy(labels)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = run(x, y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return {**measure(step), "version": torch.__version__}


def child(python, *arguments):
    done = subprocess.run([python, __file__, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--case", choices=GATES, default="lstm")
    parser.add_argument("--size", choices=SIZES, default="small", help="T 25, N 32, 256 units; or T 50, N 64, 512")
    parser.add_argument("--mode", choices=("fused", "unrolled"), default="fused", help="of the cell")
    parser.add_argument("--fold", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", choices=("nbcaffe", "eager", "compiled"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        mine = args.run == "nbcaffe"
        result = (
            ours(args.case, args.size, args.mode, args.fold)
            if mine
            else torchs(args.case, args.size, args.run == "compiled")
        )
        print(json.dumps(result))
        return
    same = ["--case", args.case, "--size", args.size, "--mode", args.mode, *(["--fold"] if args.fold else [])]
    ratios = []
    for _ in range(args.rounds):
        mine = child(sys.executable, "--run", "nbcaffe", *same)
        peers = {
            mode: child(args.torch, "--run", mode, *same)
            for mode in ("eager", *(["compiled"] if args.case == "cell" else []))
        }
        best = min(peers.values(), key=lambda peer: peer["ms"])
        apart = max(abs(a - b) / b for a, b in zip(mine["losses"], best["losses"], strict=True))
        ratios.append(mine["ms"] / best["ms"])
        every = ", ".join(f"{name} {peer['ms']:.2f} ms" for name, peer in peers.items())
        against = f"nbcaffe {mine['ms']:.2f} ms, PyTorch {best['version']} {every}"
        print(f"{against}: {ratios[-1]:.2f}, losses {apart:.0e} apart")
    print(f"{args.case} {args.size}{' folded' if args.fold else ''}: median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
