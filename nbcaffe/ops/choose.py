"""Which engine does an operation: the one the user names, or the first of the list that can."""

from collections.abc import Callable
from typing import Any

from ..errors import ConfigError
from ..params import did_you_mean
from .engines import CONV_ENGINES, PRODUCT_ENGINES
from .plain import PlainConvolution, PlainProduct
from .shapes import ConvShape, ProductShape

Buffer = Callable[..., Any]

CONVOLUTIONS: dict[str, Any] = {**CONV_ENGINES, "PLAIN": PlainConvolution}
PRODUCTS: dict[str, Any] = {**PRODUCT_ENGINES, "PLAIN": PlainProduct}

CONV_CHOICES = ("DEFAULT", "FAST", "CAFFE", "CUDNN", *CONVOLUTIONS)
PRODUCT_CHOICES = ("DEFAULT", "CAFFE", "CUDNN", *PRODUCTS)


def convolution(
    shape: ConvShape, buffer: Buffer, dtype: Any, target: str, engine: str = "DEFAULT", owner: str = ""
) -> tuple[str, Any]:
    """The name of the engine that is going to do this convolution, and the engine, planned.

    Parameters
    ----------
    engine : str
        DEFAULT takes the fastest of full accuracy that supports the operation; so does CUDNN, as Caffe does without
        that library.  FAST takes WINOGRAD where that pays, else what DEFAULT takes.
        CAFFE is BLAS on the host.
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
    wanted = {"CUDNN": "DEFAULT", "CAFFE": "BLAS" if target == "cpu" else "DEFAULT"}.get(engine, engine)
    if wanted == "FAST":
        wanted = next((name for name, E in able.items() if hasattr(E, "pays") and E.pays(shape)), "DEFAULT")
    if wanted == "DEFAULT":
        wanted = next(iter(able))
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
