"""Recurrent layers by name: each is a step in a YAML file beside this one, repeated along time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..blob import Blob
from ..builder import read_block
from ..params import Bool, Filler, Int
from ..spec import Block
from .recurrent import Recurrent

HERE = Path(__file__).parent


class Cell(Recurrent, abstract=True):
    """A sequence (T, N, ...) in, the hidden values (T, N, D) out.

    Bottoms: x; cont (T, N), 0 where a new sequence begins and 1 where the one before goes on, or lengths (N) of
    sequences that begin at time 0; x_static (N, ...) if there is more; with ``expose_hidden`` a first value (1, N, D)
    for each state.  Tops: the outputs; with ``expose_hidden`` the last value (1, N, D) of each state.  Without it,
    and with cont, states go on from batch to batch, as in Caffe.
    """

    file: ClassVar[str]
    hidden: ClassVar[tuple[str, ...]] = ("h",)  # its states

    num_output = Int(ge=1, doc="number of hidden units D")
    weight_filler = Filler("constant", doc="how all weights start")
    bias_filler = Filler("constant", doc="how all biases start")
    expose_hidden = Bool(False, doc="read first values of the states from bottoms, give their last values to tops")
    debug_info = Bool(False, doc="no effect: `nbcaffe show --time` shows what happens inside")
    reverse = Bool(False, doc="go from the last time to the first")

    num_bottom = (1, None)
    differentiable = (0, 2, 3, 4)
    bottom_shapes = ((3, 2, 4), (3, 2))

    def step(self, bottom: Sequence[Blob]) -> Block:
        starts = self.hidden if self.expose_hidden else ()
        extra = len(bottom) - 2 - len(starts)
        if extra not in (0, 1) and (len(bottom) > 1 or starts):
            first = "".join(f", {name}_0" for name in starts)
            self.fail(f"takes x, cont (or lengths), x_static if there is more{first}; got {len(bottom)} bottoms")
        if self.num_tops != 1 + len(starts):
            self.fail(f"makes {1 + len(starts)} tops, but {self.num_tops} are named")
        self.names = ("x", "marks", "x_static", *(f"{name}_0" for name in starts))
        if extra < 1:
            self.names = tuple(name for name in self.names if name != "x_static")[: len(bottom)]
        variables: dict[str, Any] = {key: getattr(self, key) for key in ("num_output", "weight_filler", "bias_filler")}
        if extra == 1:
            variables |= {"static": 1, "x_input": "x_input"}
        block = read_block(HERE / f"{self.file}.yaml", variables)
        marks: Any = {"lengths" if len(bottom[1].shape) == 1 else "cont": "marks"} if len(bottom) > 1 else {}
        init = {name: f"{name}_0" for name in starts} or dict.fromkeys(
            self.hidden, "carry" if "cont" in marks else "zeros"
        )
        return replace(
            block,
            state=tuple(replace(state, init=init[state.name]) for state in block.state),
            last={state.next: f"{state.name}_T" for state in block.state} if starts else {},
            reverse=self.reverse,
            **marks,
        )

    def bottom_names(self, block: Block) -> tuple[str, ...]:
        return self.names

    def inner_shapes(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        """First values come with an axis of one time step, which the step does not have."""
        return [
            blob.shape[1:] if name.endswith("_0") and blob.shape[:1] == (1,) else blob.shape
            for name, blob in zip(self.names, bottom, strict=True)
        ]

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        hidden, *last = super().setup(bottom)
        for weight in self.weights:
            weight.address = ("", 0)  # kept under this layer's own name
        return [hidden, *((1, *shape) for shape in last)]

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Sequences that begin at time 0, so that a pass does not depend on the one before it."""
        if index != 1:
            return rng.standard_normal(shape)
        if len(shape) == 1:
            return rng.integers(1, 4, shape)
        return np.concatenate([np.zeros((1, *shape[1:])), rng.integers(0, 2, (shape[0] - 1, *shape[1:]))])


EXAMPLES: tuple[dict[str, Any], ...] = (
    {"num_output": 3, "weight_filler": "xavier", "bias_filler": {"type": "gaussian", "std": 0.3}},
    {"num_output": 2, "weight_filler": "xavier", "bottom": [(3, 2, 2), (3, 2), (2, 4)]},
    {"num_output": 2, "weight_filler": "xavier", "bottom": [(3, 2, 4), (2,)], "reverse": True},
)


class RNN(Cell):
    """h = tanh(W_hh h + W_xh x + b_h) and the output tanh(W_ho h + b_o); the step is layers/rnn.yaml.

    Weights: W_xh, b_h, (W_xh_static,) W_hh, W_ho, b_o.
    """

    file = "rnn"
    param_group = "recurrent_param"
    examples = EXAMPLES


class LSTM(Cell):
    """Long short-term memory: c = f c + i g and h = o tanh(c); the step is layers/lstm.yaml.

    Weights: W_xc (4D, inputs), b_c, (W_xc_static,) W_hc, gates in the order i, f, o, g.
    """

    file = "lstm"
    hidden = ("h", "c")
    param_group = "recurrent_param"
    examples = EXAMPLES


class GRU(Cell):
    """Gated recurrent unit: h = n + z (h - n); the step is layers/gru.yaml.

    Weights: W_x (3D, inputs), b_x, (W_x_static,) W_h, b_h, gates in the order r, z, n.
    """

    file = "gru"
    param_group = "recurrent_param"
    examples = EXAMPLES


class PeepholeLSTM(Cell):
    """LSTM whose gates see the cell, too; the step is layers/peephole.yaml, made of plain layers.

    Weights: W_xc (4D, inputs), b_c, (W_xc_static,) W_hc, and the peepholes of i, f and o, of D values each.
    """

    file = "peephole"
    hidden = ("h", "c")
    param_group = "recurrent_param"
    examples = EXAMPLES
