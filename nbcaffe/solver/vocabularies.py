"""The symbols behind the indices that a net reads: kept in snapshots, and the same in all nets of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..data.vocabulary import Vocabulary
from ..errors import ConfigError, SnapshotError
from ..net import Net
from ..params import did_you_mean
from .states import STATES, read_state


def vocabularies(net: Net) -> dict[str, Vocabulary]:
    """The vocabulary of each top of a data layer that holds indices of symbols."""
    found: dict[str, Vocabulary] = {}
    for node in net.graph.nodes:
        found |= getattr(node.layer, "vocabularies", {})
    return found


def misfits_of_vocabularies(mine: Mapping[str, Vocabulary], stored: Mapping[str, Any]) -> Iterator[str]:
    """What a snapshot's vocabularies have that the net's have not, and the other way round."""
    for top, notes in stored.items():
        if top in mine and mine[top] != Vocabulary(**notes):
            difference = mine[top].difference(Vocabulary(**notes), "net", "snapshot")
            yield f"blob {top!r} holds indices of other symbols: {difference}"


def refuse_different(train: Net, test: Net) -> None:
    """Raise where a test net reads other symbols into the blob of a name than the train net that it has weights of."""
    mine = vocabularies(train)
    for top, known in vocabularies(test).items():
        if top in mine and known != mine[top]:
            difference = mine[top].difference(known, "train net", "test net")
            raise ConfigError(
                f"net {train.name!r}: blob {top!r} holds indices of other symbols when it is tested: {difference}; "
                "let both layers read parts of one source, or give both one vocabulary file"
            )


def read_vocabulary(path: str | Path, top: str = "") -> Vocabulary:
    """The vocabulary that a snapshot was trained with.

    Parameters
    ----------
    path
        A solver state, or weights that have their solver state beside them.
    top
        The blob that holds the indices; may be left out if only one does.

    Raises
    ------
    SnapshotError
        If there is no state, or no such vocabulary in it.
    """
    if not Path(path).is_file():
        raise SnapshotError(f"{path}: no such file")
    state = Path(path).with_name(Path(path).name.replace(".caffemodel", ".solverstate"))
    if not state.name.endswith(STATES) or not state.is_file():
        raise SnapshotError(f"{path}: a vocabulary stands in the solver state of a snapshot; {state} is none")
    stored = read_state(state).notes.get("vocabularies") or {}
    if not top and len(stored) == 1:
        top = next(iter(stored))
    if top not in stored:
        what = f"of blob {top!r}{did_you_mean(top, stored)}" if top else f"to be told from others: {sorted(stored)}"
        raise SnapshotError(f"{state}: no vocabulary {what}")
    return Vocabulary(**stored[top])
