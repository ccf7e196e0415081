"""Layers that are right, and faults to plant in them: what `nbcaffe check` must find, and which check must name it."""
# ruff: noqa: E501  (a fault is one row)

CURVE = '''
import numpy as np
from nbcaffe import Activation, Float


class Curve(Activation):
    """A parabola with a slope."""

    scale = Float(0.7, doc="of the square")

    @staticmethod
    def f(x, scale):
        return scale * x * x + 0.5 * x

    @staticmethod
    def df(x, scale):
        return 2.0 * scale * x + 0.5

    @staticmethod
    def reference(x, scale):
        return scale * x * x + 0.5 * x
'''

AFFINE = '''
import numba
import numpy as np
from nbcaffe import Layer, kernel
from nbcaffe.params import FillerSpec


@kernel
def affine(n, c, x, w, b, y):
    y[n, c] = x[n, c] * w[c] + b[c]


@kernel
def affine_weights(c, x, dy, dw, db):
    total = 0.0
    shift = 0.0
    for n in range(x.shape[0]):
        total += x[n, c] * dy[n, c]
        shift += dy[n, c]
    dw[c] += total
    db[c] += shift


@kernel
def affine_bottom(n, c, w, dy, dx):
    dx[n, c] = w[c] * dy[n, c]


@kernel
def scatter(n, c, x, dy, dw, db):
    dw[c] += x[n, c] * dy[n, c]
    db[c] += dy[n, c]


@kernel
def double(n, c, x):
    x[n, c] = 2.0 * x[n, c]


@kernel
def sum_all(n, c, w, dy, dx):
    dx[n, c] = w[c] * dy[0, c]


class Affine(Layer):
    """A learned factor and offset for each column."""

    bottom_shapes = ((4, 6),)
    backward_needs = frozenset({"bottom"})
    calls = 0

    def setup(self, bottom):
        columns = bottom[0].shape[1]
        self.w = self.weight((columns,), FillerSpec("constant", value=2.0))
        self.b = self.weight((columns,), FillerSpec("constant", value=0.0))
        return [bottom[0].shape]

    def forward(self, bottom, top):
        affine[top[0].shape](bottom[0].data, self.w.data, self.b.data, top[0].data)

    def backward(self, bottom, top):
        x, dy = bottom[0].data, top[0].diff
        affine_weights[self.w.shape](x, dy, self.w.diff, self.b.diff)
        if self.propagate_down[0]:
            affine_bottom[dy.shape](self.w.data, dy, bottom[0].diff)

    @staticmethod
    def reference(x, w, b):
        return x * w + b
'''

DISTANCE = '''
from nbcaffe import Loss, kernel
from nbcaffe.kernel import real, team_range, team_sum


@kernel(team=True)
def distance(row, a, b, sums):
    total = 0.0
    for i in team_range(a.shape[1]):
        total += (a[row, i] - b[row, i]) * (a[row, i] - b[row, i])
    sums[row] = 0.5 * team_sum(total)


@kernel
def mean(one, sums, out):
    total = 0.0
    for n in range(sums.shape[0]):
        total += sums[n]
    out[one] = total / real(max(1, sums.shape[0]))


@kernel
def gap(n, i, a, b, out):
    out[n, i] = a[n, i] - b[n, i]


@kernel
def distance_back(n, i, difference, dy, dx, sign):
    dx[n, i] = sign * difference[n, i] * dy[0] / real(difference.shape[0])


class Distance(Loss):
    """Half the squared distance, averaged over rows."""

    bottom_shapes = ((3, 9), (3, 9))
    backward_needs = frozenset()

    def setup(self, bottom):
        if bottom[0].shape != bottom[1].shape or len(bottom[0].shape) != 2:
            self.fail("needs two matrices of one shape")
        self.sums = self.buffer(bottom[0].shape[0])
        self.gap = self.buffer(bottom[0].shape, keep=True)
        return [()]

    def forward(self, bottom, top):
        a, b = bottom[0].data, bottom[1].data
        gap[a.shape](a, b, self.gap.data)
        distance[a.shape[0]](a, b, self.sums.data)
        mean[1](self.sums.data, top[0].data.reshape(1))

    def backward(self, bottom, top):
        dy = top[0].diff.reshape(1)
        for index, sign in ((0, 1.0), (1, -1.0)):
            if self.propagate_down[index]:
                distance_back[bottom[index].shape](self.gap.data, dy, bottom[index].diff, sign)
'''

BEST = '''
import math
from nbcaffe import Layer, kernel


@kernel
def best(n, x, y, winner):
    first = 0
    for c in range(x.shape[1]):
        if x[n, c] > x[n, first] or x[n, c] != x[n, c]:
            first = c
    y[n] = x[n, first]
    winner[n] = first


@kernel
def best_back(n, dy, winner, dx):
    for c in range(dx.shape[1]):
        dx[n, c] = dy[n] if winner[n] == c else 0.0


class Best(Layer):
    """The largest of each row."""

    bottom_shapes = ((4, 7),)
    backward_needs = frozenset()

    def setup(self, bottom):
        if len(bottom[0].shape) != 2:
            self.fail("needs a matrix")
        self.winner = self.buffer(bottom[0].shape[0], "int32", keep=True)
        return [bottom[0].shape[:1]]

    def forward(self, bottom, top):
        best[top[0].shape](bottom[0].data, top[0].data, self.winner.data)

    def backward(self, bottom, top):
        best_back[top[0].shape](top[0].diff, self.winner.data, bottom[0].diff)
'''

NEIGHBOURS = '''
from nbcaffe import Layer, kernel


@kernel
def pairs(i, x, y):
    y[i] = x[i] + 2.0 * x[i + 1]


@kernel
def pairs_back(i, dy, dx):
    left = dy[i] if i < dy.shape[0] else 0.0
    right = 2.0 * dy[i - 1] if i > 0 else 0.0
    dx[i] = left + right


@kernel
def pairs_scatter(i, dy, dx):
    dx[i] += dy[i]
    dx[i + 1] += 2.0 * dy[i]


@kernel
def clear(i, x):
    x[i] = 0.0


class Neighbours(Layer):
    """Each number and twice the next."""

    bottom_shapes = ((8,),)
    backward_needs = frozenset()

    def setup(self, bottom):
        if len(bottom[0].shape) != 1 or bottom[0].shape[0] < 2:
            self.fail("needs one axis of at least 2 elements")
        return [(bottom[0].shape[0] - 1,)]

    def forward(self, bottom, top):
        pairs[top[0].shape](bottom[0].data, top[0].data)

    def backward(self, bottom, top):
        dx = bottom[0].diff
        pairs_back[dx.shape](top[0].diff, dx)
'''

MIX = '''
from nbcaffe import Layer, kernel
from nbcaffe.params import FillerSpec


@kernel
def mix(n, k, x, w, y):
    total = 0.0
    for c in range(x.shape[1]):
        total += w[k, c] * x[n, c]
    y[n, k] = total


@kernel
def mix_weights(k, c, x, dy, dw):
    total = 0.0
    for n in range(x.shape[0]):
        total += dy[n, k] * x[n, c]
    dw[k, c] += total


@kernel
def mix_bottom(n, c, w, dy, dx):
    total = 0.0
    for k in range(w.shape[0]):
        total += w[k, c] * dy[n, k]
    dx[n, c] = total


class Mix(Layer):
    """Each row times a square matrix."""

    bottom_shapes = ((3, 4),)
    backward_needs = frozenset({"bottom"})

    def setup(self, bottom):
        if len(bottom[0].shape) != 2:
            self.fail("needs a matrix")
        n = bottom[0].shape[1]
        self.w = self.weight((n, n), FillerSpec("xavier"))
        return [bottom[0].shape]

    def forward(self, bottom, top):
        mix[top[0].shape](bottom[0].data, self.w.data, top[0].data)

    def backward(self, bottom, top):
        mix_weights[self.w.shape](bottom[0].data, top[0].diff, self.w.diff)
        if self.propagate_down[0]:
            mix_bottom[bottom[0].shape](self.w.data, top[0].diff, bottom[0].diff)
'''

GROWTH = '''
import math
from nbcaffe import Layer, kernel


@kernel
def growth(i, x, y):
    y[i] = math.exp(0.5 * x[i])


@kernel
def growth_back(i, x, y, dy, dx):
    dx[i] = 0.5 * y[i] * dy[i]


class Growth(Layer):
    """exp(x / 2), in place where one likes."""

    bottom_shapes = ((10,),)
    inplace = True
    backward_needs = frozenset({"top"})

    def setup(self, bottom):
        return [bottom[0].shape]

    def forward(self, bottom, top):
        n = bottom[0].count
        growth[n](bottom[0].data.reshape(n), top[0].data.reshape(n))

    def backward(self, bottom, top):
        n = bottom[0].count
        arrays = (bottom[0].data, top[0].data, top[0].diff, bottom[0].diff)
        growth_back[n](*(a.reshape(n) for a in arrays))
'''

RIGHT = {
    "Curve": CURVE, "Affine": AFFINE, "Distance": DISTANCE, "Best": BEST,
    "Neighbours": NEIGHBOURS, "Mix": MIX, "Growth": GROWTH,
}  # fmt: skip

WEIGHTS = "affine_weights[self.w.shape](x, dy, self.w.diff, self.b.diff)"
BOTTOM = "affine_bottom[dy.shape](self.w.data, dy, bottom[0].diff)"
FORWARD = "affine[top[0].shape](bottom[0].data, self.w.data, self.b.data, top[0].data)"
BACK = "pairs_back[dx.shape](top[0].diff, dx)"

# what is wrong: (layer, text, its replacement, the check that must name it)
FAULTS: dict[str, tuple[str, str, str, str]] = {
    # activations
    "a sign": ("Curve", "return 2.0 * scale", "return -2.0 * scale", "gradient"),
    "the sign of everything": ("Curve", "return 2.0 * scale * x + 0.5", "return -2.0 * scale * x - 0.5", "gradient"),
    "a factor": ("Curve", "return 2.0 * scale * x + 0.5", "return 2.002 * scale * x + 0.5005", "gradient"),
    "a missing term": ("Curve", "2.0 * scale * x + 0.5", "2.0 * scale * x", "gradient"),
    "a parameter forgotten": ("Curve", "return 2.0 * scale * x", "return 2.0 * x", "gradient"),
    "y instead of x": ("Curve", "df(x, scale):\n        return 2.0 * scale * x", "df(y, scale):\n        return 2.0 * scale * y", "gradient"),
    "one branch wrong": ("Curve", "return 2.0 * scale * x + 0.5", "return 2.0 * scale * x + 0.5 if x < 1.0 else 0.5", "gradient"),
    "another function": ("Curve", "return scale * x * x + 0.5 * x\n\n    @staticmethod\n    def df(x, scale):\n        return 2.0 * scale * x + 0.5", "return scale * x * x + 0.4 * x\n\n    @staticmethod\n    def df(x, scale):\n        return 2.0 * scale * x + 0.4", "reference"),
    "np.float64 in f": ("Curve", "def f(x, scale):\n        return scale", "def f(x, scale):\n        return np.float64(scale)", "float32 only"),
    "an integer in df": ("Curve", "return 2.0 * scale * x", "return int(2) * scale * x", "float32 only"),
    "a NaN lost in a branch": ("Curve", "def f(x, scale):\n        return scale * x * x + 0.5 * x", "def f(x, scale):\n        return scale * x * x + 0.5 * x if x > -9.0 else -0.5 * x - x if x < -9.0 else 0.0", "NaN"),
    # weights
    "a weight's gradient overwritten": ("Affine", "dw[c] += total", "dw[c] = total", "accumulation"),
    "an offset's gradient overwritten": ("Affine", "db[c] += shift", "db[c] = shift", "accumulation"),
    "a bottom's gradient added to": ("Affine", "dx[n, c] = w[c] * dy", "dx[n, c] += w[c] * dy", "gradient"),
    "the last row left out": ("Affine", "in range(x.shape[0])", "in range(x.shape[0] - 1)", "gradient"),
    "the first row left out": ("Affine", "in range(x.shape[0])", "in range(1, x.shape[0])", "gradient"),
    "the wrong axis": ("Affine", "dx[n, c] = w[c]", "dx[n, c] = w[n]", "gradient"),
    "an index outside": ("Affine", "total += x[n, c] * dy", "total += x[n + 1, c] * dy", "owned writes"),
    "a gradient forgotten": ("Affine", "    db[c] += shift\n", "", "gradient"),
    "a weight forgotten": ("Affine", "dx[n, c] = w[c] * dy", "dx[n, c] = dy", "gradient"),
    "an average instead of a sum": ("Affine", "dw[c] += total", "dw[c] += total / 4.0", "gradient"),
    "a race over rows": ("Affine", WEIGHTS, "scatter[dy.shape](x, dy, self.w.diff, self.b.diff)", "owned writes"),
    "a forward pass that changes its input": ("Affine", FORWARD, FORWARD + "\n        double[top[0].shape](bottom[0].data)", "inputs untouched"),
    "a backward pass that changes the top's gradient": ("Affine", BOTTOM, BOTTOM + "\n        double[dy.shape](dy)", "inputs untouched"),
    "a backward pass that changes its weights": ("Affine", BOTTOM, BOTTOM + "\n        w = self.w.data.reshape(1, -1)\n        double[w.shape](w)", "inputs untouched"),
    "a bottom's gradient never written": ("Affine", BOTTOM, "pass", "gradient"),
    "propagate_down not asked": ("Affine", "if self.propagate_down[0]:", "if True:", "unwanted gradients"),
    "bits by the number of threads": ("Affine", FORWARD, FORWARD + "\n        if numba.get_num_threads() > 1:\n            double[top[0].shape](top[0].data)", "same bits"),
    "bits by the number of calls": ("Affine", FORWARD, FORWARD + "\n        Affine.calls += 1\n        if Affine.calls % 2:\n            double[top[0].shape](top[0].data)", "same bits"),
    "an undeclared need": ("Affine", 'frozenset({"bottom"})', "frozenset()", "stale memory"),
    "wrong for an odd number of rows": ("Affine", "in range(x.shape[0])", "in range(x.shape[0] // 2 * 2)", "shapes"),
    "a crash on an empty batch": ("Affine", "columns = bottom[0].shape[1]", "columns = bottom[0].shape[1] + 0 // bottom[0].shape[0]", "shapes"),
    "an integer factor": ("Affine", "x[n, c] * w[c] + b[c]", "x[n, c] * w[c] + b[c] * (n - n + 1)", "float32 only"),
    "one row for all": ("Affine", BOTTOM, "sum_all[dy.shape](self.w.data, dy, bottom[0].diff)", "gradient"),
    "a factor in forward": ("Affine", "y[n, c] = x[n, c] * w[c] + b[c]", "y[n, c] = x[n, c] * w[c] - b[c]", "gradient"),
    # teams, buffers, two bottoms
    "a team that does not sum": ("Distance", "0.5 * team_sum(total)", "0.5 * total", "cpu = cuda"),
    "a team that sums everything": ("Distance", "in team_range(a.shape[1])", "in range(a.shape[1])", "cpu = cuda"),
    "the wrong normaliser": ("Distance", "real(difference.shape[0])", "real(difference.shape[1])", "gradient"),
    "the other bottom's gradient": ("Distance", "(1, -1.0)", "(1, 1.0)", "gradient"),
    "one bottom without gradient": ("Distance", "((0, 1.0), (1, -1.0))", "((0, 1.0),)", "gradient"),
    "the top's gradient ignored": ("Distance", "difference[n, i] * dy[0]", "difference[n, i]", "gradient"),
    "a factor of one half": ("Distance", "0.5 * team_sum", "team_sum", "gradient"),
    "a sum into stale work space": ("Distance", "sums[row] = 0.5", "sums[row] += 0.5", "stale memory"),
    "work space that is not kept": ("Distance", "shape, keep=True", "shape", "stale memory"),
    "work space that nobody fills": ("Distance", "        gap[a.shape](a, b, self.gap.data)\n", "", "stale memory"),
    "a row left out in forward": ("Distance", "in range(sums.shape[0])", "in range(sums.shape[0] - 1)", "gradient"),
    "every second column": ("Distance", "in team_range(a.shape[1])", "in team_range(a.shape[1] - a.shape[1] % 3)", "shapes"),
    "a division by the empty batch": ("Distance", "        self.sums = self.buffer", "        self.share = 1.0 / bottom[0].shape[0]\n        self.sums = self.buffer", "shapes"),
    "a NaN lost in a maximum": ("Best", " or x[n, c] != x[n, c]", "", "NaN"),
    "a winner that is not kept": ("Best", '"int32", keep=True', '"int32"', "stale memory"),
    "a winner off by one": ("Best", "winner[n] = first", "winner[n] = first + 1", "gradient"),
    "losers not cleared": ("Best", "        dx[n, c] = dy[n] if winner[n] == c else 0.0", "        if winner[n] == c:\n            dx[n, c] = dy[n]", "gradient"),
    # neighbours, matrices, in place
    "a scatter": ("Neighbours", BACK, "clear[dx.shape](dx)\n        pairs_scatter[top[0].shape](top[0].diff, dx)", "owned writes"),
    "a border left out": ("Neighbours", "if i > 0 else", "if i > 1 else", "gradient"),
    "a border read outside": ("Neighbours", "if i < dy.shape[0] else", "if i < dy.shape[0] + 1 else", "owned writes"),
    "a neighbour's factor": ("Neighbours", "right = 2.0 *", "right = 3.0 *", "gradient"),
    "neighbours the wrong way round": ("Neighbours", "y[i] = x[i] + 2.0 * x[i + 1]", "y[i] = 2.0 * x[i] + x[i + 1]", "gradient"),
    "a transposed matrix": ("Mix", "total += w[k, c] * dy", "total += w[c, k] * dy", "gradient"),
    "a transposed weight gradient": ("Mix", "dw[k, c] += total", "dw[c, k] += total", "gradient"),
    "a weight gradient's swapped factors": ("Mix", "dy[n, k] * x[n, c]", "dy[n, c] * x[n, k]", "gradient"),
    "x where only y is left": ("Growth", "0.5 * y[i] * dy[i]", "0.5 * math.exp(0.5 * x[i]) * dy[i]", "in place"),
    "half a chain rule": ("Growth", "dx[i] = 0.5 * y[i]", "dx[i] = y[i]", "gradient"),
    "a NaN clipped": ("Growth", "math.exp(0.5 * x[i])", "math.exp(0.5 * (x[i] if x[i] > -30.0 else -30.0))", "NaN"),
}  # fmt: skip
QUICK = (
    "a sign", "another function", "np.float64 in f", "a weight's gradient overwritten", "a race over rows",
    "propagate_down not asked", "an undeclared need", "a crash on an empty batch", "a team that does not sum",
    "a NaN lost in a maximum", "x where only y is left", "bits by the number of threads",
    "a backward pass that changes its weights",
)  # fmt: skip
