"""Snapshots and run folders: resumed runs end in the same bits, and nothing is ever half-written."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_solver import NET, tiny, weights

from nbcaffe.errors import NbcaffeError, SnapshotError
from nbcaffe.solver.run_folder import RunFolder, find_snapshot
from nbcaffe.solver.signals import Signals
from nbcaffe.solver.snapshot import newest
from nbcaffe.solver.states import FORMATS

STATE, MODEL = FORMATS["HDF5"]

__all__ = ["tiny"]  # the fixture; pytest finds it by its name here


def state_of(one):
    """Everything that the rest of a run depends on."""
    cursors = {name: source.cursor for name, source in one.net.sources.items()}
    return one.iter, weights(one).tobytes(), one.update.histories[0].tobytes(), int(one.net.clock[0]), cursors


def test_a_resumed_run_ends_in_the_bits_of_the_unbroken_one(tiny):
    whole, first, second = tiny(snapshot=100), tiny(snapshot=100), tiny(snapshot=100)
    whole.step(12)
    first.step(7)
    second.restore(first.snapshot())
    assert state_of(second) == state_of(first)
    second.step(5)
    assert state_of(second) == state_of(whole)


def test_the_mean_of_the_losses_goes_on_too(tiny):
    whole, first, second = (tiny(average_loss=4, display=1) for _ in range(3))
    seen, resumed = [], []
    whole.add_callback(on_metrics=seen.append)
    second.add_callback(on_metrics=resumed.append)
    whole.step(9)
    first.step(6)
    second.restore(first.snapshot())
    second.step(3)
    assert resumed == seen[6:]


def test_snapshots_fall_due_at_every_interval_and_at_the_end(tiny, tmp_path):
    tiny(snapshot=5).solve()
    names = sorted(path.name for path in (tmp_path / "snap").iterdir())
    assert names == sorted(f"tiny_iter_{n}{ending}" for n in (5, 10, 12) for ending in (MODEL, STATE))
    assert newest(tmp_path / "snap").name == f"tiny_iter_12{STATE}"


def test_the_layout_is_that_of_caffe(tiny, golden):
    one = tiny()
    one.step(3)
    ours = h5py.File(one.snapshot())
    theirs = h5py.File(next((golden / "files" / "snapshot_sgd_conv").glob(f"*{STATE}")))
    assert set(theirs) <= set(ours)
    for key in ("iter", "current_step"):
        assert (ours[key].shape, ours[key].dtype) == (theirs[key].shape, theirs[key].dtype)
    assert ours["iter"][0] == 3
    assert ours["history/0"].shape == one.net.params["ip"][0].shape
    learned_net = Path(ours["learned_net"][()].decode())
    with h5py.File(learned_net) as file:
        np.testing.assert_array_equal(file["data/ip/0"][()], one.net.params["ip"][0].data)


def test_the_state_holds_what_a_resume_needs_and_what_made_it(tiny):
    one = tiny(test_iter=1, test_interval=3)
    one.step(4)
    with h5py.File(one.snapshot()) as file:
        ours = file["nbcaffe"]
        assert json.loads(ours["train"].asstr()[()]) == {"clock": 4, "cursors": {"data": [0, 32]}}
        assert json.loads(ours["seed"].asstr()[()]) == 1701
        assert {"nbcaffe", "numba", "numpy"} <= set(json.loads(ours["versions"].asstr()[()]))
        assert "base_lr: 0.05" in ours["solver"].asstr()[()]
        assert ours["net"].asstr()[()] == one.net.text


def test_a_state_by_caffe_itself_is_read(tiny):
    one, other = tiny(), tiny()
    one.step(3)
    path = one.snapshot()
    with h5py.File(path, "r+") as file:
        del file["nbcaffe"]
    other.restore(path)
    assert other.iter == 3
    np.testing.assert_array_equal(weights(other), weights(one))


def test_a_moved_snapshot_finds_its_weights_beside_it(tiny, tmp_path):
    one, other = tiny(), tiny()
    one.step(2)
    moved = one.snapshot().parent.rename(tmp_path / "elsewhere")
    other.restore(newest(moved))
    assert other.iter == 2


# What does not fit


def refusal(one, path):
    before = state_of(one)
    with pytest.raises(SnapshotError) as caught:
        one.restore(path)
    assert state_of(one) == before
    return str(caught.value)


def test_a_snapshot_that_does_not_fit_is_refused_with_all_reasons(tiny):
    one, other = tiny(), tiny()
    one.step(2)
    path = one.snapshot()
    notes = {"train": {"clock": 2, "cursors": {"nodata": [0, 8]}}}
    with h5py.File(path, "r+") as file:
        del file["nbcaffe/train"], file["nbcaffe/model_sha256"], file["history/0"]
        file["nbcaffe/train"] = json.dumps(notes["train"])
        file["history/0"] = np.zeros((2, 2), np.float32)
    with h5py.File(path.with_name(path.name.replace(STATE, MODEL)), "r+") as file:
        file["data/ip9/0"] = np.zeros(3, np.float32)
        del file["data/ip/0"]
        file["data/ip/0"] = np.zeros((3, 3), np.float32)
    message = refusal(other, path)
    for part in ("layer 'ip': weights [(1, 5)]", "'ip9'", "history 0", "data layer 'nodata'"):
        assert part in message


def test_a_smaller_data_set_is_refused(tiny):
    one, other = tiny(), tiny()
    one.step(2)
    path = one.snapshot()
    with h5py.File(path, "r+") as file:
        del file["nbcaffe/train"]
        file["nbcaffe/train"] = json.dumps({"clock": 2, "cursors": {"data": [0, 71]}})
    assert "70 samples" in refusal(other, path)


def test_weights_of_another_snapshot_are_refused(tiny):
    one, other = tiny(), tiny()
    one.step(2)
    path = one.snapshot()
    one.step(1)
    one.net.save(path.with_name(path.name.replace(STATE, MODEL)))
    assert "not the weights that" in refusal(other, path)


def test_a_file_that_is_no_state_is_refused(tiny, tmp_path):
    one = tiny()
    one.step(2)
    path = one.snapshot()
    assert "no such snapshot" in refusal(one, tmp_path / "none.solverstate.h5")
    assert "--weights" in refusal(one, path.with_name(path.name.replace(STATE, MODEL)))
    path.write_bytes(path.read_bytes()[:1000])
    assert "truncated" in refusal(one, path)
    path.with_name(path.name.replace(STATE, MODEL)).unlink()


# Disks that fill up, and folders that cannot be written


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_full_disk_leaves_nothing_half_written(tiny, tmp_path, monkeypatch, step, call):
    one = tiny()
    one.step(2)
    good = one.snapshot()
    one.step(1)
    kept = {path: path.read_bytes() for path in good.parent.iterdir()}
    real, calls = getattr(os, step.split(".")[1]), []

    def sometimes(*args):
        calls.append(args)
        return full() if len(calls) == call else real(*args)

    monkeypatch.setattr(step, sometimes)
    with pytest.raises(SnapshotError, match="No space left on device"):
        one.snapshot()
    assert {path: path.read_bytes() for path in good.parent.iterdir()} == kept


def test_a_disk_limit_of_the_system_is_one_message_too(tiny, tmp_path):
    resource = pytest.importorskip("resource")
    one = tiny()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(SnapshotError, match="could not be written: File too large"):
            one.snapshot()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "snap").iterdir())


def test_a_place_that_is_no_folder_is_one_message(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    one = tiny(snapshot_prefix=str(tmp_path / "file" / "tiny"))
    with pytest.raises(SnapshotError, match="could not be written"):
        one.snapshot()


def test_the_run_goes_on_from_the_snapshot_before_after_a_full_disk(tiny, monkeypatch):
    one, other, whole = tiny(), tiny(), tiny()
    one.step(4)
    good = one.snapshot()
    one.step(3)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(SnapshotError):
            one.snapshot()
    other.restore(newest(good.parent))
    other.step(3)
    whole.step(7)
    assert state_of(other) == state_of(whole)


# Signals


def send(one, number, at):
    one.add_callback(on_iteration=lambda loss: os.kill(os.getpid(), number) if one.iter == at else None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_finishes_the_iteration_and_writes_a_snapshot(tiny, number):
    one, other, whole = tiny(), tiny(), tiny()
    before = signal.getsignal(number)
    send(one, number, at=5)
    one.solve()
    assert (one.iter, one.stopped_by) == (5, number)
    assert signal.getsignal(number) is before
    other.solve(resume=one.last_snapshot)
    whole.solve()
    assert state_of(other) == state_of(whole)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_hangup_writes_a_snapshot_and_goes_on(tiny):
    one = tiny(snapshot_after_train=False)
    send(one, signal.SIGHUP, at=5)
    one.solve()
    assert one.iter == 12
    assert one.last_snapshot.name == f"tiny_iter_5{STATE}"


def test_a_second_stop_signal_stops_at_once():
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.stop == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


# Run folders and the verbs


def test_two_runs_of_one_second_have_a_folder_each(tmp_path):
    paths = [RunFolder(tmp_path / "runs", "a").path for _ in range(3)]
    assert len(set(paths)) == 3
    assert all((path / "snapshots").is_dir() for path in paths)


def test_the_newest_run_with_a_snapshot_is_resumed(tmp_path):
    def run(name, *snapshots):
        (tmp_path / name / "snapshots").mkdir(parents=True)
        for snapshot in snapshots:
            (tmp_path / name / "snapshots" / f"a_iter_{snapshot}{STATE}").touch()

    run("a-20260101-000000", 900)
    run("a-20260102-000000-2", 5, 100, 20)
    run("a-20260102-000000-10", 7)
    run("a-20260103-000000")
    run("a-b-20260104-000000", 1)
    assert find_snapshot("latest", tmp_path, "a").parts[-3] == "a-20260102-000000-10"
    assert find_snapshot(str(tmp_path / "a-20260102-000000-2"), tmp_path, "a").name == f"a_iter_100{STATE}"
    with pytest.raises(SnapshotError, match="no run of 'c'"):
        find_snapshot("latest", tmp_path, "c")


def test_metrics_are_json_also_where_a_score_is_not_finite(tmp_path):
    folder = RunFolder(tmp_path, "a")
    folder.metrics({"iter": 1, "loss": float("nan"), "accuracy": [0.5, float("inf")]})
    line = (folder.path / "metrics.jsonl").read_text()
    assert json.loads(line) == {"iter": 1, "loss": None, "accuracy": [0.5, None]}


@pytest.fixture
def project(tiny, tmp_path, monkeypatch):
    """A folder with a net, its data and a solver file, as a user has it."""
    (tmp_path / "net.yaml").write_text(NET)
    settings = "net: net.yaml\nbase_lr: 0.05\nmomentum: 0.9\nmax_iter: 400\n"
    (tmp_path / "lr.yaml").write_text(settings + "display: 100\ntest_iter: all\ntest_interval: 200\nsnapshot: 5\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nbcaffe(*words):
    return [sys.executable, "-m", "nbcaffe", *words]


def model(project, run, n):
    with h5py.File(next((project / run).glob(f"*/snapshots/*_iter_{n}{MODEL}"))) as file:
        return file["data/ip/0"][()]


def test_train_fills_a_run_folder_and_says_what_was_reached(project):
    done = subprocess.run(nbcaffe("train", "lr.yaml", "--max-iter", "20"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (run,) = (project / "runs").iterdir()
    files = {"net.yaml", "test_net_0.yaml", "solver.yaml", "environment.json", "log.txt", "metrics.jsonl", "snapshots"}
    assert {path.name for path in run.iterdir()} == files
    assert re.fullmatch(r"lr-\d{8}-\d{6}", run.name)
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(entry["iter"], entry["phase"], entry["net"]) for entry in entries] == [
        (0, "TEST", 0),
        (0, "TRAIN", 0),
        (20, "TEST", 0),
    ]
    assert json.loads((run / "environment.json").read_text())["seed"] == 1701
    last = done.stdout[done.stdout.index("done: iteration 20") :]
    assert f"runs/{run.name}" in last
    commands = last[last.index("to try next:") :].splitlines()[1:]
    assert len(commands) == 3
    words = commands[0].split()[1:]
    assert subprocess.run(nbcaffe(*words), capture_output=True, text=True, timeout=120).stdout.startswith("loss ")


def test_a_place_for_runs_that_is_a_file_is_one_message_and_an_exit_code(project):
    (project / "file").touch()
    done = subprocess.run(nbcaffe("train", "lr.yaml", "--runs", "file"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "name a folder with --runs" in done.stderr


def killed_and_resumed(project, times, seed):
    """Kill a run at random moments, resume it each time, and return its last weights."""
    moments, words = random.Random(seed), nbcaffe("train", "lr.yaml", "--quiet", "--runs", "broken")
    for _ in range(times):
        child = subprocess.Popen([*words, *resume(project)], stdout=subprocess.DEVNULL)
        seen = set(project.glob(f"broken/*/snapshots/*{STATE}"))
        while child.poll() is None and set(project.glob(f"broken/*/snapshots/*{STATE}")) == seen:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        child.send_signal(signal.SIGKILL)
        child.wait()
    subprocess.run([*words, *resume(project)], check=True, stdout=subprocess.DEVNULL, timeout=300)
    return model(project, "broken", 400)


def resume(project):
    try:
        return ["--resume", str(find_snapshot("latest", project / "broken", "lr"))]
    except NbcaffeError:
        return []


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_and_resumed_ends_in_the_same_bits(project, times):
    subprocess.run(nbcaffe("train", "lr.yaml", "--quiet", "--runs", "whole"), check=True, stdout=subprocess.DEVNULL)
    np.testing.assert_array_equal(killed_and_resumed(project, times, seed=times), model(project, "whole", 400))
