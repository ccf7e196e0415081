"""Layer types without mathematics, and a net of them: reading nets must not depend on which layers there are."""

import pytest

from nbcaffe.layer import REGISTRY
from nbcaffe.params import Bool, Choice, Filler, Float, Int, Ints, Shapes, Str

LENET = """\
name: lenet
layers:
  - {name: data, type: Data, top: [data, label], source: train.h5, batch_size: 64, include: {phase: TRAIN}}
  - {name: data, type: Data, top: [data, label], source: test.h5, include: {phase: TEST}}
  - {name: conv1, type: Convolution, num_output: 20, kernel_size: 5, param: [{lr_mult: 1}, {lr_mult: 2}]}
  - {name: pool1, type: Pooling, kernel_size: 2}
  - {name: ip1, type: InnerProduct, num_output: 10, weight_filler: xavier}
  - {name: accuracy, type: Accuracy, bottom: [ip1, label], include: {phase: TEST}}
  - {name: loss, type: SoftmaxWithLoss, bottom: [ip1, label]}
"""
DATA = "- {name: data, type: Input, top: [data, label], shape: [[2, 3, 8, 8], [2]]}"


def stub(name, group, num_bottom=1, num_top=1, /, *, loss=False, inplace=False, needs=(), shares="", **params):
    """What passes look at: the declarations of a layer class."""
    for key, param in params.items():
        param.name = key
    body = {"params": params, "param_group": group, "num_bottom": num_bottom, "num_top": num_top, "loss": loss}
    body["same_name"] = False
    return type(name, (), {**body, "inplace": inplace, "backward_needs": frozenset(needs), "shares": shares})


def convolution(name):
    return stub(
        name,
        "convolution_param",
        (1, None),
        (1, None),
        needs={"bottom"},
        num_output=Int(ge=1, doc="filters"),
        kernel_size=Ints(None, ge=1),
        stride=Ints(1, ge=1),
        weight_filler=Filler("constant"),
        bias_term=Bool(True),
    )


TYPES = [
    stub("Input", "input_param", 0, (1, None), shape=Shapes(())),
    stub(
        "Data",
        "data_param",
        0,
        (1, 2),
        source=Str(""),
        batch_size=Int(1, ge=1),
        scale=Float(1.0, group="transform_param"),
        crop_size=Int(0, ge=0, group="transform_param"),
    ),
    convolution("Convolution"),
    stub(
        "InnerProduct",
        "inner_product_param",
        needs={"bottom"},
        num_output=Int(ge=1, doc="outputs"),
        weight_filler=Filler("constant"),
    ),
    stub(
        "Pooling", "pooling_param", 1, (1, 2), needs={"bottom"}, pool=Choice("MAX", "AVE"), kernel_size=Int(None, ge=1)
    ),
    stub("ReLU", "relu_param", inplace=True, needs={"top"}, negative_slope=Float(0.0)),
    stub("Dropout", "dropout_param", inplace=True, dropout_ratio=Float(0.5, ge=0, lt=1)),
    stub("Swish", "swish_param", inplace=True, needs={"bottom", "top"}, beta=Float(1.0)),
    stub("Flatten", "flatten_param", shares="both", axis=Int(1)),
    stub("Power", "power_param", inplace=True, needs={"bottom"}, scale=Float(1.0)),
    stub("Eltwise", "eltwise_param", (2, None), operation=Choice("SUM", "PROD", "MAX")),
    stub("Reduction", "reduction_param", axis=Int(0)),
    stub("Split", "", 1, (1, None), shares="data"),
    stub("Silence", "", (1, None), 0),
    stub("Accuracy", "accuracy_param", 2, (1, 2), top_k=Int(1, ge=1)),
    stub(
        "SoftmaxWithLoss",
        "softmax_param",
        (2, 3),
        (1, 2),
        loss=True,
        axis=Int(1),
        ignore_label=Int(None, group="loss_param"),
        normalization=Choice("VALID", "FULL", "BATCH_SIZE", "NONE", group="loss_param"),
    ),
]


@pytest.fixture(autouse=True)
def stub_types(monkeypatch):
    """Only the types above are known during a test."""
    for name in list(REGISTRY):
        monkeypatch.delitem(REGISTRY, name)
    for kind in TYPES:
        monkeypatch.setitem(REGISTRY, kind.__name__, kind)
