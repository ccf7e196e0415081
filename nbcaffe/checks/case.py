"""One layer with one example: values for its bottoms, and the passes that the checks compare."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..blob import Blob
from ..layer import REGISTRY, Layer
from ..single import Single, least
from .kinks import Kinks, kinks_of

Arrays = dict[str, np.ndarray]
CLEAR = 0.05  # how far from a kink values stay, where kinks lie far enough apart


class Case:
    """One layer, one example: sample values clear of the layer's kinks, and directions for its tops' gradients."""

    def __init__(self, kind: str | type[Layer], example: dict[str, Any], seed: int = 7):
        self.example = dict(example)
        params = dict(example)
        self.cls = REGISTRY[kind] if isinstance(kind, str) else kind
        self.kind = self.cls.__name__
        self.shapes = [tuple(s) for s in params.pop("bottom", self.cls.bottom_shapes)]
        self.num_top = params.pop("num_top", least(self.cls.num_top))
        self.phase = params.pop("phase", "TRAIN")
        self.params, self.seed = params, seed

    def __repr__(self) -> str:
        return f"{self.kind} {self.example}"

    def reshaped(self, shapes: Sequence[tuple[int, ...]]) -> "Case":
        """The same example for bottoms of other shapes."""
        other = Case(self.cls, {**self.example, "bottom": list(shapes)}, self.seed)
        vars(other)["kinks"] = self.kinks
        return other

    @cached_property
    def kinks(self) -> Kinks:
        """Where one-sided derivatives differ, found by looking; empty where the layer is not element-wise."""
        return kinks_of(self)

    @cached_property
    def values(self) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        return [self.clear(self.cls.sample(i, s, rng)) for i, s in enumerate(self.shapes)]

    def clear(self, values: np.ndarray) -> np.ndarray:
        """Move values that lie at a kink."""
        kinks = np.unique([*self.cls.kinks, *self.kinks.places, *self.kinks.jumps])
        if not kinks.size or values.dtype.kind != "f":
            return values
        far = min(CLEAR, 0.2 * float(np.diff(kinks).min(initial=1.0)))
        for _ in range(3):
            near = np.abs(values[..., None] - kinks).min(axis=-1) < far
            values = np.where(near, values + 2 * far, values)
        return values

    def single(self, *, surrogate: bool = False, stir: bool = True, **options: Any) -> Single:
        """The layer with memory; weights are stirred, since many start as zeros.

        With ``surrogate`` the forward pass computes the function whose derivative the backward pass uses.
        """
        single = Single(self.cls, self.shapes, phase=self.phase, num_top=self.num_top, **options, **self.params)
        if surrogate and getattr(self.cls, "surrogate", None) is not None:
            vars(single.layer)["stand_in"] = True
        rng = np.random.default_rng(self.seed + 1)
        for weight in learned(single).values() if stir else ():
            start = single.device.download(weight.data)
            single.device.upload(weight.data, start + 0.3 * rng.standard_normal(weight.shape))
        return single

    @property
    def differentiable(self) -> bool:
        return self.cls.differentiable != () and bool(self.shapes)

    @cached_property
    def learns(self) -> bool:
        return self.differentiable and bool(learned(self.single(stir=False)))

    def diffs(self, single: Single) -> list[np.ndarray]:
        """A direction for each top's gradient, the same for each run."""
        rng = np.random.default_rng(3)
        return [np.asarray(rng.standard_normal(top.shape)) for top in single.top]

    def run(self, poison: Any = None, **options: Any) -> Arrays:
        """Tops, then gradients by name, of one forward and one backward pass."""
        return self.passes(self.single(**options), poison)

    def passes(self, single: Single, poison: Any = None) -> Arrays:
        """As :meth:`run`; ``poison`` is left wherever a pass must write before it reads."""
        if poison is not None:
            self.spoil(single, poison)
        out = named("top", single.forward(*self.values))
        if not self.differentiable:
            return out
        if poison is not None:
            self.spoil_backward(single, poison)
        single.backward(*self.diffs(single))
        return {**out, **gradients(single)}

    def spoil(self, single: Single, poison: Any) -> None:
        """Before a forward pass: tops, bottom diffs and all work space."""
        arrays = [*(top.data for top in single.top), *(bottom.diff for bottom in single.bottom)]
        fill(single, arrays, poison)
        fill(single, (b.data for b in single.layer.buffers if not b.carried), poison)

    def spoil_backward(self, single: Single, poison: Any) -> None:
        """Between the passes: what the layer did not ask to keep, as a net that plans its memory may do."""
        fill(single, (b.data for b in single.layer.buffers if not b.keep), poison)
        needs = single.layer.backward_needs
        fill(single, (b.data for b in single.bottom if "bottom" not in needs), poison)
        if not single.layer.shares:
            fill(single, (b.data for b in single.top if "top" not in needs), poison)


def fill(single: Single, arrays: Iterable[Any], poison: Any) -> None:
    for array in arrays:
        single.device.upload(array, poison if array.dtype.kind == "f" else int(poison == poison))


def named(what: str, arrays: Iterable[np.ndarray]) -> Arrays:
    return {f"{what} {index}": array for index, array in enumerate(arrays)}


def gradient_blobs(single: Single) -> dict[str, Blob]:
    """Bottoms and weights that get a gradient, by what messages call them."""
    wanted = single.layer.propagate_down
    bottoms = {f"bottom {i}": b for i, b in enumerate(single.bottom) if wanted[i]}
    return {**bottoms, **learned(single)}


def learned(single: Single) -> dict[str, Blob]:
    """Weights that get a gradient; others are statistics, which the layer keeps itself."""
    weights = enumerate(single.layer.weights)
    return {f"weight {i}": w for i, w in weights if getattr(w, "learned", True)}


def gradients(single: Single) -> Arrays:
    """Copies of what a backward pass computed."""
    blobs = gradient_blobs(single)
    return {f"gradient of {name}": single.device.download(blob.diff).copy() for name, blob in blobs.items()}
