"""A weight whose gradient is computed when it is updated changes exactly as one whose gradient is kept."""

import itertools

import numba
import numpy as np
import pytest

from nbcaffe.device import get_device
from nbcaffe.errors import NbcaffeError, NumericError
from nbcaffe.net import Net
from nbcaffe.report import predicted_bytes
from nbcaffe.solver.loop import Solver
from nbcaffe.solver.rules import UPDATES, Update
from nbcaffe.solver.spec import read_solver
from nbcaffe.solver.updates import BoundUpdate

NET = """
layers:
  - {name: data, type: Input, shape: [[7, 4, 13]]}
  - {name: target, type: Input, shape: [[7, 4, 21]]}
  - {name: one, type: InnerProduct, bottom: data, num_output: 37, axis: 2, weight_filler: xavier,
     param: [{lr_mult: 0.3, decay_mult: 2}]}
  - {name: act, type: TanH, bottom: one, top: one}
  - {name: two, type: InnerProduct, bottom: one, num_output: 70, axis: -1, transpose: true, weight_filler: xavier}
  - {name: three, type: InnerProduct, bottom: two, num_output: 21, axis: 2, bias_term: false, weight_filler: xavier}
  - {name: loss, type: EuclideanLoss, bottom: [three, target]}
"""
SHARED = """
layers:
  - {name: data, type: Input, shape: [[7, 4, 37]]}
  - {name: target, type: Input, shape: [[7, 4, 21]]}
  - {name: one, type: InnerProduct, bottom: data, num_output: 37, axis: 2, weight_filler: xavier, param: [{name: w}]}
  - {name: two, type: InnerProduct, bottom: one, num_output: 37, axis: 2, weight_filler: xavier, param: [{name: w}]}
  - {name: three, type: InnerProduct, bottom: two, num_output: 21, axis: 2, weight_filler: xavier}
  - {name: loss, type: EuclideanLoss, bottom: [three, target]}
"""
LATE = ["one", "two", "three"]


class W(Update):
    """A user's own, whose kernel's name is that of an argument; it has no history."""

    @staticmethod
    def update(w, g, lr):
        return w - lr * g


def momentum(rule):
    return 0.0 if "momentum" in UPDATES[rule].refuses else 0.9


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("nbcaffe.layers.inner_product.LARGE", 1)


def feed(one):
    rng = np.random.default_rng(0)
    for name in ("data", "target"):
        blob = one.net.blobs[name]
        blob._data[...] = rng.standard_normal(blob._data.shape)
    return one


def solver(memory, text=NET, folder=None, **settings):
    common = {"base_lr": 0.05, "weight_decay": 0.01, "momentum": 0.9, "random_seed": 3, "net": text}
    prefix = {"snapshot_prefix": str(folder / memory)} if folder else {}
    return feed(Solver({**common, **prefix, **settings}, memory=memory))


def state(one):
    """Weights and histories, by layer: their place in the arenas depends on who is late."""
    arenas = (one.net.param_data, *one.update.histories)
    return [a[w.offset : w.offset + w.count].copy() for a in arenas for w in one.net.graph.learnable]


def late(one):
    return [each.weight.address[0] for each in one.net.late]


def assert_same(one, other):
    for mine, theirs in zip(state(one), state(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("rule", sorted(UPDATES))
def test_each_rule(rule):
    settings = {"type": rule, "momentum": momentum(rule)}
    keep, plan = (solver(memory, **settings) for memory in ("keep", "plan"))
    assert (late(keep), late(plan)) == ([], LATE)
    before = state(plan)
    for one in (keep, plan):
        one.step(4)
    assert_same(keep, plan)
    assert not any(np.array_equal(a, b) for a, b in zip(before[:5], state(plan)[:5], strict=True))


@pytest.mark.parametrize("rule", sorted(UPDATES))
def test_bits_do_not_depend_on_where_a_loop_ends(rule):
    """So they depend neither on threads nor on how a sweep cuts the weights."""
    size, rng = 40003, np.random.default_rng(0)
    start = rng.standard_normal((2, size)).astype(np.float32)
    settings = {"type": rule, "momentum": momentum(rule), "base_lr": 0.05, "weight_decay": 0.01}
    found = []
    for piece in (size, 13):
        w, g = start.copy()
        edges = [*range(0, size, piece), size]
        rules = [(0.3, 2.0, lo, hi) for lo, hi in itertools.pairwise(edges)]
        update = BoundUpdate(read_solver({"net": "net.yaml", **settings}), get_device("cpu"), w, g, rules)
        for iteration in range(2):
            update.measure(iteration)
            update.apply()
        found.append(w)
    np.testing.assert_array_equal(*found)


def test_the_number_of_threads_changes_no_bit():
    found = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        try:
            one = solver("plan")
            one.step(3)
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        found.append(one)
    assert_same(*found)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 700, 1100), (120, 33, 65), (2, 5, 5000)])
def test_odd_sizes(sizes):
    batch, inputs, outputs = sizes
    text = f"""
layers:
  - {{name: data, type: Input, shape: [[{batch}, {inputs}]]}}
  - {{name: target, type: Input, shape: [[{batch}, {outputs}]]}}
  - {{name: ip, type: InnerProduct, bottom: data, num_output: {outputs}, weight_filler: xavier}}
  - {{name: loss, type: EuclideanLoss, bottom: [ip, target]}}
"""
    keep, plan = (solver(memory, text) for memory in ("keep", "plan"))
    for one in (keep, plan):
        one.step(2)
    assert late(plan) == ["ip"]
    assert_same(keep, plan)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (NET, {"iter_size": 2}),
        (NET, {"clip_gradients": 1.0}),
        (NET, {"debug_info": True}),
        (NET.replace("transpose: true", "engine: BLAS, transpose: true"), {}),
        (NET.replace("num_output: 70", "num_output: 70, param: [{lr_mult: 0}]"), {}),
        (SHARED, {}),
    ],
    ids=["iter_size", "clip", "debug", "engine", "frozen", "shared"],
)
def test_where_a_whole_gradient_is_needed_it_is_kept(text, settings):
    keep, plan = (solver(memory, text, **settings) for memory in ("keep", "plan"))
    assert late(plan) == ([] if settings else ["three"] if text == SHARED else ["one", "three"])
    for one in (keep, plan):
        one.step(2)
    assert_same(keep, plan)


def test_who_reads_gradients_is_told_how():
    one = solver("plan")
    one.step(1)
    with pytest.raises(NbcaffeError, match="'one': the gradient of weight 0 is used as it is computed"):
        _ = one.net.params["one"][0].diff
    assert one.net.params["one"][1].diff.any()


def test_a_callback_sees_all_gradients_also_in_the_middle_of_a_run():
    keep, plan, seen = solver("keep"), solver("plan"), {}
    for one in (keep, plan):
        one.step(2)
    for one in (keep, plan):
        net = one.net
        one.add_callback(
            on_gradients_ready=lambda net=net: seen.update({id(net): [w.diff.copy() for w in net.graph.learnable]})
        )
        one.step(2)
    assert late(plan) == []
    assert_same(keep, plan)
    for mine, theirs in zip(seen[id(keep.net)], seen[id(plan.net)], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_gradient_that_is_too_large_stops_the_run_before_any_weight_changes(tmp_path):
    one = solver("plan", NET.replace("EuclideanLoss", "EuclideanLoss, loss_weight: 1e25"), tmp_path)
    before = state(one)
    with pytest.raises(NumericError, match="iteration 0: the gradients are too large"):
        one.step(1)
    for mine, theirs in zip(state(one), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_test_net_shares_the_weights_and_has_diffs_of_its_own():
    one = solver("plan")
    other = Net(NET, "TEST", share=one.net)
    for blob in ("data", "target"):
        other.blobs[blob].data[...] = one.net.blobs[blob]._data
    one.step(1)
    other.forward()
    other.clear_param_diffs()
    other.backward()
    assert other.params["one"][0].data is not None and other.params["one"][0].diff.any()
    before = state(one)
    one.step(1)
    assert not np.array_equal(before[0], state(one)[0])
    np.testing.assert_array_equal(other.params["one"][0].data.ravel(), state(one)[0])


def test_after_a_reshape():
    keep, plan = (solver(memory) for memory in ("keep", "plan"))
    for one in (keep, plan):
        one.step(1)
        for name, width in (("data", 13), ("target", 21)):
            one.net.blobs[name].reshape(3, 4, width)
        one.net.reshape()
        feed(one).step(2)
    assert late(plan) == LATE
    assert_same(keep, plan)


def test_a_run_goes_on_from_a_snapshot_of_the_other_kind(tmp_path):
    keep, plan = (solver(memory, folder=tmp_path) for memory in ("keep", "plan"))
    for one, memory in ((keep, "plan"), (plan, "keep")):
        one.step(2)
        other = solver(memory)
        other.restore(one.snapshot())
        one.step(2)
        other.step(2)
        assert_same(one, other)


def test_late_gradients_take_no_memory():
    whole, saved = (Net(NET, memory="plan", late_gradients=late) for late in (False, True))
    weights = sum(-(-w.count // 16) * 16 for name in LATE for w in saved.params[name][:1]) * 4
    assert predicted_bytes(whole)["weight diffs"] - predicted_bytes(saved)["weight diffs"] == weights
    assert saved.param_diff.size == sum(-(-w.count // 16) * 16 for name in LATE for w in saved.params[name][1:])
