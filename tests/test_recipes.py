"""Every recipe in nets/ trains to the losses that were recorded.

After a change that is meant to move them: ``PYTHONPATH=. python tests/test_recipes.py`` records them anew.
"""

import json
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from nbcaffe.solver.loop import Solver
from nbcaffe.solver.recipe_data import fetch_missing

NETS = Path(__file__).resolve().parents[1] / "nets"
SOLVERS = sorted(str(path.relative_to(NETS)) for path in NETS.glob("*/*solver.yaml"))
RECORD = Path(__file__).with_name("recorded_losses.json")
ON_MNIST = ("lenet", "mnist_autoencoder")  # its files are fetched, not part of the repository
ITERATIONS = 20
# Sums are ordered by vector width and engine, and both differ between CPUs.  Recorded with AVX-512, run with AVX2 and
# with SSE2, the losses of 20 iterations differ by at most 3e-7 of their value (on one thread not at all); a wrong
# gradient is off by far more than this.
TOLERANCE = 1e-5


def stand_in(folder):
    """A file of MNIST's shape, which is not part of the repository: bars, one place for each digit, under noise."""
    count, size = 2000, 28
    label = np.arange(count) % 10
    pixel = np.arange(count * size * size, dtype=np.int64).reshape(count, 1, size, size)
    noise = pixel * 2654435761 % 4294967296 >> 26  # the last bits of Knuth's multiplicative hash: 0 to 63
    row = np.arange(size)[:, None]
    bar = abs(row - 2 - label[:, None, None, None] * 5 // 2) < 2
    path = Path(folder) / "mnist.h5"
    with h5py.File(path, "w") as file:
        file["data"] = (noise + 190 * bar).astype(np.uint8)
        file["label"] = label.astype(np.uint8)
    return path


def train(name, folder, memory="plan"):
    """The losses of a recipe's first iterations, without its tests and snapshots."""
    changes = ["test_interval=0", "snapshot=0", "display=0"]
    if Path(name).parent.name in ON_MNIST:
        changes.append(f"data.source={stand_in(folder)}")
    solver = Solver(NETS / name, overrides=changes, memory=memory)
    losses = []
    solver.add_callback(on_iteration=losses.append)
    solver.step(ITERATIONS)
    return losses


@pytest.mark.parametrize("memory", ["keep", "plan"])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_recipe_trains_to_the_recorded_losses(name, memory, tmp_path):
    recorded = json.loads(RECORD.read_text())
    assert train(name, tmp_path, memory) == pytest.approx(recorded[name], rel=TOLERANCE)


def test_nothing_is_recorded_that_is_no_recipe():
    assert sorted(json.loads(RECORD.read_text())) == SOLVERS


def test_recorded_losses_fall():
    for losses in json.loads(RECORD.read_text()).values():
        assert np.mean(losses[-5:]) < 0.9 * losses[0]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = {name: train(name, folder) for name in SOLVERS}
    RECORD.write_text(json.dumps(found, indent=1) + "\n")


def test_missing_data_of_a_recipe_are_fetched_before_the_net_is_built(root, tmp_path, monkeypatch):
    wanted = []
    monkeypatch.setattr("nbcaffe.solver.recipe_data.ensure", wanted.append)
    (tmp_path / "net.yaml").write_text((root / "nets/lenet/net.yaml").read_text())
    fetch_missing([tmp_path / "net.yaml"])
    assert wanted == [tmp_path / "data/train.h5", tmp_path / "data/test.h5"]
