"""PyTorch's side of ``nets.py``: a flat Caffe net as a module, layer by layer; run by a Python that has PyTorch."""

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from nets import DECAY, MOMENTUM, answer, batch, child_arguments, fill

# By type: a function of the layer's parameters that returns what computes its top from its weights and bottoms.


def convolution(p):
    stride, pad, group = p.get("stride", 1), p.get("pad", 0), p.get("group", 1)
    return lambda w, x: F.conv2d(x, w[0], w[1] if len(w) > 1 else None, stride, pad, 1, group)


def inner_product(p):
    return lambda w, x: F.linear(x.flatten(1), w[0], w[1])


def pooling(p):
    """Caffe's windows cover the input to its end, so ``ceil_mode``; and padding counts in its means."""
    if p.get("global_pooling"):
        return lambda w, x: x.mean((2, 3), keepdim=True)
    window = p["kernel_size"], p.get("stride", 1), p.get("pad", 0)
    if p.get("pool") == "AVE":
        return lambda w, x: F.avg_pool2d(x, *window, ceil_mode=True, count_include_pad=True)
    return lambda w, x: F.max_pool2d(x, *window, ceil_mode=True)


def lrn(p):
    size, alpha, beta = p["local_size"], p["alpha"], p["beta"]
    if p.get("norm_region") == "WITHIN_CHANNEL":
        return lambda w, x: x * (1 + alpha * F.avg_pool2d(x * x, size, 1, size // 2)) ** -beta
    return lambda w, x: F.local_response_norm(x, size, alpha, beta, 1.0)


def dropout(p):
    """Not in place: the gradient of the ReLU before needs what it would overwrite."""
    return lambda w, x: F.dropout(x, p.get("dropout_ratio", 0.5), p["train"])


def batch_norm(p):
    """With the Scale that follows, whose weights come first: one operation in PyTorch."""
    return lambda w, x: F.batch_norm(x, w[2], w[3], w[0], w[1], p["train"], 0.001, 1e-5)


def softmax_loss(p):
    weight = p.get("loss_weight", 1.0)
    return lambda w, x, label: weight * F.cross_entropy(x, label)


def sigmoid_loss(p):
    return lambda w, x, y: F.binary_cross_entropy_with_logits(x, y, reduction="sum") / len(x)


LAYERS = {
    "Convolution": convolution,
    "InnerProduct": inner_product,
    "Pooling": pooling,
    "LRN": lrn,
    "Dropout": dropout,
    "BatchNorm": batch_norm,
    "SoftmaxWithLoss": softmax_loss,
    "SigmoidCrossEntropyLoss": sigmoid_loss,
    "ReLU": lambda p: lambda w, x: F.relu(x, inplace=True),
    "PReLU": lambda p: lambda w, x: F.prelu(x, w[0]),
    "Softmax": lambda p: lambda w, x: F.softmax(x, 1),
    "Sigmoid": lambda p: lambda w, x: torch.sigmoid(x),
    "Concat": lambda p: lambda w, *x: torch.cat(x, 1),
    "Eltwise": lambda p: lambda w, a, b: a + b,
}


def listed(value):
    return value if isinstance(value, list) else [value]


class CaffeNet(nn.Module):
    """The layers in turn; each top is checked against the shape that nbcaffe gives it, once."""

    def __init__(self, net):
        super().__init__()
        self.learned, self.stored, self.steps, self.losses = nn.ParameterDict(), {}, [], []
        train, taken = net["phase"] == "TRAIN", set()
        for layer, following in zip(net["layers"], [*net["layers"][1:], {}], strict=True):
            name, kind = layer["name"], layer["type"]
            if kind == "Input" or name in taken:
                continue
            top, owner = layer["top"], layer
            if kind == "BatchNorm":
                owner, top = following, following["top"]
                taken.add(owner["name"])
                channels = net["shapes"][top][1]
                self.stored[name] = [torch.zeros(channels), torch.ones(channels)]
            arrays = [torch.empty(shape) for shape in net["weights"].get(owner["name"], [])]
            fill(owner["name"], owner["type"], [array.numpy() for array in arrays])
            keys = [f"{owner['name']}/{index}".replace(".", "_") for index in range(len(arrays))]
            self.learned.update({key: nn.Parameter(array) for key, array in zip(keys, arrays, strict=True)})
            self.steps.append((LAYERS[kind]({**layer, "train": train}), name, keys, listed(layer["bottom"]), top))
            if "Loss" in kind:
                self.losses.append(top)
        self.shapes = net["shapes"]

    def forward(self, data, label):
        blobs = {"data": data, "label": label}
        for run, name, keys, bottoms, top in self.steps:
            weights = [self.learned[key] for key in keys] + self.stored.get(name, [])
            blobs[top] = run(weights, *[blobs[bottom] for bottom in bottoms])
            if self.shapes:
                shape = tuple(blobs[top].shape)
                assert shape == tuple(self.shapes[top]), f"{top}: {shape}, in nbcaffe {self.shapes[top]}"
        return sum(blobs[loss] for loss in self.losses) if self.losses else blobs[top]


def main():
    args = child_arguments()
    torch.set_num_threads(args.threads)
    given = json.loads(Path(args.net).read_text())
    net = CaffeNet(given)
    data, labels = map(torch.from_numpy, batch(given["shapes"]))
    if args.run == "channels_last" and data.ndim == 4:
        net, data = net.to(memory_format=torch.channels_last), data.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        net(data, labels)
    net.shapes = None
    run = torch.compile(net) if args.run == "compiled" else net

    def test():
        with torch.inference_mode():
            return run(data, labels).numpy()

    if given["phase"] == "TEST":
        answer(test, args)
        return
    optimizer = torch.optim.SGD(
        net.parameters(), given["rate"], MOMENTUM, weight_decay=DECAY, fused=args.run != "eager"
    )

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = run(data, labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    answer(train, args)


if __name__ == "__main__":
    main()
