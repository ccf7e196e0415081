"""The five activations of ``prototyping.py`` as one writes them for PyTorch: eager, and with a backward by hand.

What stands between a pair of ``# ---`` lines is what an author would save, and what ``prototyping.py`` counts.
"""

import torch
from torch import nn
from torch.autograd import Function

TABLE = torch.tensor([-0.3, -0.4, -0.5, -0.4, 0.0, 0.8, 1.9, 3.0, 4.0, 4.9, 5.8])


# --- swish eager
def swish(x, beta=1.0):
    return x * torch.sigmoid(beta * x)


# --- swish function
class SwishFunction(Function):
    @staticmethod
    def forward(ctx, x, beta):
        gate = torch.sigmoid(beta * x)
        ctx.save_for_backward(x, gate)
        ctx.beta = beta
        return x * gate

    @staticmethod
    def backward(ctx, dy):
        x, gate = ctx.saved_tensors
        return dy * gate * (1.0 + ctx.beta * x * (1.0 - gate)), None


def swish_by_hand(x, beta=1.0):
    return SwishFunction.apply(x, beta)


# --- rational eager
class Rational(nn.Module):
    def __init__(self, channels):
        super().__init__()
        start = (0.02, 0.6, 0.4, 0.5)
        self.a0, self.a1, self.a2, self.b1 = (nn.Parameter(torch.full((channels, 1, 1), v)) for v in start)

    def forward(self, x):
        return (self.a0 + x * (self.a1 + x * self.a2)) / (1.0 + torch.abs(self.b1 * x))


# --- rational function
class RationalFunction(Function):
    @staticmethod
    def forward(ctx, x, a0, a1, a2, b1):
        below = 1.0 / (1.0 + torch.abs(b1 * x))
        y = (a0 + x * (a1 + x * a2)) * below
        ctx.save_for_backward(x, a1, a2, b1, below, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, a1, a2, b1, below, y = ctx.saved_tensors
        scaled = dy * below
        bent = scaled * y * torch.sign(b1 * x)
        dx = scaled * (a1 + 2.0 * a2 * x) - bent * b1
        by_a1 = scaled * x
        gradients = scaled, by_a1, by_a1 * x, -bent * x
        return dx, *(g.sum((0, 2, 3)).reshape(b1.shape) for g in gradients)


class RationalByHand(nn.Module):
    def __init__(self, channels):
        super().__init__()
        start = (0.02, 0.6, 0.4, 0.5)
        self.a0, self.a1, self.a2, self.b1 = (nn.Parameter(torch.full((channels, 1, 1), v)) for v in start)

    def forward(self, x):
        return RationalFunction.apply(x, self.a0, self.a1, self.a2, self.b1)


# --- fixed_point eager
def cube_root(x, c=0.5):
    y = x
    error = c * y * y * y
    steps = 0
    while steps < 30 and (going := torch.abs(error) > 1e-6 * torch.abs(x)).any():
        y = torch.where(going, y - error / (1.0 + 3.0 * c * y * y), y)
        error = y + c * y * y * y - x
        steps += 1
    return y


# --- fixed_point function
class CubeRootFunction(Function):
    @staticmethod
    def forward(ctx, x, c):
        y = x
        error = c * y * y * y
        steps = 0
        while steps < 30 and (going := torch.abs(error) > 1e-6 * torch.abs(x)).any():
            y = torch.where(going, y - error / (1.0 + 3.0 * c * y * y), y)
            error = y + c * y * y * y - x
            steps += 1
        ctx.save_for_backward(y)
        ctx.c = c
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors  # the implicit function theorem
        return dy / (1.0 + 3.0 * ctx.c * y * y), None


def cube_root_by_hand(x, c=0.5):
    return CubeRootFunction.apply(x, c)


# --- quantise eager
def quantise(x, levels=4.0):
    soft = torch.clamp(x, -1.0, 1.0)
    return soft + (torch.floor(soft * levels + 0.5) / levels - soft).detach()


# --- quantise function
class QuantiseFunction(Function):
    @staticmethod
    def forward(ctx, x, levels):
        ctx.save_for_backward(x)
        return torch.floor(torch.clamp(x, -1.0, 1.0) * levels + 0.5) / levels

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * (torch.abs(x) <= 1.0), None


def quantise_by_hand(x, levels=4.0):
    return QuantiseFunction.apply(x, levels)


# --- spline eager
def spline(x):
    inside = torch.clamp(x, -4.0, 3.99999)
    k = (inside + 4.0).long()
    t = inside + 4.0 - k
    table = TABLE.to(x.dtype)
    left, a, b, right = table[k], table[k + 1], table[k + 2], table[k + 3]
    bend = t * (t * (3.0 * (a - b) + right - left) + 2.0 * left - 5.0 * a + 4.0 * b - right)
    return a + 0.5 * t * (b - left + bend) + (x - inside)


# --- spline function
class SplineFunction(Function):
    @staticmethod
    def forward(ctx, x):
        inside = torch.clamp(x, -4.0, 3.99999)
        k = (inside + 4.0).long()
        t = inside + 4.0 - k
        table = TABLE.to(x.dtype)
        left, a, b, right = table[k], table[k + 1], table[k + 2], table[k + 3]
        cubic = 3.0 * (a - b) + right - left
        square = 2.0 * left - 5.0 * a + 4.0 * b - right
        line = b - left
        ctx.save_for_backward(x, t, cubic, square, line)
        return a + 0.5 * t * (line + t * (t * cubic + square)) + (x - inside)

    @staticmethod
    def backward(ctx, dy):
        x, t, cubic, square, line = ctx.saved_tensors
        slope = 0.5 * (line + t * (2.0 * square + 3.0 * t * cubic))
        return dy * torch.where((x >= -4.0) & (x <= 3.99999), slope, 1.0)


def spline_by_hand(x):
    return SplineFunction.apply(x)


# ---
EAGER = {"swish": swish, "rational": Rational, "fixed_point": cube_root, "quantise": quantise, "spline": spline}
BY_HAND = {
    "swish": swish_by_hand,
    "rational": RationalByHand,
    "fixed_point": cube_root_by_hand,
    "quantise": quantise_by_hand,
    "spline": spline_by_hand,
}


def version(name, mode, channels):
    """The callable of one activation in one mode."""
    table = BY_HAND if mode == "function" else EAGER
    found = table[name](channels) if isinstance(table[name], type) else table[name]
    return torch.compile(found) if mode == "compiled" else found


def gradients(f, x, dy):
    """The output, and the gradients of the input and of what is learned."""
    x = x.detach().requires_grad_()
    learned = list(f.parameters()) if isinstance(f, nn.Module) else []
    y = f(x)
    return y, torch.autograd.grad(y, [x, *learned], dy)


def check(name, mode, channels):
    """What an author would test first: a gradient check in float64; for a compiled version, that it equals eager."""
    torch.manual_seed(0)
    f = version(name, mode, channels)
    x = torch.randn(2, channels, 5, 4) * 2.0
    dy = torch.randn_like(x)
    y, found = gradients(f, x, dy)
    if mode == "compiled" or name == "quantise":  # a straight-through gradient is no derivative
        y_eager, expected = gradients(version(name, "eager", channels), x, dy)
        torch.testing.assert_close((y, found), (y_eager, expected), atol=1e-5, rtol=1e-4)
        return
    f = f.double() if isinstance(f, nn.Module) else f
    assert torch.autograd.gradcheck(f, x.double().requires_grad_())
