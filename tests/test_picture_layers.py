"""Data, ImageData, WindowData and HDF5Output: Caffe's batches exactly, and runs that resume to the bit."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")

from nbcaffe import TEST, TRAIN, Net
from nbcaffe.data.pictures import resized
from nbcaffe.errors import DataError

FOLDER = Path(os.environ.get("NBCAFFE_GOLDEN", Path(__file__).parent / "golden")) / "files" / "data_layers"
with h5py.File(FOLDER / "expected.h5") as _file:
    CASES = sorted(_file["cases"])


@pytest.mark.parametrize("case", CASES)
def test_batches_are_those_of_caffe(case, tmp_path, monkeypatch):
    monkeypatch.chdir(FOLDER)  # Caffe's paths start there
    with h5py.File(FOLDER / "expected.h5") as file:
        group = file["cases"][case]
        (tmp_path / "net.prototxt").write_text(group.attrs["layer_prototxt"])
        net = Net(tmp_path / "net.prototxt", TEST)
        if "source_data" in group:
            net.set_input_arrays(group["source_data"][()], group["source_label"][()])
        for index in range(len(group["data"])):
            net.forward()
            np.testing.assert_array_equal(net.blobs["data"].data, group[f"data/{index}"][()])
            labels = group[f"label/{index}"][()]  # Caffe's MemoryData gives N x 1 x 1 x 1 in its forward pass
            np.testing.assert_array_equal(net.blobs["label"].data, labels.reshape(-1))


def one(kind, phase=TRAIN, tops="[data, label]", **values):
    settings = ", ".join(f"{key}: {value}" for key, value in values.items())
    return Net(f"layers: [{{name: d, type: {kind}, top: {tops}, {settings}}}]", phase, seed=5)


def data(phase=TRAIN, **values):
    return one("Data", phase, **{"source": FOLDER / "lmdb_raw", "batch_size": 5, **values})


def images(phase=TRAIN, **values):
    own = {"source": FOLDER / "list.txt", "root_folder": FOLDER / "images", "batch_size": 5}
    return one("ImageData", phase, **{**own, **values})


@pytest.fixture
def windows(tmp_path):
    (tmp_path / "windows.txt").write_text(
        f"# 0\n{FOLDER}/images/im00.png\n3\n10\n13\n3\n1 1.0 2 2 9 8\n2 0.8 0 0 5 5\n1 0.2 4 1 12 9\n"
        f"# 1\n{FOLDER}/images/im01.png\n3\n10\n13\n2\n3 0.9 1 1 6 8\n0 0.0 7 0 12 5\n"
    )
    return lambda phase=TRAIN, **values: one(
        "WindowData", phase, **{"source": tmp_path / "windows.txt", "batch_size": 8, "crop_size": 6, **values}
    )


@pytest.fixture(params=["Data", "ImageData", "WindowData"])
def make(request, windows):
    crop = {"crop_size": 6, "mirror": "true"}
    return {
        "Data": lambda: data(**crop),
        "ImageData": lambda: images(**crop, shuffle="true"),
        "WindowData": lambda: windows(mirror="true", context_pad=1),
    }[request.param]


def batches(net, count):
    return [(net.forward(), net.blobs["data"].data.copy(), net.blobs["label"].data.copy())[1:] for _ in range(count)]


def test_batches_go_on_to_the_bit_from_a_cursor(make):
    whole = batches(make(), 7)
    first, second = make(), make()
    batches(first, 3)
    (layer,) = first.sources
    second.sources[layer].cursor = first.sources[layer].cursor
    for mine, other in zip(batches(second, 4), whole[3:], strict=True):
        np.testing.assert_array_equal(mine[0], other[0])
        np.testing.assert_array_equal(mine[1], other[1])


def test_crops_and_mirrors_are_drawn_anew_in_each_epoch_when_training():
    net, pictures = data(crop_size=6, mirror="true", batch_size=12), data(TEST, batch_size=12)
    ((whole, _),) = batches(pictures, 1)
    (first, _), (second, _) = batches(net, 2)
    assert (first != second).any()
    places = set()
    for crop, picture in zip(np.concatenate([first, second]), np.concatenate([whole, whole]), strict=True):
        found = [
            (y, x, mirror)
            for y in range(5)
            for x in range(8)
            for mirror in (1, -1)
            if (picture[:, y : y + 6, x : x + 6][:, :, ::mirror] == crop).all()
        ]
        assert found, "not a piece of its picture"
        places.add(found[0])
    assert len({y for y, _, _ in places}) > 2 and len({x for _, x, _ in places}) > 3
    assert len({mirror for _, _, mirror in places}) == 2


def test_shuffled_pictures_keep_their_labels_and_each_comes_once_an_epoch():
    (data_in_order, labels), (mixed, mixed_labels) = (
        batches(net, 1)[0] for net in (images(batch_size=12), images(batch_size=12, shuffle="true"))
    )
    assert (mixed != data_in_order).any()
    order = [next(i for i, p in enumerate(data_in_order) if (p == picture).all()) for picture in mixed]
    assert sorted(order) == list(range(12))
    np.testing.assert_array_equal(mixed_labels, labels[order])


def test_windows_are_background_first_then_objects_and_warped_to_the_crop(windows):
    net = windows()
    ((_, labels),) = batches(net, 1)
    assert (labels[:6] == 0).all() and (labels[6:] > 0).all()
    assert net.sources["d"].ids[7].startswith(str(FOLDER))
    exact = windows(TEST, batch_size=4, fg_fraction=1.0)  # a window of the crop's size is copied
    for picture, _ in [
        (p, label) for batch in batches(exact, 6) for p, label in zip(*batch, strict=True) if label == 2
    ]:
        whole = np.asarray(Image.open(FOLDER / "images" / "im00.png").convert("RGB"))[:, :, ::-1].transpose(2, 0, 1)
        np.testing.assert_array_equal(picture, whole[:, :6, :6])


def test_what_lies_outside_of_a_picture_is_zero_in_a_window_with_context(windows):
    net = windows(TEST, batch_size=8, context_pad=2, fg_fraction=1.0, scale=0.5)
    found = [p for batch in batches(net, 4) for p, label in zip(*batch, strict=True) if label == 2]
    assert found and all(
        (p[:, :2] == 0).all() and (p[:, :, :2] == 0).all() and (p[:, 3:, 3:] != 0).any() for p in found
    )


def test_resizing_takes_the_four_nearest_pixels():
    picture = np.arange(16, dtype=np.uint8).reshape(1, 4, 4) * 10
    np.testing.assert_array_equal(resized(picture, 4, 4), picture)
    np.testing.assert_array_equal(resized(picture, 2, 2)[0], [[25, 45], [105, 125]])
    assert resized(picture, 7, 3).shape == (1, 7, 3)


def test_hdf5_output_writes_what_caffe_writes_and_goes_on_with_the_next_batch(tmp_path):
    with h5py.File(FOLDER / "hdf5_output.h5") as caffe:
        values, labels = caffe["data"][()], caffe["label"][()]
        shapes = [list(values.shape), list(labels.shape)]
        source = {"name": "d", "type": "Input", "top": ["data", "label"], "shape": shapes}
        out = {"name": "o", "type": "HDF5Output", "bottom": ["data", "label"], "file_name": str(tmp_path / "out.h5")}
        net = Net({"layers": [source, out]}, TEST)
        net.forward(data=values, label=labels)
        with h5py.File(tmp_path / "out.h5") as ours:
            assert set(ours) == set(caffe)
            for name in caffe:
                np.testing.assert_array_equal(ours[name], caffe[name])
                assert ours[name].dtype == caffe[name].dtype
        net.forward(data=values + 1, label=labels)
    with h5py.File(tmp_path / "out.h5") as ours:
        np.testing.assert_array_equal(ours["data"], np.concatenate([values, values + 1]))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: data(backend="LEVELDB"), "LEVELDB cannot be read: convert the database with LMDB or HDF5"),
        (lambda: data(source=FOLDER / "images"), "no LMDB"),
        (lambda: data(crop_size=11), "10 x 13 pixels, less than crop_size 11"),
        (lambda: data(mean_value="[1, 2]"), "3 channels, but 2 numbers in mean_value"),
        (lambda: data(mean_value=1, mean_file=FOLDER / "mean.binaryproto"), "mean_file or mean_value, got both"),
        (lambda: data(source=FOLDER / "lmdb_gray", mean_file=FOLDER / "mean.binaryproto"), "the mean file has"),
        (lambda: data(force_color="true", force_gray="true"), "force_color or force_gray, got both"),
        (lambda: data(force_gray="true"), "this one is raw"),
        (lambda: images(new_height=4), "expected both or neither"),
        (lambda: one("ImageData", source=FOLDER / "mean.binaryproto"), "not a list of pictures"),
        (lambda: one("ImageData", source=FOLDER / "h5list.txt"), "h5list.txt:1: expected `path label`"),
        (lambda: one("WindowData", source=FOLDER / "list.txt", batch_size=2, crop_size=4), "list.txt:1: not a window"),
        (lambda: one("WindowData", source=FOLDER / "list.txt", batch_size=2), "crop_size: expected more than twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(make, message):
    with pytest.raises(DataError) as caught:
        make()
    assert message in str(caught.value)


def test_a_damaged_picture_is_named_and_the_cursor_stays(tmp_path):
    good = (FOLDER / "images" / "im00.png").read_bytes()
    (tmp_path / "a b.png").write_bytes(good)  # paths may hold spaces
    (tmp_path / "bad.png").write_bytes(good[:100])
    (tmp_path / "list.txt").write_text("a b.png 0\nbad.png 1\n")
    net = one("ImageData", source=tmp_path / "list.txt")
    net.forward()
    for _ in range(2):
        with pytest.raises(DataError, match=r"bad\.png: not a picture, or damaged"):
            net.forward()


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    header = b"P5 60000 60000 255\n"
    (tmp_path / "bomb.pgm").write_bytes(header + b"\0" * 100)
    (tmp_path / "list.txt").write_text("bomb.pgm 0\n")
    with pytest.raises(DataError, match=r"bomb\.pgm: "):
        one("ImageData", source=tmp_path / "list.txt")
