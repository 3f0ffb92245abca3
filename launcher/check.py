"""`melissa-like check`: one simulation of the configured solver against a receiver that looks at everything.

The launcher's own shell and state run it, as a study of one simulation; only the server rank is another: a thread of
this process that assembles samples, measures them, and trains nothing.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from melissa_like.config import Config, layout_of
from melissa_like.launcher.commands import Commands, commands_for
from melissa_like.launcher.executors import Executor, FoundJob, InlineExecutor, JobSpec, JobUpdate
from melissa_like.launcher.run import Launch, make_executor, prepare
from melissa_like.launcher.rundir import log_path
from melissa_like.records import FieldSpec, FloatArray, Purpose, Sample, SampleKey
from melissa_like.server.reception import Reception
from melissa_like.transport import Transport

__all__ = ["CheckingConsumer", "check_solver"]

_CHECK_WAIT_S = 0.05
_INTERRUPTED = 130


@dataclass(slots=True)
class _FieldFindings:
    """What was seen of one field."""

    low: float = math.inf
    high: float = -math.inf
    not_finite: int = 0
    first_bad_step: int | None = None


@dataclass(slots=True)
class CheckingConsumer:
    """Takes complete samples and measures them."""

    fields: tuple[FieldSpec, ...]
    findings: dict[str, _FieldFindings] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    arrived_at: list[float] = field(default_factory=list)
    parameters: FloatArray | None = None
    _reserved: dict[SampleKey, tuple[npt.NDArray[Any], ...]] = field(default_factory=dict)

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[npt.NDArray[Any], ...]:
        """Fresh arrays, the same for a newer attempt: a check is small."""
        key = SampleKey(simulation, step)
        if key not in self._reserved:
            self._reserved[key] = tuple(np.empty(f.shape, dtype=f.numpy_dtype) for f in self.fields)
        return self._reserved[key]

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...]:
        """Measure the sample, and drop it."""
        self._reserved.pop(sample.key, None)
        self._note_arrival()
        self.steps.append(sample.key.step)
        self.times.append(sample.time)
        self.parameters = sample.parameters
        for spec, values in zip(self.fields, sample.fields, strict=True):
            self._measure(spec, values, sample.key.step)
        return (sample.key,)

    def forget(self, simulation: int) -> None:
        """The check is of one simulation: nothing is left."""
        self._reserved.clear()

    def close(self) -> None:
        """Nobody waits here."""

    def _note_arrival(self) -> None:
        self.arrived_at.append(time.monotonic())

    def _measure(self, spec: FieldSpec, values: npt.NDArray[Any], step: int) -> None:
        found = self.findings.setdefault(spec.name, _FieldFindings())
        finite = np.isfinite(values)
        bad = int(values.size - finite.sum())
        found.not_finite += bad
        if bad and found.first_bad_step is None:
            found.first_bad_step = step
        if finite.any():
            found.low = min(found.low, float(values[finite].min()))
            found.high = max(found.high, float(values[finite].max()))


class _TwoPlaces:
    """Server ranks as threads of this process, solver jobs where the configuration says."""

    def __init__(self, servers: Executor, jobs: Executor) -> None:
        self._servers = servers
        self._jobs = jobs
        self.in_process = jobs.in_process

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(self._servers)
        self._stack.enter_context(self._jobs)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        servers = [spec for spec in specs if spec.name.startswith("server-")]
        jobs = [spec for spec in specs if spec not in servers]
        return {**self._servers.submit(servers, study), **self._jobs.submit(jobs, study)}

    def find(self, study: str) -> tuple[FoundJob, ...]:
        found = (*self._servers.find(study), *self._jobs.find(study))
        return tuple({job.handle: job for job in found}.values())  # two places of one process find each other's

    def poll(self) -> tuple[JobUpdate, ...]:
        return (*self._servers.poll(), *self._jobs.poll())

    def cancel(self, handle: str) -> None:
        self._servers.cancel(handle)
        self._jobs.cancel(handle)

    def close(self, timeout_s: float) -> None:
        self._jobs.close(timeout_s)
        self._servers.close(timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CheckCommands:
    """The configured solver jobs, and a server rank of our own."""

    jobs: Commands
    serve: Callable[[threading.Event], int]
    run_dir: Path

    def server_spec(self, rank: int) -> JobSpec:
        name = f"server-{rank}"
        return JobSpec(
            name=name,
            call=self.serve,
            log=log_path(self.run_dir, name),
            working_directory=Path.cwd(),
            num_ranks=0,
        )

    def solver_spec(self, job: str) -> JobSpec:
        return self.jobs.solver_spec(job)


def check_solver(composed: DictConfig) -> int:
    """Run one simulation, print what was found; 0 if the solver keeps its contract.

    Raises:
        ConfigurationError: the configuration cannot work.
    """
    composed.study.num_simulations = 1
    composed.study.num_validation_simulations = 0
    composed.launcher.num_server_ranks = 1
    composed.launcher.max_attempts = 1
    composed.launcher.max_failed_starts = 1
    composed.launcher.max_failed_fraction = 0.0
    composed.buffer.watermark = None
    config, source = prepare(composed)
    consumer = CheckingConsumer(layout_of(config.solver).fields)
    with TemporaryDirectory(prefix="melissa-like-check-") as folder, ExitStack() as stack:
        run_dir = Path(folder)
        started_at = time.monotonic()

        def executor(on_change: Callable[[], None]) -> Executor:
            return _TwoPlaces(InlineExecutor(on_change=on_change), make_executor(config.launcher, on_change))

        def commands(in_process: bool, transport: Transport) -> Commands:
            return _CheckCommands(
                jobs=commands_for(config, run_dir, in_process=in_process, transport=transport),
                serve=lambda canceled: _receive(config, run_dir, transport, consumer, canceled),
                run_dir=run_dir,
            )

        launch = stack.enter_context(
            Launch(
                config=config,
                source=source,
                composed=composed,
                run_dir=run_dir,
                executor=executor,
                commands=commands,
            )
        )
        launch.run()
        if launch.state.outcome == "stopped":
            sys.stderr.write(f"melissa-like check: {launch.state.reason}\n")
            return _INTERRUPTED
        return _print_findings(config, consumer, launch.state.outcome == "completed", launch.state.reason, started_at)


def _receive(
    config: Config, run_dir: Path, transport: Transport, consumer: CheckingConsumer, canceled: threading.Event
) -> int:
    """A server rank that measures instead of training."""
    over = threading.Event()
    errors: list[BaseException] = []

    def fail(error: BaseException) -> None:
        errors.append(error)
        over.set()

    with Reception(
        config=config,
        run_dir=run_dir,
        rank=0,
        transport=transport,
        consumers={Purpose.TRAINING: consumer, Purpose.VALIDATION: consumer},
        measure=dict,
        reporting_sinks=(),
        device="none",
        on_reception_over=over.set,
        on_stop=lambda reason: over.set(),
        on_error=fail,
    ) as reception:
        while not over.wait(_CHECK_WAIT_S) and not canceled.is_set():
            continue
        if errors:
            raise errors[0]
        reception.finish("drained", {}, ())
    return 0


def _print_findings(config: Config, consumer: CheckingConsumer, completed: bool, reason: str, started_at: float) -> int:
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"solver {config.solver.name}: one simulation on {config.solver.num_ranks} ranks")
    for title in ("field", "shape", "dtype", "lowest", "highest", "not finite"):
        table.add_column(title)
    for spec in consumer.fields:
        found = consumer.findings.get(spec.name, _FieldFindings())
        table.add_row(
            spec.name,
            "×".join(str(n) for n in spec.shape),
            spec.dtype,
            f"{found.low:.6g}",
            f"{found.high:.6g}",
            "none" if not found.not_finite else f"{found.not_finite}, first at step {found.first_bad_step}",
        )
    console.print(table)
    console.print(f"parameters: {_parameters(config, consumer)}", highlight=False)
    console.print(f"time steps: {_steps(consumer)}", highlight=False)
    console.print(f"first step after {_first(consumer, started_at)}, then {_pace(consumer)} per step", highlight=False)
    bad = any(found.not_finite for found in consumer.findings.values())
    if not completed:
        sys.stderr.write(f"melissa-like check: the solver does not keep its contract: {reason}\n")
    elif bad:
        sys.stderr.write("melissa-like check: the solver sent values that are not finite\n")
    else:
        console.print("the solver keeps its contract: every step covered once, all values finite", highlight=False)
    return 0 if completed and not bad else 1


def _parameters(config: Config, consumer: CheckingConsumer) -> str:
    if consumer.parameters is None:
        return "none arrived"
    pairs = zip(config.solver.parameters, consumer.parameters, strict=True)
    return ", ".join(f"{name} = {value:.6g}" for name, value in pairs)


def _steps(consumer: CheckingConsumer) -> str:
    if not consumer.steps:
        return "none arrived"
    physical = [t for t in consumer.times if math.isfinite(t)]
    span = f", physical time {min(physical):g} to {max(physical):g}" if physical else ", no physical time given"
    return f"{len(consumer.steps)}, numbered {min(consumer.steps)} to {max(consumer.steps)}{span}"


def _first(consumer: CheckingConsumer, started_at: float) -> str:
    return f"{consumer.arrived_at[0] - started_at:.2f} s" if consumer.arrived_at else "–"


def _pace(consumer: CheckingConsumer) -> str:
    if len(consumer.arrived_at) < 2:
        return "–"
    return f"{1e3 * float(np.median(np.diff(consumer.arrived_at))):.2f} ms"
