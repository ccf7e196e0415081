"""MTCNN, three nets that others trained with Caffe, gives what OpenCV's reader of Caffe's files gives, blob by blob.

``nbcaffe data mtcnn`` fetches the nets, ``pip install 'opencv-python-headless<5'`` installs the reader.
"""

from pathlib import Path

import numpy as np
import pytest

from nbcaffe import TEST, Net
from nbcaffe.data.sets import SETS

pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")
cv2 = pytest.importorskip("cv2", reason="the other reader is missing: pip install 'opencv-python-headless<5'")

FOLDER = Path(__file__).resolve().parents[1] / "nets" / "mtcnn" / "data"
MISSING = [file for file in SETS["mtcnn"].files if not (FOLDER / file).is_file()]
pytestmark = [
    pytest.mark.skipif(
        bool(MISSING), reason=f"MTCNN is not part of the repository: `nbcaffe data mtcnn` into {FOLDER}"
    ),
    pytest.mark.skipif(not hasattr(cv2.dnn, "readNetFromCaffe"), reason=f"OpenCV {cv2.__version__} is not below 5"),
]
SHAPES = {
    "det1": [(1, 3, 12, 12), (4, 3, 12, 12), (1, 3, 480, 640), (2, 3, 37, 53), (1, 3, 113, 14), (1, 3, 12, 12)],
    "det2": [(1, 3, 24, 24), (5, 3, 24, 24)],
    "det3": [(1, 3, 48, 48), (5, 3, 48, 48)],
}
WEIGHTS = {"det1": 6_632, "det2": 100_178, "det3": 389_040}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]
TOLERANCE = 1e-4  # of the largest value


def files(name):
    return str(FOLDER / f"{name}.prototxt"), str(FOLDER / f"{name}.caffemodel")


def ours(name, **options):
    prototxt, caffemodel = files(name)
    return Net(prototxt, TEST, weights=caffemodel, **options)


def picture(shape):
    """Noise and a ramp, in the range that MTCNN takes its pictures to."""
    noise = np.random.default_rng(sum(shape)).uniform(-0.5, 0.5, shape)
    return (noise + np.linspace(-0.5, 0.5, shape[-1])).astype(np.float32)


def theirs(prototxt, caffemodel, x):
    """Each layer's top by the layer's name, as OpenCV computes it."""
    net = cv2.dnn.readNetFromCaffe(prototxt, caffemodel)
    net.enableFusion(False)  # or the tops of fused layers are never made
    net.setInput(x)
    names = list(net.getLayerNames())
    return dict(zip(names, net.forward(names), strict=True))


def tops(net):
    """The same of ours; inputs and splits are no layers of the file."""
    added = {layer.name for layer in net.layers if type(layer).__name__ in ("Input", "Split")}
    return {name: net.blobs[made[0]].data for name, made in net.top_names.items() if name not in added}


def difference(mine, other):
    """The largest difference, of the largest value."""
    assert mine.shape == other.shape
    return float(np.abs(mine - other).max() / np.abs(other).max())


@pytest.mark.parametrize("name", SHAPES)
def test_one_net_takes_every_size_through_reshape(name):
    net, seen = ours(name), {}
    for shape in SHAPES[name]:
        x = picture(shape)
        net.blobs["data"].reshape(*shape)
        net.forward(data=x)
        reference, mine = theirs(*files(name), x), tops(net)
        assert reference.keys() == mine.keys()
        for layer, blob in reference.items():
            assert difference(mine[layer], blob) < TOLERANCE, f"{layer} at {shape}"
        first = seen.setdefault(shape, mine["prob1"].copy())
        assert np.array_equal(first, mine["prob1"]), "the same size twice gives the same bits"


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_shared_memory_changes_no_bit_of_the_outputs(name, shape):
    results = []
    for memory in ("keep", "plan"):
        net = ours(name, memory=memory)
        net.blobs["data"].reshape(*shape)
        results.append(net.forward(data=picture(shape)))
    for output, values in results[0].items():
        assert np.array_equal(values, results[1][output]), output


@pytest.mark.parametrize("name", SHAPES)
def test_every_weight_of_the_file_is_used(name):
    net = Net(files(name)[0], TEST)
    report = net.copy_from(files(name)[1])
    assert not report.missing and not report.reinit
    assert set(report.matched) == set(net.params)
    assert sum(w.count for weights in net.params.values() for w in weights) == WEIGHTS[name]


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_that_we_write_is_the_same_to_both_readers(name, tmp_path):
    net, x = ours(name), picture(SHAPES[name][0])
    for file in ("again.caffemodel", "again.caffemodel.h5"):
        net.save(tmp_path / file)
        again = Net(files(name)[0], TEST, weights=tmp_path / file)
        for layer, weights in net.params.items():
            assert all(np.array_equal(a.data, b.data) for a, b in zip(weights, again.params[layer], strict=True)), layer
    before = theirs(*files(name), x)
    after = theirs(files(name)[0], str(tmp_path / "again.caffemodel"), x)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[layer], after[layer]) for layer in before)
