"""The verbs of the command line: what they are for, their arguments, and where the work is done."""

from __future__ import annotations

import argparse
from collections.abc import Callable

# What several verbs take.


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda", "sim"),
        default="cpu",
        help="where kernels run; sim is the cuda target in Numba's simulator, slow (default: cpu)",
    )


def _autotune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--autotune", action="store_true", help="choose engines by trying them; what is found is remembered"
    )


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting of the files, such as base_lr=0.1 or conv1.num_output=64; may be repeated",
    )


def _state(parser: argparse.ArgumentParser, phase: str | None) -> None:
    parser.add_argument(
        "--phase", choices=("TRAIN", "TEST"), default=phase, help=f"which layers to include (default: {phase or 'all'})"
    )
    parser.add_argument("--level", type=int, default=0, help="level for include and exclude rules (default: 0)")
    parser.add_argument(
        "--stage", action="append", default=[], help="stage for include and exclude rules; may be repeated"
    )


def _weights(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="FILE[,FILE]",
        help=f"{text}, matched by layer name; of a run folder the newest; may be repeated",
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


# One function a verb.


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("solver", help="solver file (YAML)")
    parser.add_argument("--net", metavar="FILE", help="net file, instead of the one that the solver names")
    parser.add_argument("--max-iter", type=int, metavar="N", help="stop at this iteration")
    parser.add_argument("--seed", type=int, metavar="N", help="random seed, instead of the solver's random_seed")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        metavar="SNAPSHOT",
        help="go on from this snapshot or run folder; without a value from the newest run of this solver",
    )
    _weights(parser, "start from the weights in this file")
    parser.add_argument(
        "--reinit",
        type=_names,
        default=[],
        metavar="LAYER,...",
        help="layers, or patterns, that take no weights from it",
    )
    parser.add_argument(
        "--freeze", type=_names, default=[], metavar="LAYER,...", help="layers, or patterns, that do not learn"
    )
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="where the run folder is made (default: runs)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, only log lines")
    _settings(parser)
    parser.add_argument("--level", type=int, default=0, help="level of the training net (default: 0)")
    parser.add_argument("--stage", action="append", default=[], help="stage of the training net; may be repeated")
    _autotune(parser)
    _device(parser)


def _test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", help="net or solver file (YAML)")
    _weights(parser, "snapshot or weights to test")
    parser.add_argument(
        "--iterations", default="all", metavar="N", help="batches to average over, or `all`: each sample once (default)"
    )
    _settings(parser)
    _state(parser, "TEST")
    _autotune(parser)
    _device(parser)


def _features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", help="net or solver file (YAML)")
    _weights(parser, "snapshot or weights of the net")
    parser.add_argument("--blobs", type=_names, required=True, metavar="BLOB,...", help="what to write; label, too")
    parser.add_argument(
        "--to", required=True, metavar="FILE", help="HDF5 file: a dataset for each blob, a row for each sample"
    )
    parser.add_argument("--iterations", default="all", metavar="N", help="batches; `all` (default): each sample once")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    _settings(parser)
    _state(parser, "TEST")
    _device(parser)


def _decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", help="net or solver file (YAML) of encoder and decoder, whose data are decoded")
    parser.add_argument("step", help="net file of the decoder's one step")
    _weights(parser, "snapshot or weights of the net")
    parser.add_argument("--beam", type=int, default=5, metavar="N", help="hypotheses kept; 1 is greedy (default: 5)")
    parser.add_argument("--to", metavar="FILE", help="text file: what was wanted and what was found, a line each")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    parser.add_argument(
        "--symbol", default="target_input", metavar="BLOB", help="the step's input (default: target_input)"
    )
    parser.add_argument("--target", default="target", metavar="BLOB", help="what should be found (default: target)")
    parser.add_argument("--iterations", default="all", metavar="N", help="batches; `all` (default): each sample once")
    _settings(parser)
    parser.set_defaults(phase="TEST", level=0, stage=[])
    _device(parser)


def _sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", help="net or solver file (YAML) of a language model: a Text layer and SoftmaxWithLoss")
    _weights(parser, "snapshot of the net, which has its vocabulary beside it")
    parser.add_argument("--length", type=int, default=500, metavar="N", help="symbols to write (default: 500)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="below 1 bolder, 0 the best symbol (default: 1)"
    )
    parser.add_argument("--prime", default="", metavar="TEXT", help="what the text begins with")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed of the draws (default: 0)")
    _settings(parser)
    _device(parser)


def _time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "net", help="net or solver file (YAML); weights are updated as its solver says, else by SGD with momentum 0.9"
    )
    parser.add_argument("--iterations", type=int, default=50, metavar="N", help="passes to time (default: 50)")
    parser.add_argument("--trace", metavar="FILE", help="write each layer and launch for Perfetto or Chrome, as JSON")
    parser.add_argument("--plot", metavar="FILE", help="a picture of layers under this machine's roof, .png or .svg")
    parser.add_argument("--peaks", action="store_true", help="measure the machine's peaks again")
    _settings(parser)
    _state(parser, "TRAIN")
    _autotune(parser)
    _device(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="*", help="layer types, Python files that define layers, or nets (default: every layer type)"
    )
    parser.add_argument(
        "--pair",
        metavar="A,B",
        help="run a net twice, on two targets (cpu, cuda, sim) or by two engines (PLAIN, DIRECT, WINOGRAD, DEPTHWISE, "
        "BLAS), and name the first layer that differs",
    )
    _settings(parser)
    parser.add_argument(
        "--device",
        choices=("any", "cuda", "sim", "cpu"),
        default="any",
        help="what the CPU is compared with: a GPU where there is one, else the simulator (default: any)",
    )


def _new_layer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the layer's type, such as MyAct")
    parser.add_argument("--to", metavar="FILE", help="the file to write (default: my_act.py for MyAct)")


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="data set to get; without a name: list them")
    parser.add_argument("--to", metavar="FOLDER", help="where the files go (default: the recipe's data folder)")
    parser.add_argument("--source", metavar="PATH", help="local copy of the original files; nothing is downloaded")
    parser.add_argument("--force", action="store_true", help="write the files again although they are there")


def _net(parser: argparse.ArgumentParser, phase: str | None) -> None:
    parser.add_argument("net", help="net or solver file (YAML)")
    _settings(parser)
    _state(parser, phase)


def _show(parser: argparse.ArgumentParser) -> None:
    _net(parser, "TRAIN")
    parser.add_argument("--time", action="store_true", help="of recurrent layers: the gradient's norm by time step")
    parser.add_argument("--plot", metavar="FILE", help="with --time: a picture of the gates over time, as .png or .svg")
    _weights(parser, "with --time: trained weights")


def _draw(parser: argparse.ArgumentParser) -> None:
    _net(parser, "TRAIN")
    parser.add_argument("-o", "--output", metavar="FILE", help="net.svg, .png, .pdf or .dot (default: DOT on stdout)")
    parser.add_argument("--shapes", action="store_true", help="write the blobs' shapes; needs the net's data")
    parser.add_argument("--rankdir", default="TB", metavar="DIR", help="TB, LR, BT or RL: the way down (default: TB)")


def _docs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", default="docs/reference", metavar="FOLDER", help="folder (default: docs/reference)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a committed page differs")


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="A", help="a file of nbcaffe or of Caffe, or the folder of an LMDB")
    parser.add_argument("target", metavar="B", help="what to write; the end of its name says the format")
    parser.add_argument("--force", action="store_true", help="replace B if it is there")


VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], str]] = {
    "train": ("train a net by a solver file, or go on from a snapshot", _train, "solver.train:run"),
    "test": ("score weights on a test net", _test, "solver.test:run"),
    "features": ("write what a net computes for each sample into an HDF5 file", _features, "features:run"),
    "decode": ("find the sequences that an encoder and its decoder make of a data set", _decode, "decoding:run"),
    "sample": ("write a text with a language model, symbol by symbol", _sample, "sampling:run"),
    "time": ("time each layer of a net, forward and backward, and the update of its weights", _time, "timing:run"),
    "new-layer": ("write a layer of your own, which works at once", _new_layer, "scaffold:run"),
    "check": ("check layers or nets: gradients, targets, memory, shapes, NaN", _check, "check:run"),
    "data": ("fetch a data set, verify it and convert it to HDF5", _data, "data.fetch:run"),
    "convert": (
        "convert nets, solvers, weights, states, means and databases, ours and Caffe's",
        _convert,
        "convert:run",
    ),
    "show": ("table of a net's layers, shapes, parameters, work and memory", _show, "report:show"),
    "draw": ("draw a net as SVG, PNG, PDF or in Graphviz's language", _draw, "draw:run"),
    "expand": ("print the flat net after variables, repeats and templates", lambda p: _net(p, None), "report:expand"),
    "docs": ("write the reference pages from the declarations", _docs, "docgen:run"),
}
