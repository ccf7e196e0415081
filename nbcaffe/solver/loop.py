"""The solver: forward, backward, update, and what happens in between."""

from __future__ import annotations

import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .. import mode
from ..errors import ConfigError, DataError, LabelError, NbcaffeError, NumericError
from ..net import TEST, TRAIN, Net
from ..netfile import read_net
from ..passes.sharing import freeze_more
from . import policies, snapshot
from .debug import mean_sizes
from .remarks import remarks
from .scoring import outputs, plain, score
from .signals import Signals
from .spec import NetState, SolverSpec, read_solver
from .updates import BoundUpdate
from .vocabularies import refuse_different

DEBUG = "DEBUG"  # the phase that metrics name where debug_info asked for them
EVENTS = ("on_start", "on_gradients_ready", "on_iteration", "on_metrics", "on_snapshot")
log = logging.getLogger("nbcaffe.solver")


class Solver:
    """Trains a net as a solver file says, under pycaffe's names.

    Parameters
    ----------
    solver : path, YAML text, mapping or SolverSpec
        What to do.
    device
        Where; by default what ``solver_mode`` says.
    overrides
        ``key=value`` for the solver, ``layer.key=value`` for its nets.
    level, stages
        Of the train net, beside those of ``train_state``.
    memory : {"keep", "plan"}
        Whether every blob stays readable.
    """

    def __init__(
        self,
        solver: Any,
        *,
        device: str | None = None,
        overrides: Iterable[str] = (),
        level: int = 0,
        stages: Iterable[str] = (),
        memory: str = "keep",
    ):
        own, of_nets = split_overrides(overrides)
        self.spec = solver if isinstance(solver, SolverSpec) else read_solver(solver, own)
        spec = self.spec
        self.seed = spec.random_seed if spec.random_seed >= 0 else secrets.randbits(31)
        self.prefix = str(spec.folder / (spec.snapshot_prefix or spec.name))
        device = device or ("cuda" if spec.solver_mode == "GPU" else "cpu")
        memory = "keep" if spec.debug_info else memory
        common: dict[str, Any] = {"device": device, "memory": memory, "seed": self.seed, "overrides": of_nets}
        self.net = train_net(spec, level, stages, **common)
        self.test_nets = [
            Net(
                source,
                state.phase or TEST,
                level=state.level,
                stages=state.stage,
                share=self.net,
                backward=memory == "keep",
                **common,
            )
            for source, state in spec.test_sources
        ]
        for net in self.test_nets:
            refuse_different(self.net, net)
        if self.net.param_diff is None or not (self.net.rules or self.net.late):
            raise ConfigError(f"net {self.net.name!r}: nothing to train: no loss, or no weight whose lr_mult is not 0")
        bound = self.net.param_data, self.net.param_diff, self.net.rules, self.net.late
        self.update = BoundUpdate(spec, self.net.device, *bound)
        self.iter = 0
        self.losses: deque[float] = deque(maxlen=spec.average_loss)
        self.stopped_by: int | None = None  # the signal that ended solve()
        self.last_snapshot: Path | None = None
        self._snapshot_iter: int | None = None
        self._observers: dict[str, list[Callable]] = {event: [] for event in EVENTS}
        self.started_from = self.net.copy_from(spec.weight_files, spec.reinit) if spec.weights else None
        for line in remarks(spec, self.test_nets):
            log.warning("%s", line)

    # pycaffe's names

    @property
    def lr(self) -> float:
        """The rate of the next update."""
        return policies.rate(self.spec, self.iter)

    @property
    def type(self) -> str:
        return self.spec.type

    @property
    def batch_size(self) -> int:
        """Samples of one iteration; 0 where no data layer says."""
        sizes = [source.batch_size for source in self.net.sources.values()]
        return max(sizes, default=0) * self.spec.iter_size

    def add_callback(
        self,
        on_start: Callable[[], Any] | None = None,
        on_gradients_ready: Callable[[], Any] | None = None,
        *,
        on_iteration: Callable[[float], Any] | None = None,
        on_metrics: Callable[[dict[str, Any]], Any] | None = None,
        on_snapshot: Callable[[Path], Any] | None = None,
    ) -> None:
        """Be called before an iteration, before its update, after it (with its loss), with metrics, with snapshots."""
        given = (on_start, on_gradients_ready, on_iteration, on_metrics, on_snapshot)
        for event, observer in zip(EVENTS, given, strict=True):
            if observer is not None:
                if event == "on_gradients_ready":
                    self.net.keep_gradients()
                self._observers[event].append(observer)

    def step(self, n: int = 1) -> None:
        """Train for ``n`` iterations, with the tests, displays and snapshots that fall due."""
        for _ in range(n):
            self._iterate()

    def solve(self, resume: str | Path | None = None) -> None:
        """Train to max_iter, then write a snapshot and test; a signal may stop it, or ask for a snapshot."""
        if self.spec.max_iter is None:
            raise ConfigError("max_iter: solve() needs the number of iterations; set it, or call step(n)")
        if resume is not None:
            self.restore(resume)
        self.stopped_by = None
        with Signals() as signals:
            while self.iter < self.spec.max_iter and signals.stop is None:
                self._iterate()
                if signals.take_snapshot_request():
                    self.snapshot()
            self.stopped_by = signals.stop
            if self._snapshot_iter != self.iter and (self.spec.snapshot_after_train or signals.stop is not None):
                self.snapshot()
        if self.stopped_by is None and self.spec.test_interval:
            self.test_all()

    def snapshot(self) -> Path:
        """Write weights and state; return the state's path."""
        return self._write(snapshot.position(self.net))

    def restore(self, path: str | Path) -> None:
        """Go on from a snapshot as if the run had never stopped."""
        snapshot.restore(self, path)
        self._snapshot_iter = self.iter
        log.info("restored iteration %d from %s", self.iter, path)

    def test_all(self) -> list[dict[str, Any]]:
        """Score every test net."""
        found = []
        for index, (net, batches) in enumerate(zip(self.test_nets, self.spec.test_iter, strict=True)):
            scores = score(net, batches, self.spec.test_compute_loss)
            found.append(scores)
            self._tell("on_metrics", {"iter": self.iter, "phase": TEST, "net": index, **scores})
        return found

    def apply_update(self) -> None:
        """Change the weights by the gradients that have been summed up."""
        self.update.bind(self.net.param_diff, self.net.rules, self.net.late)
        norm = self.update.measure(self.iter)
        if not math.isfinite(norm):
            raise NumericError(f"iteration {self.iter}: {self._bad_gradient()}")
        self.update.apply()

    # one iteration

    def _iterate(self) -> None:
        if self._due(self.spec.test_interval) and (self.iter > 0 or self.spec.test_initialization):
            self.test_all()
        self._tell("on_start")
        before = snapshot.position(self.net)
        try:
            loss = self._gradients()
            self._tell("on_gradients_ready")
            if self.spec.debug_info or self.net.spec.debug_info:
                self._tell("on_metrics", {"iter": self.iter, "phase": DEBUG, "net": 0, **mean_sizes(self.net)})
            if self._due(self.spec.display):
                self._display()
            self.apply_update()
        except (NumericError, DataError, LabelError) as error:
            self._stop_before(before, error)
        self.iter += 1
        self._tell("on_iteration", loss)
        if self._due(self.spec.snapshot):
            self.snapshot()

    def _gradients(self) -> float:
        """Sum the gradients of iter_size passes; return their mean loss."""
        self.net.clear_param_diffs()
        total = 0.0
        for _ in range(self.spec.iter_size):
            self.net.tick()
            self.net.run_forward()
            loss = self.net.loss()
            if not math.isfinite(loss):
                raise NumericError(f"iteration {self.iter}: the loss is {loss}")
            total += loss
            self.net.run_backward()
        loss = total / self.spec.iter_size
        self.losses.append(loss)
        return loss

    def _display(self) -> None:
        found = {name: plain(value) for name, value in outputs(self.net).items()}
        found["loss"] = sum(self.losses) / len(self.losses)
        self._tell("on_metrics", {"iter": self.iter, "phase": TRAIN, "net": 0, "lr": self.lr, **found})

    def _stop_before(self, place: dict[str, Any], error: NbcaffeError) -> NoReturn:
        """Write the state from before this iteration, then say what broke in it, and where first."""
        message = str(error)
        if not message.startswith("iteration"):
            message = f"iteration {self.iter}: {message}"
        try:
            kept = f"the state before this iteration is in {self._write(place)}"
        except NbcaffeError as failure:
            kept = str(failure)
        if isinstance(error, NumericError):
            found = self.net.find_non_finite() if "the loss is" in message else None
            message += f"; the first value that is not finite: layer {found[0]!r}, blob {found[1]!r}" if found else ""
            kept += "\na smaller base_lr or a clip_gradients may help"
        raise type(error)(f"{message}\n{kept}") from None

    def _bad_gradient(self) -> str:
        """The first weight, from the loss down, whose gradient broke."""
        for name, weights in reversed(self.net.params.items()):
            for index, weight in enumerate(weights):
                values = None if weight._diff is None else self.net.device.download(weight._diff)
                if values is not None and not math.isfinite(values.sum(dtype="float64")):
                    return f"layer {name!r}: the gradient of weight {index} is not finite"
        return "the gradients are too large: the sum of their squares is not finite"

    def _write(self, place: dict[str, Any]) -> Path:
        self.last_snapshot = snapshot.write(self, self.prefix, place)
        self._snapshot_iter = self.iter
        self._tell("on_snapshot", self.last_snapshot)
        return self.last_snapshot

    def _due(self, interval: int) -> bool:
        return bool(interval) and self.iter % interval == 0

    def _tell(self, event: str, *values: Any) -> None:
        if event == "on_metrics":
            log.info("%s", values[0])
        for observer in self._observers[event]:
            observer(*values)


def train_net(spec: SolverSpec, level: int, stages: Iterable[str], overrides: Sequence[str], **options: Any) -> Net:
    """The net that a solver trains; ``level`` and ``stages`` go beside those of its train_state."""
    state = spec.train_state[0] if spec.train_state else NetState()
    source = spec.train_source
    if spec.freeze:
        source = freeze_more(read_net(source, overrides=overrides), spec.freeze, spec.where("freeze"))
    return Net(
        source,
        state.phase or TRAIN,
        level=level or state.level,
        stages=(*state.stage, *stages),
        overrides=overrides,
        late_gradients=spec.iter_size == 1 and spec.clip_gradients < 0.0,  # then nobody needs a whole gradient
        **options,
    )


def split_overrides(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """``key=value`` for the solver and ``layer.key=value`` for the nets."""
    overrides = list(overrides)
    of_nets = [text for text in overrides if "." in text.partition("=")[0]]
    return [text for text in overrides if text not in of_nets], of_nets


def get_solver(path: str | Path, **options: Any) -> Solver:
    """pycaffe's name: the solver that a file describes, on the device of ``set_mode_cpu`` or ``set_mode_gpu``."""
    return Solver(path, **{"device": mode.device(), **options})
