"""Every file in examples/ works: what it defines passes its checks, nets load, solvers learn and resume."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nbcaffe import Net, Solver
from nbcaffe.yamlfile import load

FOLDER = Path(__file__).resolve().parents[1] / "examples"
CODE = sorted(FOLDER.glob("*.py"))
FILES = {path: load(path) for path in sorted(FOLDER.rglob("*.yaml"))}
NETS = [path for path, document in FILES.items() if "layers" in document]
SOLVERS = [path for path, document in FILES.items() if "base_lr" in document]
PARTS = 20  # of a run: its first and its last iterations


def name(path):
    return str(path.relative_to(FOLDER))


@pytest.fixture(scope="module")
def checked():
    """What `nbcaffe check` says of all files: one process, since it gives each file a module of its own."""
    command = [sys.executable, "-m", "nbcaffe", "check", *map(str, CODE), "--device", "sim"]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_layer_update_and_policy_passes_its_checks(checked):
    assert checked.returncode == 0, checked.stdout[-3000:] + checked.stderr


@pytest.mark.parametrize("path", CODE, ids=name)
def test_every_file_defines_something_that_is_checked_and_says_what_it_is(path, checked):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = {
        node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
    }
    titles = {line.strip() for line in checked.stdout.splitlines()}
    assert defined & titles
    assert f"| [{path.name}]({path.name}) |" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NETS, ids=name)
def test_every_net_runs_in_both_phases_and_reads_back_from_its_text(path):
    for phase in ("TRAIN", "TEST"):
        net = Net(path, phase)
        net.forward()
        assert list(Net(net.text, phase).layer_dict) == list(net.layer_dict)


@pytest.mark.parametrize("path", SOLVERS, ids=name)
def test_every_solver_lowers_its_loss(path, tmp_path):
    one, losses = solver(path, tmp_path), []
    one.add_callback(on_iteration=losses.append)
    one.step(one.spec.max_iter)
    assert np.mean(losses[-PARTS:]) < 0.5 * np.mean(losses[:PARTS])


@pytest.mark.parametrize("path", SOLVERS, ids=name)
def test_every_solver_goes_on_from_a_snapshot_in_the_same_bits(path, tmp_path):
    whole, first, second = (solver(path, tmp_path) for _ in range(3))
    whole.step(35)
    first.step(25)
    second.restore(first.snapshot())
    assert cursors(second) == cursors(first)
    second.step(10)
    assert cursors(second) == cursors(whole)
    for one, other in zip(parts(whole), parts(second), strict=True):
        np.testing.assert_array_equal(one, other)


def solver(path, folder):
    overrides = [f"snapshot_prefix={folder / 'run'}", "test_interval=0", "test_iter=[]", "snapshot=0"]
    return Solver(path, overrides=overrides)


def cursors(one):
    return {key: source.cursor for key, source in one.net.sources.items()}


def parts(one):
    """Each weight, and its part of each history."""
    for weight in one.net.graph.learnable:
        for arena in (one.net.param_data, *one.update.histories):
            yield arena[weight.offset : weight.offset + weight.count]
