"""A layer with weights and matrix products: each product goes to the fastest engine for its shape."""

from nbcaffe import Filler, Int, Layer
from nbcaffe.ops.choose import product
from nbcaffe.ops.shapes import ProductShape


class LowRank(Layer):
    """InnerProduct through a bottleneck: ``y = (x u^T) v^T + b``, (inputs + num_output) * rank weights."""

    num_output = Int(ge=1, doc="number of outputs")
    rank = Int(ge=1, doc="width of the bottleneck")
    weight_filler = Filler("xavier", doc="how u and v start")
    bias_filler = Filler("constant", doc="how the bias starts")
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((3, 6),)
    examples = ({"num_output": 4, "rank": 2},)

    def setup(self, bottom):
        rows, inputs = bottom[0].shape
        narrow, wide = ProductShape(rows, inputs, self.rank), ProductShape(rows, self.rank, self.num_output)
        self.u = self.weight(narrow.weight_shape, self.weight_filler)
        self.v = self.weight(wide.weight_shape, self.weight_filler)
        self.b = self.weight((self.num_output,), self.bias_filler)
        how = (self.buffer, self.dtype, self.target, "DEFAULT", self.place)
        (_, self.narrow), (_, self.wide) = product(narrow, *how), product(wide, *how)
        self.middle, self.d_middle = self.buffer((rows, self.rank), keep=True), self.buffer((rows, self.rank))
        return [(rows, self.num_output)]

    def forward(self, bottom, top):
        self.narrow.forward(bottom[0].data, self.u.data, None, self.middle.data)
        self.wide.forward(self.middle.data, self.v.data, self.b.data, top[0].data)

    def backward(self, bottom, top):
        self.wide.backward_weights(self.middle.data, top[0].diff, self.v.diff, self.b.diff)
        self.wide.backward_data(top[0].diff, self.v.data, self.d_middle.data)
        self.narrow.backward_weights(bottom[0].data, self.d_middle.data, self.u.diff, None)
        if self.propagate_down[0]:
            self.narrow.backward_data(self.d_middle.data, self.u.data, bottom[0].diff)

    @property
    def multiply_adds(self):
        return self.narrow.shape.multiply_adds + self.wide.shape.multiply_adds
