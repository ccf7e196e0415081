"""A solver update: one scalar function (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023)."""

from nbcaffe import Float, Update


class Lion(Update):
    """Steps of one size, in the direction of a mean of gradients; the weight decays beside it."""

    momentum = Float(0.9, ge=0, lt=1, doc="share of the mean in the direction of a step")
    momentum2 = Float(0.99, ge=0, lt=1, doc="decay of the mean")
    histories = ("m",)

    @staticmethod
    def update(w, g, m, lr, decay, momentum, momentum2):
        mixed = momentum * m + (1.0 - momentum) * g
        sign = 1.0 if mixed > 0.0 else -1.0 if mixed < 0.0 else 0.0
        return w - lr * (sign + decay * w), momentum2 * m + (1.0 - momentum2) * g
