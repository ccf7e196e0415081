"""Sources give every sample once an epoch in an order that can be resumed, and say which file and row is wrong."""

import h5py
import numpy as np
import pytest

from nbcaffe.data import hdf5
from nbcaffe.data.hdf5 import HDF5Source
from nbcaffe.data.memory import MemorySource
from nbcaffe.errors import DataError
from nbcaffe.net import Net


@pytest.fixture
def write(tmp_path):
    """Write one HDF5 file into the test's folder."""

    def write_file(name, **datasets):
        with h5py.File(tmp_path / name, "w") as file:
            for key, values in datasets.items():
                file[key] = values
        return tmp_path / name

    return write_file


def numbered(lo, hi):
    """Samples that show their number: two numbers of data and a label."""
    row = np.arange(lo, hi)
    return {"data": np.stack([row, -row], axis=1).astype("float32"), "label": row}


def labels(source, count):
    arrays = [np.empty((count, *shape[1:]), "float32") for shape in source.shapes]
    source.read(arrays)
    assert np.array_equal(arrays[0][:, 1], -arrays[1]), "the tops of a sample belong together"
    return arrays[1].astype(int).tolist()


def numbers(path, **options):
    return HDF5Source(path, 4, ["data", "label"], **options)


# Reading


def test_batches_run_across_files_and_wrap_around(write):
    source = numbers([write("a.h5", **numbered(0, 5)), write("b.h5", **numbered(5, 7))])
    assert source.size == 7
    assert source.shapes == ((4, 2), (4,))
    assert [labels(source, 4) for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 0], [1, 2, 3, 4]]


def test_a_batch_may_be_longer_than_the_set(write):
    assert labels(numbers(write("a.h5", **numbered(0, 3))), 8) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_the_last_batch_may_be_shorter(write):
    source = numbers(write("a.h5", **numbered(0, 6)))
    assert labels(source, 4) + labels(source, 2) == [0, 1, 2, 3, 4, 5]
    assert source.cursor == (1, 0)


def test_tops_have_any_number_shape_and_type(write):
    stored = {
        "pictures": np.arange(48, dtype="uint8").reshape(2, 3, 4, 2),
        "clip": np.ones((2, 1), "float64"),
        "n": [7, -8],
    }
    source = HDF5Source(write("a.h5", **stored), 2, list(stored))
    arrays = [np.empty(shape, "float32") for shape in source.shapes]
    source.read(arrays)
    for array, values in zip(arrays, stored.values(), strict=True):
        assert np.array_equal(array, values)


def test_scale_multiplies_the_first_top_only(write):
    source = HDF5Source(write("a.h5", **numbered(0, 4)), 4, ["data", "label"], scale=0.5)
    arrays = [np.empty((4, 2), "float32"), np.empty(4, "float32")]
    source.read(arrays)
    assert arrays[0][:, 0].tolist() == [0, 0.5, 1, 1.5]
    assert arrays[1].tolist() == [0, 1, 2, 3]


def test_a_text_file_lists_files_beside_itself(write, tmp_path):
    write("a.h5", **numbered(0, 2))
    write("b.h5", **numbered(2, 4))
    (tmp_path / "list.txt").write_text("b.h5\n\na.h5\n")
    assert labels(numbers("list.txt", folder=tmp_path), 4) == [2, 3, 0, 1]


def test_relative_paths_start_at_the_net_else_in_the_working_directory(write, tmp_path, monkeypatch):
    write("a.h5", **numbered(0, 1))
    assert numbers("a.h5", folder=tmp_path).size == 1
    monkeypatch.chdir(tmp_path)
    assert numbers("a.h5", folder=tmp_path / "elsewhere").size == 1


def test_samples_are_named_by_file_and_row(write):
    source = numbers([write("a.h5", **numbered(0, 3)), write("b.h5", **numbered(3, 6))])
    labels(source, 4)
    assert source.ids[2].endswith("a.h5") and source.ids[2].startswith("sample 2 of ")
    assert source.ids[3].endswith("b.h5") and source.ids[3].startswith("sample 0 of ")


# Order


def test_a_shuffled_epoch_has_each_sample_once_in_an_order_of_its_own(write):
    source = numbers(write("a.h5", **numbered(0, 50)), shuffle=True, key=3)
    first, second = labels(source, 50), labels(source, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and first != list(range(50))


def test_the_order_follows_from_the_key_and_not_from_the_files(write):
    whole, parts = (
        write("whole.h5", **numbered(0, 9)),
        [write("a.h5", **numbered(0, 4)), write("b.h5", **numbered(4, 9))],
    )
    order = labels(numbers(whole, shuffle=True, key=1), 9)
    assert labels(numbers(parts, shuffle=True, key=1), 9) == order
    assert labels(numbers(whole, shuffle=True, key=2), 9) != order


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_cursor_resumes_where_it_was_taken(write, shuffle):
    path = write("a.h5", **numbered(0, 10))
    source = numbers(path, shuffle=shuffle, key=5)
    for _ in range(4):
        labels(source, 4)
    cursor, rest = source.cursor, [labels(source, 4) for _ in range(4)]
    again = numbers(path, shuffle=shuffle, key=5)
    again.cursor = cursor
    assert [labels(again, 4) for _ in range(4)] == rest
    again.rewind()
    assert labels(again, 4) == labels(numbers(path, shuffle=shuffle, key=5), 4)


def test_a_cursor_of_a_larger_set_is_refused(write):
    source = numbers(write("a.h5", **numbered(0, 3)))
    with pytest.raises(DataError, match="sample 3 of epoch 0: it has 3 samples"):
        source.cursor = (0, 3)


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 10 * 16)  # ten rows of two float32 and an int64
    monkeypatch.setattr(hdf5, "HELD_BYTES", 40 * 16)


def test_a_set_larger_than_memory_is_streamed(write, small_memory):
    source = numbers(write("a.h5", **numbered(0, 95)))
    seen = []
    for _ in range(19):
        seen += labels(source, 5)
        assert len(source._held) <= 2
    assert seen == list(range(95))


def test_a_set_larger_than_memory_is_shuffled_within_it(write, small_memory):
    source = numbers(write("a.h5", **numbered(0, 95)), shuffle=True, key=1)
    epochs = []
    for _ in range(2):
        seen = []
        for _ in range(19):
            seen += labels(source, 5)
            assert len(source._held) <= 4
        assert sorted(seen) == list(range(95))
        epochs.append(seen)
    assert epochs[0] != epochs[1]
    source.cursor = (1, 35)
    assert labels(source, 60) == epochs[1][35:]


def test_each_block_of_a_streamed_epoch_is_read_once(write, small_memory, monkeypatch):
    source = numbers(write("a.h5", **numbered(0, 95)), shuffle=True, key=1)
    read, reads = hdf5.DataFile.read, []
    monkeypatch.setattr(hdf5.DataFile, "read", lambda self, tops, lo, hi: reads.append(lo) or read(self, tops, lo, hi))
    for _ in range(19):
        labels(source, 5)
    assert sorted(reads) == list(range(0, 95, 10))


# What is wrong, and where


def broken(write, tmp_path, name):
    good = numbered(0, 40)
    if name == "truncated":
        path = write("truncated.h5", **good)
        path.write_bytes(path.read_bytes()[:-100])
    elif name == "text":
        path = tmp_path / "text.h5"
        path.write_text("no HDF5")
    elif name == "group":
        path = write("group.h5", **{"data/x": [1.0], "label": [1]})
    else:
        changed = {
            "misnamed": {"date": good["data"], "label": good["label"]},
            "uneven": {**good, "label": good["label"][:3]},
            "words": {"data": np.array([b"a", b"b"]), "label": [1, 2]},
            "scalar": {"data": 1.0, "label": [1]},
            "empty": {"data": np.empty((0, 2)), "label": np.empty(0)},
        }
        path = write(f"{name}.h5", **changed[name])
    return path


@pytest.mark.parametrize(
    "name, message",
    [
        ("misnamed", "no dataset 'data', did you mean 'date'"),
        ("truncated", "truncated HDF5 file"),
        ("text", "not an HDF5 file"),
        ("uneven", "datasets of different lengths \\('data' 40, 'label' 3\\)"),
        ("group", "'data' is a group"),
        ("words", "dataset 'data' has type"),
        ("scalar", "dataset 'data' is a single number"),
        ("empty", "dataset 'data' has no rows"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_when_it_is_opened(write, tmp_path, name, message):
    with pytest.raises(DataError, match=rf"{name}\.h5.*{message}"):
        numbers(broken(write, tmp_path, name))


def test_a_missing_file_is_named_with_what_gets_it(tmp_path):
    with pytest.raises(DataError, match=r"gone\.h5: no such file"):
        numbers(tmp_path / "gone.h5")
    with pytest.raises(DataError, match="`nbcaffe data mnist` gets it"):
        numbers(tmp_path / "nets" / "lenet" / "data" / "train.h5")


def test_files_of_one_set_have_the_same_shapes(write):
    files = [write("a.h5", **numbered(0, 3)), write("b.h5", data=np.zeros((3, 5)), label=[0, 1, 2])]
    with pytest.raises(DataError, match=r"b\.h5: dataset 'data' has rows of shape \(5,\), expected \(2,\)"):
        numbers(files)


@pytest.mark.parametrize("value, kind", [(np.nan, "a NaN"), (-np.inf, "an infinity")])
def test_a_number_that_is_none_is_named_by_its_row_and_the_cursor_stays(write, value, kind):
    samples = numbered(0, 6)
    samples["data"][4, 1] = value
    source = numbers(write("a.h5", **samples))
    with pytest.raises(DataError, match=rf"a\.h5: dataset 'data', row 4 holds {kind}"):
        labels(source, 6)
    assert source.cursor == (0, 0)


def test_damage_inside_a_file_is_named_by_its_rows(write):
    path = write("a.h5", **numbered(0, 2))
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.random.default_rng(0).random((64, 2)), chunks=(64, 2), compression="gzip")
        file["label"] = np.arange(64)
        offset = file["data"].id.get_chunk_info(0).byte_offset
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 100] = bytes(100)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.h5: dataset 'data': rows 0 to 63 cannot be read"):
        labels(numbers(path), 4)


# Through a net


def net_of(path):
    file = path.with_name("net.yaml")
    layer = f"{{name: numbers, type: HDF5Data, top: [data, label], source: {path.name}, batch_size: 4}}"
    file.write_text(f"name: n\nlayers:\n  - {layer}\n  - {{name: ip, type: InnerProduct, num_output: 1}}\n")
    return file


def complaint(file, run):
    """What a run says, after the place in the net file and the layer that every complaint begins with."""
    with pytest.raises(DataError) as caught:
        run(file)
    place = f"{file}:3: layer 'numbers' (HDF5Data): "
    assert str(caught.value).startswith(place)
    return str(caught.value).removeprefix(place)


@pytest.mark.parametrize(
    "name, message", [("misnamed", "misnamed.h5: no dataset 'data'"), ("truncated", "truncated.h5: truncated HDF5")]
)
def test_a_bad_file_is_named_with_its_layer_and_line(write, tmp_path, name, message):
    said = complaint(net_of(broken(write, tmp_path, name)), Net)
    assert said.startswith(f"{tmp_path}/{message}")


def test_a_missing_file_is_named_with_its_layer_and_line(tmp_path):
    said = complaint(net_of(tmp_path / "trian.h5"), Net)
    assert said.startswith(f"{tmp_path}/trian.h5: no such file")


def test_what_breaks_while_reading_is_named_with_layer_and_line(write):
    samples = numbered(0, 8)
    samples["data"][6] = np.nan
    path = write("a.h5", **samples)
    net = Net(net_of(path))
    said = complaint(net_of(path), lambda _: net.forward())
    assert said.startswith(f"{path}: dataset 'data', row 6 holds a NaN")


def test_a_file_that_is_cut_while_it_is_used_is_named_with_layer_and_line(write):
    path = write("a.h5", **numbered(0, 8))
    net = Net(net_of(path))
    path.write_bytes(path.read_bytes()[:600])
    assert complaint(net_of(path), lambda _: net.forward()).startswith(f"{path}: truncated HDF5 file")


# Arrays in memory


def test_arrays_in_memory_are_read_in_turn():
    source = MemorySource(2, (1, 1, 1))
    source.set_arrays(np.arange(4.0).reshape(4, 1, 1, 1), np.arange(4))
    data, label = np.empty((2, 1, 1, 1), "float32"), np.empty(2, "float32")
    seen = []
    for _ in range(3):
        source.read([data, label])
        assert np.array_equal(data.ravel(), label)
        seen += label.tolist()
    assert seen == [0, 1, 2, 3, 0, 1]
    assert source.cursor == (1, 2)
    assert source.ids == ["sample 0 of the input arrays", "sample 1 of the input arrays"]


@pytest.mark.parametrize(
    "data, label, message",
    [
        (np.zeros((4, 2, 1, 1)), np.zeros(4), r"input data has shape \(4, 2, 1, 1\), expected \(n, 1, 1, 1\)"),
        (np.zeros((4, 1, 1, 1)), np.zeros(3), "one label a sample"),
        (np.zeros((3, 1, 1, 1)), np.zeros(3), "multiple of the batch size, 2"),
        (np.full((2, 1, 1, 1), np.nan), np.zeros(2), "sample 0 of the input data holds a NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(data, label, message):
    source = MemorySource(2, (1, 1, 1))
    with pytest.raises(DataError, match=message):
        source.set_arrays(data, label)
        source.read([np.empty((2, 1, 1, 1), "float32"), np.empty(2, "float32")])


def test_reading_before_there_are_arrays_says_what_to_call():
    with pytest.raises(DataError, match="set_input_arrays"):
        MemorySource(1, (1,)).read([np.empty((1, 1)), np.empty(1)])
