"""Truncated, damaged and hostile files: a named error or a sound result, in bounded time and memory, and no crash.

The quick run has a fixed budget; ``pytest -m slow tests/test_fuzz_formats.py`` is the long one.  Each format is read in
a process of its own whose memory is limited, so that a crash or a hang of a library fails one test.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")

FOLDER = Path(os.environ.get("NBCAFFE_GOLDEN", Path(__file__).parent / "golden"))
FILES = FOLDER / "files"
RUN, OLD, IMAGES = FILES / "snapshot_sgd_conv", FILES / "legacy_prototxt", FILES / "data_layers"
CUTS = 200
MEMORY = 3 << 30  # bytes of address space; Numba and HDF5 are loaded in it
SLOWEST = 2.0  # seconds for one damaged file


def net(path):
    from nbcaffe.netfile import read_net

    return read_net(path)


def solver(path):
    from nbcaffe.solver.spec import read_solver

    return read_solver(path)


def weights(path):
    from nbcaffe.weight_files import read_weights

    return read_weights(path)


def state(path):
    from nbcaffe.solver.states import read_state

    return read_state(path)


def mean(path):
    from nbcaffe.caffe.blobs import read_binaryproto

    return read_binaryproto(path)


def npy(path):
    from nbcaffe.convert import read_npy

    return read_npy(path)


def database(path):
    from nbcaffe.caffe.datum import Sample
    from nbcaffe.caffe.lmdb_file import Lmdb

    return [Sample(value, str(key)).array() for key, value in Lmdb(path)]


def binary(file, kind):
    """A text file's message in binary."""
    from nbcaffe.caffe.text import read_message

    return read_message(file, kind)[0].SerializeToString()


SEEDS = {  # format: reader, ending, a sound file (or what makes its bytes)
    "prototxt": (net, ".prototxt", FOLDER / "prototxt" / "lenet_train.prototxt"),
    "prototxt-V0": (net, ".prototxt", OLD / "v0.prototxt"),
    "prototxt-V1": (net, ".prototxt", OLD / "v1.prototxt"),
    "prototxt-solver": (solver, ".prototxt", RUN / "solver.prototxt"),
    "binary-net": (net, ".pb", lambda: binary(FOLDER / "prototxt" / "lenet_train.prototxt", "NetParameter")),
    "binary-net-V1": (net, ".pb", lambda: binary(OLD / "v1.prototxt", "NetParameter")),
    "binary-solver": (solver, ".pb", lambda: binary(RUN / "solver.prototxt", "SolverParameter")),
    "caffemodel": (weights, ".caffemodel", RUN / "tiny_iter_10.caffemodel"),
    "caffemodel.h5": (weights, ".caffemodel.h5", RUN / "tiny_iter_10.caffemodel.h5"),
    "solverstate": (state, ".solverstate", RUN / "tiny_iter_10.solverstate"),
    "solverstate.h5": (state, ".solverstate.h5", RUN / "tiny_iter_10.solverstate.h5"),
    "binaryproto": (mean, ".binaryproto", IMAGES / "mean.binaryproto"),
    "npy": (npy, ".npy", FOLDER / "files" / "mean.npy"),
    "lmdb-raw": (database, ".mdb", IMAGES / "lmdb_raw" / "data.mdb"),
    "lmdb-encoded": (database, ".mdb", IMAGES / "lmdb_encoded" / "data.mdb"),
    "lmdb-float": (database, ".mdb", IMAGES / "lmdb_float" / "data.mdb"),
}


def sound(name):
    source = SEEDS[name][2]
    if name == "npy":
        import io

        import numpy as np

        memory = io.BytesIO()
        np.save(memory, np.arange(24, dtype=np.float32).reshape(2, 3, 4))
        return memory.getvalue()
    return source() if callable(source) else source.read_bytes()


HUGE = [b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x80\x80\x01", (1 << 40).to_bytes(8, "little")]


def damaged(whole, rounds, seed):
    """The file cut at 200 places, then with flipped bits, sizes of 2^40, pieces repeated, dropped and replaced."""
    for i in range(CUTS):
        yield f"cut at {i * len(whole) // CUTS}", whole[: i * len(whole) // CUTS]
    draw = random.Random(seed)
    for i in range(rounds):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 1, 1, 2, 8])):
            at = draw.randrange(len(content))
            kind = draw.randrange(6)
            if kind < 3:
                content[at] ^= 1 << draw.randrange(8)
            elif kind == 3:
                huge = draw.choice(HUGE)
                content[at : at + draw.choice([0, 1, len(huge)])] = huge
            elif kind == 4:
                content[at : at + draw.randrange(64)] = content[draw.randrange(len(content)) :][: draw.randrange(64)]
            else:
                content[at : at + draw.randrange(16)] = bytes(draw.randrange(256) for _ in range(draw.randrange(16)))
            content = content or bytearray(b"\0")
        yield f"round {i}", bytes(content)


def child(names, folder, rounds, seed):
    """Read every damaged file; print what was neither sound nor a named error."""
    import resource
    import time
    import warnings

    from nbcaffe.errors import NbcaffeError

    paths = [Path(folder) / f"{name}{SEEDS[name][1]}" for name in names]
    for name, path in zip(names, paths, strict=True):
        path.write_bytes(sound(name))
        SEEDS[name][0](path)  # loads all modules, and must succeed
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")
    for name, path in zip(names, paths, strict=True):
        read, refused = SEEDS[name][0], 0
        for what, content in damaged(sound(name), rounds, seed):
            path.write_bytes(content)
            start = time.process_time()
            try:
                read(path)
            except NbcaffeError as error:
                refused += 1
                if not 0 < len(str(error)) < 20_000:
                    print(f"{name}, {what}: a message of {len(str(error))} characters")
            except BaseException as error:
                print(f"{name}, {what}: {type(error).__name__}: {error}")
            if time.process_time() - start > SLOWEST:
                print(f"{name}, {what}: {time.process_time() - start:.1f} s")
        if refused < CUTS // 2:
            print(f"{name}: only {refused} damaged files were refused")
    print("read all")


def fuzz(names, folder, rounds, seed):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_fuzz_formats as t; "
    code += f"t.child({names!r}, {str(folder)!r}, {rounds}, {seed})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert done.stdout == "read all\n", done.stdout[:5000]


limited = pytest.mark.skipif(os.name == "nt", reason="no limits on memory there")


@limited
@pytest.mark.parametrize("library", ["text", "binary", "hdf5", "lmdb"])
def test_a_damaged_file_is_a_named_error_or_read(library, tmp_path):
    fuzz([name for name in SEEDS if library_of(name) == library], tmp_path, 60, 1)


@limited
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SEEDS)
def test_many_damaged_files_are_named_errors_or_read(name, seed, tmp_path):
    fuzz([name], tmp_path, 5000, 100 + seed)


def library_of(name):
    """Who parses this format."""
    return {"prototxt": "text", "lmdb": "lmdb"}.get(name.split("-")[0], "hdf5" if name.endswith(".h5") else "binary")
