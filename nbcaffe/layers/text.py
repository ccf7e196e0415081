"""Texts for language models."""

from collections.abc import Sequence
from typing import Any

from ..blob import Blob
from ..data.text import TextSource
from ..data.vocabulary import Vocabulary
from ..params import Bool, Choice, Floats, Int, Str, Strs
from .data import Source


class Text(Source):
    """Symbols of a text, and for each the one that follows: tops `[data, cont, label]`, `[data, label]` or `[data]`.

    Each top is (steps, batch_size), time first.  ``data`` and ``label`` are indices, as Embed and SoftmaxWithLoss read
    them; ``cont`` is 0 where a sequence begins and 1 where it goes on.  Stateful, the text is cut into batch_size
    streams: each batch goes on where the last one ended, and ``cont`` is 0 only at the start and where the text begins
    again.  Otherwise every window begins a sequence.

    The vocabulary is that of the whole ``source``, whatever the ``part``, so the layers of a train and a test net that
    read parts of one source agree.  It is stored in snapshots; a run resumes only with the same one.
    """

    source: Any = Strs(doc="a text file in UTF-8, or a list of them, read one after the other")
    batch_size = Int(ge=1, doc="streams, or windows, in a batch")
    steps = Int(ge=1, doc="symbols of a window")
    unit = Choice("char", "word", doc="symbols are characters, or words and punctuation marks without white space")
    vocabulary = Str("", doc=r"a file with one symbol a line: \s is a space, \n a newline, \\ a backslash")
    min_count = Int(1, ge=1, doc="rarer symbols become <unk>, index 0")
    max_size = Int(0, ge=0, doc="size of the vocabulary; beyond it the rarest symbols become <unk>; 0: no limit")
    part = Floats((0.0, 1.0), ge=0, le=1, doc="where in the text to begin and to end, such as [0, 0.9]")
    stateful = Bool(True, doc="each batch goes on where the last one ended")
    shuffle = Bool(False, doc="windows in a fresh order and cut anew in each epoch; needs stateful: false")
    num_top = (1, 3)
    examples = ()

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        names = "unit", "vocabulary", "min_count", "max_size", "part", "stateful", "shuffle", "key", "folder"
        facts = {name: getattr(self, name) for name in names}
        self.load(TextSource, self.source, self.batch_size, self.steps, **facts)
        return [(self.steps, self.batch_size)] * self.num_tops

    @property
    def vocabularies(self) -> dict[str, Vocabulary]:
        """The vocabulary of each top that holds indices, as snapshots keep them."""
        return {(self.top_names or ("data",))[0]: self.source.vocabulary}
