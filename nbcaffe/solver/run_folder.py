"""One folder a run, with all that is needed to judge it and to do it again."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import SnapshotError
from ..weight_files import split_files
from .loop import Solver
from .snapshot import find_model, newest, versions
from .states import STATES, read_state

STAMP = r"(\d{8}-\d{6})(?:-(\d+))?"


class RunFolder:
    """``<root>/<name>-<date>-<time>[-n]`` and the files in it."""

    def __init__(self, root: str | Path, name: str):
        self.path = create(Path(root), name)
        self.started = time.monotonic()
        self.snapshots = self.path / "snapshots"

    def write_start(self, solver: Solver, device: str, resumed: str | None) -> None:
        """Note what is going to run, and on what."""
        about = {
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "seed": solver.seed,
            "device": device,
            "resumed_from": resumed,
            "versions": versions(),
            "host": platform.node(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "threads": os.environ.get("NUMBA_NUM_THREADS"),
        }
        texts = {"net.yaml": solver.net.text, "solver.yaml": solver.spec.text}
        texts |= {f"test_net_{index}.yaml": net.text for index, net in enumerate(solver.test_nets)}
        texts["environment.json"] = json.dumps(about, indent=2) + "\n"
        for name, text in texts.items():
            self._write(name, text, "w")

    def log(self, line: str) -> None:
        """Append to log.txt, with the seconds since the start."""
        self._write("log.txt", f"{time.monotonic() - self.started:9.2f}  {line}\n", "a")

    def metrics(self, values: dict[str, Any]) -> None:
        """Append one object to metrics.jsonl; JSON has no NaN, so what is not finite becomes null."""
        self._write("metrics.jsonl", json.dumps(jsonable(values), allow_nan=False) + "\n", "a")

    def _write(self, name: str, text: str, mode: str) -> None:
        try:
            with open(self.path / name, mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise SnapshotError(f"{self.path / name}: cannot be written: {error.strerror or error}") from None


def create(root: Path, name: str) -> Path:
    """A new folder for a run that starts now."""
    base = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    number = 1
    while True:
        path = root / (base if number == 1 else f"{base}-{number}")
        try:
            root.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            (path / "snapshots").mkdir()
            return path
        except FileExistsError:
            number += 1
            if not root.is_dir():
                raise SnapshotError(f"{root}: not a folder but a file; name a folder with --runs") from None
        except OSError as error:
            why = error.strerror or error
            raise SnapshotError(
                f"{path}: the run folder cannot be made: {why}; name another place with --runs"
            ) from None


def find_snapshot(what: str, root: str | Path, name: str) -> Path:
    """What ``--resume`` means: a state file, a run folder, or ``latest``: the newest run with a snapshot."""
    if what != "latest":
        path = Path(what)
        if not path.is_dir():
            return path
        found = newest(path / "snapshots") or newest(path)
        if found is None:
            raise SnapshotError(f"{path}: no snapshot in this folder")
        return found
    pattern = re.compile(re.escape(name) + "-" + STAMP)
    folders = Path(root).iterdir() if Path(root).is_dir() else ()
    runs = [(m[1], int(m[2] or 1), p) for p in folders if (m := pattern.fullmatch(p.name))]
    for _, _, run in sorted(runs, reverse=True):
        found = newest(run / "snapshots")
        if found is not None:
            return found
    raise SnapshotError(f"{root}: no run of {name!r} with a snapshot to resume; start without --resume")


def weight_files(texts: Iterable[str]) -> list[Path]:
    """What ``--weights`` means: files, several joined by commas; of a run folder or solver state its weights."""
    files = []
    for path in (path for text in texts for path in split_files(text)):
        state = find_snapshot(str(path), "", "") if path.is_dir() else path
        is_state = state.is_file() and str(state).endswith(STATES)
        files.append(find_model(state, read_state(state).learned_net) if is_state else state)
    return files


def jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [jsonable(v) for v in value]
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
