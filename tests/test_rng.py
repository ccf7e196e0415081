"""Random bits: published answers, one order an epoch, fillers with the laws of real Caffe."""

import json

import numpy as np
import pytest

from nbcaffe import rng
from nbcaffe.device import get_device
from nbcaffe.fillers import FILLERS, fill
from nbcaffe.kernel import kernel
from nbcaffe.params import FillerSpec
from nbcaffe.rng import philox

ONES = 0xFFFFFFFF
KNOWN = [  # key, hi, lo -> the two words: the answers that Random123 publishes for philox2x32-10
    (0, 0, 0, 0xFF1DAE59, 0x6CD10DF2),
    (ONES, ONES, ONES, 0x2C3F628B, 0xAB4FD7AD),
    (0x13198A2E, 0x85A308D3, 0x243F6A88, 0xDD7CE038, 0xF62A4C12),
]


@kernel
def both_words(i, first, second, key, hi):
    first[i], second[i] = philox(key, hi, i)


@pytest.mark.parametrize(("key", "hi", "lo", "first", "second"), KNOWN)
def test_philox_gives_the_published_answers(key, hi, lo, first, second):
    assert philox(key, hi, lo) == (first, second)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize(("key", "hi"), [(0, 0), (ONES, ONES), (0x13198A2E, 2**40 + 3)])
def test_kernels_draw_the_bits_that_the_host_draws(target, key, hi):
    device, n = get_device(target), 9
    first, second = device.zeros(n, np.int64), device.zeros(n, np.int64)
    both_words[n](first, second, key, hi)
    drawn = [device.download(a).astype(np.uint64) for a in (first, second)]
    np.testing.assert_array_equal(drawn, rng.words(key, hi, n))


def test_uniform_numbers_are_below_1_and_normal_ones_are_normal():
    key, n = rng.key(7, "law"), 200_000
    uniform, normal = rng.uniform(key, n), rng.normal(key, n)
    assert 0.0 <= uniform.min() < 1e-4 and 1.0 - 1e-4 < uniform.max() < 1.0
    assert abs(uniform.mean() - 0.5) < 0.003 and abs(np.var(uniform) - 1 / 12) < 0.001
    assert abs(normal.mean()) < 0.01 and abs(normal.std() - 1.0) < 0.01
    assert abs((np.abs(normal) < 1.0).mean() - 0.6827) < 0.005 and abs((normal**4).mean() - 3.0) < 0.1


def test_an_order_holds_every_sample_once_and_each_epoch_has_its_own():
    key, n = rng.key(1, "data"), 1000
    orders = [rng.permutation(key, epoch, n) for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(n))
        assert (order == np.arange(n)).sum() < 10  # one fixed point is expected
    assert (orders[0] == orders[1]).sum() < 10 and (orders[1] == orders[2]).sum() < 10
    np.testing.assert_array_equal(rng.permutation(key, 1, n), orders[1])
    assert (rng.permutation(rng.key(2, "data"), 1, n) == orders[1]).sum() < 10


def test_a_key_depends_on_the_seed_and_on_each_name():
    keys = {rng.key(1), rng.key(2), rng.key(1, "a"), rng.key(1, "b"), rng.key(1, "a", 0), rng.key(1, "a", 1)}
    assert len(keys) == 6 and all(0 <= key <= ONES for key in keys)
    assert rng.key(1, "a", 0) == rng.key(1, "a", 0)


@pytest.fixture(scope="module")
def misc(golden):
    return json.loads((golden / "misc.json").read_text())


def spec_of(entry):
    """``{"filler": "uniform", "fields": "min:-0.3 max:0.5"}`` as a filler."""
    given = dict(field.split(":") for field in entry["fields"].split())
    return FillerSpec(entry["filler"], **{k: v if k == "variance_norm" else float(v) for k, v in given.items()})


def test_random_fillers_have_the_moments_of_caffes(misc):
    for number, entry in enumerate(misc["fillers_random_moments"]):
        values, what = fill(spec_of(entry), tuple(entry["shape"]), rng.key(11, number)), str(entry)
        deviation = entry["std"]
        assert abs(values.mean() - entry["mean"]) < 6 * deviation / np.sqrt(values.size), what
        assert abs(values.std() / deviation - 1) < 0.02, what
        assert abs((values != 0).mean() - entry["nonzero_fraction"]) < 0.004, what
        within = 0.001 if entry["filler"] in ("xavier", "uniform", "positive_unitball") else 0.25  # tails of a normal
        width = entry["max"] - entry["min"]
        assert abs(values.min() - entry["min"]) < within * width, what
        assert abs(values.max() - entry["max"]) < within * width, what


def test_a_positive_unitball_sums_to_1_in_each_row():
    values = fill(FillerSpec("positive_unitball"), (5, 3, 4), 1)
    np.testing.assert_allclose(values.reshape(5, -1).sum(axis=1), 1.0)
    assert (values >= 0).all()


def test_bilinear_filler_is_exactly_caffes(misc):
    assert misc["fillers_deterministic"]
    for entry in misc["fillers_deterministic"]:
        shape = tuple(entry["shape"])
        ours = fill(FillerSpec(**entry["filler"]), shape, 0).astype(np.float32)
        np.testing.assert_allclose(ours.ravel(), np.array(entry["values"], np.float32), rtol=2e-7, err_msg=str(shape))


def test_no_filler_is_forgotten(misc):
    tried = {entry["filler"] for entry in misc["fillers_random_moments"]}
    assert tried | {entry["filler"]["type"] for entry in misc["fillers_deterministic"]} | {"constant"} == set(FILLERS)
    np.testing.assert_array_equal(fill(FillerSpec("constant", value=0.25), (2, 3), 0), np.full((2, 3), 0.25))


def test_numbers_made_part_by_part_are_those_of_their_counters():
    n = 2 * rng.PART + 3
    np.testing.assert_array_equal(rng.uniform(7, n, hi=2), rng.words(7, 2, n)[0] / 2.0**32)
    assert rng.normal(7, n, hi=2)[rng.PART + 1] == rng.normal(7, rng.PART + 2, hi=2)[-1]
