"""Every engine of convolution and product against float64 NumPy, inside walls that nothing may touch."""

import itertools
import subprocess
import sys
from functools import partial
from math import prod
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from nbcaffe.kernel import recording
from nbcaffe.ops import arena, depthwise, direct, direct_product, host, winograd
from nbcaffe.ops.choose import convolution
from nbcaffe.ops.engines import CONV_ENGINES, PRODUCT_ENGINES
from nbcaffe.ops.shapes import ConvShape, ProductShape

WALL = 64  # floats before and behind each array
CANARY = np.float32(-7.0e30)


def conv(num, channels, spatial, num_output, kernel, stride=1, pad=0, group=1, dilation=1):
    spatial = spatial if isinstance(spatial, tuple) else (spatial, spatial)

    def axes(v):
        return v if isinstance(v, tuple) else (v,) * len(spatial)

    return ConvShape(num, channels, spatial, num_output, axes(kernel), axes(stride), axes(pad), axes(dilation), group)


CONVOLUTIONS = {
    "lenet conv1": conv(3, 1, 28, 20, 5),
    "lenet conv2": conv(9, 20, 12, 50, 5),
    "quick conv1": conv(2, 3, 32, 32, 5, pad=2),
    "quick conv2": conv(2, 32, 16, 32, 5, pad=2),
    "quick conv3": conv(2, 32, 8, 64, 5, pad=2),
    "caffenet conv1": conv(1, 3, 67, 96, 11, stride=4),
    "caffenet conv2": conv(1, 48, 13, 64, 5, pad=2, group=2),
    "caffenet conv3": conv(1, 64, 13, 96, 3, pad=1),
    "1x1": conv(2, 24, 7, 40, 1),
    "1x1 with stride": conv(2, 17, 9, 21, 1, stride=2),
    "kernel as large as the image": conv(3, 4, (5, 6), 7, (5, 6)),
    "the same in groups": conv(3, 4, (5, 6), 6, (5, 6), group=2),
    "stride larger than the kernel": conv(2, 3, 11, 5, 2, stride=3),
    "padding as large as the kernel": conv(2, 3, 6, 5, 3, pad=3),
    "padding with stride": conv(2, 5, (9, 7), 18, (3, 2), stride=(2, 1), pad=(1, 2)),
    "as many groups as channels": conv(2, 6, 8, 6, 3, pad=1, group=6),
    "mobilenet": conv(2, 3, 28, 3, 3, pad=1, group=3),
    "mobilenet with stride": conv(2, 3, (18, 37), 3, 3, stride=2, pad=1, group=3),
    "a kernel for each channel with dilation": conv(3, 4, (19, 23), 4, (3, 2), (1, 2), (3, 1), 4, dilation=(4, 3)),
    "a kernel for each channel in the padding": conv(1, 2, (1, 3), 2, 1, stride=7, pad=(3, 0), group=2),
    "a plane larger than the cache": conv(1, 2, 75, 33, 3, pad=1),
    "one pixel": conv(5, 3, 1, 4, 1),
    "width 1": conv(2, 3, (40, 1), 19, (3, 1), pad=(1, 0)),
    "wide kernel": conv(1, 2, (3, 40), 3, (2, 17)),
    "one axis": conv(2, 4, (30,), 17, 5, pad=1),
    "dilation": conv(2, 4, (12, 11), 6, 3, dilation=(2, 3), pad=2),
    "three axes": conv(2, 3, (5, 6, 7), 4, (2, 3, 2), stride=(1, 2, 1), pad=(1, 0, 1)),
    "three axes in groups": conv(1, 4, (4, 5, 6), 6, 3, pad=1, group=2),
}

PRODUCTS = [(64, 800, 500), (64, 500, 10), (100, 1024, 64), (16, 1100, 33)]
PRODUCTS += [(1, 1, 1), (3, 7, 5), (1, 40, 70), (4, 16, 16), (27, 513, 31)]


def walled(shape, dtype):
    """An aligned array of NaNs between two walls."""
    bytes_each = np.dtype(dtype).itemsize
    raw = np.full(prod(shape) + 2 * WALL + 16, CANARY, dtype)
    start = WALL + (-(raw.ctypes.data + WALL * bytes_each) % 64) // bytes_each
    inside = raw[start : start + prod(shape)]
    inside[:] = np.nan
    return SimpleNamespace(data=inside.reshape(shape), raw=raw, start=start)


def intact(box):
    before, behind = box.raw[: box.start], box.raw[box.start + box.data.size :]
    return bool((before == box.raw.dtype.type(CANARY)).all() and (behind == box.raw.dtype.type(CANARY)).all())


class Bench:
    """An engine with its arrays and buffers, each between walls."""

    def __init__(self, engine, shape, shapes, dtype="float32", seed=0):
        self.boxes, self.ways = [], []
        self.engine = engine(shape, self.buffer, dtype)
        rng = np.random.default_rng(seed)
        for name, size in shapes.items():
            box = self.buffer(size, dtype)
            box.data[...] = rng.standard_normal(size)
            setattr(self, name, box.data)

    def buffer(self, shape, dtype="float32", way=""):
        self.ways.append(way)
        self.boxes.append(walled((shape,) if isinstance(shape, int) else shape, dtype))
        return self.boxes[-1]

    def run(self):
        """All three directions; dw and db gain their gradients."""
        for way in ("forward", "data", "weights"):
            self.run_alone(way)
        assert all(intact(box) for box in self.boxes), "wrote outside an array"
        return self.y, self.dx, self.dw, self.db

    def run_alone(self, way):
        """One direction, where work space of the others is not there."""
        arrays = [box.data for box in self.boxes]
        for box, known in zip(self.boxes, self.ways, strict=True):
            box.data = box.data if known in ("", way) else None
        if way == "forward":
            self.engine.forward(self.x, self.w, self.b, self.y)
        elif way == "data":
            self.engine.backward_data(self.dy, self.w, self.dx)
        else:
            self.engine.backward_weights(self.x, self.dy, self.dw, self.db)
        for box, array in zip(self.boxes, arrays, strict=True):
            box.data = array


def conv_bench(name, shape, dtype="float32"):
    w, b = shape.weight_shape, (shape.num_output,)
    sizes = {"x": shape.bottom_shape, "w": w, "b": b, "y": shape.top_shape}
    sizes |= {"dy": shape.top_shape, "dx": shape.bottom_shape, "dw": w, "db": b}
    return Bench(CONV_ENGINES[name], shape, sizes, dtype)


def product_bench(name, shape, dtype="float32"):
    x, y, b, w = (shape.rows, shape.inner), (shape.rows, shape.cols), (shape.cols,), shape.weight_shape
    sizes = {"x": x, "w": w, "b": b, "y": y, "dy": y, "dx": x, "dw": w, "db": b}
    return Bench(PRODUCT_ENGINES[name], shape, sizes, dtype)


def conv_reference(s, x, w, b, dy):
    """Tap by tap in float64: y, dx, dw, db."""
    x, w, b, dy = (a.astype(np.float64) for a in (x, w, b, dy))
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in s.pad)])
    y, dx, dw = np.zeros(s.top_shape), np.zeros_like(padded), np.zeros_like(w)
    step_in, step_out = s.channels // s.group, s.num_output // s.group
    for g, tap in itertools.product(range(s.group), itertools.product(*map(range, s.kernel))):
        out = slice(g * step_out, (g + 1) * step_out)
        axes = zip(tap, s.dilation, s.stride, s.out_spatial, strict=True)
        window = tuple(slice(t * d, t * d + st * (n - 1) + 1, st) for t, d, st, n in axes)
        seen = (slice(None), slice(g * step_in, (g + 1) * step_in), *window)
        weights = w[(out, slice(None), *tap)]
        y[:, out] += np.einsum("nc...,oc->no...", padded[seen], weights, optimize=True)
        dx[seen] += np.einsum("no...,oc->nc...", dy[:, out], weights, optimize=True)
        dw[(out, slice(None), *tap)] = np.einsum("no...,nc...->oc", dy[:, out], padded[seen], optimize=True)
    inside = tuple(slice(p, p + n) for p, n in zip(s.pad, s.spatial, strict=True))
    bias = b.reshape(1, -1, *[1] * len(s.spatial))
    return y + bias, dx[(slice(None), slice(None), *inside)], dw, dy.sum(axis=(0, *range(2, dy.ndim)))


def product_reference(s, x, w, b, dy):
    x, w, b, dy = (a.astype(np.float64) for a in (x, w, b, dy))
    wt = w if s.transpose else w.T
    dw = x.T @ dy
    return x @ wt + b, dy @ wt.T, dw if s.transpose else dw.T, dy.sum(axis=0)


def check(bench, reference, tolerance):
    """y and dx are overwritten, dw and db gain; errors relative to the largest value."""
    dw, db = bench.dw.astype(np.float64), bench.db.astype(np.float64)
    y, dx, gain_w, gain_b = reference(bench.engine_shape, bench.x, bench.w, bench.b, bench.dy)
    inputs = {name: getattr(bench, name).copy() for name in ("x", "w", "b", "dy")}
    right = (y, dx, dw + gain_w, db + gain_b)
    for what, got, expected in zip(("y", "dx", "dw", "db"), bench.run(), right, strict=True):
        error = np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30)
        assert error <= tolerance, f"{what}: relative error {error:.1e}"
    for name, before in inputs.items():
        assert np.array_equal(getattr(bench, name), before), f"{name} was changed"


def supported(engines, shape, dtype):
    return [name for name, engine in engines.items() if engine.supports(shape, dtype, "cpu")]


TOLERANCE = {"WINOGRAD": winograd.TOLERANCE, "DEPTHWISE": 1e-5, "DIRECT": 1e-5, "BLAS": 1e-5}
CASES = [(e, k) for k, s in CONVOLUTIONS.items() for e in supported(CONV_ENGINES, s, "float32")]


@pytest.mark.parametrize(("engine", "case"), CASES)
def test_convolution_equals_float64(engine, case):
    bench = conv_bench(engine, CONVOLUTIONS[case])
    bench.engine_shape = CONVOLUTIONS[case]
    check(bench, conv_reference, TOLERANCE[engine])


@pytest.mark.parametrize("case", ["quick conv3", "padding with stride", "three axes in groups"])
def test_blas_convolution_in_float64(case):
    bench = conv_bench("BLAS", CONVOLUTIONS[case], "float64")
    bench.engine_shape = CONVOLUTIONS[case]
    check(bench, conv_reference, 1e-12)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("sizes", PRODUCTS)
@pytest.mark.parametrize("engine", PRODUCT_ENGINES)
def test_product_equals_float64(engine, sizes, transpose):
    shape = ProductShape(*sizes, transpose)
    bench = product_bench(engine, shape)
    bench.engine_shape = shape
    check(bench, product_reference, 1e-5)


@pytest.mark.parametrize("engine", CONV_ENGINES)
def test_convolution_without_bias(engine):
    cases = (CONVOLUTIONS[name] for name in ("padding with stride", "caffenet conv2", "mobilenet"))
    shape = next(s for s in cases if engine in supported(CONV_ENGINES, s, "float32"))
    bench = conv_bench(engine, shape)
    bench.engine.forward(bench.x, bench.w, None, bench.y)
    dw = bench.dw.astype(np.float64)
    bench.engine.backward_weights(bench.x, bench.dy, bench.dw, None)
    y, _, gain, _ = conv_reference(shape, bench.x, bench.w, np.zeros_like(bench.b), bench.dy)
    assert np.abs(bench.y - y).max() < TOLERANCE[engine] * np.abs(y).max()
    assert np.abs(bench.dw - dw - gain).max() < TOLERANCE[engine] * np.abs(gain).max()


@pytest.mark.parametrize("engine", PRODUCT_ENGINES)
def test_product_without_bias(engine):
    bench = product_bench(engine, ProductShape(5, 30, 20))
    bench.engine.forward(bench.x, bench.w, None, bench.y)
    bench.engine.backward_weights(bench.x, bench.dy, bench.dw, None)
    assert np.abs(bench.y - bench.x.astype(np.float64) @ bench.w.T).max() < 1e-5 * np.abs(bench.y).max()


def same_bits(make, monkeypatch):
    results = []
    for threads in (1, 2, 7):
        for module in (depthwise, direct, direct_product, winograd):
            monkeypatch.setattr(module, "get_num_threads", lambda threads=threads: threads)
        results.append([a.copy() for a in make().run()])
    return all(np.array_equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    "case", ["lenet conv2", "caffenet conv2", "padding with stride", "1x1", "kernel as large as the image"]
)
def test_one_thread_and_many_give_the_same_convolution(case, monkeypatch):
    assert same_bits(lambda: conv_bench("DIRECT", CONVOLUTIONS[case]), monkeypatch)


@pytest.mark.parametrize("case", ["quick conv2", "caffenet conv2", "caffenet conv3"])
def test_one_thread_and_many_give_the_same_winograd_convolution(case, monkeypatch):
    assert same_bits(lambda: conv_bench("WINOGRAD", CONVOLUTIONS[case]), monkeypatch)
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        results.append([a.copy() for a in conv_bench("WINOGRAD", CONVOLUTIONS[case]).run()])
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("case", ["mobilenet with stride", "a kernel for each channel with dilation"])
def test_one_thread_and_many_give_the_same_depthwise_convolution(case, monkeypatch):
    assert same_bits(lambda: conv_bench("DEPTHWISE", CONVOLUTIONS[case]), monkeypatch)


@pytest.mark.parametrize("seed", range(24))
def test_depthwise_convolution_of_any_shape(seed):
    """All numbers apart for the two axes: rows longer than a vector, windows in the padding, cells no window sees."""
    rng = np.random.default_rng(seed)
    kernel, stride, pad = (tuple(map(int, rng.integers(low, 8, 2))) for low in (1, 1, 0))
    dilation = (1 if stride[0] > 1 else int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, pad, strict=True)]
    spatial = tuple(n + int(rng.integers(0, 50)) for n in least)
    channels = int(rng.integers(1, 5))
    shape = conv(int(rng.integers(1, 4)), channels, spatial, channels, kernel, stride, pad, channels, dilation)
    bench = conv_bench("DEPTHWISE", shape)
    bench.engine_shape = shape
    check(bench, conv_reference, TOLERANCE["DEPTHWISE"])


def test_depthwise_does_not_read_what_no_window_sees():
    bench = conv_bench("DEPTHWISE", conv(1, 2, (8, 22), 2, 3, stride=2, group=2))
    bench.x[:, :, 7] = bench.x[..., 21] = np.nan
    bench.engine.forward(bench.x, bench.w, bench.b, bench.y)
    bench.engine.backward_weights(bench.x, bench.dy, bench.dw, bench.db)
    assert np.isfinite(bench.y).all() and np.isfinite(bench.dw).all() and np.isfinite(bench.db).all()


@pytest.mark.parametrize("seed", range(16))
def test_winograd_convolution_of_any_shape(seed):
    """One channel or many, groups, odd sizes, images smaller than a tile, padding larger than the kernel."""
    rng = np.random.default_rng(seed)
    kernel, group, pad = int(rng.choice((3, 5))), int(rng.integers(1, 4)), tuple(map(int, rng.integers(0, 7, 2)))
    spatial = tuple(int(rng.integers(max(1, kernel - 2 * p), 24)) for p in pad)
    channels, outputs = (group * int(rng.choice((1, 3, 16, 17, 40))) for _ in range(2))
    bench = conv_bench("WINOGRAD", conv(int(rng.integers(1, 5)), channels, spatial, outputs, kernel, 1, pad, group))
    bench.engine_shape = bench.engine.shape
    check(bench, conv_reference, TOLERANCE["WINOGRAD"])


@pytest.mark.parametrize("kernel", [3, 5])
def test_winograd_keeps_its_bound_with_many_channels(kernel):
    bench = conv_bench("WINOGRAD", conv(2, 512, 14, 512, kernel, pad=kernel // 2))
    bench.engine_shape = bench.engine.shape
    check(bench, conv_reference, TOLERANCE["WINOGRAD"])


def test_winograd_is_taken_where_it_pays():
    for shape, engine in [
        (conv(8, 96, 28, 128, 3, pad=1), "WINOGRAD"),
        (conv(8, 96, 28, 128, 3, pad=1, stride=2), "DIRECT"),  # cannot
        (conv(64, 3, 32, 32, 5, pad=2), "DIRECT"),  # few channels
        (conv(1, 512, 7, 512, 3, pad=1), "DIRECT"),  # few tiles
        (conv(8, 512, 7, 512, 3, pad=1), "WINOGRAD"),
        (conv(8, 48, 7, 128, 5, pad=2), "DIRECT"),
    ]:
        plan = partial(convolution, shape, lambda *_, **__: SimpleNamespace(data=None), "float32", "cpu")
        assert (plan()[0], plan("ACCURATE")[0]) == (engine, "DIRECT")


def test_depthwise_is_taken_where_it_can():
    for shape, engine in [
        (conv(8, 64, 28, 64, 3, pad=1, group=64), "DEPTHWISE"),
        (conv(1, 64, 2, 64, 7, stride=7, pad=3, group=64), "DEPTHWISE"),
        (conv(8, 64, 28, 128, 3, pad=1, group=64), "DIRECT"),  # two kernels for each channel
        (conv(8, 64, 28, 64, 8, pad=1, group=64), "DIRECT"),  # large
        (conv(8, 64, 28, 64, 3, stride=2, dilation=2, group=64), "BLAS"),
    ]:
        plan = partial(convolution, shape, lambda *_, **__: SimpleNamespace(data=None), "float32", "cpu")
        assert (plan()[0], plan("ACCURATE")[0]) == (engine, engine)


@pytest.mark.parametrize("sizes", PRODUCTS[:4])
def test_one_thread_and_many_give_the_same_product(sizes, monkeypatch):
    assert same_bits(lambda: product_bench("DIRECT", ProductShape(*sizes)), monkeypatch)


@pytest.mark.parametrize("large", [0, 1 << 26])
@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("size", [3, 16, 100, 4096])
def test_arrays_are_cleared_in_the_caches_and_past_them(size, offset, large, monkeypatch):
    monkeypatch.setattr(arena, "SMALL", 0)
    monkeypatch.setattr(arena, "LARGE", large)
    box = walled((size + offset,), "float32")
    box.data[:] = 1.0
    arena.clear(box.data[offset:])
    assert intact(box)
    assert (box.data[:offset] == 1.0).all()
    assert (box.data[offset:] == 0.0).all()


def test_a_bound_step_runs_again_on_new_values():
    bench = conv_bench("DIRECT", CONVOLUTIONS["lenet conv1"])
    before = bench.y.copy()
    with recording() as steps:
        bench.engine.forward(bench.x, bench.w, bench.b, bench.y)
    assert np.array_equal(bench.y, before), "recording ran the step"
    for scale in (1.0, -2.0):
        bench.x *= np.float32(scale)
        for step in steps:
            step()
        y = conv_reference(CONVOLUTIONS["lenet conv1"], bench.x, bench.w, bench.b, bench.dy)[0]
        assert np.abs(bench.y - y).max() < 1e-5 * np.abs(y).max()


def test_direct_refuses_what_it_cannot_do():
    supports = CONV_ENGINES["DIRECT"].supports
    assert supports(CONVOLUTIONS["1x1"], "float32", "cpu")
    assert not supports(CONVOLUTIONS["1x1"], "float64", "cpu")
    assert not supports(CONVOLUTIONS["1x1"], "float32", "cuda")
    assert not supports(CONVOLUTIONS["dilation"], "float32", "cpu")
    assert not supports(CONVOLUTIONS["three axes"], "float32", "cpu")
    assert not PRODUCT_ENGINES["DIRECT"].supports(ProductShape(2, 2, 2), "float64", "cpu")


FENCED = """
import ctypes, mmap, sys
import numpy as np
sys.path[:0] = [{tests!r}, {root!r}]
import test_engines as t
PAGE = mmap.PAGESIZE
class Fenced(t.Bench):
    def buffer(self, shape, dtype="float32", way=""):
        "An array that ends where memory ends: one float further is a page that cannot be read."
        size = t.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
        pages = -(-size // PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        protect = ctypes.CDLL(None).mprotect
        for page in (0, pages + 1):
            assert protect(ctypes.c_void_p(start + page * PAGE), ctypes.c_size_t(PAGE), 0) == 0
        end = (pages + 1) * PAGE
        array = np.frombuffer(memory, np.uint8)[end - size : end].view(dtype).reshape(shape)
        self.ways.append(way)
        self.boxes.append(t.SimpleNamespace(data=array))
        return self.boxes[-1]
t.Bench, t.intact = Fenced, lambda box: True
for engine, name in {cases!r}:
    t.conv_bench(engine, t.CONVOLUTIONS[name]).run()
for sizes in t.PRODUCTS[2:]:
    for transpose in (False, True):
        t.product_bench("DIRECT", t.ProductShape(*sizes, transpose)).run()
print("unharmed")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects pages with Linux' mprotect")
def test_nothing_is_read_outside_the_arrays():
    cases = [(e, k) for e, k in CASES if e != "BLAS"]
    tests = Path(__file__).parent
    code = FENCED.format(tests=str(tests), root=str(tests.parent), cases=cases)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "unharmed", f"exit {done.returncode} (-11 is a read outside)\n{done.stderr[-2000:]}"


def test_tiles_of_narrow_vector_units(monkeypatch):
    """AVX2 and NEON: a vec16 takes several registers, so the tiles are small."""
    for module in (host, direct, direct_product):
        monkeypatch.setattr(module, "registers", lambda: (16, 2))
    assert max(m * v for m, v in direct.tiles()) == 6
    bench = conv_bench("DIRECT", CONVOLUTIONS["lenet conv2"])
    bench.engine_shape = CONVOLUTIONS["lenet conv2"]
    check(bench, conv_reference, 1e-5)
    bench = conv_bench("WINOGRAD", CONVOLUTIONS["lenet conv2"])
    bench.engine_shape = CONVOLUTIONS["lenet conv2"]
    check(bench, conv_reference, TOLERANCE["WINOGRAD"])
    bench = product_bench("DIRECT", ProductShape(9, 30, 20))
    bench.engine_shape = ProductShape(9, 30, 20)
    check(bench, product_reference, 1e-5)


@pytest.mark.parametrize("size", [1 << 14, 3 * 4096 * 5 + 77])
def test_squares_of_parts(size):
    x = np.random.default_rng(0).standard_normal(size, np.float32)
    partial = np.full(-(-size // 4096), np.nan, np.float32)
    assert arena.square_parts([x], 4096, partial)
    expected = [(x[k : k + 4096].astype(np.float64) ** 2).sum() for k in range(0, size, 4096)]
    np.testing.assert_allclose(partial, expected, rtol=1e-6)
    x[-1] = np.nan
    arena.square_parts([x], 4096, partial)
    assert np.isnan(partial[-1]) and np.isfinite(partial[:-1]).all()
    assert not arena.square_parts([x.astype(np.float64)], 4096, partial)
