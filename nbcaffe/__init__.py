"""nbcaffe: Caffe rebuilt in Python on Numba. Nets in YAML, one kernel body for CPU and GPU.

Public names are imported when first used: ``import nbcaffe`` is quick, and ``--device sim`` can be settled before Numba
is loaded.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # what editors and mypy see of PUBLIC and MODULES
    from . import coord_map as coord_map, draw as draw, io as io, layers as layers, proto as proto
    from .alone import layer as layer
    from .classifier import Classifier as Classifier
    from .data.rows import RowSource as RowSource
    from .detector import Detector as Detector
    from .elementwise import Activation as Activation, Elementwise as Elementwise, Learned as Learned
    from .errors import (
        ConfigError as ConfigError,
        DataError as DataError,
        DeviceError as DeviceError,
        KernelError as KernelError,
        LabelError as LabelError,
        NbcaffeError as NbcaffeError,
        NumericError as NumericError,
        ShapeError as ShapeError,
        SnapshotError as SnapshotError,
    )
    from .kernel import device as device, kernel as kernel
    from .layer import Layer as Layer, Loss as Loss
    from .layers import layer_type_list as layer_type_list
    from .layers.data import Source as Source
    from .layers.element_loss import ElementwiseLoss as ElementwiseLoss
    from .mode import (
        set_device as set_device,
        set_engine as set_engine,
        set_mode_cpu as set_mode_cpu,
        set_mode_gpu as set_mode_gpu,
        set_multiprocess as set_multiprocess,
        set_random_seed as set_random_seed,
    )
    from .net import TEST as TEST, TRAIN as TRAIN, Net as Net
    from .net_spec import NetSpec as NetSpec, to_proto as to_proto
    from .param_words import params as params
    from .params import (
        Bool as Bool,
        Choice as Choice,
        Filler as Filler,
        Float as Float,
        Floats as Floats,
        Int as Int,
        Ints as Ints,
        Pair as Pair,
        Shapes as Shapes,
        Str as Str,
        Strs as Strs,
    )
    from .pycaffe import Timer as Timer
    from .solver.loop import Solver as Solver, get_solver as get_solver
    from .solver.named import (
        AdaDeltaSolver as AdaDeltaSolver,
        AdaGradSolver as AdaGradSolver,
        AdamSolver as AdamSolver,
        NesterovSolver as NesterovSolver,
        RMSPropSolver as RMSPropSolver,
        SGDSolver as SGDSolver,
    )
    from .solver.policies import policy as policy
    from .solver.rules import Update as Update

HOMES = {
    "alone": "layer",
    "classifier": "Classifier",
    "detector": "Detector",
    "elementwise": "Activation Elementwise Learned",
    "data.rows": "RowSource",
    "errors": "NbcaffeError ConfigError DataError DeviceError KernelError "
    "LabelError NumericError ShapeError SnapshotError",
    "kernel": "kernel device",
    "layer": "Layer Loss",
    "layers": "layer_type_list",
    "layers.element_loss": "ElementwiseLoss",
    "layers.data": "Source",
    "mode": "set_mode_cpu set_mode_gpu set_random_seed set_device set_engine set_multiprocess",
    "net": "Net TRAIN TEST",
    "net_spec": "NetSpec to_proto",
    "param_words": "params",
    "pycaffe": "Timer",
    "solver.loop": "Solver get_solver",
    "solver.named": "SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver",
    "solver.policies": "policy",
    "solver.rules": "Update",
    "params": "Bool Choice Filler Float Floats Int Ints Pair Shapes Str Strs",
}
MODULES = ("coord_map", "draw", "io", "layers", "proto")  # ``nbcaffe.io.load_image`` works without an import of its own
PUBLIC = {name: module for module, names in HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return import_module(f".{name}", __name__)
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{PUBLIC[name]}", __name__), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC, *MODULES})


class _Package(ModuleType):
    """``nbcaffe.kernel`` is the decorator, also after Python has loaded the module of that name; so is ``params``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
