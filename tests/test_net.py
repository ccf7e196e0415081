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
