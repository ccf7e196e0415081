"""Nets with planned memory tell the truth about what they saw."""

import numpy as np
import pytest

from nbcaffe.errors import LabelError
from nbcaffe.net import Net

NET = """\
name: marks
layers:
  - {name: data, type: Input, top: [x, label], shape: [[4, 6], [4]]}
  - {name: scores, type: InnerProduct, bottom: x, num_output: 3, weight_filler: xavier}
  - {name: accuracy, type: Accuracy, bottom: [scores, label]}
  - {name: wide, type: InnerProduct, bottom: scores, num_output: 64, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [wide, label]}
"""


@pytest.mark.parametrize("memory", ["keep", "plan"])
def test_the_label_that_is_named_is_the_one_that_was_fed(memory):
    net = Net(NET, "TEST", memory=memory)
    with pytest.raises(LabelError, match="label 7 at item 2 of the batch, expected 0 to 2"):
        net.forward(x=np.ones((4, 6)), label=np.array([0, 1, 7, 2]))


def test_a_branch_without_a_gradient_adds_nothing_to_that_of_its_siblings():
    net = """\
layers:
  - {name: data, type: Input, top: [x, label], shape: [[4, 6], [4]]}
  - {name: hidden, type: InnerProduct, bottom: x, num_output: 3, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [hidden, label]}
  - {name: squashed, type: Sigmoid, bottom: hidden}
  - {name: wide, type: InnerProduct, bottom: squashed, num_output: 3, weight_filler: xavier, propagate_down: false}
  - {name: reported, type: EuclideanLoss, bottom: [squashed, hidden], loss_weight: 0}
  - {name: wide_loss, type: SoftmaxWithLoss, bottom: [wide, label]}
"""
    gradients = {}
    for memory in ("keep", "plan"):
        one = Net(net, memory=memory, seed=1)
        for _ in range(2):
            one.clear_param_diffs()
            one.forward(x=np.linspace(-1, 1, 24).reshape(4, 6), label=np.array([0, 1, 2, 0]))
            one.backward()
        gradients[memory] = one.params["hidden"][0].diff.copy()
    assert abs(gradients["keep"]).max() > 0.01
    np.testing.assert_array_equal(gradients["plan"], gradients["keep"])
