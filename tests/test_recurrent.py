"""Unrolling: the two modes agree, gradients flow through every hand-over, and what is wrong is said once."""

import re
from pathlib import Path

import numpy as np
import pytest

from nbcaffe import TEST, Net, get_solver
from nbcaffe.checks.net import check_net
from nbcaffe.cli import main
from nbcaffe.errors import ConfigError, NbcaffeError, ShapeError
from nbcaffe.layers.chains import Chain
from nbcaffe.netfile import read_net
from nbcaffe.passes.expand import expand
from nbcaffe.passes.unroll import unroll
from nbcaffe.through_time import gates, inspected

T, N, D, H = 4, 3, 5, 6

CELL = """
        - {name: xg, type: InnerProduct, bottom: x, num_output: 6, weight_filler: xavier, bias_filler: gaussian}
        - {name: hg, type: InnerProduct, bottom: h, num_output: 6, weight_filler: xavier, bias_term: false}
        - {name: sum, type: Eltwise, bottom: [xg, hg]}
        - {name: h_new, type: TanH}"""


def block(more="", state="{h: {next: h_new, num_output: 6}}", layers=CELL, outputs="{h_new: hidden}", name="rnn"):
    return f"""
  - unroll:
      name: {name}
      inputs: {{x: x}}
      state: {state}
      outputs: {outputs}
      {more}
      layers: {layers}"""


INPUTS = f"""
layers:
  - {{name: x, type: Input, shape: [[{T}, {N}, {D}]]}}
  - {{name: cont, type: Input, shape: [[{T}, {N}]]}}
  - {{name: lengths, type: Input, shape: [[{N}]]}}
  - {{name: h0, type: Input, shape: [[{N}, {H}]]}}
  - {{name: unread, type: Silence, bottom: [cont, lengths, h0]}}"""
SUMS = """
  - {name: loss, type: Reduction, bottom: hidden, operation: SUMSQ, loss_weight: 1}"""

CONT = "{next: h_new, num_output: 6, init: carry}"
BIDIRECTIONAL = (
    block(f"steps: {T}\n      mode: MODE", outputs="{h_new: there}", name="there")
    + block(f"steps: {T}\n      mode: MODE\n      reverse: true", outputs="{h_new: back}", name="back")
    + "\n  - {name: hidden, type: Concat, bottom: [there, back], axis: 2}"
)
STACKED = block(f"steps: {T}\n      mode: MODE", outputs="{h_new: below}", name="below") + block(
    f"steps: {T}\n      mode: MODE"
).replace("inputs: {x: x}", "inputs: {x: below}")
NESTED = block(
    f"steps: {T}\n      mode: MODE",
    layers="""
        - {name: twice, type: Reshape, bottom: x, shape: {dim: [1, 3, 5]}}
        - {name: both, type: Concat, bottom: [twice, twice], axis: 0}
        - unroll:
            name: inner
            steps: 2
            inputs: {z: both}
            state: {g: {next: g_new, init: h}}
            outputs: {}
            last: {g_new: g_last}
            layers:
              - {name: zg, type: InnerProduct, bottom: z, num_output: 6, weight_filler: xavier}
              - {name: gg, type: InnerProduct, bottom: g, num_output: 6, weight_filler: xavier}
              - {name: gsum, type: Eltwise, bottom: [zg, gg]}
              - {name: g_new, type: TanH}
        - {name: h_new, type: TanH, bottom: g_last}""",
)
HAND_OVER = block(
    f"steps: {T}\n      mode: MODE\n      last: {{h_new: code}}", outputs="{h_new: coded}", name="enc"
) + block(f"steps: {T}\n      mode: MODE", state="{h: {next: h_new, init: code}}", name="dec")
PLAIN_LSTM = block(
    f"steps: {T}\n      mode: MODE\n      cont: cont",
    state="{h: {next: h_new, num_output: 6, init: carry}, c: {next: c_new, num_output: 6, init: carry}}",
    layers="""
        - {name: xg, type: InnerProduct, bottom: x, num_output: 24, weight_filler: xavier, bias_filler: gaussian}
        - {name: hg, type: InnerProduct, bottom: h, num_output: 24, weight_filler: xavier, bias_term: false}
        - {name: gates, type: Eltwise, bottom: [xg, hg]}
        - {name: parts, type: Slice, top: [ip, fp, op, gp]}
        - {name: i, type: Sigmoid, bottom: ip}
        - {name: f, type: Sigmoid, bottom: fp}
        - {name: o, type: Sigmoid, bottom: op}
        - {name: g, type: TanH, bottom: gp}
        - {name: written, type: Eltwise, bottom: [i, g], operation: PROD}
        - {name: kept, type: Eltwise, bottom: [f, c], operation: PROD}
        - {name: c_new, type: Eltwise, bottom: [written, kept]}
        - {name: squashed, type: TanH, bottom: c_new}
        - {name: h_new, type: Eltwise, bottom: [o, squashed], operation: PROD}""",
)
ODD_CELL = block(
    f"steps: {T}\n      mode: MODE",
    layers=CELL.replace("{name: h_new, type: TanH}", "{name: s, type: Swish, beta: 1.5}")
    + """
        - {name: a, type: Eltwise, bottom: [s, h], coeff: [0.5, -2]}
        - {name: p, type: Power, bottom: a, scale: 0.3, shift: 0.1, power: 2}
        - {name: r, type: ReLU, bottom: a, negative_slope: 0.2}
        - {name: q, type: Eltwise, bottom: [p, r, s], operation: PROD}
        - {name: h_new, type: TanH, bottom: q}""",
)
GATED_CELL = block(  # a step function has no gradient, and what nobody learns from gives none
    f"steps: {T}\n      mode: MODE",
    layers=CELL.replace("{name: h_new, type: TanH}", "{name: s, type: TanH}")
    + """
        - {name: gate, type: Threshold, bottom: h, threshold: 0.05}
        - {name: open, type: Eltwise, bottom: [s, gate], operation: PROD}
        - {name: h_new, type: Eltwise, bottom: [open, s]}
        - {name: aside, type: TanH, bottom: s}
        - {name: far, type: InnerProduct, bottom: aside, num_output: 2, weight_filler: xavier}
        - {name: unread, type: Silence, bottom: far}""",
)
CASES = {
    "gated cell": GATED_CELL,
    "plain LSTM": PLAIN_LSTM,
    "odd cell": ODD_CELL,
    "zeros": block(f"steps: {T}\n      mode: MODE"),
    "given": block(f"steps: {T}\n      mode: MODE", state="{h: {next: h_new, init: h0}}"),
    "learned": block(f"steps: {T}\n      mode: MODE", state="{h: {next: h_new, num_output: 6, init: learned}}"),
    "carry": block(f"steps: {T}\n      mode: MODE\n      cont: cont", state=f"{{h: {CONT}}}"),
    "cont": block(f"steps: {T}\n      mode: MODE\n      cont: cont"),
    "cont backwards": block(f"steps: {T}\n      mode: MODE\n      cont: cont\n      reverse: true"),
    "lengths": block(f"steps: {T}\n      mode: MODE\n      lengths: lengths\n      last: {{h_new: final}}"),
    "lengths backwards": block(f"steps: {T}\n      mode: MODE\n      lengths: lengths\n      reverse: true"),
    "reads outside": block(f"steps: {T}\n      mode: MODE", layers=CELL.replace("[xg, hg]", "[xg, hg, h0]")),
    "bidirectional": BIDIRECTIONAL,
    "stacked": STACKED,
    "nested": NESTED,
    "hand-over": HAND_OVER,
    "dropout": block(
        f"steps: {T}\n      mode: MODE",
        layers=CELL.replace("name: h_new, type: TanH", "name: h_t, type: TanH")
        + "\n        - {name: h_new, type: Dropout}",
    ),
}


def values(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x": rng.standard_normal((T, N, D)),
        "cont": rng.integers(0, 2, (T, N)),
        "lengths": np.array([2, 4, 1]),
        "h0": rng.standard_normal((N, H)),
    }


def run(text, mode, passes=1, **options):
    net = Net((INPUTS + text + SUMS).replace("MODE", mode), "TRAIN", **options)
    for seed in range(passes):
        net.forward(**values(seed))
        net.clear_param_diffs()
        net.backward()
    return net


def gradients(net):
    return {(name, i): w.diff.copy() for name, weights in net.params.items() for i, w in enumerate(weights)}


@pytest.mark.parametrize("case", CASES)
def test_fused_and_unrolled_give_the_same_numbers(case):
    flat, fused = run(CASES[case], "unrolled", 2), run(CASES[case], "fused", 2)
    assert len(flat.layers) > len(fused.layers)
    assert fused.loss() == pytest.approx(flat.loss(), rel=1e-5)
    np.testing.assert_allclose(fused.blobs["hidden"].data, flat.blobs["hidden"].data, rtol=1e-5, atol=1e-6)
    expected, got = gradients(flat), gradients(fused)
    assert set(got) == set(expected)
    for key, diff in expected.items():
        np.testing.assert_allclose(got[key], diff, rtol=1e-4, atol=1e-5 * max(1, np.abs(diff).max()), err_msg=str(key))


@pytest.mark.parametrize("mode", ["unrolled", "fused"])
@pytest.mark.parametrize("case", [case for case in CASES if case != "dropout"])
def test_the_gradient_is_that_of_the_loss(case, mode):
    """Through initial and final states, masks, both directions and blocks in blocks."""
    net = Net((INPUTS + CASES[case] + SUMS).replace("MODE", mode), dtype=np.float64)
    given, rng = values(), np.random.default_rng(5)
    if "cont" in case or case in ("carry", "plain LSTM"):
        given["cont"][0] = 0  # else a pass depends on the one before
    net.forward(**given)
    net.clear_param_diffs()
    net.backward()
    slope, step = 0.0, 1e-6
    directions = {}
    for name, weights in net.params.items():
        for i, w in enumerate(weights):
            directions[name, i] = rng.standard_normal(w.shape)
            slope += (w.diff * directions[name, i]).sum()
    losses = []
    for sign in (1, -1):
        for (name, i), d in directions.items():
            net.params[name][i].data[...] += sign * step * d
        net.forward(**given)
        losses.append(net.loss())
        for (name, i), d in directions.items():
            net.params[name][i].data[...] -= sign * step * d
    assert slope == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-6)


def test_a_chain_of_element_wise_layers_is_one_kernel_a_pass():
    net = run(PLAIN_LSTM, "fused")
    names = [getattr(step.func, "__name__", "") for steps in (net._forward, net._backward) for step in steps.steps]
    layer = net.layer_dict["rnn"]
    chains = [item for item in layer.order() if isinstance(item, Chain)]
    assert len(chains) == 2 * T  # the masks of both states, and everything after the product
    assert len(names) < 80


def test_an_lstm_of_plain_layers_is_the_lstm():
    plain = run(PLAIN_LSTM, "fused", 2)
    text = (
        "  - {name: hidden, type: LSTM, bottom: [x, cont], num_output: 6, weight_filler: xavier, bias_filler: gaussian}"
    )
    whole = Net(INPUTS + "\n" + text + SUMS)
    for mine, theirs in zip(whole.params["hidden"], [*plain.params["rnn/xg"], *plain.params["rnn/hg"]], strict=True):
        mine.data[...] = theirs.data
    for seed in range(2):
        whole.forward(**values(seed))
        whole.clear_param_diffs()
        whole.backward()
    np.testing.assert_allclose(whole.blobs["hidden"].data, plain.blobs["hidden"].data, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(whole.params["hidden"], [*plain.params["rnn/xg"], *plain.params["rnn/hg"]], strict=True):
        np.testing.assert_allclose(mine.diff, theirs.diff, rtol=1e-4, atol=1e-5)


def test_memory_plans_change_nothing():
    for mode in ("unrolled", "fused"):
        keep, plan = (run(CASES["lengths"], mode, memory=memory) for memory in ("keep", "plan"))
        for key, diff in gradients(keep).items():
            np.testing.assert_array_equal(gradients(plan)[key], diff)


def test_weights_are_there_once_and_fit_any_length(tmp_path):
    fused, flat = run(CASES["zeros"], "fused"), run(CASES["zeros"], "unrolled")
    assert [*fused.params] == [*flat.params] == ["rnn/xg", "rnn/hg"]
    for net in (fused, flat):
        net.save(tmp_path / "w.h5")
        longer = (INPUTS + block()).replace(f"[{T}, {N}, {D}]", f"[9, {N}, {D}]")
        report = Net(longer).copy_from(tmp_path / "w.h5")
        assert sorted(report.matched) == ["rnn/hg", "rnn/xg"]
    assert len(flat.parameters) == 3


def test_expand_shows_the_flat_net_and_reads_back():
    spec = read_net((INPUTS + CASES["cont"] + SUMS).replace("MODE", "fused"))
    text = expand(unroll(spec, every=True))
    assert "rnn/3/hg" in text and "unroll" not in text
    flat, fused = Net(text), Net(spec)
    for net in (flat, fused):
        net.forward(**values())
    assert flat.loss() == pytest.approx(fused.loss(), rel=1e-6)
    assert [*flat.params] == [*fused.params]


def test_a_block_written_out_as_a_block_reads_back():
    for case in CASES.values():
        spec = read_net((INPUTS + case + SUMS).replace("MODE", "fused"))
        assert read_net(expand(spec)) == spec


def test_another_length_on_reshape():
    net = Net(INPUTS + block() + SUMS)
    net.blobs["x"].reshape(7, N, D)
    net.reshape()
    net.forward(x=np.ones((7, N, D)))
    assert net.blobs["hidden"].shape == (7, N, H)


def test_sequences_after_their_length_do_not_count():
    net = run(CASES["lengths"], "fused")
    hidden, final = net.blobs["hidden"].data, net.blobs["final"].data
    for sample, length in enumerate(values()["lengths"]):
        assert not hidden[length:, sample].any()
        np.testing.assert_array_equal(final[sample], hidden[length - 1, sample])


def test_states_are_carried_from_batch_to_batch():
    text = INPUTS.replace(f"[{T}, {N}", f"[{2 * T}, {N}")
    whole = Net((text + CASES["carry"] + SUMS).replace("MODE", "fused").replace(f"steps: {T}", f"steps: {2 * T}"))
    halves = Net((INPUTS + CASES["carry"] + SUMS).replace("MODE", "fused"))
    x = np.random.default_rng(1).standard_normal((2 * T, N, D))
    cont = np.ones((2 * T, N))
    cont[0] = 0
    whole.forward(x=x, cont=cont)
    parts = [halves.forward(x=x[t : t + T], cont=cont[t : t + T], blobs=["hidden"])["hidden"].copy() for t in (0, T)]
    np.testing.assert_allclose(np.concatenate(parts), whole.blobs["hidden"].data, rtol=1e-6)


def test_dropout_draws_anew_in_each_step():
    hidden = run(CASES["dropout"], "fused").blobs["hidden"].data
    masks = [tuple((hidden[t] == 0).ravel()) for t in range(T)]
    assert len(set(masks)) == T


def test_a_run_with_states_resumes_to_the_bit(tmp_path):
    net = f"""
layers:
  - {{name: data, type: DummyData, top: [x, cont], shape: [[{T}, {N}, {D}], [{T}, {N}]],
     data_filler: [{{type: gaussian}}, {{type: constant, value: 1}}]}}""" + CASES["carry"].replace("MODE", "fused")
    (tmp_path / "net.yaml").write_text(net + SUMS)
    solver = f"net: net.yaml\nbase_lr: 0.01\nlr_policy: fixed\nmax_iter: 6\nsnapshot_prefix: {tmp_path}/run/s\n"
    (tmp_path / "solver.yaml").write_text(solver)
    first = get_solver(str(tmp_path / "solver.yaml"))
    first.step(3)
    state = first.snapshot()
    first.step(3)
    second = get_solver(str(tmp_path / "solver.yaml"))
    second.restore(state)
    second.step(3)
    for name, weights in first.net.params.items():
        for mine, theirs in zip(weights, second.net.params[name], strict=True):
            np.testing.assert_array_equal(mine.data, theirs.data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            block(state="{h: {next: h_nwe, num_output: 6}}"),
            "state 'h' is never produced: no layer of the step makes 'h_nwe'",
        ),
        (block(state="{h: {next: h_new}}"), "state 'h' starts from zeros: give its size"),
        (block("steps: 0"), "steps: expected an int and >= 1, got 0"),
        (block(layers=CELL.replace("bottom: [xg, hg]", "bottom: [xg, h_new]")), "reads blob 'h_new'"),
        (block("mode: unrolled"), "mode: unrolled needs steps"),
        (block("stepz: 3"), "no key 'stepz', did you mean 'steps'?"),
        (block(outputs="{h_nwe: hidden}"), "outputs: the step makes no blob 'h_nwe', did you mean 'h_new'?"),
        (block(layers=CELL.replace("bottom: h,", "bottom: hh,")), "reads blob 'hh', which no earlier layer makes"),
        (
            block("lengths: lengths\n      last: {xg: final}"),
            "with lengths only states keep their last value, not 'xg'",
        ),
        (block(outputs="{}"), "it needs outputs or last"),
        (block(layers=CELL.replace("num_output: 6,", "num_ouput: 6,")), "did you mean 'num_output'?"),
        (block("cont: count"), "reads blob 'count', which no earlier layer makes, did you mean 'cont'?"),
    ],
)
def test_what_is_wrong_with_a_block_is_said_once(text, message):
    with pytest.raises(ConfigError) as caught:
        Net(INPUTS + text + SUMS)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_shapes_that_do_not_fit_name_the_block():
    with pytest.raises(ShapeError, match="needs the same number of time steps everywhere, got 4"):
        Net(INPUTS.replace(f"[[{T}, {N}]]", f"[[{T + 1}, {N}]]") + CASES["cont"].replace("MODE", "fused") + SUMS)
    with pytest.raises(ShapeError, match="T = 0"):
        Net(INPUTS.replace(f"[[{T}, {N}, {D}]]", f"[[0, {N}, {D}]]") + block() + SUMS)
    with pytest.raises(NbcaffeError, match="sequence 1 has the length 9; expected a whole number"):
        Net((INPUTS + CASES["lengths"] + SUMS).replace("MODE", "fused")).forward(lengths=[1, 9, 1])


def test_an_inner_layer_is_frozen_and_set_by_its_whole_name():
    text = INPUTS + block(f"steps: {T}\n      mode: unrolled") + SUMS
    net = Net("freeze: [rnn/xg]\n" + text)
    assert [w.lr_mult for w in net.params["rnn/xg"]] == [0, 0] and net.params["rnn/hg"][0].lr_mult == 1
    net = Net(text, overrides=["rnn/xg.bias_filler=constant", "rnn.mode=fused"])
    assert not net.params["rnn/xg"][1].data.any() and "rnn" in net.layer_dict


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "PeepholeLSTM"])
def test_cells_learn_to_remember(kind):
    """The first symbol of a sequence, asked for at its end."""
    net = f"""
layers:
  - {{name: x, type: Input, shape: [[6, 16, 2]]}}
  - {{name: lengths, type: Input, shape: [[16]]}}
  - {{name: label, type: Input, shape: [[16]]}}
  - {{name: rnn, type: {kind}, bottom: [x, lengths], num_output: 8, weight_filler: xavier}}
  - {{name: times, type: Slice, bottom: rnn, axis: 0, slice_point: 5, top: [before, end]}}
  - {{name: unread, type: Silence, bottom: before}}
  - {{name: scores, type: InnerProduct, bottom: end, axis: 2, num_output: 2, weight_filler: xavier}}
  - {{name: loss, type: SoftmaxWithLoss, bottom: [scores, label], softmax_param: {{axis: 2}}}}
"""
    solver = get_solver({"net": net, "type": "Adam", "base_lr": 0.02, "lr_policy": "fixed", "max_iter": 120})
    rng = np.random.default_rng(0)
    for _ in range(120):
        label = rng.integers(0, 2, 16)
        x = 0.3 * rng.standard_normal((6, 16, 2))
        x[0, np.arange(16), label] += 2
        for name, value in (("x", x), ("lengths", np.full(16, 6)), ("label", label)):
            solver.net.blobs[name].data[...] = value
        solver.step(1)
    assert np.mean(list(solver.losses)[-10:]) < 0.2


EMBEDDED = """
layers:
  - {name: ids, type: Input, shape: [[6, 4]]}
  - {name: label, type: Input, shape: [[6, 4]]}
  - {name: embed, type: Embed, bottom: ids, input_dim: 5, num_output: 3, weight_filler: gaussian, bias_filler: gaussian}
READER
  - {name: scores, type: InnerProduct, axis: 2, num_output: 5, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [scores, label], softmax_param: {axis: 2}}
"""
READERS = {
    "product": "  - {name: hidden, type: InnerProduct, axis: 2, num_output: 7, weight_filler: xavier}",
    "turned": "  - {name: hidden, type: InnerProduct, axis: 2, num_output: 7, transpose: true, weight_filler: xavier}",
    "lstm": "  - {name: lstm, type: LSTM, bottom: embed, num_output: 7, weight_filler: xavier}",
}


@pytest.mark.parametrize("frozen", ["", "embed", "hidden,lstm"])
@pytest.mark.parametrize("reader", READERS)
def test_an_embedding_folds_into_the_product_behind_it(reader, frozen):
    rng = np.random.default_rng(4)
    ids, label = rng.integers(0, 5, (2, 6, 4))
    text = EMBEDDED.replace("READER", READERS[reader])
    nets = [Net(freezing(text, frozen), memory=memory) for memory in ("keep", "plan")]
    for net in nets:
        for _ in range(2):
            net.forward(ids=ids, label=label)
            net.clear_param_diffs()
            net.backward()
    plain, folded = nets
    embed = [next(node for node in net.graph.nodes if node.spec.type == "Embed") for net in nets]
    assert [node.folded for node in embed] == [False, frozen != "embed"]
    assert folded.loss() == pytest.approx(plain.loss(), rel=1e-6)
    for key, diff in gradients(plain).items():
        np.testing.assert_allclose(gradients(folded)[key], diff, rtol=1e-5, atol=1e-6, err_msg=str(key))


def freezing(text, names):
    known = [name for name in names.split(",") if f"name: {name}," in text]
    return f"freeze: [{', '.join(known)}]\n{text}" if known else text


def test_an_embedding_that_others_read_is_not_folded():
    text = EMBEDDED.replace("READER", READERS["product"]) + "  - {name: seen, type: Silence, bottom: embed}"
    assert not any(node.folded for node in Net(text, memory="plan").graph.nodes)


def test_the_blocks_of_the_documentation_run():
    text = (Path(__file__).parents[1] / "docs" / "recurrent.md").read_text(encoding="utf-8")
    layer, step, pair, *_ = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    head = "layers:\n" + "".join(
        f"- {{name: {name}, type: Input, shape: [{shape}]}}\n"
        for name, shape in (("cont", [5, 2]), ("label", [5, 2]), ("target", [5, 2, 3]), ("source_length", [2]))
    )
    lstm = Net(head + "- {name: data, type: Input, shape: [[5, 2]]}\n" + layer)
    assert lstm.blobs["scores"].shape == (5, 2, 65) and lstm.params["lstm"][0].shape == (1024, 64)
    own = Net(head + "- {name: embed, type: Input, shape: [[5, 2, 7]]}\n" + step)
    assert own.blobs["hidden"].shape == (5, 2, 256) and own.blobs["final"].shape == (2, 256)
    dense = "{name: h_new, type: InnerProduct, bottom: h, num_output: 128, weight_filler: xavier}"
    coder = pair.replace("layers: [...]", f"layers: [{dense}]")
    both = Net("force_backward: true\n" + head + "- {name: source, type: Input, shape: [[5, 2, 3]]}\n" + coder)
    assert both.blobs["decoded"].shape == (5, 2, 128)


def test_a_test_net_of_another_length_shares_the_weights():
    text = block(f"steps: {T}\n      mode: unrolled") + SUMS
    train = Net(INPUTS + text)
    test = Net(INPUTS.replace(f"[[{T}, {N}, {D}]]", f"[[1, {N}, {D}]]") + block() + SUMS, TEST, share=train)
    train.params["rnn/hg"][0].data[...] = 7
    assert (test.params["rnn/hg"][0].data == 7).all()


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "PeepholeLSTM"])
def test_show_time_says_how_far_gradients_reach(kind, tmp_path, capsys):
    net = f"""
layers:
  - {{name: x, type: DummyData, shape: [[6, 2, 3]], data_filler: {{type: gaussian}}}}
  - {{name: rnn, type: {kind}, num_output: 4, weight_filler: xavier}}
  - {{name: times, type: Slice, bottom: rnn, axis: 0, slice_point: 3, top: [before, after]}}
  - {{name: unread, type: Silence, bottom: after}}
  - {{name: loss, type: Reduction, bottom: before, operation: SUMSQ, loss_weight: 1}}
"""
    (tmp_path / "net.yaml").write_text(net)
    assert main(["show", str(tmp_path / "net.yaml"), "--time"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if re.match(r"\s+\d ", line)]
    norms = [float(row[1]) for row in rows]
    assert len(norms) == 6 and min(norms[:3]) > 0 and max(norms[3:]) == 0  # nothing after step 2 counts
    inside = Net(net)
    (layer,) = inspected(inside)
    pictures = dict(gates(inside, layer))
    assert len(pictures) >= 3 and all(values.shape == (6, 4) for values in pictures.values())


def test_show_time_of_a_net_without_recurrent_layers_says_so(tmp_path, capsys):
    (tmp_path / "net.yaml").write_text("layers: [{name: x, type: Input, shape: [2, 3]}, {name: r, type: ReLU}]")
    assert main(["show", str(tmp_path / "net.yaml"), "--time"]) != 0
    assert "has no recurrent layer" in capsys.readouterr().err


def test_a_net_with_a_block_passes_nbcaffe_check(tmp_path):
    text = INPUTS + CASES["cont"].replace("MODE", "fused") + SUMS
    (tmp_path / "net.yaml").write_text(text.replace("type: Input, shape: ", "type: DummyData, shape: "))
    assert check_net(str(tmp_path / "net.yaml")) == []
