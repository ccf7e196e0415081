"""Text layers: streams that go on, windows, vocabularies that snapshots keep, and texts that cannot be read."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from nbcaffe import TEST, TRAIN, Net
from nbcaffe.data.text import TextSource
from nbcaffe.data.vocabulary import UNKNOWN, Vocabulary
from nbcaffe.errors import ConfigError, DataError, SnapshotError
from nbcaffe.solver.loop import Solver
from nbcaffe.solver.scoring import score
from nbcaffe.solver.vocabularies import read_vocabulary

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def text(tmp_path):
    """Write a text file into the test's folder."""

    def write(content, name="text.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def batch(source, count=None):
    """The next batch: what each sample reads, whether it goes on, and its labels, as text."""
    arrays = [np.empty((source.steps, count or source.batch_size), "float32") for _ in range(3)]
    source.read(arrays)
    assert (arrays[1][1:] == 1).all()
    data, label = ([source.vocabulary.decode(column) for column in array.T] for array in (arrays[0], arrays[2]))
    assert all(one[1:] == two[:-1] for one, two in zip(data, label, strict=True)), "a label is the next symbol"
    return data, arrays[1][0].tolist(), [one[-1] for one in label]


# Streams


def test_streams_go_on_where_they_ended_and_begin_again_together(text):
    source = TextSource([text(ALPHABET)], 2, 4)  # two streams of 12 symbols: a to l and m to x
    assert source.size == 6 and source.shapes == ((4, 2),) * 3
    assert [batch(source) for _ in range(4)] == [
        (["abcd", "mnop"], [0, 0], ["e", "q"]),
        (["efgh", "qrst"], [1, 1], ["i", "u"]),
        (["ijkl", "uvwx"], [1, 1], ["m", "y"]),
        (["abcd", "mnop"], [0, 0], ["e", "q"]),
    ]
    assert source.cursor == (1, 2)


def test_a_text_of_the_least_length_is_one_batch(text):
    assert TextSource([text("abcdefghi")], 2, 4).size == 2
    with pytest.raises(DataError, match=r"text.txt: 8 symbols .* too few: 2 streams of 4 steps .* need 9"):
        TextSource([text("abcdefgh")], 2, 4)


def test_a_batch_of_another_size_claims_no_continuity(text):
    source = TextSource([text(ALPHABET)], 2, 4)
    batch(source)
    assert batch(source, 1) == (["efgh"], [0], ["i"])
    assert batch(source)[1] == [0, 0]


# Windows


def test_windows_follow_each_other_and_each_begins_a_sequence(text):
    source = TextSource([text(ALPHABET)], 4, 4, stateful=False)
    assert source.size == 6
    assert batch(source) == (["abcd", "efgh", "ijkl", "mnop"], [0] * 4, ["e", "i", "m", "q"])
    assert batch(source)[0] == ["qrst", "uvwx", "abcd", "efgh"]
    assert source.ids[1].startswith("symbols 20 to 23 of ")


def test_shuffled_windows_overlap_nowhere_and_lie_elsewhere_in_the_next_epoch(text):
    source = TextSource([text(ALPHABET)], 5, 4, stateful=False, shuffle=True, key=7)
    assert source.size == 5
    epochs = [batch(source)[0] for _ in range(6)]
    for windows in epochs:
        symbols = "".join(sorted(windows))
        assert symbols in ALPHABET and len(symbols) == 20
    assert len({min(windows) for windows in epochs}) > 1
    assert any(windows != sorted(windows) for windows in epochs)


def test_the_order_follows_from_the_key(text):
    path = text(ALPHABET * 3)
    same, again, other = (
        [batch(s)[0] for _ in range(9)]
        for s in (TextSource([path], 3, 4, stateful=False, shuffle=True, key=key) for key in (1, 1, 2))
    )
    assert same == again != other


@pytest.mark.parametrize("options", [{}, {"stateful": False}, {"stateful": False, "shuffle": True}])
def test_a_cursor_resumes_to_the_bit(text, options):
    path = text(ALPHABET * 2)
    whole, resumed = (TextSource([path], 3, 4, key=5, **options) for _ in range(2))
    for _ in range(7):
        batch(whole)
    resumed.cursor = whole.cursor
    assert [batch(resumed) for _ in range(7)] == [batch(whole) for _ in range(7)]


# What is read


def test_parts_share_the_vocabulary_and_cover_the_text(text):
    path = text(ALPHABET)
    parts = [TextSource([path], 1, 4, part=part) for part in ([0, 0.5], [0.5, 1])]
    assert [batch(part)[0] for part in parts] == [["abcd"], ["nopq"]]
    assert parts[0].vocabulary == parts[1].vocabulary and len(parts[0].vocabulary) == 26
    assert sum(len(part.indices) for part in parts) == 26
    assert parts[1].ids == [f"symbols 13 to 16 of {path}"]


def test_files_follow_each_other_without_their_marks_of_byte_order_and_returns(text):
    source = TextSource([text("\ufeffab\r\n", "a.txt"), text("cd€", "b.txt")], 1, 5)
    assert batch(source) == (["ab\ncd"], [0], ["€"])
    assert source.vocabulary.symbols == ("\n", "a", "b", "c", "d", "€")


def test_words_are_words_marks_and_symbols_in_brackets(text):
    source = TextSource([text("The whale’s <unk>, sea-green\n\n(the end).")], 1, 8, unit="word")
    assert source.vocabulary.decode(source.indices) == "The whale’s <unk> , sea-green ( the end ) ."
    assert source.vocabulary.symbols[0] == UNKNOWN


# Vocabularies


def test_rare_symbols_become_unknown():
    assert Vocabulary.of("abacab", "char").symbols == ("a", "b", "c")
    assert Vocabulary.of("abacab", "char", min_count=2).symbols == (UNKNOWN, "a", "b")
    assert Vocabulary.of("abacab", "char", max_size=2).symbols == (UNKNOWN, "a")
    assert Vocabulary.of("abacab", "char", max_size=3).symbols == ("a", "b", "c")
    assert Vocabulary.of("abacab", "char", min_count=2).encode("cab").tolist() == [0, 1, 2]


def test_a_vocabulary_file_is_read_as_it_was_written(text, tmp_path):
    symbols = Vocabulary(["\n", " ", "\\", "s", "\u2028", "\t", "é", UNKNOWN])
    symbols.save(tmp_path / "v.txt")
    assert Vocabulary.load(tmp_path / "v.txt", "char").symbols == symbols.symbols
    source = TextSource([text("sé \n?")], 1, 4, vocabulary=tmp_path / "v.txt")
    assert source.indices.tolist() == [3, 6, 1, 0, 7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nbc\n", r"v.txt:2: expected one character \(or <unk>\) a line.*got 'bc'"),
        ("a\n\nb\n", r"v.txt:2: expected one character .*got ''"),
        ("a\nb\na\n", r"v.txt:3: 'a' stands in line 1 already"),
        ("a\nb\n", r"text.txt: symbol 2, 'c', is not in the vocabulary of 2 symbols, nor is <unk>"),
        (b"a\nb\n\xff\n", r"v.txt:3: not UTF-8: byte 4 is 0xff"),
    ],
)
def test_a_vocabulary_that_does_not_serve_is_refused(text, content, message):
    path = text("abc")
    with pytest.raises(DataError, match=message):
        TextSource([path], 1, 2, vocabulary=text(content, "v.txt"))


# Nets

NET = """
name: bigrams
layers:
  - {name: text, type: Text, top: [data, cont, label], TRAIN include: {phase: TRAIN}}
  - {name: text, type: Text, top: [data, cont, label], TEST include: {phase: TEST}}
  - {name: embed, type: Embed, bottom: data, top: scores, input_dim: 26, num_output: 26, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [scores, label], axis: 2}
  - {name: silence, type: Silence, bottom: cont}
"""
READ = "source: text.txt, batch_size: 2, steps: 4, "


@pytest.fixture
def bigrams(text, tmp_path):
    """Make a solver whose net reads a text; what is said here of its layers comes before what they read."""

    def make(content=ALPHABET, train="", test="", **settings):
        text(content)
        (tmp_path / "net.yaml").write_text(
            NET.replace("TRAIN include", READ + train + "include").replace("TEST include", READ + test + "include")
        )
        given = {"net": str(tmp_path / "net.yaml"), "base_lr": 0.5, "max_iter": 10, "test_iter": "all"}
        given |= {"test_interval": 100, "snapshot_prefix": str(tmp_path / "snap" / "text"), **settings}
        return Solver({**given, "lr_policy": "fixed"})

    return make


@pytest.mark.parametrize("train", ["", "stateful: false, shuffle: true, "])
def test_a_resumed_run_ends_in_the_bits_of_the_unbroken_one(bigrams, train):
    whole, first, second = (bigrams(train=train) for _ in range(3))
    whole.step(9)
    first.step(4)
    second.restore(first.snapshot())
    second.step(5)
    assert second.net.params["embed"][0].data.tobytes() == whole.net.params["embed"][0].data.tobytes()
    assert second.net.sources["text"].cursor == whole.net.sources["text"].cursor


def test_an_exact_test_reads_each_window_once(bigrams):
    one = bigrams(test="stateful: false, ")
    net = one.test_nets[0]
    net.sources["text"].cursor = (3, 2)
    net.params["embed"][0].data[...] = np.log(np.arange(1, 27.0))
    expected = [np.log(351) - np.log(2 + i) for i in range(24)]  # the labels of six windows: b to y
    assert score(net, "all")["loss"] == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_number_of_tops_says_which(text):
    path = text(ALPHABET)
    for tops, label in (("[data]", None), ("[x, y]", "y"), ("[x, cont, label]", "label")):
        net = Net(f"layers: [{{name: d, type: Text, top: {tops}, source: {path}, batch_size: 2, steps: 4}}]")
        net.forward()
        assert all(blob.shape == (4, 2) for blob in net.blobs.values())
        if label:
            assert net.blobs[label].data.T.tolist() == [[1, 2, 3, 4], [13, 14, 15, 16]]


def test_snapshots_keep_the_vocabulary(bigrams):
    for form in ("HDF5", "BINARYPROTO"):
        if form == "BINARYPROTO":
            pytest.importorskip("google.protobuf", reason="needs the extra: pip install 'nbcaffe[caffe]'")
        one = bigrams("zyx\n" * 8, snapshot_format=form)
        path = one.snapshot()
        model = path.with_name(path.name.replace("solverstate", "caffemodel"))
        for file in (path, model):
            assert read_vocabulary(file) == read_vocabulary(file, "data") == Vocabulary("\nxyz")
    with pytest.raises(SnapshotError, match="no vocabulary of blob 'dada', did you mean 'data'"):
        read_vocabulary(path, "dada")
    with pytest.raises(SnapshotError, match="no such file"):
        read_vocabulary(path.with_name("other.h5"))
    Path(path.with_name("other.h5")).touch()
    with pytest.raises(SnapshotError, match="stands in the solver state"):
        read_vocabulary(path.with_name("other.h5"))


def test_another_vocabulary_cannot_resume_and_changes_nothing(bigrams):
    path = bigrams("abcdefgh" * 4).snapshot()
    other = bigrams("abcdefgX" * 4)
    before = other.net.params["embed"][0].data.tobytes()
    with pytest.raises(SnapshotError) as caught:
        other.restore(path)
    assert "blob 'data' holds indices of other symbols: 8 in the net, 8 in the snapshot" in str(caught.value)
    assert "only in the net: 'X'; only in the snapshot: 'h'" in str(caught.value)
    assert other.iter == 0 and other.net.params["embed"][0].data.tobytes() == before


def test_an_order_of_symbols_and_long_lists_are_said_in_short():
    one, two = Vocabulary("abc"), Vocabulary("acb")
    assert one.difference(two, "net", "file").endswith("in another order: 1 is 'b' in the net, 'c' in the file")
    assert "'j' and 16 more" in Vocabulary(ALPHABET).difference(Vocabulary("?"), "net", "file")


def test_a_snapshot_without_vocabularies_is_read(bigrams):
    path = bigrams().snapshot()
    with h5py.File(path, "r+") as file:
        assert json.loads(file["nbcaffe/vocabularies"].asstr()[()])["data"]["symbols"] == list(ALPHABET)
        del file["nbcaffe/vocabularies"]
    bigrams().restore(path)
    with pytest.raises(SnapshotError, match="no vocabulary"):
        read_vocabulary(path)


def test_train_and_test_nets_must_agree(bigrams, text):
    text("a\nb\n" + UNKNOWN, "few.txt")
    with pytest.raises(ConfigError, match="blob 'data' holds indices of other symbols when it is tested: 26 in the"):
        bigrams(test="vocabulary: few.txt, ")


# Texts that cannot be read


def refused(text, content, values="batch_size: 2, steps: 4", phase=TRAIN):
    path = text(content) if content is not None else "gone.txt"
    with pytest.raises((DataError, ConfigError)) as caught:
        Net(f"layers: [{{name: d, type: Text, top: [data, label], source: {path}, {values}}}]", phase)
    return str(caught.value)


def test_bad_texts_and_settings_are_one_message_with_the_layer(text):
    for content, words in (
        (None, "gone.txt: no such file"),
        (b"", "0 symbols"),
        (b"abc\nde\xe9f", ":2: not UTF-8: byte 6 is 0xe9"),
    ):
        message = refused(text, content, phase=TEST)
        assert words in message and "layer 'd' (Text)" in message
    for values, words in (
        ("shuffle: true", "add stateful: false"),
        ("part: [0.5, 0.5]", "where to begin and where to end"),
        ("part: [0.5]", "such as [0, 0.9], got [0.5]"),
        ("part: [0, 1.5]", "part: expected"),
        ("part: [0.9, 1]", "3 symbols (from symbol 23 on) are too few"),
        ("vocabulary: v.txt, min_count: 2", "leave them out"),
        ("vocabulary: v.txt", "v.txt: no such file"),
        ("unit: byte", "one of char, word"),
    ):
        assert words in refused(text, ALPHABET, f"batch_size: 2, steps: 4, {values}")
    assert "too few" in refused(text, ALPHABET, "batch_size: 13, steps: 2")


def test_a_folder_or_an_empty_list_is_no_text(text, tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        TextSource([tmp_path], 1, 2)
    with pytest.raises(DataError, match="source: 0 symbols"):
        TextSource([], 1, 2)


def test_a_cursor_beyond_the_text_is_refused(text):
    source = TextSource([text(ALPHABET)], 2, 4)
    with pytest.raises(DataError, match="not the set that the run was started with"):
        source.cursor = (0, 6)
