"""Every golden layer case of real Caffe, through one layer at a time."""

import json
import os
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest

import nbcaffe.layers  # noqa: F401  (defines the layers)
from nbcaffe.layer import REGISTRY
from nbcaffe.single import Single

FOLDER = Path(os.environ.get("NBCAFFE_GOLDEN", Path(__file__).parent / "golden"))
CASES = [(entry["file"], entry["case"], entry["type"]) for entry in json.loads((FOLDER / "MANIFEST.json").read_text())]
CASES = [case for case in CASES if case[0].startswith("layers_")]
EXACT_TOPS = {"Accuracy", "ArgMax", "Flatten", "Split", "Concat", "Silence", "DummyData"}
EXACT_TOPS |= {"BatchReindex", "Crop", "Filter", "Im2col", "Parameter", "Reshape", "Slice", "Tile"}
DRAWN = {"dropout_train"}  # their values depend on Caffe's own random numbers: the law is checked instead


@cache
def opened(name: str) -> h5py.File:
    return h5py.File(FOLDER / name)


def arrays(group, kind: str) -> dict[int, np.ndarray]:
    """Datasets ``kind/<i>`` by number."""
    return {int(i): values[()] for i, values in group[kind].items()} if kind in group else {}


def flat_parameters(layer: dict) -> dict:
    """``{"pooling_param": {...}, "loss_param": {...}}`` as one mapping, as our YAML has it."""
    return {key: value for name, group in layer.items() if name.endswith("_param") for key, value in group.items()}


def agree(what: str, ours: np.ndarray, caffe: np.ndarray, exact: bool = False) -> None:
    assert ours.shape == caffe.shape, f"{what}: shape {ours.shape}, Caffe has {caffe.shape}"
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(caffe), err_msg=f"{what}: NaN elsewhere")
    finite = np.abs(caffe[np.isfinite(caffe)])
    tolerance = 0.0 if exact else 1e-5 * max(1e-3, float(finite.max()) if finite.size else 0.0)
    np.testing.assert_allclose(ours, caffe, rtol=0, atol=tolerance, err_msg=what)


def single(group) -> Single:
    """The case's layer, with its weights."""
    kind, bottoms = group.attrs["type"], arrays(group, "step0/bottom")
    layer = json.loads(group.attrs["layer_json"])
    one = Single(
        kind,
        [bottoms[i].shape for i in range(group.attrs["n_bottom"])],
        phase=group.attrs["phase"],
        inplace=bool(group.attrs["in_place"]),
        num_top=int(group.attrs["n_top"]),
        **flat_parameters(layer),
    )
    for index, values in arrays(group, "param").items():
        one.device.upload(one.layer.weights[index].data, values)
    return one


def check_step(one: Single, group, step, exact: bool) -> None:
    bottoms, tops, top_diffs = arrays(step, "bottom"), arrays(step, "top"), arrays(step, "top_diff")
    result = one.forward(*(bottoms[i] for i in range(len(bottoms))))
    for index, caffe in tops.items():
        agree(f"top {index}", result[index], caffe, exact or (index == 1 and group.attrs["type"] == "Pooling"))
    for index, caffe in arrays(step, "param_after").items():
        agree(f"param {index} after the pass", one.layer.weights[index].data, caffe)
    if not group.attrs["has_backward"]:
        return
    start = arrays(group, "param_diff_init")
    for index, weight in enumerate(one.layer.weights):
        weight.diff[...] = start.get(index, 0.0)
    one.layer.propagate_down = json.loads(group.attrs["propagate_down"])
    bottom_diffs = one.backward(*(top_diffs[i] for i in range(len(top_diffs))))
    for index, caffe in arrays(step, "bottom_diff").items():
        agree(f"bottom diff {index}", bottom_diffs[index], caffe)
    for index, caffe in arrays(step, "param_diff").items():
        if index == 0 and group.attrs["type"] == "Scale" and caffe.size == bottoms[0].size:
            caffe = caffe + start.get(index, 0.0)  # Caffe overwrites here, losing passes of iter_size; we add
        agree(f"param diff {index}", one.layer.weights[index].diff, caffe)


def check_law(one: Single, step) -> None:
    """Dropout: values are dropped or scaled, as many as asked for, and the gradient has the same mask."""
    x, dy = step["bottom/0"][()], step["top_diff/0"][()]
    ratio = one.layer.dropout_ratio
    (y,) = one.forward(x)
    (dx,) = one.backward(dy)
    kept = y != 0
    np.testing.assert_allclose(y, np.where(kept, x / (1 - ratio), 0), rtol=1e-6)
    np.testing.assert_allclose(dx, np.where(kept, dy / (1 - ratio), 0), rtol=1e-6)
    deviation = np.sqrt(ratio * (1 - ratio) / x.size)
    assert abs(kept.mean() - (1 - ratio)) < 4 * deviation


@pytest.mark.parametrize(("file", "case", "kind"), CASES, ids=[case for _, case, _ in CASES])
def test_layer_computes_what_caffe_does(file, case, kind):
    group = opened(file)[case]
    one = single(group)
    if case.startswith(tuple(DRAWN)):
        check_law(one, group["step0"])
        return
    for number in range(group.attrs["n_steps"]):
        check_step(one, group, group[f"step{number}"], exact=kind in EXACT_TOPS)


def test_no_layer_of_the_golden_data_is_forgotten():
    assert {kind for _, _, kind in CASES} <= set(REGISTRY)
