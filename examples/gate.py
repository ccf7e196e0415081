"""Two bottoms: one is let through as far as the other says (Dauphin et al., gated convolutions, ICML 2017)."""

from nbcaffe import Elementwise
from nbcaffe.scalars import sigmoid


class Gate(Elementwise):
    """x * sigmoid(gate), element by element."""

    def f(x, gate):
        return x * sigmoid(gate)
