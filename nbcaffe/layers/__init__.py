"""Importing this package defines every layer in it; as pycaffe's ``L`` it makes layers of a :class:`NetSpec`."""

import importlib
import pkgutil
from typing import Any

from ..layer import REGISTRY
from ..net_spec import layer_function

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")


def layer_type_list() -> list[str]:
    """Every layer type that a net may use now."""
    return sorted(REGISTRY)


def __dir__() -> list[str]:
    return sorted({*globals(), *REGISTRY})


def __getattr__(name: str) -> Any:
    """``L.Convolution`` of ``from nbcaffe import layers as L``."""
    return layer_function(name)
