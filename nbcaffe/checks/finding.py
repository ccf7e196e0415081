"""What a check saw: how large the error is, and in a sentence what is wrong and where."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba.core.errors import NumbaError

from ..errors import NbcaffeError
from ..lessons import complaint

T = TypeVar("T")
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Finding:
    """The largest relative error; ``fault`` is empty where all is well, and ``note`` is worth knowing anyway."""

    error: float = 0.0
    fault: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        return not self.fault


def compare(got: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float, what: str) -> Finding:
    """Arrays by name, relative to the largest value of each; ``what`` says which two things differ."""
    worst, place = 0.0, ""
    for name, want in expected.items():
        have, want = np.asarray(got[name], np.float64), np.asarray(want, np.float64)
        if have.shape != want.shape:
            return Finding(np.inf, f"{what}: {name} has shape {have.shape}, expected {want.shape}")
        if not want.size:
            continue
        errors = relative(have, want)
        index = np.unravel_index(int(errors.argmax()), errors.shape)
        if errors[index] > worst:
            worst, place = float(errors[index]), f"{name}{at(index)} is {have[index]:.6g}, expected {want[index]:.6g}"
    return Finding(worst, f"{what}: {place}" if worst > tolerance else "")


def relative(have: np.ndarray, want: np.ndarray) -> np.ndarray:
    """|have - want| over the largest finite ``|want|``; infinite where only one side is a NaN or an infinity."""
    finite = np.isfinite(want) & np.isfinite(have)
    scale = max(1e-3, float(np.abs(want[finite]).max(initial=0.0)))
    same = (have == want) | (np.isnan(have) & np.isnan(want))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(same, 0.0, np.where(finite, np.abs(have - want) / scale, np.inf))


def at(index: Any) -> str:
    """``[1, 2]``; nothing for a scalar."""
    return f"[{', '.join(str(int(i)) for i in index)}]" if len(index) else ""


def attempt(check: Callable[[], T]) -> T | Finding:
    """What ``check`` finds; an exception, which an author's code may raise of any kind, is a finding too."""
    try:
        return check()
    except Exception as error:
        return Finding(np.inf, crash(error))


def crash(error: Exception) -> str:
    """One sentence about an exception, with the author's file and line where he has one."""
    if isinstance(error, NbcaffeError):
        return str(error)
    if isinstance(error, NumbaError):
        where, what = complaint(error, "nbcaffe")
        return f"{where}: does not compile: {what}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not Path(f.filename).is_relative_to(PACKAGE / "checks")]
    theirs = [f for f in own if not Path(f.filename).is_relative_to(PACKAGE)]
    places = [f"{f.filename}:{f.lineno}" for f in (theirs or own)[-1:]]
    return f"crashes with {type(error).__name__}: {error} ({''.join(places) or 'nbcaffe'})"
