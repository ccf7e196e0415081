"""Files of a solver's state, in both of Caffe's formats, with our notes beside what Caffe reads.

In HDF5 the notes are a group, in protobuf a field whose number Caffe does not know: it passes over either.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..caffe.blobs import read_state as read_binary, state_bytes
from ..errors import DataError, SnapshotError
from ..weight_files import read_array

FORMATS = {"HDF5": (".solverstate.h5", ".caffemodel.h5"), "BINARYPROTO": (".solverstate", ".caffemodel")}
STATES = tuple(state for state, _ in FORMATS.values())
OURS = "nbcaffe"  # the group that Caffe does not look into
TEXTS = ("net", "solver")  # notes that are text already; the others are JSON


@dataclass(frozen=True)
class State:
    """What a state file holds; ``notes`` are empty in a file by Caffe itself."""

    iteration: int
    learned_net: str
    current_step: int
    history: Sequence[np.ndarray]
    notes: dict[str, Any] = field(default_factory=dict)


def state_content(state: State, path: str | Path) -> bytes:
    """The bytes of a state file, in the format that its name ends in."""
    if Path(path).suffix == ".solverstate":
        notes = json.dumps(state.notes) if state.notes else ""
        return state_bytes(state.iteration, state.learned_net, state.current_step, state.history, notes)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["iter"] = np.array([state.iteration], np.int32)
        file["current_step"] = np.array([state.current_step], np.int32)
        file["learned_net"] = np.bytes_(state.learned_net)
        history = file.create_group("history")
        for index, values in enumerate(state.history):
            history[str(index)] = values
        for key, value in state.notes.items():
            file[f"{OURS}/{key}"] = value if key in TEXTS else json.dumps(value)
    return memory.getvalue()


def read_state(path: str | Path) -> State:
    """A state in either format; what the file holds decides how it is read."""
    path = Path(path)
    if not path.is_file():
        raise SnapshotError(f"{path}: no such snapshot; expected a file that ends in {' or '.join(STATES)}")
    try:
        if path.suffix == ".solverstate" and not h5py.is_hdf5(path):
            iteration, learned_net, step, stored, text = read_binary(path)
            return State(iteration, learned_net, step, stored, _mapping(json.loads(text)) if text else {})
        with h5py.File(path) as file:
            history = file["history"]
            stored = [read_array(history[str(i)], path) for i in range(len(history))]
            group = file.get(OURS, {})
            notes = {k: group[k].asstr()[()] for k in group}
            notes = {k: text if k in TEXTS else json.loads(text) for k, text in notes.items()}
            step = int(file["current_step"][0]) if "current_step" in file else 0
            return State(int(file["iter"][0]), file["learned_net"][()].decode(), step, stored, notes)
    except (DataError, OSError, KeyError, ValueError, AttributeError, RuntimeError, TypeError, IndexError) as error:
        if ".caffemodel" in path.name:
            why = f"these are weights without a state: start from them with --weights: {error}"
        else:
            why = f"not a solver state of Caffe's, or truncated: {error}"
        raise SnapshotError(f"{path}: {why}") from None


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"notes of ours that are no mapping: {value!r:.60}")
    return value


def model_name(state: str | Path) -> str:
    """The name of the weights that belong to a state of this name."""
    return str(state).replace(".solverstate", ".caffemodel")
