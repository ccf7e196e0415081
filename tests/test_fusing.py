"""What a planned net fuses computes what the layers compute one by one."""

import numpy as np
import pytest

from nbcaffe.elementwise import Activation
from nbcaffe.net import Net
from nbcaffe.params import Float

NET = """
layers:
  - {{name: data, type: Input, shape: [[3, 32, 12, 11]]}}
  - {{name: c1, type: Convolution, bottom: data, num_output: 40, kernel_size: 3, pad: 1, weight_filler: xavier}}
  - {{name: a1, type: {act}, bottom: c1}}
  - {{name: c2, type: Convolution, bottom: a1, num_output: 50, kernel_size: 1, weight_filler: xavier}}
  - {{name: a2, type: {act}, bottom: c2, top: c2}}
  - {{name: d1, type: Convolution, num_output: 50, group: 50, kernel_size: 3, pad: 1, weight_filler: xavier}}
  - {{name: b1, type: {act}, bottom: d1, top: d1}}
  - {{name: c3, type: Convolution, bottom: d1, num_output: 6, kernel_size: 3, stride: 2, weight_filler: xavier}}
  - {{name: a3, type: {act}, bottom: c3, top: c3, loss_weight: 1}}
"""
INPUTS = np.random.default_rng(0).standard_normal((3, 32, 12, 11), np.float32)


class Wave(Activation):
    """A user's own, with a parameter: its derivative needs the top only, so it runs in place."""

    speed = Float(1.5, doc="slope below 0")

    @staticmethod
    def f(x, speed):
        return 0.5 * x if x > 0.0 else speed * x

    @staticmethod
    def df(y, speed):
        return 0.5 if y > 0.0 else speed


class Leak(Activation):
    """A slope that float32 and float64 round differently."""

    slope = Float(0.1, doc="below 0")

    @staticmethod
    def f(x, slope):
        return x if x > 0.0 else slope * x

    @staticmethod
    def df(y, slope):
        return 1.0 if y > 0.0 else slope


def run(text, memory, inputs=INPUTS):
    net = Net(text, memory=memory)
    net.blobs["data"].data[...] = inputs
    net.forward()
    net.clear_param_diffs()
    net.run_backward()
    return net, [net.blobs["c3"].data.copy(), *(w.diff.copy() for ws in net.params.values() for w in ws)]


@pytest.mark.parametrize("act", ["ReLU", "Sigmoid", "ELU", "Wave", "Leak", "BNLL"])
def test_a_convolution_applies_the_activation_behind_it_to_the_same_bits(act):
    whole, planned = run(NET.format(act=act), "keep"), run(NET.format(act=act), "plan")
    finished = {node.layer.name for node in planned[0].graph.nodes if node.finished}
    assert finished == (set() if act == "BNLL" else {"a1", "a2", "b1", "a3"})  # BNLL's derivative reads its bottom
    assert not any(node.finished for node in whole[0].graph.nodes)
    for a, b in zip(whole[1], planned[1], strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("rows", [1, 5, 37, 100])
@pytest.mark.parametrize("act", ["Sigmoid", "Wave", "Leak"])
def test_a_product_applies_the_activation_behind_it_to_the_same_bits(act, rows):
    text = f"""
layers:
  - {{name: data, type: Input, shape: [[{rows}, 32, 12, 11]]}}
  - {{name: p1, type: InnerProduct, bottom: data, num_output: 130, weight_filler: xavier, bias_filler: uniform}}
  - {{name: a1, type: {act}, bottom: p1, top: p1}}
  - {{name: c3, type: InnerProduct, bottom: p1, num_output: 7, bias_term: false, weight_filler: xavier}}
  - {{name: a2, type: {act}, bottom: c3, top: c3, loss_weight: 1}}
"""
    inputs = np.resize(INPUTS, (rows, 32, 12, 11))
    whole, planned = run(text, "keep", inputs), run(text, "plan", inputs)
    finished = {node.layer.name for node in planned[0].graph.nodes if node.finished}
    assert finished == ({"a1", "a2"} if rows > 1 else {"a2"})  # sums along the rows of many weights are not finished
    for a, b in zip(whole[1], planned[1], strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("act", ["Sigmoid", "Wave", "Leak"])
def test_pooling_applies_the_activation_behind_it_to_the_same_bits(act):
    text = f"""
layers:
  - {{name: data, type: Input, shape: [[3, 32, 12, 11]]}}
  - {{name: c1, type: Convolution, bottom: data, num_output: 7, kernel_size: 1, weight_filler: xavier}}
  - {{name: p1, type: Pooling, bottom: c1, kernel_size: 3, stride: 2}}
  - {{name: a1, type: {act}, bottom: p1, top: p1}}
  - {{name: p2, type: Pooling, bottom: p1, pool: AVE, kernel_size: [3, 2]}}
  - {{name: a2, type: {act}, bottom: p2, top: p2}}
  - {{name: c2, type: Convolution, bottom: p2, num_output: 5, kernel_size: 1, weight_filler: xavier}}
  - {{name: p3, type: Pooling, bottom: c2, kernel_size: 2, stride: 2}}
  - {{name: a3, type: {act}, bottom: p3, top: p3}}
  - {{name: c3, type: Convolution, bottom: p3, num_output: 2, kernel_size: 1, weight_filler: xavier, loss_weight: 1}}
"""
    whole, planned = run(text, "keep"), run(text, "plan")
    assert {node.layer.name for node in planned[0].graph.nodes if node.finished} == {"a1", "a2"}  # p3 has a plain body
    for a, b in zip(whole[1], planned[1], strict=True):
        assert np.array_equal(a, b)


def test_a_top_that_is_read_before_it_is_overwritten_is_not_finished():
    text = NET.format(act="ReLU") + "  - {name: side, type: Power, bottom: c1, power: 2}\n"
    net, _ = run(text, "plan")
    assert {node.layer.name for node in net.graph.nodes if node.finished} == {"a2", "b1", "a3"}


def test_other_engines_and_activations_with_weights_are_left_alone():
    text = (
        NET.format(act="ReLU")
        .replace("stride: 2,", "stride: 2, engine: BLAS,")
        .replace("a1, type: ReLU", "a1, type: PReLU")
    )
    net, _ = run(text, "plan")
    assert {node.layer.name for node in net.graph.nodes if node.finished} == {"a2", "b1"}


def test_a_deconvolution_leaves_the_activation_behind_it_alone():
    text = NET.format(act="ReLU").replace("c2, type: Convolution", "c2, type: Deconvolution")
    whole, planned = run(text, "keep"), run(text, "plan")
    assert {node.layer.name for node in planned[0].graph.nodes if node.finished} == {"a1", "b1", "a3"}
    for a, b in zip(whole[1], planned[1], strict=True):
        assert np.array_equal(a, b)


def test_a_last_layer_that_runs_in_place_makes_an_output():
    text = NET.format(act="ReLU").replace(", loss_weight: 1", "")
    found = []
    for memory in ("keep", "plan"):
        net = Net(text, "TEST", memory=memory)
        net.blobs["data"].data[...] = INPUTS
        assert net.outputs == ["c3"]
        found.append(net.forward()["c3"].copy())
    assert np.array_equal(*found) and found[0].min() == 0.0 < found[0].max()


NORM = """
layers:
  - {{name: data, type: Input, shape: [[3, 5, 6, 7]]}}
  - {{name: ip, type: Convolution, bottom: data, num_output: 4, kernel_size: 3, bias_term: false, weight_filler: msra}}
  - {{name: norm, type: BatchNorm{norm}}}
  - {{name: scale, type: Scale, bias_term: true, filler: gaussian{scale}}}
  - {{name: relu, type: ReLU}}
  - {{name: loss, type: Reduction, operation: SUMSQ, loss_weight: 1}}
"""


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("scale", ["", ", top: norm", ", param: [{lr_mult: 0}, {lr_mult: 1}]"])
@pytest.mark.parametrize("norm", ["", ", top: ip"])
def test_batch_norm_takes_over_the_scale_behind_it(norm, scale, phase):
    found = []
    for memory in ("keep", "plan"):
        net = Net(NORM.format(norm=norm, scale=scale), phase, memory=memory)
        net.blobs["data"].data[...] = np.random.default_rng(1).standard_normal((3, 5, 6, 7))
        for weights in net.params.values():
            for weight in weights:
                weight.data[...] += 0.5
        net.forward()
        net.clear_param_diffs()
        net.run_backward()
        diffs = [w.diff for name in ("ip", "scale") for w in net.params[name] if w.diff is not None]
        found.append([net.blobs["loss"].data.copy(), *(w.data for w in net.params["norm"]), *diffs])
        fuses = memory == "plan" and not (norm and phase == "TEST")  # there the bottom is gone
        assert any(node.folded for node in net.graph.nodes) == fuses
        assert any(node.finished for node in net.graph.nodes if node.layer.name == "scale") == fuses
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * np.abs(a).max())


@pytest.mark.parametrize("more", [", num_axes: 2", ", bias_term: false", ", axis: 2"])
def test_another_scale_is_left_alone(more):
    text = NORM.format(norm="", scale="").replace(
        "bias_term: true", "bias_term: true" if "bias" not in more else "num_axes: 1"
    )
    net = Net(text.replace("filler: gaussian", "filler: gaussian" + more), memory="plan")
    assert not any(node.folded for node in net.graph.nodes)


def test_a_scale_whose_top_and_bottom_others_read_is_left_alone():
    net = Net(NORM.format(norm="", scale="") + "  - {name: side, type: Power, bottom: norm}\n", memory="plan")
    assert not any(node.folded for node in net.graph.nodes)


def test_a_norm_that_no_longer_fits_after_a_reshape_runs_by_itself():
    text = NORM.format(norm="", scale="").replace("kernel_size: 3", "kernel_size: 2")
    results = []
    for memory in ("keep", "plan"):
        net = Net(text, memory=memory)
        for shape in ((3, 5, 6, 7), (4, 5, 2, 2), (2, 5, 4, 4)):  # planes of one value in between
            net.blobs["data"].reshape(*shape)
            net.reshape()
            net.blobs["data"].data[...] = np.random.default_rng(2).standard_normal(shape)
            net.forward()
            net.clear_param_diffs()
            net.run_backward()
            results.append([net.blobs["loss"].data.copy(), *(w.diff.copy() for w in net.params["scale"])])
    for whole, planned in zip(results[:3], results[3:], strict=True):
        for a, b in zip(whole, planned, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
