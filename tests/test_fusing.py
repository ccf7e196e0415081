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
  - {{name: c3, type: Convolution, bottom: c2, num_output: 6, kernel_size: 3, stride: 2, weight_filler: xavier}}
  - {{name: a3, type: {act}, bottom: c3, top: c3, loss_weight: 1}}
"""
INPUTS = np.random.default_rng(0).standard_normal((3, 32, 12, 11), np.float32)


class Wave(Activation):
    """A user's own, with a parameter: its derivative needs the top only, so it runs in place."""

    speed = Float(1.5)

    @staticmethod
    def f(x, speed):
        return 0.5 * x if x > 0.0 else speed * x

    @staticmethod
    def df(y, speed):
        return 0.5 if y > 0.0 else speed


def run(text, memory):
    net = Net(text, memory=memory)
    net.blobs["data"].data[...] = INPUTS
    net.forward()
    net.clear_param_diffs()
    net.run_backward()
    return net, [net.blobs["c3"].data.copy(), *(w.diff.copy() for ws in net.params.values() for w in ws)]


@pytest.mark.parametrize("act", ["ReLU", "Sigmoid", "ELU", "Wave", "BNLL"])
def test_a_convolution_applies_the_activation_behind_it_to_the_same_bits(act):
    whole, planned = run(NET.format(act=act), "keep"), run(NET.format(act=act), "plan")
    finished = {node.layer.name for node in planned[0].graph.nodes if node.finished}
    assert finished == (set() if act == "BNLL" else {"a1", "a2", "a3"})  # BNLL's derivative reads its bottom
    assert not any(node.finished for node in whole[0].graph.nodes)
    for a, b in zip(whole[1], planned[1], strict=True):
        assert np.array_equal(a, b)


def test_a_top_that_is_read_before_it_is_overwritten_is_not_finished():
    text = NET.format(act="ReLU") + "  - {name: side, type: Power, bottom: c1, power: 2}\n"
    net, _ = run(text, "plan")
    assert {node.layer.name for node in net.graph.nodes if node.finished} == {"a2", "a3"}


def test_other_engines_and_activations_with_weights_are_left_alone():
    text = (
        NET.format(act="ReLU")
        .replace("stride: 2,", "stride: 2, engine: BLAS,")
        .replace("a1, type: ReLU", "a1, type: PReLU")
    )
    net, _ = run(text, "plan")
    assert {node.layer.name for node in net.graph.nodes if node.finished} == {"a2"}


def test_a_last_layer_that_runs_in_place_makes_an_output():
    text = NET.format(act="ReLU").replace(", loss_weight: 1", "")
    found = []
    for memory in ("keep", "plan"):
        net = Net(text, "TEST", memory=memory)
        net.blobs["data"].data[...] = INPUTS
        assert net.outputs == ["c3"]
        found.append(net.forward()["c3"].copy())
    assert np.array_equal(*found) and found[0].min() == 0.0 < found[0].max()
