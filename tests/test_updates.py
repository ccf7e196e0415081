"""Update rules and policies of a user's own: one scalar function in a file that the solver names."""

import math
import re

import h5py
import numpy as np
import pytest
from test_solver import tiny

from nbcaffe import ConfigError, Float, KernelError, SnapshotError, Update, policy
from nbcaffe.checks.kernels import doubles
from nbcaffe.checks.updates import check_policy, check_rule
from nbcaffe.device import get_device
from nbcaffe.solver.policies import POLICIES, rate
from nbcaffe.solver.rules import UPDATES
from nbcaffe.solver.spec import read_solver
from nbcaffe.solver.updates import BoundUpdate

__all__ = ["tiny"]  # the fixture; pytest finds it by its name here

OF_PACKAGE = [name for name, rule in UPDATES.items() if rule.__module__.startswith("nbcaffe.")]

MINE = """\
from nbcaffe import Float, Update, policy


class Pushed(Update):
    \"\"\"Momentum with a constant push.\"\"\"

    push = Float(0.5, gt=0, doc="added to each gradient")
    histories = ("m", "n")

    @staticmethod
    def growth(t, push):
        return push * t

    @staticmethod
    def update(w, g, m, n, lr, t, growth, push, momentum):
        m = momentum * m + g + push
        return w - lr * (m + growth), m, n + t


@policy(needs=("stepsize",), floor=Float(0.0, ge=0, doc="least rate"))
def halving(s, it):
    \"\"\"Half every stepsize iterations.\"\"\"
    return max(s.floor, s.base_lr * 0.5 ** (it // s.stepsize))
"""


@pytest.fixture
def registered(monkeypatch):
    """What a test defines is forgotten after it."""
    monkeypatch.setattr("nbcaffe.solver.rules.UPDATES", UPDATES)
    before = dict(UPDATES), dict(POLICIES)
    yield
    for table, kept in zip((UPDATES, POLICIES), before, strict=True):
        table.clear()
        table.update(kept)


@pytest.fixture
def mine(tmp_path, registered):
    """Settings that import MINE."""
    (tmp_path / "mine.py").write_text(MINE)
    return {"import": str(tmp_path / "mine.py"), "type": "Pushed", "momentum": 0.5}


def spec_of(**settings):
    return read_solver({"net": "net.yaml", "base_lr": 0.1, **settings})


def bound(spec, gradient, device="cpu", rules=None):
    device = get_device(device)
    data, diff = device.zeros(gradient.size), device.zeros(gradient.size)
    device.upload(data, np.linspace(-1, 1, gradient.size, dtype=np.float32))
    device.upload(diff, gradient.astype(np.float32))
    return BoundUpdate(spec, device, data, diff, rules or [(1.0, 1.0, 0, gradient.size)]), data


def refused(**settings):
    with pytest.raises(ConfigError) as caught:
        spec_of(**settings)
    return str(caught.value)


# What a file of one's own brings


def test_an_update_of_ones_own_computes_what_it_says(mine):
    gradient = np.array([0.5, -1.0, 2.0])
    one, data = bound(spec_of(**mine), gradient)
    w, m, n = np.linspace(-1, 1, 3), np.zeros(3), 0.0
    for it in range(4):
        one.measure(it)
        one.apply()
        m, n = 0.5 * m + gradient + 0.5, n + it + 1
        w = w - 0.1 * (m + 0.5 * (it + 1))
        np.testing.assert_allclose(data, w, rtol=1e-5)
    np.testing.assert_allclose(one.histories, [m, [n] * 3], rtol=1e-5)


def test_its_settings_stand_in_the_solver_file_like_those_of_caffe(mine):
    assert spec_of(**mine).push == 0.5
    assert spec_of(**mine, push=2).push == 2.0
    assert "push: expected a float and > 0, got -1" in refused(**mine, push=-1)
    assert "has no parameter 'pusch', did you mean 'push'?" in refused(**mine, pusch=1.0)
    assert "has no parameter 'push'" in refused(**{**mine, "type": "SGD"}, push=1.0)


def test_its_settings_can_be_set_on_the_command_line(mine):
    spec = read_solver({"net": "net.yaml", "base_lr": 0.1, "import": mine["import"]}, ["type=Pushed", "push=3.0"])
    assert spec.push == 3.0


def test_its_text_reads_back_from_another_folder(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = spec_of(**{**mine, "import": "mine.py"}, lr_policy="halving", stepsize=2)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_solver(spec.text).values == spec.values


def test_it_goes_on_from_a_snapshot_in_the_same_bits(mine, tiny):
    whole, first, second = (tiny(**mine, weight_decay=0.1, iter_size=2, clip_gradients=1.0) for _ in range(3))
    whole.step(8)
    first.step(5)
    second.restore(first.snapshot())
    second.step(3)
    arenas = [(one.net.param_data, *one.update.histories) for one in (whole, second)]
    for unbroken, resumed in zip(*arenas, strict=True):
        np.testing.assert_array_equal(unbroken[:5], resumed[:5])  # what follows the weight is padding
    with h5py.File(first.last_snapshot) as file:
        assert len(file["history"]) == 2
        np.testing.assert_array_equal(file["history/1"], np.full((1, 5), 15.0))


def test_a_snapshot_of_another_rule_is_refused(tiny):
    adam = tiny(type="Adam")
    adam.step(2)
    delta = tiny(type="AdaDelta")
    with pytest.raises(SnapshotError, match=r"solver's AdaDelta keeps squares, steps .* snapshot's Adam keeps m, v"):
        delta.restore(adam.snapshot())


def test_a_policy_of_ones_own_gives_the_rate(mine):
    spec = spec_of(**{"import": mine["import"]}, lr_policy="halving", stepsize=2, floor=0.03)
    assert [rate(spec, it) for it in (0, 1, 2, 4, 6)] == pytest.approx([0.1, 0.1, 0.05, 0.03, 0.03])
    assert "lr_policy 'halving' needs 'stepsize'" in refused(**{"import": mine["import"]}, lr_policy="halving")


def test_an_unknown_name_is_answered_with_the_nearest_one(mine):
    assert "did you mean 'Pushed'?" in refused(**{**mine, "type": "Puschd"})
    assert "did you mean 'halving'?" in refused(**mine, lr_policy="halfing")
    assert "or what a file under `import` defines, got 'Zebra'" in refused(type="Zebra")


def test_a_file_that_is_not_there_or_fails_is_named(tmp_path):
    assert "import: " in (text := refused(**{"import": "nowhere.py"})) and "no such file" in text
    (tmp_path / "wrong.py").write_text("x = 1\ny = z\n")
    assert f"{tmp_path / 'wrong.py'}:2: NameError" in refused(**{"import": str(tmp_path / "wrong.py")}, type="Mine")


def test_a_net_inside_the_solver_file_may_name_the_file(mine):
    net = {"layers": [{"name": "a", "type": "Input"}], "import": mine["import"]}
    assert read_solver({"net": net, "base_lr": 0.1, "type": "Pushed"}).push == 0.5


# Every rule


@pytest.mark.parametrize("kind", OF_PACKAGE)
def test_the_simulator_agrees_with_the_cpu(kind):
    gradient = np.random.default_rng(0).normal(size=40)
    settings = {"type": kind, "weight_decay": 0.1, "regularization_type": "L2", "clip_gradients": 1.0, "iter_size": 2}
    results = []
    for device in ("cpu", "cuda"):
        one, data = bound(spec_of(**settings), gradient, device, [(1.0, 1.0, 0, 15), (2.0, 0.0, 15, 40)])
        for it in range(3):
            one.measure(it)
            one.apply()
        results.append(one.device.download(data).copy())
    np.testing.assert_allclose(*results, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", OF_PACKAGE)
def test_every_rule_gives_the_same_bits_for_any_number_of_threads(kind):
    import numba

    gradient = np.random.default_rng(1).normal(size=40_000)
    before, seen = numba.get_num_threads(), set()
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(threads)
        one, data = bound(spec_of(type=kind, weight_decay=0.1), gradient)
        for it in range(3):
            one.measure(it)
            one.apply()
        seen.add(data.tobytes())
    numba.set_num_threads(before)
    assert len(seen) == 1


@pytest.mark.parametrize("kind", OF_PACKAGE)
def test_no_rule_computes_in_double(kind):
    one, _ = bound(spec_of(type=kind, weight_decay=0.1), np.ones(20))
    one.measure(0)
    one.apply()
    arguments = one._apply[0].args[1:]
    assert not [*doubles(UPDATES[kind].kernel, ((20,), arguments))]


def test_adamw_decays_beside_the_gradient():
    gradient = np.array([0.5, -1.0, 2.0])
    one, data = bound(spec_of(type="AdamW", weight_decay=0.3), gradient)
    w, m, v = np.linspace(-1, 1, 3), np.zeros(3), np.zeros(3)
    for t in range(1, 6):
        one.measure(t - 1)
        one.apply()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - 0.1 * 0.3 * w - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(data, w, rtol=2e-5)


def test_rules_refuse_settings_that_they_would_ignore():
    for kind in ("AdaGrad", "RMSProp"):
        assert f"momentum: type '{kind}' has none" in refused(type=kind, momentum=0.9)
    assert "decays by the weight itself" in refused(type="AdamW", regularization_type="L1")


# What authors are told


def test_a_setting_that_is_declared_nowhere_is_named_with_its_file(registered):
    class Mistyped(Update):
        @staticmethod
        def update(w, g, lr, momentun):
            return w - lr * momentun * g

    text = refused(type="Mistyped")
    assert "test_updates.py:" in text
    assert "asks for 'momentun', which is no setting and no history of it, did you mean 'momentum'?" in text


def test_a_history_that_update_does_not_take_is_refused(registered):
    with pytest.raises(KernelError, match=r"test_updates.py:\d+: update 'Short' needs a static method update\(w, g, m"):

        class Short(Update):
            histories = ("m",)

            @staticmethod
            def update(w, g, lr):
                return w - lr * g


def test_a_setting_that_hides_a_word_of_updates_is_refused(registered):
    with pytest.raises(KernelError, match="'lr' has a meaning already"):

        class Hiding(Update):
            lr = Float(0.1)

            @staticmethod
            def update(w, g, lr):
                return w - lr * g


def test_a_second_rule_of_a_name_is_refused(registered):
    with pytest.raises(TypeError, match=r"update 'SGD' is already defined in nbcaffe.solver.rules"):
        type("SGD", (Update,), {"update": staticmethod(lambda w, g: w), "__module__": "elsewhere"})
    with pytest.raises(TypeError, match="lr_policy 'step' is already defined"):

        @policy
        def step(s, it):
            return 1.0


@pytest.mark.parametrize(
    ("returned", "said"),
    [("s.base_lrr", "did you mean 'base_lr'"), ("-1.0", "a rate of 0 or more, got -1.0"), ("math.nan", "got nan")],
)
def test_a_policy_that_fails_says_so_before_training(registered, tmp_path, returned, said):
    path = tmp_path / "failing.py"
    head = "import math\nfrom nbcaffe import policy\n\n\n@policy\ndef failing(s, it):\n"
    path.write_text(f"{head}    return {returned}\n")
    text = refused(**{"import": str(path)}, lr_policy="failing")
    assert f"{path}:5: lr_policy 'failing', iteration 0" in text
    assert said in text


def test_a_policy_that_needs_what_does_not_exist_is_refused(registered):
    @policy(needs=("gama",))
    def greek(s, it):
        return s.base_lr

    assert "needs 'gama', which is no setting, did you mean 'gamma'?" in refused(lr_policy="greek")
    with pytest.raises(TypeError, match=r"expected names of settings like \('gamma',\)"):
        policy(needs="gamma")


# Beyond Caffe


def test_warm_up_rises_to_what_the_policy_says():
    spec = spec_of(lr_policy="step", gamma=0.5, stepsize=4, warmup=4)
    assert [rate(spec, it) for it in range(6)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.05, 0.05])


def test_cosine_falls_from_base_lr_to_min_lr():
    spec = spec_of(lr_policy="cosine", max_iter=10, min_lr=0.02)
    assert [rate(spec, it) for it in (0, 5, 10, 12)] == pytest.approx([0.1, 0.06, 0.02, 0.02])
    assert math.isclose(rate(spec, 2) + rate(spec, 8), 0.12)
    assert "max_iter: lr_policy 'cosine' divides by it" in refused(lr_policy="cosine", max_iter=0)


# nbcaffe check


@pytest.mark.parametrize("kind", OF_PACKAGE)
def test_every_rule_passes_its_checks(kind):
    faults = [f"{check}: {finding.fault}" for check, finding in check_rule(kind) if finding.fault]
    assert not faults


def test_a_step_in_the_wrong_direction_is_found(registered):
    class Uphill(Update):
        @staticmethod
        def update(w, g, lr):
            return w + lr * g

    found = dict(check_rule("Uphill"))
    assert "is the sign of the step right?" in found["learns"].fault
    assert found["same bits"].passed


def test_a_policy_is_tried_for_a_thousand_iterations(registered):
    @policy(needs=("max_iter",))
    def sinking(s, it):
        return s.base_lr * (1.0 - 2.0 * it / s.max_iter)

    ((_, finding),) = check_policy("sinking")
    assert "iteration 501: expected a rate of 0 or more, got -" in finding.fault
    assert all(finding.passed for name in ("cosine", "sigmoid", "multistep") for _, finding in check_policy(name))


def test_what_the_page_on_solvers_shows_works(registered, root, tmp_path):
    page = (root / "docs" / "solvers.md").read_text(encoding="utf-8")
    (code,), (settings,) = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "yaml"))
    (tmp_path / "my_solver.py").write_text(code)
    (tmp_path / "solver.yaml").write_text(settings)
    spec = read_solver(tmp_path / "solver.yaml")
    assert (spec.type, spec.beta, rate(spec, 1000)) == ("SignMomentum", 0.95, 0.0005)
    assert all(
        finding.passed for found in (check_rule(spec.type), check_policy(spec.lr_policy)) for _, finding in found
    )
    for name in (*OF_PACKAGE, *(n for n, p in POLICIES.items() if p.rate.__module__.startswith("nbcaffe."))):
        assert f"| `{name}` |" in page
