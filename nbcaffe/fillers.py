"""The seven ways to fill a weight before training; ``fan_in`` is count / shape[0], ``fan_out`` count / shape[1]."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, prod, sqrt
from typing import Any

import numpy as np

from . import rng
from .errors import ConfigError
from .params import FillerSpec


def fan(spec: FillerSpec, shape: tuple[int, ...]) -> float:
    """The number that ``variance_norm`` names."""
    count = prod(shape)
    fan_in = count / shape[0] if shape else 1.0
    fan_out = count / shape[1] if len(shape) > 1 else float(count)
    return {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}[spec.variance_norm]


def constant(spec: FillerSpec, shape: tuple[int, ...], key: int) -> np.ndarray:
    return np.broadcast_to(np.float64(spec.value), shape)  # which takes no memory


def uniform(spec: FillerSpec, shape: tuple[int, ...], key: int) -> np.ndarray:
    return (spec.min + (spec.max - spec.min) * rng.uniform(key, prod(shape))).reshape(shape)


def gaussian(spec: FillerSpec, shape: tuple[int, ...], key: int) -> np.ndarray:
    """Normal values; ``sparse`` s keeps each with probability s / shape[0]."""
    values = spec.mean + spec.std * rng.normal(key, prod(shape))
    if spec.sparse >= 0:
        values *= rng.uniform(key, values.size, hi=1) < spec.sparse / shape[0]
    return values.reshape(shape)


def positive_unitball(spec: FillerSpec, shape: tuple[int, ...], key: int) -> np.ndarray:
    """Uniform values scaled so that each row sums to 1."""
    values = rng.uniform(key, prod(shape)).reshape(shape[0], -1)
    return (values / values.sum(axis=1, keepdims=True)).reshape(shape)


def xavier(spec: FillerSpec, shape: tuple[int, ...], key: int) -> np.ndarray:
    """Uniform with variance 1/n (Glorot and Bengio, AISTATS 2010)."""
    bound = sqrt(3.0 / fan(spec, shape))
    return (bound * (2.0 * rng.uniform(key, prod(shape)) - 1.0)).reshape(shape)


def msra(spec: FillerSpec, shape: tuple[int, ...], key: int) -> np.ndarray:
    """Normal with variance 2/n, for layers under a ReLU (He et al., ICCV 2015)."""
    return (sqrt(2.0 / fan(spec, shape)) * rng.normal(key, prod(shape))).reshape(shape)


def bilinear(spec: FillerSpec, shape: tuple[int, ...], key: int) -> np.ndarray:
    """Upsampling by interpolation: each square kernel is a tent."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ConfigError(f"filler bilinear: expected a 4-D weight with a square kernel, got shape {shape}")
    f = ceil(shape[3] / 2.0)
    centre = (shape[3] - 1) / (2.0 * f)
    tent = 1.0 - np.abs(np.arange(shape[3]) / f - centre)
    return np.broadcast_to(np.outer(tent, tent), shape)


@dataclass(frozen=True)
class Given(FillerSpec):
    """Values that a layer brings along, for :func:`given`."""

    values: Any = field(default=None, compare=False)


def given(values: np.ndarray) -> FillerSpec:
    """A filler of these values; no net file can ask for it."""
    return Given("given", values=np.array(values))


FILLERS: dict[str, Callable[[FillerSpec, tuple[int, ...], int], np.ndarray]] = {
    f.__name__: f for f in (constant, uniform, gaussian, positive_unitball, xavier, msra, bilinear)
}


def fill(spec: FillerSpec, shape: tuple[int, ...], key: int) -> np.ndarray:
    """Values for a weight of ``shape``; the same key gives the same values on every target."""
    return spec.values if isinstance(spec, Given) else FILLERS[spec.type](spec, shape, key)
