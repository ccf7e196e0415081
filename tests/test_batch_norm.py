"""BatchNorm in nets: its statistics do not learn, tests use them, and in place it computes the same."""

import numpy as np
import pytest

from nbcaffe.errors import ShapeError
from nbcaffe.net import Net

NET = """\
name: normal
layers:
  - {name: data, type: Input, top: [x, label], shape: [[6, 2, 5, 5], [6]]}
  - {name: conv, type: Convolution, bottom: x, num_output: 4, kernel_size: 3, weight_filler: xavier}
  - {name: bn, type: BatchNorm, bottom: conv, top: bn}
  - {name: scale, type: Scale, bottom: bn, top: scale, bias_term: true}
  - {name: relu, type: ReLU, bottom: scale, top: relu}
  - {name: out, type: InnerProduct, bottom: relu, num_output: 3, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [out, label]}
"""
IN_PLACE = (
    NET.replace("top: bn}", "top: conv}")
    .replace("bottom: bn, top: scale", "bottom: conv, top: conv")
    .replace("bottom: scale, top: relu", "bottom: conv, top: conv")
    .replace("bottom: relu,", "bottom: conv,")
)


def passes(text, memory, times=3):
    """Loss and gradients of the last of some passes, and the statistics after them."""
    net, rng = Net(text, memory=memory), np.random.default_rng(4)
    for _ in range(times):
        net.forward(x=rng.standard_normal((6, 2, 5, 5)), label=rng.integers(0, 3, 6))
        net.clear_param_diffs()
        net.backward()
    values = {f"{name} {i}": w.diff.copy() for name, ws in net.params.items() for i, w in enumerate(ws)}
    return net, {**values, "loss": net.loss(), **{f"kept {i}": w.data for i, w in enumerate(net.params["bn"])}}


@pytest.mark.parametrize("memory", ["keep", "plan"])
def test_written_in_place_it_computes_the_same(memory):
    _, apart = passes(NET, "keep")
    _, here = passes(IN_PLACE, memory)
    for name, values in apart.items():
        np.testing.assert_allclose(here[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_statistics_get_no_gradient_and_no_learning_rate():
    net, values = passes(NET, "keep")
    assert not any(values[f"bn {i}"].any() for i in range(3))
    assert all(w.lr_mult == w.decay_mult == 0 for w in net.params["bn"])
    Net(NET.replace("top: bn}", "top: bn, param: [{lr_mult: 0}, {lr_mult: 0}, {lr_mult: 0}]}"))
    with pytest.raises(ShapeError, match=r"'bn' \(BatchNorm\): weight 1 is no learned one"):
        Net(NET.replace("top: bn}", "top: bn, param: [{lr_mult: 0}, {lr_mult: 1}, {lr_mult: 0}]}"))


def test_a_test_net_normalizes_with_the_moments_that_training_left():
    net, _ = passes(NET, "keep")
    test = Net(NET, "TEST", share=net)
    x = np.random.default_rng(5).standard_normal((6, 2, 5, 5))
    test.forward(x=x, label=np.zeros(6))
    mean, variance, weight = (w.data for w in test.params["bn"])
    mean, variance = (sums[None, :, None, None] / weight for sums in (mean, variance))
    assert weight == pytest.approx(1 + 0.999 + 0.999**2)
    expected = (test.blobs["conv"].data - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(test.blobs["bn"].data, expected, rtol=1e-4, atol=1e-5)
    assert weight == net.params["bn"][2].data
