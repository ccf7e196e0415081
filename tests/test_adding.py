"""The adding problem (Hochreiter and Schmidhuber 1997): gradients of a loss at the end reach what came long before.

Each step has a number, uniform in [0, 1), and a mark; one step of each half is marked, and after the last step the net
is to say the sum of their two numbers.  To say 1 always has a mean squared error of 1/6.
"""

import numpy as np
import pytest

from nbcaffe import rng
from nbcaffe.solver.loop import Solver

ALWAYS_ONE = 1 / 6
SAMPLES, UNITS = 20, 32


def adding(steps, number):
    """Batch ``number``: the sequences (T, N, 2) and their sums (N, 1)."""
    values = rng.uniform(rng.key(steps, "values"), steps * SAMPLES, number).reshape(steps, SAMPLES)
    places = rng.uniform(rng.key(steps, "places"), 2 * SAMPLES, number).reshape(2, SAMPLES)
    half = steps // 2
    marks = np.zeros((steps, SAMPLES))
    for start, place in zip((0, half), places, strict=True):
        marks[start + (place * half).astype(int), np.arange(SAMPLES)] = 1
    return np.stack([values, marks], 2), (values * marks).sum(0)[:, None]


def layer(name, kind, **keys):
    return {"name": name, "type": kind, **keys}


def solver_of(cell, steps, iterations):
    remember = {"type": "constant", "value": 1}  # gates that are open at first
    return Solver(
        {
            "net_param": {
                "layers": [
                    layer("input", "Input", top=["data", "sum"], shape=[[steps, SAMPLES, 2], [SAMPLES, 1]]),
                    layer("cell", cell, bottom="data", num_output=UNITS, weight_filler="xavier", bias_filler=remember),
                    layer("cut", "Slice", axis=0, top=["before", "last"], slice_point=steps - 1),
                    layer("end", "Reshape", bottom="last", shape=[SAMPLES, UNITS]),
                    layer("guess", "InnerProduct", num_output=1, weight_filler="xavier"),
                    layer("loss", "EuclideanLoss", bottom=["guess", "sum"]),
                    layer("silence", "Silence", bottom="before"),
                ]
            },
            "type": "Adam",
            "base_lr": 0.02,
            "momentum": 0.9,
            "lr_policy": "poly",
            "power": 1,
            "max_iter": iterations,
            "clip_gradients": 1,
            "random_seed": 1,
            "snapshot_after_train": False,
        },
        memory="plan",
    )


def error(cell, steps, iterations, scored=50):
    """Mean squared error of the last ``scored`` batches, each of which the net sees for the first time."""
    solver, found = solver_of(cell, steps, iterations), []
    solver.add_callback(on_iteration=lambda loss: found.append(2 * loss))  # EuclideanLoss is half of it
    for number in range(iterations):
        for name, values in zip(("data", "sum"), adding(steps, number), strict=True):
            solver.net.blobs[name].data[...] = values
        solver.step(1)
    return np.mean(found[-scored:])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_what_came_30_steps_before_is_learned(cell):
    assert error(cell, 30, 600) < ALWAYS_ONE / 8


@pytest.mark.slow
@pytest.mark.parametrize("cell, iterations", [("LSTM", 1500), ("GRU", 800)])
def test_what_came_100_steps_before_is_learned(cell, iterations):
    assert error(cell, 100, iterations) < ALWAYS_ONE / 20


def test_saying_one_has_the_error_that_it_is_compared_with():
    sums = np.concatenate([adding(30, number)[1] for number in range(500)])
    assert np.mean((sums - 1) ** 2) == pytest.approx(ALWAYS_ONE, rel=0.03)
