"""Sequences of unequal length: padding and masks, buckets, cursors, and files that do not fit together."""

import re

import h5py
import numpy as np
import pytest

from nbcaffe import TEST, TRAIN, Net
from nbcaffe.data import ragged
from nbcaffe.data.order import BucketOrder
from nbcaffe.data.sequences import TOPS, SequenceSource
from nbcaffe.errors import DataError, LabelError, SnapshotError
from nbcaffe.solver.loop import Solver
from nbcaffe.solver.scoring import score
from nbcaffe.solver.vocabularies import read_vocabulary

LENGTHS = [2, 3, 1]
PAIRS = {
    "data": [3, 1, 4, 1, 5, 9],
    "offsets": [0, 2, 5, 6],
    "target": [2, 0, 7, 0, 1, 8, 0],
    "target_offsets": [0, 2, 4, 7],
    "label": [5, 6, 7],
}


@pytest.fixture
def write(tmp_path):
    """Write an HDF5 file of sequences; datasets given here stand for those of PAIRS, None for none."""

    def write_file(name="a.h5", **changed):
        with h5py.File(tmp_path / name, "w") as file:
            for key, values in {**PAIRS, **changed}.items():
                if values is not None:
                    file[key.replace("__", "/")] = values
        return tmp_path / name

    return write_file


def batch(source, count):
    arrays = [np.full(shape, np.nan, "float32") for shape in source.shapes_of(count)]
    source.read(arrays)
    return dict(zip(source.tops, arrays, strict=True))


def ragged_set(lengths):
    """As many sequences as lengths, each of its own number over and over."""
    starts = np.cumsum([0, *lengths])
    return {"data": np.repeat(np.arange(len(lengths)), lengths), "offsets": starts, "label": np.arange(len(lengths))}


# Padding


def test_every_top_is_what_its_name_says(write):
    source = SequenceSource(write(), 3, TOPS, 3)
    assert source.size == 3 and source.shapes[0] == (3, 3) and source.shapes[1] == (3,)
    found = {top: values.T.tolist() for top, values in batch(source, 3).items()}  # a row is a sequence
    assert found == {
        "data": [[3, 1, 0], [4, 1, 5], [9, 0, 0]],
        "lengths": LENGTHS,
        "cont": [[0, 1, 0], [0, 1, 1], [0, 0, 0]],
        "label": [5, 6, 7],
        "target": [[2, 0, -1], [7, 0, -1], [1, 8, 0]],
        "target_lengths": [2, 2, 3],
        "target_input": [[0, 2, 0], [0, 7, 0], [0, 1, 8]],
    }


def test_frames_have_any_shape_and_targets_a_length_of_their_own(write):
    frames = np.arange(36.0).reshape(6, 2, 3)
    source = SequenceSource(write(data=frames), 2, ["data", "target"], 4, target_steps=5, pad_label=9)
    found = batch(source, 2)
    assert found["data"].shape == (4, 2, 2, 3) and found["target"].shape == (5, 2)
    np.testing.assert_array_equal(found["data"][:3, 1], frames[2:5])
    assert not found["data"][3].any() and (found["target"][2:] == 9).all()


def test_labels_may_be_of_frames(write):
    source = SequenceSource(write(label=np.arange(6)), 3, ["label", "data"], 3)
    assert batch(source, 3)["label"].T.tolist() == [[0, 1, -1], [2, 3, 4], [5, -1, -1]]


def test_what_is_too_large_to_be_held_is_read_from_the_file(write, tmp_path, monkeypatch):
    held = batch(SequenceSource(write(), 3, TOPS, 3, shuffle=True), 3)
    monkeypatch.setattr(ragged, "HELD_BYTES", 0)
    source = SequenceSource(write(), 3, TOPS, 3, shuffle=True)
    assert isinstance(source.parts["data"].values, ragged.OnDisk)
    for top, values in batch(source, 3).items():
        np.testing.assert_array_equal(values, held[top])
    with h5py.File(tmp_path / "a.h5", "r+") as file:  # it is not kept open
        del file["data"]
    with pytest.raises(DataError, match="dataset 'data': rows cannot be read"):
        batch(source, 3)


def test_longer_sequences_are_refused_or_cut_or_left_out(write):
    path = write()
    for options, message in (
        ({}, r"a.h5: dataset 'data', sequence 1 has 3 steps, expected at most 2 \(steps\)"),
        ({"longer": "error", "target_steps": 2}, "'data', sequence 1"),
    ):
        with pytest.raises(DataError, match=message):
            SequenceSource(path, 3, TOPS, 2, **options)
    with pytest.raises(DataError, match=r"'target', sequence 2 has 3 steps, expected at most 2 \(target_steps\)"):
        SequenceSource(path, 3, TOPS, 3, target_steps=2)
    cut = batch(SequenceSource(path, 3, TOPS, 2, longer="truncate"), 3)
    assert cut["data"].T.tolist() == [[3, 1], [4, 1], [9, 0]] and cut["lengths"].tolist() == [2, 2, 1]
    left = SequenceSource(path, 2, ["data", "label"], 2, longer="skip")
    assert left.size == 2 and batch(left, 2)["label"].tolist() == [5, 7]
    assert left.ids == [f"sequence {row} of {path}" for row in (0, 2)]
    with pytest.raises(DataError, match="all of its 3 sequences are longer"):
        SequenceSource(write("b.h5", offsets=[0, 2, 4, 6]), 2, ["data"], 1, longer="skip")


# Order


def test_buckets_hold_every_sequence_once_and_batches_of_similar_length():
    lengths = np.random.default_rng(0).integers(1, 100, 203)
    order = BucketOrder(lengths, 8, 5, key=3)
    plain = BucketOrder(lengths, 8, 1, key=3)
    place, spread = (0, 0), []
    for _ in range(4):  # batches run across the ends of epochs and stay sorted all the same
        rows = []
        while len(rows) < 203:
            some, epochs, place = order.take(*place, 8 if len(rows) + 8 <= 203 else 203 - len(rows))
            rows += some.tolist()
        assert sorted(rows) == list(range(203))
    place = (0, 0)
    for _ in range(100):
        rows, epochs, place = order.take(*place, 8)
        if epochs[0] == epochs[-1]:
            spread.append(np.ptp(lengths[rows]))
    shuffled = [np.ptp(lengths[plain.take(2, start, 8)[0]]) for start in range(2, 190, 8)]
    assert np.median(spread) < 20 < 60 < np.median(shuffled)


def test_batches_of_a_bucket_do_not_come_from_short_to_long(write):
    lengths = np.random.default_rng(1).integers(1, 30, 64)
    source = SequenceSource(write(**ragged_set(lengths)), 4, ["lengths"], 30, shuffle=True, bucket=16)
    means = [batch(source, 4)["lengths"].mean() for _ in range(16)]
    assert means != sorted(means)


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"shuffle": True, "bucket": 3}])
def test_a_cursor_resumes_to_the_bit(write, options):
    path = write(**ragged_set([1, 4, 2, 2, 3, 1, 4]))
    whole, resumed, other = (SequenceSource(path, 2, ["data", "label"], 4, key=k, **options) for k in (1, 1, 2))
    for _ in range(5):
        batch(whole, 2)
    resumed.cursor = other.cursor = whole.cursor
    runs = [[batch(source, 2)["label"].tolist() for _ in range(8)] for source in (whole, resumed, other)]
    assert runs[0] == runs[1] and (runs[0] != runs[2]) == bool(options)


# Nets

NET = """
name: tagger
layers:
  - {name: words, type: Sequences, top: [data, target], source: a.h5, batch_size: 2, steps: 3, WORDS}
  - {name: embed, type: Embed, bottom: data, top: scores, input_dim: 10, num_output: 10, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [scores, target], axis: 2, loss_param: {ignore_label: -1}}
"""


@pytest.fixture
def tagger(write, tmp_path):
    def make(words="", **datasets):
        write(**datasets)
        (tmp_path / "net.yaml").write_text(NET.replace("WORDS", words))
        given = {"net": str(tmp_path / "net.yaml"), "base_lr": 0.5, "max_iter": 10, "test_iter": "all"}
        given |= {"test_interval": 100, "snapshot_prefix": str(tmp_path / "snap" / "words")}
        return Solver({**given, "lr_policy": "fixed"})

    return make


def test_padding_is_masked_by_ignore_label(tagger):
    one = tagger()
    one.net.forward()
    assert one.net.blobs["target"].data.T.tolist() == [[2, 0, -1], [7, 0, -1]]
    scores = one.net.blobs["scores"].data
    log = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    expected = -(log[0, 0, 2] + log[1, 0, 0] + log[0, 1, 7] + log[1, 1, 0]) / 4
    assert one.net.blobs["loss"].data == pytest.approx(expected, rel=1e-5)


def test_an_exact_test_ends_with_a_smaller_batch(tagger):
    one = tagger("shuffle: true")
    net = one.test_nets[0]
    seen = []
    read = net.sources["words"].read
    net.sources["words"].read = lambda arrays: (read(arrays), seen.append(net.sources["words"].rows.tolist()))
    score(net, "all")
    assert sorted(seen[0] + seen[1]) == [0, 1, 2] and [len(rows) for rows in seen] == [2, 1]


@pytest.mark.parametrize("words", ["", "shuffle: true, bucket: 2"])
def test_a_resumed_run_ends_in_the_bits_of_the_unbroken_one(tagger, words):
    whole, first, second = (tagger(words) for _ in range(3))
    whole.step(9)
    first.step(4)
    second.restore(first.snapshot())
    second.step(5)
    assert second.net.params["embed"][0].data.tobytes() == whole.net.params["embed"][0].data.tobytes()


def test_vocabularies_of_a_file_are_kept_and_must_agree(tagger):
    known = {"vocabulary__data": list("abcdefghij"), "vocabulary__target": ["|", *"abcdefg", "AH"]}
    path = tagger(**known).snapshot()
    assert read_vocabulary(path, "data").decode([1, 2]) == "bc"
    assert read_vocabulary(path, "target").decode([8, 0]) == "AH |"
    with pytest.raises(SnapshotError, match=r"to be told from others: \['data', 'target'\]"):
        read_vocabulary(path)
    known["vocabulary__target"] = ["|", *"abcdefg", "AA"]
    with pytest.raises(SnapshotError, match=r"blob 'target'.*only in the net: 'AA'; only in the snapshot: 'AH'"):
        tagger(**known).restore(path)


def test_a_label_out_of_range_is_an_error_of_the_loss(tagger):
    with pytest.raises(LabelError, match="12"):
        tagger(target=[2, 0, 12, 0, 1, 8, 0]).step(1)


# Files that do not fit together


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": None}, "no dataset 'data'"),
        ({"offsets": None}, "no dataset 'offsets'"),
        ({"offsets": [0, 3, 2, 6]}, "dataset 'offsets' must rise: sequence 1 goes from 3 to 2"),
        ({"offsets": [0, 2, 2, 6]}, "must rise: sequence 1 goes from 2 to 2"),
        ({"offsets": [1, 2, 5, 6]}, "goes from 1 to 6, expected from 0 to 6, the rows of 'data'"),
        ({"offsets": [0, 2, 5, 7]}, "goes from 0 to 7, expected from 0 to 6"),
        ({"offsets": [0.0, 2, 5, 6]}, "expected n . 1 integers for n sequences, got float64"),
        ({"offsets": [0]}, r"expected n . 1 integers for n sequences, got int64 of \(1,\)"),
        ({"target_offsets": [0, 2, 7]}, "as many targets as sequences of data, got {'data': 3, 'target': 2}"),
        ({"label": [1, 2]}, r"'label' has shape \(2,\), expected \(3,\), one a sequence, or \(6,\), one a frame"),
        ({"label": np.zeros((3, 2))}, r"'label' has shape \(3, 2\)"),
        ({"data": np.array(list("abcdef"), "S1")}, "'data' has type .S1, expected integers or floats"),
        ({"data": [1.0, 2, 3, np.nan, 5, 6]}, "'data', sequence 1 holds a NaN or an infinity"),
        ({"target": [1.0, 2, 3, 4, 5, 6, np.inf]}, "'target', sequence 2 holds a NaN"),
        ({"label": [1, np.nan, 3]}, "'label', row 1 is not a finite number"),
        ({"vocabulary__data": [1, 2]}, "'vocabulary/data': expected a list of symbols"),
        ({"vocabulary__data": list("abcdefghi")}, "'data', sequence 2 holds the index 9, its vocabulary has 9 symbols"),
        ({"vocabulary__data": list("abcdefghij"), "data": [3, -1, 4, 1, 5, 9]}, "sequence 0 holds the index -1"),
    ],
)
def test_a_bad_file_is_refused_and_the_cursor_stays(write, changed, message):
    path = write(**changed)
    with pytest.raises(DataError, match=message) as caught:
        source = SequenceSource(path, 3, TOPS, 3)
        before = source.cursor
        batch(source, 3)
    assert "a.h5" in str(caught.value)
    assert "source" not in locals() or source.cursor == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("top: [data, lenghts]", "top 'lenghts' is nothing that sequences have, did you mean 'lengths'"),
        ("top: data, bucket: 4", "add shuffle: true"),
        ("top: data, source: gone.h5", "gone.h5: no such file"),
        ("top: data, source: bad.h5", "bad.h5: not an HDF5 file"),
    ],
)
def test_mistakes_in_a_net_are_one_message_with_the_layer(write, tmp_path, values, message):
    write()
    (tmp_path / "bad.h5").write_bytes(b"no HDF5 here" * 100)
    own = "" if "source" in values else ", source: a.h5"
    (tmp_path / "net.yaml").write_text(
        f"layers:\n  - {{name: d, type: Sequences, batch_size: 2, steps: 3, {values}{own}}}\n"
    )
    for phase in (TRAIN, TEST):
        with pytest.raises(DataError) as caught:
            Net(tmp_path / "net.yaml", phase)
        assert message in str(caught.value) and "net.yaml:2: layer 'd' (Sequences)" in str(caught.value)


# The page


def test_the_page_about_sequences_works(root, tmp_path, monkeypatch):
    page = (root / "docs" / "sequences.md").read_text(encoding="utf-8")
    nets, (code,) = (re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("yaml", "python"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "data.txt").write_text("".join(map(chr, range(32, 115))) * 200)
    exec(code, {})
    for text in nets:
        (tmp_path / "net.yaml").write_text(text)
        for phase in (TRAIN, TEST):
            net = Net(tmp_path / "net.yaml", phase)
            net.forward()
            assert np.isfinite(net.blobs["loss"].data)
    known = net.sources["words"].vocabularies
    targets = {known["target"].decode(column[column >= 0]) for column in net.blobs["target"].data.T}
    assert targets == {"G|", "STP|"}
