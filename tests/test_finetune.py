"""Fine-tuning: weights by name, what is started anew, what is frozen, and features of a trained net."""

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout

import h5py
import numpy as np
import pytest

import nbcaffe
from nbcaffe.errors import ConfigError, DataError, SnapshotError

TRUNK = """
layers:
  - {name: data, type: Input, top: [data, label], shape: [[4, 1, 6, 6], [4]]}
  - {name: conv1, type: Convolution, bottom: data, num_output: 3, kernel_size: 3, weight_filler: xavier}
  - {name: relu1, type: ReLU}
  - {name: conv2, type: Convolution, num_output: 2, kernel_size: 3, weight_filler: xavier}
  - {name: ip1, type: InnerProduct, num_output: 5, weight_filler: xavier}
  - {name: HEAD, type: InnerProduct, num_output: CLASSES, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [HEAD, label]}
"""


def net(head="ip2", classes=3, **options):
    return nbcaffe.Net(TRUNK.replace("HEAD", head).replace("CLASSES", str(classes)), **options)


def values(net):
    return {name: [np.array(w.data) for w in weights] for name, weights in net.params.items()}


def equal(ours, theirs, layers):
    return all((a == b).all() for name in layers for a, b in zip(ours[name], theirs[name], strict=True))


# Weights by name


def test_the_report_says_what_matched_what_is_missing_and_what_was_not_used(tmp_path):
    old, new = net(seed=1), net("ip3", 7, seed=2)
    old.save(tmp_path / "old.h5")
    report = new.copy_from(tmp_path / "old.h5")
    assert report.matched == ["conv1", "conv2", "ip1"]
    assert (report.missing, report.unused, report.reinit, report.misshaped) == (["ip3"], ["ip2"], [], {})
    assert str(report) == (
        "matched: conv1, conv2, ip1; "
        "warning: without weights in the file, so with their initial values: ip3; unused: ip2"
    )
    assert equal(values(new), values(old), report.matched)


def test_weights_of_another_shape_are_an_error_that_copies_nothing_and_says_how_to_go_on(tmp_path):
    old, new = net(seed=1), net(classes=7, seed=2)
    old.save(tmp_path / "old.h5")
    before = values(new)
    with pytest.raises(SnapshotError) as error:
        new.copy_from(tmp_path / "old.h5")
    assert str(error.value) == (
        "weights do not fit, nothing was copied:\n"
        f"  layer 'ip2': 7x5, 7 in the net, 3x5, 3 in {tmp_path / 'old.h5'}\n"
        "  matched: conv1, conv2, ip1\n"
        "to start these layers anew, rename them in the net, or name them: --reinit ip2"
    )
    assert equal(values(new), before, before)


def test_layers_to_start_anew_keep_their_initial_values_and_are_listed(tmp_path):
    old, new = net(seed=1), net(classes=7, seed=2)
    before = values(new)
    report = new.copy_from(old, reinit=["ip*"])
    assert report.matched == ["conv1", "conv2"] and report.reinit == ["ip1", "ip2"]
    assert report.misshaped == {"ip2": "7x5, 7 in the net, 3x5, 3 in net ''"}
    assert "initialised anew: ip1, ip2 (7x5, 7 in the net" in str(report)
    assert equal(values(new), before, report.reinit) and equal(values(new), values(old), report.matched)


def test_a_wrong_name_to_start_anew_is_an_error_with_the_nearest():
    with pytest.raises(ConfigError, match=r"reinit: no layer 'ip3' with weights, did you mean 'ip2'\?"):
        net().copy_from(net(), reinit=["ip3"])
    with pytest.raises(ConfigError, match="no layer 'relu1' with weights"):
        net().copy_from(net(), reinit="relu1")


@pytest.mark.parametrize("listed", [False, True])
def test_of_several_files_the_later_one_wins_layer_by_layer(tmp_path, listed):
    a, b, new = net(seed=1), net("ip3", 7, seed=2), net("ip3", 7, seed=3)
    a.save(tmp_path / "a.h5")
    b.save(tmp_path / "b.h5")
    names = [str(tmp_path / "b.h5"), str(tmp_path / "a.h5")]
    report = new.copy_from(names if listed else ",".join(names))
    assert report.missing == [] and report.unused == ["ip2"]
    assert equal(values(new), values(a), ["conv1", "conv2", "ip1"]) and equal(values(new), values(b), ["ip3"])


def test_a_file_whose_name_holds_a_comma_is_one_file(tmp_path):
    net(seed=1).save(tmp_path / "a,b.h5")
    assert net(seed=2).copy_from(str(tmp_path / "a,b.h5")).missing == []


def test_a_missing_file_is_named_with_the_nearest_beside_it(tmp_path):
    net().save(tmp_path / "lenet.h5")
    with pytest.raises(DataError, match=r"lenett\.h5: no such weight file, did you mean 'lenet\.h5'\?"):
        net().copy_from(tmp_path / "lenett.h5")


@pytest.mark.parametrize("bias", [True, False])
def test_another_number_of_weights_does_not_fit(bias, tmp_path):
    text = "layers:\n  - {name: a, type: Input, shape: [4, 3]}\n  - {name: x, type: InnerProduct, num_output: 2%s}\n"
    both = [nbcaffe.Net(text % "", nbcaffe.TEST), nbcaffe.Net(text % ", bias_term: false", nbcaffe.TEST)]
    source, target = both if bias else reversed(both)
    with pytest.raises(SnapshotError, match=r"layer 'x': 2x3(, 2)? in the net, 2x3(, 2)? in net"):
        target.copy_from(source)


@pytest.mark.parametrize("ending", ["h5", "caffemodel"])
def test_a_layer_that_borrows_its_first_weight_and_owns_its_second_is_saved_and_loaded(ending, tmp_path):
    if ending == "caffemodel":
        pytest.importorskip("google.protobuf", reason="caffemodels need the extra: pip install 'nbcaffe[caffe]'")
    text = (
        "layers:\n  - {name: a, type: Input, shape: [4, 3]}\n"
        "  - {name: x, type: InnerProduct, num_output: 3, weight_filler: xavier, param: [{name: w}, {}]}\n"
        "  - {name: y, type: InnerProduct, num_output: 3, weight_filler: xavier, param: [{name: w}, {}]}\n"
    )
    one, other = nbcaffe.Net(text, nbcaffe.TEST, seed=1), nbcaffe.Net(text, nbcaffe.TEST, seed=2)
    one.params["y"][1].data[...] = [1, 2, 3]
    one.save(tmp_path / f"w.{ending}")
    assert other.copy_from(tmp_path / f"w.{ending}").missing == []
    assert equal(values(other), values(one), ["x", "y"])


@pytest.mark.parametrize("ending", ["h5", "caffemodel"])
def test_weights_of_an_unrolled_net_are_those_of_its_fused_form(ending, tmp_path):
    if ending == "caffemodel":
        pytest.importorskip("google.protobuf", reason="caffemodels need the extra: pip install 'nbcaffe[caffe]'")
    text = """
layers:
  - {name: x, type: Input, shape: [[4, 3, 5]]}
  - unroll:
      {name: rnn, steps: 4, mode: MODE, inputs: {x: x}, state: {h: {next: h_new, num_output: 6}},
       outputs: {h_new: hidden},
       layers: [{name: xg, type: InnerProduct, bottom: x, num_output: 6, weight_filler: xavier},
                {name: hg, type: InnerProduct, bottom: h, num_output: 6, weight_filler: xavier},
                {name: sum, type: Eltwise, bottom: [xg, hg]}, {name: h_new, type: TanH}]}
"""
    flat, fused = (nbcaffe.Net(text.replace("MODE", mode), seed=k) for k, mode in enumerate(("unrolled", "fused")))
    flat.save(tmp_path / f"w.{ending}")
    report = fused.copy_from(tmp_path / f"w.{ending}")
    assert report.matched == list(fused.params) and not report.missing + report.unused
    assert equal(values(fused), values(flat), flat.params)


def test_a_fully_convolutional_net_takes_the_weights_of_inner_products():
    text = """
layers:
  - {{name: data, type: Input, shape: [1, 2, {size}, {size}]}}
  - {{name: {name}, type: {kind}, num_output: 3, weight_filler: gaussian}}
"""
    plain = nbcaffe.Net(text.format(size=4, name="fc", kind="InnerProduct"), nbcaffe.TEST)
    wide = nbcaffe.Net(text.format(size=7, name="fc-conv", kind="Convolution, kernel_size: 4"), nbcaffe.TEST)
    for mine, theirs in zip(wide.params["fc-conv"], plain.params["fc"], strict=True):
        mine.data.flat = theirs.data.flat
    picture = np.random.default_rng(0).standard_normal((1, 2, 7, 7)).astype(np.float32)
    everywhere = wide.forward(data=picture)["fc-conv"]
    for row, column in np.ndindex(4, 4):
        there = plain.forward(data=picture[:, :, row : row + 4, column : column + 4])["fc"]
        np.testing.assert_allclose(everywhere[:, :, row, column], there, rtol=1e-5, atol=1e-6)


# Freezing


def trained(text, passes=1, **options):
    """A net after some passes over fixed noise."""
    one = nbcaffe.Net(text, **options)
    random = np.random.default_rng(0)
    for _ in range(passes):
        one.forward(data=random.standard_normal(one.blobs["data"].shape), label=np.array([0, 1, 2, 0]))
        one.backward()
    return one


def plain(extra=""):
    return TRUNK.replace("HEAD", "ip2").replace("CLASSES", "3") + extra


def by_lr_mult(name):
    return plain().replace(f"name: {name},", f"name: {name}, param: [{{lr_mult: 0}}, {{lr_mult: 0}}],")


@pytest.mark.parametrize("text", [plain("freeze: [conv1]\n"), by_lr_mult("conv1")], ids=["freeze", "lr_mult"])
@pytest.mark.parametrize("memory", ["keep", "plan"])
def test_no_step_is_bound_below_the_lowest_layer_that_learns(text, memory):
    whole, frozen = trained(plain(), memory=memory), trained(text, memory=memory)
    bound = {one: {one.graph.nodes[i].layer.name for i, (a, b) in one._backward.ranges.items() if b > a}
             for one in (whole, frozen)}  # fmt: skip
    assert bound[whole] == {"conv1", "relu1", "conv2", "ip1", "ip2", "loss"}
    assert bound[frozen] == {"conv2", "ip1", "ip2", "loss"}
    needs = {node.layer.name: node.bottom_need for node in frozen.graph.nodes}
    assert needs["conv2"] == [False] and needs["ip1"] == [True]
    steps = dict(frozen._backward.ranges.items())[3], dict(whole._backward.ranges.items())[3]
    assert steps[0][1] - steps[0][0] < steps[1][1] - steps[1][0], "conv2 computes no gradient of its bottom"
    for layer in ("conv2", "ip1", "ip2"):
        for a, b in zip(frozen.params[layer], whole.params[layer], strict=True):
            np.testing.assert_array_equal(a.diff, b.diff)
    assert not any(w.diff.any() for w in frozen.params["conv1"])


def test_a_frozen_layer_between_learning_ones_passes_its_gradient_on():
    whole, frozen = trained(plain()), trained(plain("freeze: ['ip1']\n"))
    assert not any(w.diff.any() for w in frozen.params["ip1"])
    np.testing.assert_array_equal(frozen.params["conv1"][0].diff, whole.params["conv1"][0].diff)


def test_the_gradients_that_are_cleared_and_measured_end_before_frozen_weights():
    whole, frozen = nbcaffe.Net(plain()), nbcaffe.Net(plain("freeze: ['ip*']\n"))
    rounded = sum(-(-w.count // 16) * 16 for name in ("conv1", "conv2") for w in whole.params[name])
    assert frozen.param_diff.size == rounded < whole.param_diff.size
    assert frozen.param_data.size == whole.param_data.size


DECAYING = """
base_lr: 0.1
momentum: 0.9
weight_decay: 0.5
net_param:
  layers:
    - {name: data, type: DummyData, top: [data, label], shape: [[4, 2, 3, 3], [4]], data_filler: [gaussian, constant]}
    - {name: conv1, type: Convolution, bottom: data, num_output: 3, kernel_size: 2, weight_filler: xavier}
    - {name: bn1, type: BatchNorm, MORE}
    - {name: ip1, type: InnerProduct, num_output: 5, weight_filler: xavier}
    - {name: loss, type: SoftmaxWithLoss, bottom: [ip1, label]}
"""


def after(steps, *overrides, more=""):
    solver = nbcaffe.get_solver(DECAYING.replace(", MORE", more), overrides=overrides)
    for weight, start in zip(solver.net.params["bn1"], ([0.1] * 3, [2.0] * 3, [1.0]), strict=True):
        weight.data[...] = start
    before = values(solver.net)
    solver.step(steps)
    return before, values(solver.net)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_frozen_weights_are_the_same_bits_after_training_whatever_the_decay(kind):
    momentum = [] if kind == "SGD" else ["momentum2=0.999"]
    before, now = after(3, "freeze=[conv1, bn1]", f"type={kind}", *momentum)
    assert equal(now, before, ["conv1", "bn1"]) and not equal(now, before, ["ip1"])


def test_batch_norm_keeps_counting_unless_it_is_frozen():
    before, now = after(3, "freeze=[conv1]")
    assert not equal(now, before, ["bn1"]), "an lr_mult of 0 does not stop Caffe's statistics either"
    before, now = after(3, "freeze=[conv1, bn1]", more=", use_global_stats: false")
    assert not equal(now, before, ["bn1"]), "what the file says holds"


def test_a_frozen_batch_norm_normalizes_with_what_it_has():
    solver = nbcaffe.get_solver(DECAYING.replace(", MORE", ""), overrides=["freeze=[bn1]"])
    assert solver.net.layer_dict["bn1"].stored
    assert "use_global_stats: true" in solver.net.text, "the net of the run folder says it"


def test_a_solver_freezes_by_pattern_and_names_what_it_does_not_find():
    before, now = after(2, "freeze=conv*")
    assert equal(now, before, ["conv1"])
    with pytest.raises(ConfigError, match=r"freeze: no layer 'conv2', did you mean 'conv1'\?"):
        after(1, "freeze=[conv2]")
    with pytest.raises(ConfigError, match="nothing to train"):
        after(1, "freeze=['*']")


def test_show_and_train_say_what_learns(tmp_path, capsys):
    from nbcaffe.cli import main

    (tmp_path / "net.yaml").write_text(plain("freeze: ['conv*']\n"))
    assert main(["show", str(tmp_path / "net.yaml")]) == 0
    out = capsys.readouterr().out
    assert "learning: ip1, ip2; frozen: conv1, conv2; the backward pass ends at ip1" in out
    assert out.count("(frozen)") == 2


# The command line


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small data set, its net and solver, and a folder to work in."""
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = random.standard_normal((25, 1, 6, 6)).astype(np.float32)
        file["label"] = np.arange(25) % 3
    data = "{name: data, type: HDF5Data, top: [data, label], source: data.h5, batch_size: 10}"
    (tmp_path / "net.yaml").write_text(plain().replace(TRUNK.splitlines()[2], f"  - {data}"))
    (tmp_path / "solver.yaml").write_text(
        "net: net.yaml\nbase_lr: 0.01\nmax_iter: 2\ntest_iter: all\ntest_interval: 2\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(capsys, *words):
    """What it printed, and what it complained about."""
    from nbcaffe.cli import main

    code = main([*words])
    out, error = capsys.readouterr()
    assert code == (2 if error else 0), out + error
    return out, error


def test_train_starts_from_several_files_and_leaves_out_what_starts_anew(project, capsys):
    a, b = nbcaffe.Net("net.yaml", seed=5), nbcaffe.Net("net.yaml", seed=6)
    a.save("a.h5")
    b.save("b.h5")
    changed = ("--set", "ip2.num_output=7", "--set", "base_lr=0")
    _, error = command(capsys, "train", "solver.yaml", *changed, "--weights", "a.h5,b.h5")
    assert "7x5, 7 in the net, 3x5, 3 in" in error and "--reinit ip2" in error
    out, _ = command(
        capsys, "train", "solver.yaml", *changed, "--weights", "a.h5,b.h5", "--reinit", "ip2", "--freeze", "conv*"
    )
    assert "matched: conv1, conv2, ip1" in out and "initialised anew: ip2 (7x5, 7 in the net" in out
    assert "frozen: conv1, conv2; the backward pass ends at ip1" in out
    (run,) = (project / "runs").iterdir()
    assert "initialised anew: ip2" in (run / "log.txt").read_text()
    assert "freeze:" in (run / "solver.yaml").read_text()
    end = nbcaffe.Net("net.yaml", overrides=["ip2.num_output=7"], weights=next(run.glob("snapshots/*model.h5")))
    assert equal(values(end), values(b), ["conv1", "conv2", "ip1"])


def test_the_solver_file_can_say_it_and_the_command_line_overrules_it(project, capsys):
    nbcaffe.Net("net.yaml", seed=5).save("a.h5")
    with open("solver.yaml", "a") as file:
        file.write("weights: a.h5\nreinit: ip2\nfreeze: conv1\n")
    out, _ = command(capsys, "train", "solver.yaml")
    assert "initialised anew: ip2" in out and "frozen: conv1" in out
    _, error = command(capsys, "train", "solver.yaml", "--weights", "b.h5")
    assert "b.h5: no such weight file" in error
    (project / "a.h5").unlink()
    out, _ = command(capsys, "train", "solver.yaml", "--resume", "--max-iter", "3")
    assert "resumed from" in out, "a snapshot needs the first weights no more"


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--weights", "a.h5", "--reinit", "ip3"], "reinit: no layer 'ip3' with weights, did you mean 'ip2'?"),
        (["--freeze", "cnv1"], "freeze: no layer 'cnv1', did you mean 'conv1'?"),
        (["--reinit", "ip2"], "reinit: there are no weights to leave out"),
        (["--weights", "c.h5"], "c.h5: no such weight file, did you mean 'a.h5'?"),
    ],
)
def test_wrong_names_are_named_with_the_nearest(options, complaint, project, capsys):
    nbcaffe.Net("net.yaml").save("a.h5")
    assert complaint in command(capsys, "train", "solver.yaml", *options)[1]
    assert not (project / "runs").exists()


def test_scores_of_layers_without_weights_come_with_a_warning(project, capsys):
    nbcaffe.Net("net.yaml").save("a.h5")
    out, _ = command(capsys, "test", "net.yaml", "--weights", "a.h5")
    assert "warning" not in out
    (project / "renamed.yaml").write_text((project / "net.yaml").read_text().replace("ip2", "ip3"))
    out, _ = command(capsys, "test", "renamed.yaml", "--weights", "a.h5")
    assert "warning: without weights in the file, so with their initial values: ip3" in out


def test_a_run_folder_stands_for_its_newest_weights(project, capsys):
    command(capsys, "train", "solver.yaml")
    (run,) = (project / "runs").iterdir()
    newest = next(run.glob("snapshots/*model.h5"))
    assert command(capsys, "test", "net.yaml", "--weights", str(run)) == command(
        capsys, "test", "net.yaml", "--weights", str(newest)
    )


# Features


def test_features_are_those_of_a_forward_pass_one_row_a_sample(project, capsys):
    trained = nbcaffe.Net("net.yaml", nbcaffe.TEST, seed=3)
    trained.save("a.h5")
    out, _ = command(
        capsys, "features", "net.yaml", "--weights", "a.h5", "--blobs", "conv2,ip1,label", "--to", "features.h5"
    )
    assert "features.h5: conv2 25x2x2x2" in out and "warning" not in out
    with h5py.File("data.h5") as data, h5py.File("features.h5") as found:
        assert sorted(found) == ["conv2", "ip1", "label", "sample"]
        np.testing.assert_array_equal(found["label"][()], data["label"][()])
        assert found["sample"].asstr()[24].startswith("sample 24 of ")
        trained.set_batch(25)
        trained.forward(end="ip1")
        np.testing.assert_allclose(found["ip1"][()], trained.blobs["ip1"].data, rtol=1e-5, atol=1e-6)
    assert not list(project.glob(".features*"))


def test_features_of_some_batches_of_untrained_weights(project, capsys):
    out, _ = command(capsys, "features", "solver.yaml", "--blobs", "ip1", "--iterations", "3", "--to", "f.h5")
    assert "f.h5: ip1 30x5" in out and "warning: features of untrained weights: conv1, conv2, ip1" in out


def test_what_features_cannot_do_is_said_and_leaves_no_file(project, capsys):
    start = ("features", "net.yaml", "--to", "f.h5", "--blobs")
    assert "no blob 'ip3', did you mean 'ip" in command(capsys, *start, "ip1,ip3")[1]
    assert "the first axis has to count samples" in command(capsys, *start, "ip1,loss")[1]
    assert "name at least one blob" in command(capsys, *start, ",")[1]
    assert not list(project.glob("*f.h5*"))
    (project / "f.h5").write_bytes(b"mine")
    assert "--force replaces it" in command(capsys, *start, "ip1")[1]
    broken = nbcaffe.Net("net.yaml")
    broken.params["conv1"][0].data[...] = np.nan
    broken.save("nan.h5")
    assert (
        "blob 'ip1' is not finite for sample 0 of"
        in command(capsys, *start, "ip1", "--weights", "nan.h5", "--force")[1]
    )
    assert (project / "f.h5").read_bytes() == b"mine"


# The page


@contextmanager
def chdir(folder):  # contextlib has it since Python 3.11
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.skipif(shutil.which("sh") is None, reason="the page's commands are a shell's")
def test_the_page_works_from_its_first_block_to_its_last(root, tmp_path):
    shutil.copytree(root / "nets" / "digits", tmp_path / "nets" / "digits")
    program = tmp_path / "bin" / "nbcaffe"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nbcaffe "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    page = (root / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    names, said = {"__name__": "page"}, ""
    with chdir(tmp_path), redirect_stdout(io.StringIO()) as printed:
        for language, code in re.findall(r"```(python|yaml|sh)\n(.*?)```", page, re.DOTALL):
            if language == "yaml":
                (tmp_path / code.split()[1]).write_text(code)
            elif language == "python":
                exec(code, names)
            else:
                done = subprocess.run(
                    ["sh", "-ec", code], env={**os.environ, "PATH": path}, capture_output=True, text=True
                )
                assert done.returncode == 0, done.stderr
                said += done.stdout
    (log,) = re.findall(r"```\n(matched.*?)```", page, re.DOTALL)
    assert log in said
    alone, tuned = (float(score) for score in re.findall(r"reached in test net 0: accuracy ([\d.]+)", said))
    assert alone > 0.96 and tuned == pytest.approx(0.772, abs=0.01), "what the page says"
    assert float(re.search(r"nearest mean: ([\d.]+)%", printed.getvalue())[1]) == pytest.approx(70.0, abs=1)
