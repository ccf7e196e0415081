"""Every recipe in nets/ trains to the losses that were recorded.

After a change that is meant to move them: ``PYTHONPATH=. python tests/test_recipes.py`` records them anew.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from stand_ins import STAND_INS

from nbcaffe.solver.loop import Solver
from nbcaffe.solver.recipe_data import fetch_missing

NETS = Path(__file__).resolve().parents[1] / "nets"
SOLVERS = sorted(str(path.relative_to(NETS)) for path in NETS.glob("*/*solver.yaml"))
RECORD = Path(__file__).with_name("recorded_losses.json")
ITERATIONS = 20
# Sums are ordered by vector width and engine, and both differ between CPUs.  Recorded with AVX-512, run with AVX2 and
# with SSE2, the losses of 20 iterations differ by at most 3e-7 of their value (on one thread not at all); a wrong
# gradient is off by far more than this.
TOLERANCE = 1e-5


def train(name, folder, memory="plan"):
    """The losses of a recipe's first iterations, without its tests and snapshots."""
    changes = ["test_interval=0", "snapshot=0", "display=0"]
    if Path(name).parent.name in STAND_INS:
        layer, write = STAND_INS[Path(name).parent.name]
        write(Path(folder) / "data.h5")
        changes.append(f"{layer}.source={Path(folder) / 'data.h5'}")
    solver = Solver(NETS / name, overrides=changes, memory=memory)
    losses = []
    solver.add_callback(on_iteration=losses.append)
    solver.step(ITERATIONS)
    return losses


@pytest.mark.parametrize("memory", ["keep", "plan"])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_recipe_trains_to_the_recorded_losses(name, memory, tmp_path, monkeypatch):
    monkeypatch.setenv("NBCAFFE_ENGINE", "ACCURATE")  # WINOGRAD's errors are ten times those of sums in another order
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
