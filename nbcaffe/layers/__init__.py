"""Importing this package defines every layer in it."""

import importlib
import pkgutil

from ..layer import REGISTRY

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")


def layer_type_list() -> list[str]:
    """Every layer type that a net may use now."""
    return sorted(REGISTRY)
