"""Attention against NumPy, where sequences end, and inside a step."""

import numpy as np
import pytest

from nbcaffe.errors import LabelError, ShapeError
from nbcaffe.net import Net
from nbcaffe.single import Single


def by_hand(query, memory, lengths, scale):
    scores = scale * np.einsum("snd,tnd->snt", query, memory)
    scores[:, np.arange(memory.shape[0]) >= lengths[:, None]] = -np.inf
    alpha = np.exp(scores - scores.max(axis=-1, keepdims=True))
    alpha /= alpha.sum(axis=-1, keepdims=True)
    return np.einsum("snt,tnd->snd", alpha, memory), alpha


def test_contexts_and_weights_are_those_of_the_formula():
    rng = np.random.default_rng(5)
    query, memory, lengths = rng.standard_normal((2, 3, 70)), rng.standard_normal((6, 3, 70)), np.array([6, 1, 4])
    layer = Single("Attention", [query.shape, memory.shape, lengths.shape], num_top=2, scale=0.2)
    for found, expected in zip(
        layer.forward(query, memory, lengths), by_hand(query, memory, lengths, 0.2), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_lies_behind_a_sequences_end_does_not_matter():
    rng = np.random.default_rng(6)
    query, memory, lengths = rng.standard_normal((2, 8)), rng.standard_normal((4, 2, 8)), np.array([4, 2])
    layer = Single("Attention", [query.shape, memory.shape, lengths.shape])
    before = layer.forward(query, memory, lengths)[0].copy()
    memory[2:, 1] = np.nan
    np.testing.assert_array_equal(layer.forward(query, memory, lengths)[0], before)
    memory[0, 0] = np.nan
    assert np.isnan(layer.forward(query, memory, lengths)[0]).any(axis=1).tolist() == [True, False]


@pytest.mark.parametrize("length", [0, 5, 1.5, np.nan])
def test_a_length_that_no_sequence_can_have_is_refused(length):
    layer = Single("Attention", [(2, 8), (4, 2, 8), (2,)])
    with pytest.raises(LabelError, match=rf"sequence 1 has the length {length:g}; expected a whole number, 1 to 4"):
        layer.forward(np.ones((2, 8)), np.ones((4, 2, 8)), np.array([4, length]))


@pytest.mark.parametrize(
    "shapes", [[(2, 8), (4, 3, 8)], [(2, 8), (4, 2, 7)], [(8,), (4, 2, 8)], [(2, 8), (4, 2, 8), (4,)]]
)
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ShapeError, match="needs"):
        Single("Attention", shapes)


STEP = """
layers:
  - {{name: words, type: Input, top: [x, memory, lengths, wanted], shape: [[3, 2, 4], [5, 2, 6], [2], [3, 2, 6]]}}
  - unroll:
      name: decoder
      inputs: {{y: x}}
      state: {{context: {{next: context_new, num_output: 6}}}}
      outputs: {{context_new: contexts}}
      steps: 3
      mode: {mode}
      layers:
        - {{name: both, type: Concat, bottom: [y, context]}}
        - {{name: query, type: InnerProduct, num_output: 6, weight_filler: xavier}}
        - {{name: context_new, type: Attention, bottom: [query, memory, lengths]}}
  - {{name: loss, type: EuclideanLoss, bottom: [contexts, wanted]}}
"""


def test_a_query_follows_from_the_last_context_in_both_modes():
    rng = np.random.default_rng(7)
    values = {"x": rng.standard_normal((3, 2, 4)), "memory": rng.standard_normal((5, 2, 6)), "lengths": [5, 3]}
    values["wanted"] = rng.standard_normal((3, 2, 6))
    found = []
    for mode in ("fused", "unrolled"):
        net = Net(STEP.format(mode=mode), seed=1)
        net.forward(**values)
        net.backward()
        assert net.params["decoder/query"][0].diff.any()
        found.append((net.blobs["contexts"].data.copy(), net.params["decoder/query"][0].diff.copy()))
    for fused, flat in zip(*found, strict=True):
        np.testing.assert_allclose(fused, flat, rtol=1e-5, atol=1e-7)
