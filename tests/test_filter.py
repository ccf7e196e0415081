"""Filter: the layers behind it see only the chosen items, as if the others had never been there."""

import numpy as np
import pytest

from nbcaffe.errors import LabelError
from nbcaffe.net import Net

NET = """\
name: filtered
layers:
  - {name: data, type: Input, top: [x, label, chosen], shape: [[6, 4], [6], [6]]}
  - {name: in, type: InnerProduct, bottom: x, num_output: 5, weight_filler: xavier}
  - {name: act, type: ReLU, top: act}
  - {name: only, type: Filter, bottom: [act, label, chosen], top: [some, labels]}
  - {name: norm, type: BatchNorm, bottom: some, top: norm}
  - {name: squash, type: TanH, top: squash}
  - {name: out, type: InnerProduct, bottom: squash, num_output: 3, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [out, labels]}
"""
PLAIN = NET.replace(
    "Filter, bottom: [act, label, chosen], top: [some, labels]", "Split, bottom: act, top: some"
).replace("bottom: [out, labels]", "bottom: [out, label]")


@pytest.mark.parametrize("memory", ["keep", "plan"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_layers_behind_compute_as_if_the_batch_held_the_chosen_items_only(memory, device):
    net, rng = Net(NET, device=device, memory=memory), np.random.default_rng(2)
    down = net.device.download
    for size in (3, 6, 2, 5):
        chosen = np.zeros(6)
        chosen[rng.choice(6, size, replace=False)] = 1
        x, label = rng.standard_normal((6, 4)), rng.integers(0, 3, 6)
        keep = chosen != 0
        plain = Net(PLAIN.replace("[6, 4], [6], [6]", f"[{size}, 4], [{size}], [{size}]"))
        for name, weights in net.params.items():
            for ours, theirs in zip(weights, plain.params[name], strict=True):
                theirs.data[...] = down(ours.data)
        outputs = net.forward(x=x, label=label, chosen=chosen)
        expected = plain.forward(x=x[keep], label=label[keep], chosen=chosen[keep])
        np.testing.assert_allclose(outputs["loss"], expected["loss"], rtol=1e-5)
        net.clear_param_diffs()
        net.backward()
        plain.backward()
        for name, weights in net.params.items():
            for ours, theirs in zip(weights, plain.params[name], strict=True):
                np.testing.assert_allclose(down(ours.diff), theirs.diff, rtol=1e-4, atol=1e-6, err_msg=name)


def test_no_item_may_be_chosen_and_the_next_pass_is_whole_again():
    net = Net(NET.replace("SoftmaxWithLoss, bottom: [out, labels]", "Softmax, bottom: out, top: [loss]"))
    assert net.forward(chosen=np.zeros(6))["loss"].shape == (0, 3)
    assert net.forward(chosen=np.ones(6))["loss"].shape == (6, 3)


def test_a_nan_chooses_nothing_but_an_error():
    with pytest.raises(LabelError, match=r"'only' \(Filter\): the selector has a NaN at item 1"):
        Net(NET).forward(chosen=np.array([0, np.nan, 1, 1, 1, 1]))
