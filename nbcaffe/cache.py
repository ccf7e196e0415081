"""Where generated kernels and their machine code live between runs.

A generated module is a real file named by the hash of its whole text, so an edit anywhere it was made from gives
another file: Numba's disk cache beside it can be old, but never wrong.
"""

import hashlib
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

import numba
import numpy as np


@cache
def folder() -> Path:
    """The cache folder: ``$NBCAFFE_CACHE``, else the user's cache folder, else a temporary one."""
    home = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    root = os.environ.get("NBCAFFE_CACHE") or Path(home or Path.home() / ".cache") / "nbcaffe"
    version = f"py{sys.version_info.major}.{sys.version_info.minor}-numba{numba.__version__}-numpy{np.__version__}"
    path = Path(root) / version
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:  # a read-only home: kernels are compiled anew in each process
        path = Path(tempfile.mkdtemp(prefix="nbcaffe-"))
    return path


def store(name: str, text: str) -> Path:
    """Write ``text`` as the module ``name_<hash>`` unless it is there; return its path."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:20]
    path = folder() / f"{name}_{digest}.py"
    if not path.exists():
        write_atomically(path, text.encode())
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that another process, or a crash, never sees half of it."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o666 & ~umask())  # mkstemp makes files that only their owner can read
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


@cache
def umask() -> int:
    """The process's mask of file modes, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
