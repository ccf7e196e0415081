"""What is kept for a whole process: where nets run, their seed and their engine, unless they are told."""

import os

from .errors import ConfigError, DeviceError

_chosen: dict[str, str | int] = {}

SEED = 1701


def set_mode_cpu() -> None:
    """Nets and solvers made from now on run on the CPU."""
    _chosen["device"] = "cpu"


def set_mode_gpu() -> None:
    """Nets and solvers made from now on run on CUDA."""
    _chosen["device"] = "cuda"


def set_random_seed(seed: int) -> None:
    """Nets made from now on draw from this seed; a solver's own ``random_seed`` comes first."""
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"set_random_seed: expected an int and >= 0, got {seed!r}")
    _chosen["seed"] = seed


ENGINES = ("DEFAULT", "ACCURATE", "AUTOTUNE", "DEPTHWISE", "DIRECT", "WINOGRAD", "BLAS", "PLAIN")


def set_engine(name: str) -> None:
    """What ``engine: DEFAULT`` means to layers made from now on, where that engine can do it.

    ``ACCURATE`` leaves out WINOGRAD, to compare numbers with Caffe's; ``AUTOTUNE`` tries the engines on this machine.
    ``NBCAFFE_ENGINE`` in the environment says the same for a whole process.
    """
    if name not in ENGINES:
        raise ConfigError(f"set_engine: expected one of {', '.join(ENGINES)}, got {name!r}")
    _chosen["engine"] = name


def set_device(number: int) -> None:
    """pycaffe's choice of a GPU; here ``CUDA_VISIBLE_DEVICES`` says which one is number 0."""
    if type(number) is not int or number < 0:
        raise ConfigError(f"set_device: expected an int and >= 0, got {number!r}")
    if number:
        raise DeviceError(
            f"set_device({number}): nets run on the first GPU; make it number {number} of the machine with "
            f"CUDA_VISIBLE_DEVICES={number}, set before Python starts"
        )


def set_multiprocess(on: bool) -> None:
    """pycaffe's switch for training on several GPUs, which is not here: only False is accepted."""
    if on is not False:
        raise ConfigError(f"set_multiprocess: one process trains on one device; expected False, got {on!r}")


def device() -> str | None:
    """The device that was chosen, or None."""
    chosen = _chosen.get("device")
    return None if chosen is None else str(chosen)


def seed() -> int:
    """The seed that was chosen, or the one every run starts from."""
    return int(_chosen.get("seed", SEED))


def engine() -> str:
    """What DEFAULT means."""
    name = str(_chosen.get("engine") or os.environ.get("NBCAFFE_ENGINE") or "DEFAULT")
    if name not in ENGINES:
        raise ConfigError(f"NBCAFFE_ENGINE={name}: expected one of {', '.join(ENGINES)}")
    return name
