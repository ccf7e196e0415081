"""ONNX Runtime's side of ``nets.py --test``: a flat Caffe net as an ONNX graph; run by a Python that has both packages.

The graph is optimised by ONNX Runtime's defaults, which fold BatchNorm and activations into convolutions.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from nets import answer, batch, child_arguments, fill

OPSET, IR = 17, 8  # the newest that need no newer reader

# By type: a function of the layer's parameters and weights that returns (operator, attributes, weights in its form)s.


def both(value):
    return [value, value]


def convolution(p, w):
    pad = p.get("pad", 0)
    return [
        ("Conv", {"strides": both(p.get("stride", 1)), "pads": [pad] * 4, "group": p.get("group", 1)}, w),
    ]


def inner_product(p, w):
    return [("Flatten", {}, []), ("Gemm", {"transB": 1}, w)]


def pooling(p, w):
    """Caffe's windows cover the input to its end, so ``ceil_mode``; and padding counts in its means."""
    if p.get("global_pooling"):
        return [("GlobalAveragePool", {}, [])]
    pad = p.get("pad", 0)
    told = {"kernel_shape": both(p["kernel_size"]), "strides": both(p.get("stride", 1)), "pads": [pad] * 4}
    if p.get("pool") == "AVE":
        return [("AveragePool", {**told, "ceil_mode": 1, "count_include_pad": 1}, [])]
    return [("MaxPool", {**told, "ceil_mode": 1}, [])]


def lrn(p, w):
    assert p.get("norm_region") != "WITHIN_CHANNEL", "ONNX has no LRN within a channel"
    return [("LRN", {"size": p["local_size"], "alpha": p["alpha"], "beta": p["beta"], "bias": 1.0}, [])]


def batch_norm(p, w):
    mean, variance, _ = w
    return [("BatchNormalization", {"epsilon": 1e-5}, [np.ones_like(mean), np.zeros_like(mean), mean, variance])]


def scale(p, w):
    return [(kind, {}, [values[:, None, None]]) for kind, values in zip(("Mul", "Add"), w, strict=True)]


LAYERS = {
    "Convolution": convolution,
    "InnerProduct": inner_product,
    "Pooling": pooling,
    "LRN": lrn,
    "BatchNorm": batch_norm,
    "Scale": scale,
    "ReLU": lambda p, w: [("Relu", {}, [])],
    "PReLU": lambda p, w: [("PRelu", {}, [w[0][:, None, None]])],
    "Sigmoid": lambda p, w: [("Sigmoid", {}, [])],
    "Softmax": lambda p, w: [("Softmax", {"axis": 1}, [])],
    "Concat": lambda p, w: [("Concat", {"axis": 1}, [])],
    "Eltwise": lambda p, w: [("Sum", {}, [])],
    "Dropout": lambda p, w: [("Identity", {}, [])],  # in the TEST phase
}


def listed(value):
    return value if isinstance(value, list) else [value]


def model(net):
    """The net's layers in turn, a blob that is written again under a new name each time."""
    nodes, stored, now, shapes = [], [], {"data": "data"}, net["shapes"]
    for layer in net["layers"]:
        if layer["type"] == "Input":
            continue
        name, inputs = layer["name"], [now[bottom] for bottom in listed(layer["bottom"])]
        arrays = [np.empty(shape, np.float32) for shape in net["weights"].get(name, [])]
        fill(name, layer["type"], arrays)
        for number, (kind, told, weights) in enumerate(LAYERS[layer["type"]](layer, arrays)):
            keys = [f"{name}/{number}/{index}" for index in range(len(weights))]
            stored += [numpy_helper.from_array(w, key) for w, key in zip(weights, keys, strict=True)]
            nodes.append(helper.make_node(kind, [*inputs, *keys], [f"{name}:{number}"], **told))
            inputs = [f"{name}:{number}"]
        for top in listed(layer["top"]):
            now[top] = inputs[0]
    used = {bottom for layer in net["layers"] for bottom in listed(layer.get("bottom", []))}
    tops = [top for layer in net["layers"] if layer["type"] != "Input" for top in listed(layer["top"])]
    outputs = [top for top in dict.fromkeys(tops) if top not in used] + [tops[-1]]
    outputs = list(dict.fromkeys(reversed(outputs)))  # the last layer's first

    def value(name, blob):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[blob])

    graph = helper.make_graph(
        nodes, "net", [value("data", "data")], [value(now[top], top) for top in outputs], initializer=stored
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    made.ir_version = IR
    return made.SerializeToString()


def main():
    args = child_arguments()
    net = json.loads(Path(args.net).read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(model(net), options, providers=["CPUExecutionProvider"])
    feed = {"data": batch(net["shapes"])[0]}
    answer(lambda: session.run(None, feed)[0], args)


if __name__ == "__main__":
    main()
