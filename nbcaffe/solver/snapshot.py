"""Snapshots in Caffe's own formats, with all that a bit-equal resume needs beside what Caffe reads.

``<prefix>_iter_<n>.caffemodel.h5`` holds the weights, ``<prefix>_iter_<n>.solverstate.h5`` the rest (``.caffemodel``
and ``.solverstate`` with snapshot_format BINARYPROTO).  The state is
written last and knows the weights' checksum, so a run killed between the two resumes from the snapshot before.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numba
import numpy as np

from .. import __version__
from ..cache import write_atomically
from ..errors import NbcaffeError, SnapshotError
from ..live import move_to, position as position
from ..net import Net
from ..weight_files import read_weights
from ..weights import fits
from .policies import steps_taken
from .states import FORMATS, STATES, State, read_state, state_content
from .vocabularies import misfits_of_vocabularies, vocabularies

if TYPE_CHECKING:
    from .loop import Solver

log = logging.getLogger("nbcaffe.solver")


def versions() -> dict[str, str]:
    """What a result may depend on."""
    return {
        "nbcaffe": __version__,
        "python": platform.python_version(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "h5py": h5py.__version__,
    }


# Writing


def write(solver: Solver, prefix: str | Path, place: dict[str, Any]) -> Path:
    """Write weights and state of an iteration whose train net stands at ``place``; return the state's path."""
    stem = Path(f"{prefix}_iter_{solver.iter}")
    state, model = (stem.with_name(stem.name + ending) for ending in FORMATS[solver.spec.snapshot_format])
    fresh = not model.exists()
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        solver.net.save(model)
        write_atomically(state, state_content(state_of(solver, model, place), state))
    except (OSError, SnapshotError) as error:
        if fresh and model.exists():
            model.unlink()
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise SnapshotError(
            f"{state}: the snapshot of iteration {solver.iter} could not be written: {why}; "
            "earlier snapshots are whole; make room or choose another folder, and --resume"
        ) from None
    return state


def state_of(solver: Solver, model: Path, place: dict[str, Any]) -> State:
    """What a state file is going to hold."""
    notes = {
        "versions": versions(),
        "seed": solver.seed,
        "update": kept_by(solver),
        "train": place,
        "test": [position(net) for net in solver.test_nets],
        "vocabularies": {top: known.notes for top, known in vocabularies(solver.net).items()},
        "losses": list(solver.losses),
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "net": solver.net.text,
        "solver": solver.spec.text,
    }
    history = [solver.net.device.download(array).reshape(shape) for array, shape in histories(solver)]
    return State(solver.iter, str(model), steps_taken(solver.spec, solver.iter), history, notes)


def kept_by(solver: Solver) -> dict[str, Any]:
    """Who wrote the histories, and what each of them is."""
    return {"type": solver.spec.type, "histories": list(solver.update.rule.histories)}


def histories(solver: Solver) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Each weight's part of each history, with its shape, in Caffe's order: that of the layers."""
    for arena in solver.update.histories:
        for weight in solver.net.graph.learnable:
            yield arena[weight.offset : weight.offset + weight.count], weight.shape


# Reading


def restore(solver: Solver, path: str | Path) -> None:
    """Go on where a snapshot was written; one that does not fit is refused whole, with all the reasons."""
    path = Path(path)
    state = read_state(path)
    stored, notes = state.history, state.notes
    model = find_model(path, state.learned_net)
    expected = notes.get("model_sha256")
    if expected and expected != hashlib.sha256(model.read_bytes()).hexdigest():
        raise SnapshotError(f"{model}: not the weights that {path} was written with; take both from the same snapshot")
    weights = read_weights(model)
    before = position(solver.net)
    reasons = [*misfits_of_weights(solver.net, weights), *misfits_of_history(solver, stored, notes.get("update"))]
    reasons += misfits_of_vocabularies(vocabularies(solver.net), notes.get("vocabularies") or {})
    reasons += misfits_of_position(solver.net, notes.get("train"))
    if reasons:
        move_to(solver.net, before)
        raise SnapshotError(f"{path}: this snapshot does not fit the solver and its net:\n  " + "\n  ".join(reasons))
    if notes.get("seed", solver.seed) != solver.seed:
        log.warning("%s was written with random_seed %s, this run has %s", path, notes["seed"], solver.seed)
    device = solver.net.device
    solver.net.copy_from(model)
    for values, (array, _) in zip(stored, histories(solver), strict=True):
        device.upload(array, values.ravel())
    solver.iter = state.iteration
    solver.losses.clear()
    solver.losses.extend(notes.get("losses", ()))
    for net, place in zip(solver.test_nets, notes.get("test", ()), strict=False):
        if not misfits_of_position(net, place):  # the set to test on may be another one now
            move_to(net, place)


def find_model(path: Path, learned_net: str) -> Path:
    """The weights beside the state, or where the state says they were written."""
    beside = path.with_name(Path(learned_net).name)
    for model in (beside, Path(learned_net)):
        if model.is_file():
            return model
    raise SnapshotError(f"{path}: its weights are missing; expected {beside}")


def misfits_of_weights(net: Net, stored: dict[str, list[np.ndarray]]) -> Iterator[str]:
    for name, weights in net.params.items():
        found = stored.get(name, [])
        if not fits(name, weights, found):
            shapes = [[None if w is None else w.shape for w in side] for side in (weights, found)]
            yield f"layer {name!r}: weights {shapes[0]} in the net, {shapes[1] or 'none'} in the snapshot"
    for name in stored:
        if name not in net.params:
            yield f"layer {name!r} with weights is in the snapshot, but not in the net"


def misfits_of_history(solver: Solver, stored: Sequence[np.ndarray], kept: dict[str, Any] | None) -> Iterator[str]:
    mine = kept_by(solver)
    if kept and kept != mine:
        one, other = (f"{who['type']} keeps {', '.join(who['histories']) or 'nothing'}" for who in (mine, kept))
        yield f"the solver's {one} for each weight, the snapshot's {other}"
        return
    expected = [shape for _, shape in histories(solver)]
    if len(stored) != len(expected):
        yield f"{solver.spec.type} keeps {len(expected)} histories for this net, the snapshot has {len(stored)}"
        return
    for index, (values, shape) in enumerate(zip(stored, expected, strict=True)):
        if values.shape != shape:
            yield f"history {index}: {shape} in the solver, {values.shape} in the snapshot"


def misfits_of_position(net: Net, place: dict[str, Any] | None) -> list[str]:
    """Move the net's data to ``place``, or say why that cannot be and leave them."""
    if place is None:
        return []
    before = position(net)
    reasons = [f"data layer {name!r} is not in the net" for name in place["cursors"] if name not in net.sources]
    if not reasons:
        try:
            move_to(net, place)
        except (NbcaffeError, ValueError) as error:
            reasons.append(str(error))
            move_to(net, before)
    return reasons


def newest(folder: Path) -> Path | None:
    """The state of the highest iteration in a folder."""
    states = [path for ending in STATES for path in folder.glob(f"*{ending}")]
    numbered = [(int(m[1]), p) for p in states if (m := re.search(r"_iter_(\d+)\.", p.name))]
    return max(numbered)[1] if numbered else None
