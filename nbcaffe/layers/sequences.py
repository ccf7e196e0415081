"""Sequences of unequal length."""

from collections.abc import Sequence
from typing import Any

from ..blob import Blob
from ..data.sequences import SequenceSource
from ..data.vocabulary import Vocabulary
from ..params import Bool, Choice, Int, Str
from .data import Source


class Sequences(Source):
    """Sequences of unequal length from an HDF5 file, padded to ``steps``; each top is what its name says.

    `data` (steps, N, ...), padded with 0; `lengths` (N,); `cont` (steps, N), 0 at each first step and behind the end;
    `label` (N,), or (steps, N) where the file has one for each frame; `target` (target_steps, N), a second sequence;
    `target_lengths` (N,); `target_input` (target_steps, N), the target one step later after a 0, padded with 0, as a
    decoder reads it.  Labels of frames and targets are padded with ``pad_label``, which `ignore_label` of a loss masks.

    The file has all sequences in `data`, one after the other, and in `offsets` (n + 1,) where each begins, then where
    the last one ends; `target` and `target_offsets` likewise; `label` has n rows, or as many as `data`.  Lists of
    strings `vocabulary/data` and `vocabulary/target` are stored in snapshots.
    """

    source: Any = Str(doc="an HDF5 file")
    batch_size = Int(ge=1, doc="sequences in a batch, N")
    steps = Int(ge=1, doc="length to pad to")
    target_steps = Int(0, ge=0, doc="length to pad targets to; 0: steps")
    longer = Choice("error", "truncate", "skip", doc="what becomes of longer sequences")
    pad_label = Int(-1, doc="padding of labels and targets")
    shuffle = Bool(False, doc="a fresh order in each epoch, from the seed")
    bucket = Int(
        0, ge=0, doc="batches that are sorted by length at a time, so that a batch has similar lengths; 0: none are"
    )
    num_top = (1, None)
    examples = ()

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        names = "target_steps", "longer", "pad_label", "shuffle", "bucket", "key", "folder"
        facts = {name: getattr(self, name) for name in names}
        tops = self.top_names or ("data", "lengths", "label")[: self.num_tops]
        self.load(SequenceSource, self.source, self.batch_size, tops, self.steps, **facts)
        return list(self.source.shapes_of(self.batch_size))

    @property
    def vocabularies(self) -> dict[str, Vocabulary]:
        """The vocabulary of each top that holds indices, as snapshots keep them."""
        known: dict[str, Vocabulary] = self.source.vocabularies
        return known
