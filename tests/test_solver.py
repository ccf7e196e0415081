"""Solver files, learning rates and updates against real Caffe, the training loop, exact tests."""

import json
import math
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from nbcaffe.device import get_device
from nbcaffe.errors import ConfigError, NbcaffeError, NumericError
from nbcaffe.layer import REGISTRY
from nbcaffe.params import invalid_values
from nbcaffe.solver.loop import Solver
from nbcaffe.solver.policies import POLICIES, rate
from nbcaffe.solver.scoring import score
from nbcaffe.solver.spec import SETTINGS, SolverSpec, read_solver
from nbcaffe.solver.updates import PART, BoundUpdate

MINIMAL = {"net": "net.yaml", "base_lr": 0.1}


def solver(**settings):
    return read_solver({**MINIMAL, **settings})


def messages(text, *overrides, **how):
    with pytest.raises(ConfigError) as caught:
        read_solver(text, overrides, **how)
    return str(caught.value).splitlines()


# Solver files


def test_all_mistakes_of_a_file_come_at_once_with_their_lines():
    lines = messages("base_lr: 0.1\nlr_policy: polly\nmax_iterr: 3\nnet: a\ntest_iter: 3\nstepvalue: [3, 2]\n")
    assert [line.split(": ")[0] for line in lines] == [f"<text>:{n}" for n in (2, 3, 5, 6)]
    assert "did you mean 'poly'?" in lines[0]
    assert "did you mean 'max_iter'?" in lines[1]


def test_settings_of_the_command_line_are_checked_like_those_of_the_file():
    text = "base_lr: 0.1\nnet: a\n"
    assert read_solver(text, ["momentum=0.5"]).momentum == 0.5
    assert messages(text, "momentun=0.5")[0].startswith(
        "--set momentun=0.5: the solver has no parameter 'momentun', did"
    )
    assert messages(text, "momentum=much")[0].startswith("--set momentum=much: momentum: expected a float")
    assert messages(text, "momentum")[0] == "--set momentum: expected KEY=VALUE"


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_refuses_what_its_declaration_excludes(name):
    for value in invalid_values(SETTINGS[name]):
        with pytest.raises(ConfigError, match=name):
            solver(**{name: value})


def test_defaults_are_those_of_caffe_but_for_seed_and_mode():
    s = solver()
    assert (s.lr_policy, s.type, s.momentum, s.iter_size, s.average_loss) == ("fixed", "SGD", 0.0, 1, 1)
    assert (s.clip_gradients, s.regularization_type, s.test_initialization, s.snapshot_after_train) == (
        -1,
        "L2",
        True,
        True,
    )
    assert (s.random_seed, s.solver_mode) == (1701, "CPU")


@pytest.mark.parametrize(("policy", "need"), [(p, n) for p in POLICIES for n in POLICIES[p].needs])
def test_a_policy_says_what_it_needs(policy, need):
    given = {"gamma": 0.5, "power": 1.0, "stepsize": 3, "stepvalue": [2, 4], "max_iter": 10}
    given.pop(need)
    with pytest.raises(ConfigError, match=f"lr_policy '{policy}' needs '{need}'"):
        solver(lr_policy=policy, **given)


def test_there_is_one_net_to_train():
    assert "expected one net to train" in messages("base_lr: 0.1\n")[0]
    assert "got net and train_net" in messages("base_lr: 0.1\nnet: a\ntrain_net: b\n")[0]


def test_paths_count_from_the_solver_file(tmp_path):
    (tmp_path / "solver.yaml").write_text("net: net.yaml\nbase_lr: 0.1\n")
    spec = read_solver(tmp_path / "solver.yaml")
    assert spec.train_source == str(tmp_path / "net.yaml")
    assert spec.name == tmp_path.name


def test_another_net_may_replace_the_ones_of_the_file(tmp_path):
    spec = read_solver("train_net: a\ntest_net: b\ntest_iter: 1\ntest_interval: 2\nbase_lr: 0.1\n", net=tmp_path / "c")
    assert spec.train_source == str(tmp_path / "c")
    assert [source for source, _ in spec.test_sources] == [str(tmp_path / "c")]


def test_net_and_solver_may_share_a_file():
    spec = read_solver("name: both\nsolver: {base_lr: 0.1, max_iter: 3}\nlayers:\n  - {name: a, type: Input}\n")
    assert spec.max_iter == 3
    assert spec.train_source["name"] == "both"
    assert "solver" not in spec.train_source
    spec = read_solver("base_lr: 0.1\nnet:\n  name: inside\n  layers:\n    - {name: a, type: Input}\n")
    assert spec.train_source["name"] == "inside"
    assert spec.train_source.where("name") == "<text>:3"


def test_a_net_file_without_a_solver_is_refused():
    assert "add `solver:" in messages("name: net\nlayers:\n  - {name: a, type: Input}\n")[0]


def test_each_test_net_has_its_own_number_of_batches_and_state():
    spec = solver(test_iter=[3, "all"], test_interval=5, test_state=[{"stage": "a"}, {"level": 2}])
    assert [(source, state.stage, state.level) for source, state in spec.test_sources] == [
        ("net.yaml", ("a",), 0),
        ("net.yaml", (), 2),
    ]
    with pytest.raises(ConfigError, match="test_state: expected 2"):
        solver(test_iter=[3, "all"], test_interval=5, test_state={"level": 2})
    with pytest.raises(ConfigError, match="expected 2, one for each test net"):
        read_solver({"train_net": "a", "base_lr": 1.0, "test_net": ["b", "c"], "test_iter": 3, "test_interval": 1})


def test_the_text_of_a_solver_reads_back_to_the_same_settings():
    spec = solver(test_iter=[3, "all"], test_interval=5, test_state=[{"stage": "a"}, {}], stepvalue=[3, 5], delta=1e-6)
    assert read_solver(spec.text).values == spec.values


# Learning rates and updates against Caffe


def cases(golden):
    with h5py.File(golden / "solvers.h5") as file:
        for name, group in file.items():
            yield name, group, json.loads(group.attrs["solver_json"])


def test_rates_are_those_of_caffe(golden):
    for name, group, given in cases(golden):
        spec = solver(**given)
        rates = [rate(spec, it) for it in range(20)]
        np.testing.assert_allclose(rates, group["lr"][()], rtol=1e-6, err_msg=name)


def test_poly_ends_at_zero_also_beyond_the_last_iteration():
    spec = solver(lr_policy="poly", power=0.5, max_iter=10)
    assert [rate(spec, it) for it in (10, 11)] == [0.0, 0.0]


def test_the_longest_sigmoid_does_not_overflow():
    spec = solver(lr_policy="sigmoid", gamma=5.0, stepsize=1000)
    assert rate(spec, 0) == 0.0
    assert rate(spec, 1_000_000) == 0.1


@pytest.mark.parametrize(("device", "updates"), [("cpu", 20), ("cuda", 3)])
def test_every_update_is_that_of_caffe(golden, device, updates):
    seen = 0
    for name, group, given in cases(golden):
        replay(name, group, solver(**given), get_device(device), updates)
        seen += 1
    assert seen


def replay(name, group, spec, device, updates):
    """Feed the recorded gradients; the weights must follow the recorded ones."""
    blobs = [f"{layer}/{i}" for layer, items in group["init"].items() for i in items]
    rules, end = [], 0
    for blob in blobs:
        size = group["init"][blob].size
        rules.append((*multipliers(group, blob), end, end + size))
        end += size

    def gather(key):
        return np.concatenate([group[key][blob][()].ravel() for blob in blobs])

    data, diff = device.zeros(end), device.zeros(end)
    device.upload(data, gather("init"))
    update = BoundUpdate(spec, device, data, diff, rules)
    learns = np.concatenate([np.full(hi - lo, lr_mult != 0) for lr_mult, _, lo, hi in rules])
    for k in range(1, updates + 1):
        device.upload(diff, gather(f"grad/{k}"))
        update.measure(k - 1)
        update.apply()
        expected = gather(f"iter/{k}")
        error = np.abs(device.download(data) - expected)[learns].max()  # BatchNorm's sums change in the forward pass
        assert error <= 1e-5 * np.abs(expected).max(), f"{name}, update {k}"


def multipliers(group, blob):
    layer, index = blob.split("/")
    spec = next(one for one in json.loads(group.attrs["net_json"])["layer"] if one["name"] == layer)
    if spec["type"] == "BatchNorm":
        return 0.0, 0.0
    param = dict(enumerate(spec.get("param", []))).get(int(index), {})
    return param.get("lr_mult", 1.0), param.get("decay_mult", 1.0)


def trajectories(golden):
    """Runs of Caffe whose layers all are there."""
    for name, group, given in cases(golden):
        net = json.loads(group.attrs["net_json"])
        if {layer["type"] for layer in net["layer"]} <= set(REGISTRY):
            yield name, group, given, net


def test_whole_runs_follow_those_of_caffe(golden, tmp_path):
    seen = []
    for name, group, given, net in trajectories(golden):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for key in {"data", "label"} & set(group):
                file[key] = group[key][()]
        for layer in net["layer"]:
            if layer["type"] == "HDF5Data":
                layer["hdf5_data_param"]["source"] = str(tmp_path / f"{name}.h5")
        one = Solver({**given, "net_param": {"name": name, "layers": net["layer"]}, "display": 1})
        follow(name, group, one)
        seen.append(name)
    assert len(seen) >= 10, seen


def follow(name, group, one):
    """Start from Caffe's weights; losses and weights must stay beside its own."""
    for layer, blobs in group["init"].items():
        for index, values in blobs.items():
            one.net.device.upload(one.net.params[layer][int(index)].data, values[()])
    found = watch(one)
    one.step(20)
    losses = [entry["loss"] for entry in found]
    np.testing.assert_allclose(losses, group["loss"][()].mean(axis=1), rtol=1e-4, err_msg=name)
    for layer, blobs in group["iter/20"].items():
        for index, values in blobs.items():
            got = one.net.device.download(one.net.params[layer][int(index)].data)
            limit = 1e-4 * np.abs(values[()]).max()
            np.testing.assert_allclose(got, values[()], atol=limit, rtol=0, err_msg=f"{name}: {layer}/{index}")


def an_update(gradient, **settings):
    device = get_device("cpu")
    data, diff = device.zeros(gradient.size), device.zeros(gradient.size)
    diff[...] = gradient
    return BoundUpdate(solver(**settings), device, data, diff, [(1.0, 1.0, 0, gradient.size)]), data


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 5 * PART + 7])
def test_the_norm_counts_every_gradient(size):
    gradient = np.random.default_rng(0).normal(size=size)
    update, _ = an_update(gradient)
    assert update.measure(0) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, PART, 3 * PART - 1])
def test_one_gradient_that_is_not_finite_shows_in_the_norm(bad, where):
    gradient = np.zeros(3 * PART)
    gradient[where] = bad
    assert not math.isfinite(an_update(gradient)[0].measure(0))


def test_the_norm_has_the_same_bits_for_any_number_of_threads():
    import numba

    update, _ = an_update(np.random.default_rng(1).normal(size=50 * PART))
    before, norms = numba.get_num_threads(), set()
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(threads)
        norms.add(update.measure(0))
    numba.set_num_threads(before)
    assert len(norms) == 1


def test_a_new_rate_reaches_an_update_that_is_already_bound():
    update, data = an_update(np.ones(8), lr_policy="step", gamma=0.5, stepsize=1)
    for it, expected in ((0, -0.1), (1, -0.15)):
        update.measure(it)
        update.apply()
        np.testing.assert_allclose(data, expected, rtol=1e-6)


# The loop, on a net small enough to think through: 70 samples to train on, 25 to test on

NET = """\
name: tiny
layers:
  - {name: data, type: HDF5Data, top: [data, label], source: train.h5, shuffle: true, batch_size: 8,
     include: {phase: TRAIN}}
  - {name: data, type: HDF5Data, top: [data, label], source: test.h5, batch_size: 10, include: {phase: TEST}}
  - {name: drop, type: Dropout, bottom: data, dropout_ratio: 0.2}
  - {name: ip, type: InnerProduct, num_output: 1, bias_term: false, weight_filler: {type: gaussian, std: 1}}
  - {name: loss, type: EuclideanLoss, bottom: [ip, label]}
"""


@pytest.fixture
def tiny(tmp_path):
    """Makes a solver for NET with other settings."""
    random = np.random.default_rng(0)
    for name, rows in (("train", 70), ("test", 25)):
        x = random.normal(size=(rows, 5)).astype(np.float32)
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"], file["label"] = x, (x @ np.arange(5, dtype=np.float32))[:, None]
    (tmp_path / "net.yaml").write_text(NET)
    settings = {"net": str(tmp_path / "net.yaml"), "base_lr": 0.05, "momentum": 0.9, "max_iter": 12}
    settings["snapshot_prefix"] = str(tmp_path / "snap" / "tiny")
    return lambda **more: Solver({**settings, **more})


def watch(one):
    found = []
    one.add_callback(on_metrics=found.append)
    return found


def test_training_lowers_the_loss(tiny):
    one = tiny(display=1, max_iter=60)
    found = watch(one)
    one.solve()
    assert one.iter == 60
    assert found[-1]["loss"] < 0.2 * found[0]["loss"]
    assert {"iter", "phase", "net", "lr", "loss"} <= set(found[0])


def test_the_displayed_loss_is_the_mean_of_the_last_ones(tiny):
    plain, mean = tiny(display=1), tiny(display=1, average_loss=3)
    losses, means = watch(plain), watch(mean)
    plain.step(6)
    mean.step(6)
    expected = np.mean([entry["loss"] for entry in losses[3:6]])
    assert means[5]["loss"] == pytest.approx(expected)


def test_an_exact_test_counts_every_sample_once(tiny):
    one = tiny(test_iter="all", test_interval=5)
    exact = score(one.test_nets[0], "all")["loss"]
    net = one.test_nets[0]
    batches = [score(net, 1)["loss"] for _ in range(5)]  # 25 samples in tens: two rounds are 50, each sample twice
    assert exact == pytest.approx(np.mean(batches), rel=1e-5)
    assert score(net, "all")["loss"] == exact


def test_tests_fall_due_at_the_start_and_at_every_interval(tiny):
    one = tiny(test_iter=[1, 2], test_interval=5)
    found = watch(one)
    one.solve()
    assert [(entry["iter"], entry["net"]) for entry in found] == [(it, net) for it in (0, 5, 10, 12) for net in (0, 1)]
    late = tiny(test_iter=1, test_interval=5, test_initialization=False)
    found = watch(late)
    late.step(6)
    assert [entry["iter"] for entry in found] == [5]


def test_an_interval_of_zero_turns_tests_off(tiny):
    one = tiny(test_iter=1, test_interval=0)
    found = watch(one)
    one.solve()
    assert found == []


def test_testing_does_not_change_training(tiny):
    with_tests, without = tiny(test_iter="all", test_interval=2), tiny()
    with_tests.step(8)
    without.step(8)
    np.testing.assert_array_equal(weights(with_tests), weights(without))


def weights(one):
    return np.array(one.net.device.download(one.net.param_data))


def test_iter_size_averages_the_gradients_of_its_batches(tiny):
    one = tiny(iter_size=3, momentum=0.0)
    calls = []
    one.add_callback(on_gradients_ready=lambda: calls.append(np.array(one.net.param_diff)))
    before = weights(one)
    one.step(1)
    np.testing.assert_allclose(weights(one), before - 0.05 * calls[0] / 3, rtol=1e-5)
    assert int(one.net.clock[0]) == 3


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(tiny):
    runs = [tiny(), tiny(), tiny(random_seed=7)]
    for one in runs:
        one.step(5)
    np.testing.assert_array_equal(weights(runs[0]), weights(runs[1]))
    assert (weights(runs[0]) != weights(runs[2])).any()


def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(tiny):
    one = tiny(base_lr=1e30, momentum=0.0)
    with pytest.raises(NumericError, match=r"iteration \d+: .*\n.*the state before this iteration is in") as caught:
        one.step(12)
    assert one.last_snapshot is not None and one.last_snapshot.is_file()
    assert f"_iter_{one.iter}." in str(caught.value)
    assert "layer 'ip', blob 'ip'" in str(caught.value) or "layer 'loss', blob 'loss'" in str(caught.value)
    assert np.isfinite(weights(one)).all()


def test_bad_data_stops_the_run_with_the_state_before(tiny, tmp_path):
    with h5py.File(tmp_path / "train.h5", "r+") as file:
        file["data"][40] = np.nan
    one, whole = tiny(), tiny()
    with pytest.raises(NbcaffeError, match=r"iteration \d+: .*\n.*the state before this iteration is in"):
        one.step(12)
    kept = one.last_snapshot.read_bytes()
    whole.step(one.iter)
    assert whole.snapshot().read_bytes() == kept


def test_a_gradient_that_is_not_finite_names_its_layer(tiny):
    one = tiny()
    one.add_callback(on_gradients_ready=lambda: one.net.params["ip"][0].diff.fill(np.nan))
    with pytest.raises(NumericError, match="iteration 0: layer 'ip': the gradient of weight 0 is not finite"):
        one.step(1)


def test_a_net_where_nothing_learns_is_refused(tiny, monkeypatch):
    nothing = SimpleNamespace(name="n", param_diff=None, rules=[], sources={})
    monkeypatch.setattr("nbcaffe.solver.loop.Net", lambda *a, **k: nothing)
    with pytest.raises(ConfigError, match="nothing to train"):
        tiny()


def test_the_documented_settings_are_the_declared_ones():
    assert SolverSpec.params is SETTINGS
    assert all(param.doc for param in SETTINGS.values())
