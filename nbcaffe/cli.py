"""The console command: ``nbcaffe VERB ...`` parses its arguments and calls the module that does the work."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module

from . import __version__, mode
from .errors import DeviceError, NbcaffeError
from .verbs import VERBS

USER_ERROR = 2  # argparse's own code for a wrong command line
INTERRUPTED = 128 + 2  # as a shell reports SIGINT
BROKEN_PIPE = 128 + 13  # as a shell reports SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code is 0, or 2 with one message on stderr when the user can mend it."""
    args = _parser().parse_args(argv)
    try:
        _choose_device(args)
        if getattr(args, "autotune", False):
            mode.set_engine("AUTOTUNE")
        code = _target(args.run)(args)
        sys.stdout.flush()  # a closed pipe shows here, not when Python exits
        return int(code or 0)
    except NbcaffeError as error:
        if args.traceback:
            error.__suppress_context__ = False  # Numba's complaint, where there is one
            raise
        print(error, file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nbcaffe", description="Caffe rebuilt in Python on Numba.", epilog="`nbcaffe VERB --help` explains a verb."
    )
    parser.add_argument("--version", action="version", version=f"nbcaffe {__version__}")
    parser.set_defaults(traceback=False)
    _traceback_argument(parser)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, (summary, add_arguments, run) in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_arguments(verb)
        _traceback_argument(verb)
        verb.set_defaults(run=run)
    return parser


def _traceback_argument(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: the verb's parser must not reset what stands before the verb
    parser.add_argument(
        "--traceback", action="store_true", default=argparse.SUPPRESS, help="show Python's traceback of an error"
    )


def _target(address: str) -> Callable[[argparse.Namespace], int | None]:
    """Import ``module:function`` only now: ``--help`` is quick, and ``--device`` is settled before Numba is loaded."""
    module, function = address.split(":")
    return getattr(import_module(f".{module}", __package__), function)


def _choose_device(args: argparse.Namespace) -> None:
    """``--device sim`` is the cuda target in Numba's simulator; the verbs see ``cuda``.

    ``check`` compares with whatever cuda target there is: a GPU, else the simulator.
    """
    compares = getattr(args, "device", None) == "any" and not gpu_found() and "numba.cuda" not in sys.modules
    if not compares and "sim" not in (getattr(args, "device", None), *(getattr(args, "pair", None) or "").split(",")):
        return
    args.device = "cuda"
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        if "numba.cuda" in sys.modules and not numba.config.ENABLE_CUDASIM:
            raise DeviceError("--device sim: numba.cuda is loaded already, without its simulator; use a new process")
        numba.config.reload_config()


def gpu_found() -> bool:
    """Whether NVIDIA's driver knows a GPU; asked without Numba, which would settle the matter by being loaded."""
    count = ctypes.c_int(0)
    with suppress(OSError, AttributeError):
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return False
