"""Tiles of pooling and LRN against the plain bodies and float64 NumPy, inside walls that nothing may touch."""

from math import prod
from types import SimpleNamespace

import numpy as np
import pytest

from nbcaffe.layers.pooling import pooled
from nbcaffe.ops import lrn as lrn_module, pooling as pooling_module
from nbcaffe.ops.lrn import TileLrn, lrn
from nbcaffe.ops.plain_lrn import PlainAcross, PlainWithin
from nbcaffe.ops.plain_pooling import PlainPooling
from nbcaffe.ops.pooling import TilePooling, pooling
from nbcaffe.ops.shapes import LrnShape, PoolShape
from nbcaffe.single import Single

WALL = 64  # floats before and behind each array
CANARY = np.float32(-7.0e30)


def pool(planes, size, kernel, stride, pad=0):
    def pair(v):
        return v if isinstance(v, tuple) else (v, v)

    size, kernel, stride, pad = (pair(v) for v in (size, kernel, stride, pad))
    out = tuple(pooled(*axis, False) for axis in zip(size, kernel, stride, pad, strict=True))
    return PoolShape(planes, size, out, kernel, stride, pad)


WINDOWS = {
    "caffenet pool1": pool(3, 55, 3, 2),
    "quick pool1": pool(4, 32, 3, 2),
    "googlenet inception": pool(5, 14, 3, 1, 1),
    "the same of 7": pool(5, 7, 3, 1, 1),
    "the same of 28": pool(3, 28, 3, 1, 1),
    "resnet": pool(2, 112, 3, 2, 1),
    "2x2": pool(3, 24, 2, 2),
    "2x2, half a window at the end": pool(3, 17, 2, 2),
    "googlenet's heads": pool(3, 14, 5, 3),
    "stride larger than the window": pool(2, 23, 2, 3),
    "windows without a cell": pool(2, (7, 11), 1, (3, 5)),
    "one window larger than the plane": pool(2, 5, 9, 1, 4),
    "not square": pool(2, (9, 40), (4, 3), (3, 2), (2, 1)),
    "steps of 4": pool(2, (9, 70), (2, 7), (1, 4), (0, 3)),
    "one row": pool(3, (1, 37), (1, 4), (1, 2)),
    "one cell": pool(6, 1, 1, 1),
    "wide": pool(2, (3, 50), (2, 16), 1, (1, 15)),
}


class Walled:
    """Arrays, each between two walls."""

    def __init__(self):
        self.raws = []

    def __call__(self, shape, dtype="float32", way=""):
        """An array of rubbish that has to be overwritten."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        raw = np.full(prod(shape) + 2 * WALL, CANARY, np.float32)
        inside = raw[WALL : WALL + prod(shape)]
        inside[:] = np.nan
        self.raws.append(raw)
        return SimpleNamespace(data=inside.view(dtype).reshape(shape))

    def holding(self, values):
        box = self(values.shape)
        box.data[...] = values
        return box.data

    @property
    def intact(self):
        return all((end == CANARY).all() for raw in self.raws for end in (raw[:WALL], raw[-WALL:]))


def pool_all(engine, shape, x, dy):
    """y, where, the gradient of MAX, the mean, the gradient of the mean."""
    room = Walled()
    op = engine(shape, room)
    x, dy, out = room.holding(x), room.holding(dy), (shape.planes, *shape.out)
    y, where, dx = room(out).data, room(out, "int32").data, room(x.shape).data
    mean, spread = room(out).data, room(x.shape).data
    op.largest(x, y, where)
    op.chosen(dx, dy, where)
    op.mean(x, mean)
    op.spread(spread, dy)
    assert room.intact, "wrote outside an array"
    return y, where, dx, mean, spread


def values(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((shape.planes, *shape.size)).astype(np.float32)
    return x, rng.standard_normal((shape.planes, *shape.out)).astype(np.float32)


@pytest.mark.parametrize("name", WINDOWS)
def test_tiles_pool_as_the_plain_bodies_do_to_the_bit(name):
    shape = WINDOWS[name]
    x, dy = values(shape)
    for cells in (x, np.round(x), np.where(x < 0.5, np.float32(-np.inf), x)):  # without and with equals; -inf
        results = [pool_all(engine, shape, cells, dy) for engine in (TilePooling, PlainPooling)]
        for what, tile, plain in zip(("y", "where", "dx", "mean"), *results, strict=False):
            np.testing.assert_array_equal(tile, plain, what)
        np.testing.assert_allclose(results[0][4], results[1][4], rtol=3e-7, atol=1e-6)


@pytest.mark.parametrize("name", WINDOWS)
def test_a_nan_reaches_the_windows_that_hold_it_and_no_others(name):
    shape = WINDOWS[name]
    x, dy = values(shape)
    x.reshape(-1)[::29] = np.nan
    x.reshape(-1)[5::37] = -np.float32(np.nan)  # the sign of a NaN says nothing
    y, where, dx, mean, _ = pool_all(TilePooling, shape, x, dy)
    plain, _, _, plain_mean, _ = pool_all(PlainPooling, shape, x, dy)
    np.testing.assert_array_equal(y, plain)
    np.testing.assert_array_equal(mean, plain_mean)
    chosen = np.take_along_axis(x.reshape(shape.planes, -1), np.maximum(where, 0).reshape(shape.planes, -1), 1)
    np.testing.assert_array_equal(
        chosen[where.reshape(chosen.shape) >= 0], y.reshape(chosen.shape)[where.reshape(chosen.shape) >= 0]
    )
    assert np.isfinite(dx).all()


def test_an_infinite_gradient_stays_with_its_window():
    shape = pool(1, 8, 3, 2)
    x, dy = values(shape)
    dy[0, 1, 1] = np.inf
    _, where, dx, _, spread = pool_all(TilePooling, shape, x, dy)
    assert np.flatnonzero(~np.isfinite(dx)).tolist() == [where[0, 1, 1]]
    assert np.argwhere(~np.isfinite(spread[0])).min(0).tolist() == [2, 2] and (~np.isfinite(spread)).sum() == 9


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (5, 40)])
def test_the_mean_of_a_whole_plane(size):
    shape = pool(3, size, size, 1)
    assert shape.whole
    x, dy = values(shape)
    *_, mean, spread = pool_all(PlainPooling, shape, x, dy)
    np.testing.assert_allclose(mean[:, 0, 0], x.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(spread, np.broadcast_to(dy / prod(size), x.shape), rtol=1e-6)


def norm(images, steps, pixels, size, square=False, k=1.0, alpha=0.7):
    return LrnShape(images, steps, pixels, size, square, 1.0 if square else k, alpha / size ** (1 + square), 0.75)


NORMS = {
    "caffenet": norm(2, 96, 27 * 27, 5),
    "few channels": norm(3, 2, 35, 7),
    "one channel of one pixel": norm(2, 1, 1, 5),
    "size 1": norm(2, 4, 17, 1, k=2.0),
    "within, quick": norm(5, 16, 16, 3, True),
    "within, blocks that overlap": norm(2, 9, 71, 3, True),
    "within, 5": norm(2, 33, 17, 5, True),
    "within, 7": norm(2, 6, 55, 7, True),
    "within, size 1": norm(2, 6, 33, 1, True),
    "within, one pixel": norm(4, 1, 1, 3, True),
}


def box(a, shape):
    """Sums over the neighbours, in float64."""
    total = np.zeros_like(a)
    for axis in (1, 2) if shape.square else (1,):
        padded = np.pad(a, [(0, 0), *((shape.reach * (axis == b),) * 2 for b in (1, 2))])
        total = sum(np.take(padded, range(d, d + a.shape[axis]), axis) for d in range(shape.size))
        a = total
    return total


def norm_reference(shape, x, dy):
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    scale = shape.k + shape.alpha * box(x * x, shape)
    return x * scale**-0.75, dy * scale**-0.75 - shape.factor * x * box(dy * x * scale**-1.75, shape)


def normalize(engine, shape, x, dy):
    room = Walled()
    op = engine(shape, room)
    x, dy, y, dx = room.holding(x), room.holding(dy), room(x.shape).data, room(x.shape).data
    op.forward(x, y)
    op.backward(x, dy, dx)
    assert room.intact, "wrote outside an array"
    return y, dx


@pytest.mark.parametrize("name", NORMS)
def test_lrn_computes_what_numpy_does(name):
    shape = NORMS[name]
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((shape.images, shape.steps, shape.pixels)).astype(np.float32) for _ in range(2))
    for engine in (TileLrn, PlainWithin if shape.square else PlainAcross):
        for got, expected in zip(normalize(engine, shape, x, dy), norm_reference(shape, x, dy), strict=True):
            np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["caffenet", "within, blocks that overlap"])
def test_lrn_spreads_a_nan_to_its_neighbours_and_no_further(name):
    shape = NORMS[name]
    x, dy = (np.ones((shape.images, shape.steps, shape.pixels), np.float32) for _ in range(2))
    x[1, 4, 20] = np.nan
    y, dx = normalize(TileLrn, shape, x, dy)
    expected_y, expected_dx = norm_reference(shape, x, dy)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected_y))
    np.testing.assert_array_equal(np.isnan(dx), np.isnan(expected_dx))


def test_bits_do_not_depend_on_the_threads(monkeypatch):
    window, across = WINDOWS["caffenet pool1"], NORMS["caffenet"]
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((across.images, across.steps, across.pixels)).astype(np.float32) for _ in range(2))
    seen = []
    for threads in (1, 2, 7):
        for module in (lrn_module, pooling_module):
            monkeypatch.setattr(module, "get_num_threads", lambda threads=threads: threads)
        seen.append([*pool_all(TilePooling, window, *values(window)), *normalize(TileLrn, across, x, dy)])
    for other in seen[1:]:
        for first, second in zip(seen[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.fixture
def wide_registers(monkeypatch):
    """Engines are chosen as on a host with AVX-512; tiles compile for any."""
    for module in (lrn_module, pooling_module):
        monkeypatch.setattr(module, "masks", lambda: True)
    monkeypatch.setattr(lrn_module, "has", lambda feature: True)


def test_each_case_has_the_engine_that_can_do_it(wide_registers):
    window, room = WINDOWS["caffenet pool1"], Walled()
    assert isinstance(pooling(window, room, "float32", "cpu"), TilePooling)
    assert isinstance(pooling(window, room, "float64", "cpu"), PlainPooling)
    assert isinstance(pooling(window, room, "float32", "cuda"), PlainPooling)
    assert isinstance(pooling(pool(1, 40, 17, 1), room, "float32", "cpu"), PlainPooling)
    assert isinstance(lrn(NORMS["within, quick"], room, "float32", "cpu"), TileLrn)
    assert isinstance(lrn(NORMS["within, quick"], room, "float64", "cpu"), PlainWithin)
    assert isinstance(lrn(LrnShape(1, 4, 4, 5, False, 1.0, 1.0, 0.5), room, "float32", "cpu"), PlainAcross)


def test_lrn_and_pooling_by_tiles_take_no_work_space(wide_registers):
    assert Single("LRN", [(2, 6, 4, 4)]).layer.buffers == []
    assert Single("LRN", [(2, 6, 4, 4)], norm_region="WITHIN_CHANNEL").layer.buffers == []
    assert Single("Pooling", [(2, 6, 4, 4)], pool="AVE", kernel_size=2).layer.buffers == []
