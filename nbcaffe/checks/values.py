"""Checks that compare passes of one layer: targets, in place, threads, stale memory, NaN, a reference."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np

from ..kernel import Kernel
from ..single import Single
from .case import Arrays, Case, gradients, named
from .finding import Finding, at, compare

FLOAT32 = 1e-5  # relative: the same sums, some in another order
NAN_PLACES = 6
LARGE = (30, 100)  # times the usual inputs; exp overflows above 88


def targets(case: Case) -> Finding:
    """CPU against CUDA: a GPU, or the simulator."""
    return compare(case.run(device="cuda"), case.run(), FLOAT32, "cuda differs from cpu")


def in_place(case: Case) -> Finding:
    """The top in the bottom's memory gives the same top and gradients."""
    advice = "in place differs (does backward read x, where only y is left?)"
    return compare(case.run(inplace=True), case.run(), 1e-6, advice)


def accumulation(case: Case) -> Finding:
    """Weights' gradients add up over passes; bottoms' do not."""
    single = case.single()
    first = case.passes(single)
    second = case.passes(single)
    wanted = {k: v * (2.0 if "weight" in k else 1.0) for k, v in first.items()}
    return compare(second, wanted, FLOAT32, "a second pass must add to weights' gradients and overwrite the rest")


def untouched(case: Case) -> Finding:
    """Forward leaves the bottoms, backward leaves all values and the tops' gradients."""
    single = case.single()
    before = named("bottom", case.values)
    single.forward(*case.values)
    out = compare(contents(single, "bottom", "data"), rounded(before, single), 0.0, "forward changes its input")
    if not case.differentiable or not out.passed:
        return out
    slots = [("bottom", "data"), ("top", "data"), ("weights", "data")]
    slots += [] if single.layer.shares == "both" else [("top", "diff")]
    for what, slot in slots:
        if slot == "diff":
            before = rounded(named(what, case.diffs(single)), single)
        else:
            before = contents(single, what, slot)
        single.backward(*case.diffs(single))
        out = compare(contents(single, what, slot), before, 0.0, f"backward changes the {slot} of its {what}")
        if not out.passed:
            break
    return out


def rounded(arrays: Arrays, single: Single) -> Arrays:
    return {name: np.asarray(a).astype(single.layer.dtype) for name, a in arrays.items()}


def contents(single: Single, what: str, slot: str) -> Arrays:
    blobs = single.layer.weights if what == "weights" else getattr(single, what)
    return named(what, [single.device.download(getattr(b, slot)).copy() for b in blobs])


def bits(case: Case) -> Finding:
    """Two runs are the same to the bit, on one thread and on several."""
    most = numba.config.NUMBA_NUM_THREADS
    with parallel():
        runs = {f"a run on {n} threads": on_threads(case, n) for n in sorted({1, min(2, most), most})}
        runs["a second run"] = on_threads(case, most)
    first = runs.pop("a run on 1 threads")
    for what, run in runs.items():
        found = compare(run, first, 0.0, f"{what} gives other bits than one on 1 thread")
        if not found.passed:
            return found
    return Finding()


def on_threads(case: Case, number: int) -> Arrays:
    before = numba.get_num_threads()
    numba.set_num_threads(number)
    try:
        return case.run()
    finally:
        numba.set_num_threads(before)


@contextmanager
def parallel() -> Iterator[None]:
    """Launches of any size run in parallel."""
    module = sys.modules[Kernel.__module__]  # the name nbcaffe.kernel is the decorator's
    before = vars(module)["SERIAL_BELOW"]
    vars(module)["SERIAL_BELOW"] = 0
    try:
        yield
    finally:
        vars(module)["SERIAL_BELOW"] = before


def stale(case: Case) -> Finding:
    """The result does not depend on what lay in the memory before."""
    text = "the result depends on what was in the memory (a blob that is not written, work space that is not kept"
    return compare(case.run(np.nan), case.run(3.0), 0.0, text + " for backward, or an undeclared backward_needs)")


def unwanted(case: Case) -> Finding:
    """A bottom whose gradient nobody wants has no memory for it; the other gradients stay the same."""
    expected = {name: array for name, array in case.run().items() if name.startswith("gradient")}
    for index in range(len(case.shapes)):
        single, name = case.single(), f"gradient of bottom {index}"
        if name not in expected:
            continue
        single.forward(*case.values)
        for top, diff in zip(single.top, case.diffs(single), strict=True):
            single.device.upload(top.diff, diff)
        single.layer.propagate_down[index], single.bottom[index]._diff = False, None
        try:
            single.layer.backward(single.bottom, single.top)
        except Exception as error:  # an author's code may raise anything
            advice = f"ask self.propagate_down[{index}] before you write it"
            return Finding(
                np.inf, f"without the {name}, as in a net that does not need it, backward fails; {advice} ({error})"
            )
        rest = {k: v for k, v in expected.items() if k != name}
        found = compare(gradients(single), rest, FLOAT32, f"without the {name}")
        if not found.passed:
            return found
    return Finding()


def nan(case: Case) -> Finding:
    """Where one number changes a result, a NaN in its place makes it NaN, forward and backward."""
    single, rng = case.single(), np.random.default_rng(23)
    for index in smooth(single):
        for place in places(case.shapes[index], rng):

            def tops(value: Any, index: int = index, place: tuple = place) -> Arrays:
                values = [np.array(v, np.float64) for v in case.values]
                values[index][place] = value(values[index][place])
                return named("top", single.forward(*values))

            lost = swallowed(tops)
            if lost:
                return Finding(np.inf, f"a NaN in bottom {index}{at(place)} does not reach {lost}")
    return nan_backward(case, single, rng)


def nan_backward(case: Case, single: Single, rng: np.random.Generator) -> Finding:
    single.forward(*case.values)
    for index, top in enumerate(single.top):
        for place in places(top.shape, rng):

            def diffs(value: Any, index: int = index, place: tuple = place) -> Arrays:
                given = case.diffs(single)
                given[index][place] = value(given[index][place])
                fill_zero(single)
                single.backward(*given)
                return gradients(single)

            lost = swallowed(diffs)
            if lost:
                return Finding(np.inf, f"a NaN in the gradient of top {index}{at(place)} does not reach the {lost}")
    return Finding()


def large(case: Case) -> Finding:
    """Where large inputs give finite tops, the gradients are numbers: no inf / inf in a derivative."""
    for factor in LARGE:
        single = case.single()
        values = [v * factor if i in smooth(single) else v for i, v in enumerate(case.values)]
        if not all(np.isfinite(top).all() for top in single.forward(*values)):
            continue
        single.backward(*case.diffs(single))
        for name, gradient in gradients(single).items():
            bad = np.argwhere(np.isnan(gradient))
            if len(bad):
                why = "inf / inf or inf - inf in the derivative? nbcaffe.scalars.sigmoid has none"
                return Finding(np.inf, f"{factor} times the example's inputs: {name}{at(bad[0])} is NaN: {why}")
    return Finding()


def smooth(single: Single) -> Iterable[int]:
    """The bottoms that can have a gradient: no labels, marks or lengths."""
    able = single.layer.differentiable
    return range(len(single.bottom)) if able is None else able


def fill_zero(single: Single) -> None:
    for weight in single.layer.weights:
        single.device.upload(weight.diff, 0.0)


def places(shape: tuple[int, ...], rng: np.random.Generator) -> list[tuple]:
    count = int(np.prod(shape))
    flat = rng.choice(count, min(count, NAN_PLACES), replace=False)
    return [tuple(int(i) for i in np.unravel_index(f, shape)) for f in flat]


def swallowed(run: Any) -> str:
    """The first result that other finite numbers change but a NaN leaves finite."""
    start, after = run(lambda v: v), run(lambda v: np.nan)
    changed = [run(lambda v, d=d: v + d) for d in (1.0, -1.0, 20.0, -20.0)]
    for name, values in start.items():
        if np.array_equal(values, np.round(values)):
            continue  # an index or a class, which cannot be NaN
        moves = np.any([np.isfinite(c[name]) & (c[name] != values) for c in changed], axis=0)
        lost = np.argwhere(moves & ~np.isnan(after[name]))
        if len(lost):
            return f"{name}{at(lost[0])}: swallowed by a comparison, max or min?"
    return ""


def reference(case: Case) -> Finding:
    """The author's own NumPy version, in float64."""
    single = case.single()
    weights = [single.device.download(w.data).astype(np.float64) for w in single.layer.weights]
    params = {name: getattr(single.layer, name) for name in case.cls.params}
    bottoms = [np.asarray(v) for v in case.values]
    expected = case.cls.reference(*bottoms, *weights, **params)  # type: ignore[attr-defined]
    expected = list(expected) if isinstance(expected, list | tuple) else [expected]
    return compare(named("top", single.forward(*case.values)), named("top", expected), FLOAT32, "the reference differs")
