"""Which engine does an operation: the one the user names, or the fastest of those that can."""

from collections.abc import Callable
from typing import Any

from .. import mode
from ..errors import ConfigError
from ..params import did_you_mean
from .autotune import fastest
from .engines import CONV_ENGINES, PRODUCT_ENGINES
from .plain import PlainConvolution, PlainProduct
from .shapes import ConvShape, ProductShape

Buffer = Callable[..., Any]

CONVOLUTIONS: dict[str, Any] = {**CONV_ENGINES, "PLAIN": PlainConvolution}
PRODUCTS: dict[str, Any] = {**PRODUCT_ENGINES, "PLAIN": PlainProduct}

CONV_CHOICES = ("DEFAULT", "ACCURATE", "AUTOTUNE", "CAFFE", "CUDNN", *CONVOLUTIONS)
PRODUCT_CHOICES = ("DEFAULT", "ACCURATE", "AUTOTUNE", "CAFFE", "CUDNN", *PRODUCTS)


def convolution(
    shape: ConvShape, buffer: Buffer, dtype: Any, target: str, engine: str = "DEFAULT", owner: str = ""
) -> tuple[str, Any]:
    """The name of the engine that is going to do this convolution, and the engine, planned.

    Parameters
    ----------
    engine : str
        DEFAULT takes WINOGRAD where that pays, else what ACCURATE takes: the first of the list that supports the
        operation and is of full accuracy.  AUTOTUNE tries them.  Caffe's names CAFFE and CUDNN mean DEFAULT, and
        :func:`nbcaffe.set_engine` says what DEFAULT means.
    owner : str
        How messages name the layer.
    """
    return choose(CONVOLUTIONS, shape, buffer, dtype, target, engine, owner)


def product(
    shape: ProductShape, buffer: Buffer, dtype: Any, target: str, engine: str = "DEFAULT", owner: str = ""
) -> tuple[str, Any]:
    """The same for a matrix product; see :func:`convolution`."""
    return choose(PRODUCTS, shape, buffer, dtype, target, engine, owner)


def choose(
    engines: dict[str, Any],
    shape: ConvShape | ProductShape,
    buffer: Buffer,
    dtype: Any,
    target: str,
    engine: str,
    owner: str,
) -> tuple[str, Any]:
    sized = engines if shape.multiply_adds else {"PLAIN": engines["PLAIN"]}  # no items: only plain loops do nothing
    able = {name: E for name, E in sized.items() if E.supports(shape, dtype, target)}
    at = f"{owner}: " if owner else ""
    if not able:
        raise ConfigError(f"{at}no engine can do {shape}; convolution has one to three axes")
    wanted = "DEFAULT" if engine in ("CAFFE", "CUDNN") else engine
    if wanted == "DEFAULT" and mode.engine() in ("ACCURATE", "AUTOTUNE", *able):
        wanted = mode.engine()
    if wanted == "AUTOTUNE":
        wanted = fastest(able, shape, dtype)
    if wanted == "DEFAULT":
        wanted = next((name for name, E in able.items() if hasattr(E, "pays") and E.pays(shape)), "ACCURATE")
    if wanted == "ACCURATE":
        wanted = next(name for name, E in able.items() if not hasattr(E, "pays"))
    if wanted not in engines:
        known = CONV_CHOICES if engines is CONVOLUTIONS else PRODUCT_CHOICES
        raise ConfigError(f"{at}unknown engine {engine!r}{did_you_mean(engine, known)}")
    if wanted not in able:
        takes = (engines[wanted].supports.__doc__ or "").strip().rstrip(".")
        here = f"here: {dtype} on {target}, {shape}"
        raise ConfigError(
            f"{at}engine {engine} cannot do this ({takes}; {here}); use engine: DEFAULT or {', '.join(able)}"
        )
    return wanted, able[wanted](shape, buffer, str(dtype))
