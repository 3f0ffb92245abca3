"""The schema of the configuration: one dataclass per group, checked by Hydra before anything is submitted.

`check` adds the mistakes that only show across fields. Whatever is pluggable is a mapping with an import path under
`_target_`; its other keys are keyword arguments. This module loads nothing heavy.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from melissa_like.errors import ConfigurationError
from melissa_like.records import FieldSpec, Layout, Routing

__all__ = [
    "CONFIG_FILE",
    "BufferConfig",
    "Config",
    "FieldConfig",
    "LauncherConfig",
    "MonitoringConfig",
    "SamplingConfig",
    "SolverConfig",
    "StudyConfig",
    "TrainingConfig",
    "TransportConfig",
    "as_config",
    "capacity_per_rank",
    "check",
    "layout_of",
    "load_config",
    "routing_of",
    "watermark_per_rank",
]

CONFIG_FILE = "config.yaml"
_LAST_PORT = 65535

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

#: Settings of the bundled recipes besides the capacity; a recipe of your own checks its settings itself.
_RECIPE_SETTINGS = {
    "melissa_like.buffer.fifo": (),
    "melissa_like.buffer.firo": ("watermark", "pseudo_epochs"),
    "melissa_like.buffer.reservoir": ("watermark", "views_per_sample"),
}


@dataclass(kw_only=True)
class StudyConfig:
    """Which simulations the study consists of.

    Attributes:
        num_simulations: simulations to train on.
        num_validation_simulations: held-out simulations, run first, kept in memory, never trained on.
        seed: of the design, the buffer and the weights.
    """

    name: str = "study"
    num_simulations: int = 100
    num_validation_simulations: int = 5
    seed: int = 0


@dataclass(kw_only=True)
class FieldConfig:
    """One field that the solver sends: see `melissa_like.records.FieldSpec`."""

    shape: list[int] = field(default_factory=list)
    dtype: str = "float32"
    bounds: list[float] | None = None


@dataclass(kw_only=True)
class SolverConfig:
    """The solver: either `solve`, a generator plug-in, or `command`, a program with its own main.

    Attributes:
        solve: `_target_` is the import path of `solve(parameters, comm, **options)`; the other keys are the options.
        command: argument list of a program that calls `melissa_like.client.connect`.
        launch: how a job of several ranks is started; `{num_ranks}` is filled in. Empty: the command itself.
        num_ranks: client ranks per job.
        num_steps: time steps per simulation; null for an adaptive solver, which says it at goodbye.
        fields: what it sends, by name: a `FieldConfig` each.
        parameters: a distribution per parameter, by import path.
        environment: variables added to the job's environment.
    """

    name: str = "???"
    solve: dict[str, Any] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    launch: str = "mpiexec -n {num_ranks}"
    num_ranks: int = 2
    num_steps: int | None = None
    # Not dict[str, FieldConfig]: Hydra's command line cannot add an entry to that.
    fields: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class SamplingConfig:
    """Which parameters: the import path of a design."""

    design: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class TransportConfig:
    """How fields travel.

    Attributes:
        host: address under which the launcher and the server ranks are reached.
        port: of the control socket; 0 takes a free one.
        routing: `sample` spreads the steps of a simulation over the server ranks, `trajectory` keeps them together.
        budget_bytes: memory in flight of one client rank.
        shared_memory: ranks of the server's own node hand large payloads over through shared memory.
        heartbeat_s: a client rank whose send stays blocked this long asks the launcher whether the study lives, and
            again each time it has passed without the send going on.
    """

    host: str = "127.0.0.1"
    port: int = 0
    routing: str = "sample"
    budget_bytes: int = 32 * 2**20
    shared_memory: bool = True
    heartbeat_s: float = 2.0


@dataclass(kw_only=True)
class BufferConfig:
    """A recipe by import path and its settings; a setting that the recipe does not have stays null.

    Attributes:
        capacity: of all server ranks together, in samples, or in bytes as text (`"2 GiB"`).
        watermark: samples, of all server ranks together, before which no batch is drawn; null: a fifth of the capacity.
        pseudo_epochs: draws after which FIRO removes a sample.
        views_per_sample: fixes draws per inserted sample, so that the number of batches does not depend on timing.
        device: where the samples lie: `cpu` (the host's memory), `cuda` (the memory of the device that trains on them,
            so that a batch need not be moved), or `auto` (wherever the training is).
    """

    _target_: str = "???"
    capacity: Any = 1000
    watermark: int | None = None
    pseudo_epochs: int | None = None
    views_per_sample: int | None = None
    device: str = "cpu"


@dataclass(kw_only=True)
class TrainingConfig:
    """How the network is trained; everything with `_target_` may be your own import path.

    Attributes:
        batch_size: samples per training step and server rank.
        max_batches: stop after so many training steps; null: until the buffer is drained.
        validation_interval: training steps between validations; 0: only at the end.
        transform: the hook `batch -> (inputs, targets)`.
        loss: `(predictions, targets) -> one value per sample`.
        optimizer: called with the parameters.
        schedule: learning-rate factor as a function of progress in [0, 1].
        schedule_on: what progress means: `samples` (fraction of the expected samples delivered; with
            `buffer.views_per_sample`, of the draws that they stand for) or `batches`.
        scheduler: instead of `schedule` (set that to null), a `torch.optim.lr_scheduler` by import path with its
            arguments; called with the optimizer, stepped per batch.
        precision: `float32` or `bf16`.
        device: `auto`, `cpu` or `cuda`.
        num_threads: torch threads per server rank.
        steps_per_agreement: training steps that the server ranks settle ahead at once.
    """

    batch_size: int = 64
    max_batches: int | None = None
    validation_interval: int = 500
    transform: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] | None = None
    schedule_on: str = "samples"
    scheduler: dict[str, Any] | None = field(default_factory=dict)
    gradient_clip: float | None = None
    precision: str = "float32"
    compile: bool = False
    device: str = "auto"
    num_threads: int = 1
    steps_per_agreement: int = 16


@dataclass(kw_only=True)
class LauncherConfig:
    """Where things run and when to give up.

    Attributes:
        backend: import path of what starts processes and carries messages.
        max_jobs: solver jobs alive at once.
        max_attempts: executions of one simulation before it is given up.
        max_failed_starts: jobs in a row that may end before they are given a simulation. When this many attempts, or
            max_attempts if that is more, have failed before the study's first sample was delivered, it fails as well.
        max_failed_fraction: of the simulations; when more are given up, the study fails.
        num_server_ranks: one per device.
        step_timeout_s: a running simulation without a new time step for so long is failed (the clock stands still
            while any server rank's put waits); a job that after its simulation neither asks for another nor ends for
            so long is ended.
        delivery_timeout_s: the same after goodbye, when parts are still missing, and for a job to end after it has
            told that its simulation failed.
        server_timeout_s: a server rank that reports nothing for so long has failed.
        start_timeout_s: for a submitted server rank or job that is running to say hello.
        grace_s: between SIGTERM and SIGKILL.
    """

    backend: dict[str, Any] = field(default_factory=dict)
    max_jobs: int = 1
    max_attempts: int = 3
    max_failed_starts: int = 3
    max_failed_fraction: float = 0.1
    num_server_ranks: int = 1
    step_timeout_s: float = 600.0
    delivery_timeout_s: float = 30.0
    server_timeout_s: float = 60.0
    start_timeout_s: float = 120.0
    grace_s: float = 5.0


@dataclass(kw_only=True)
class MonitoringConfig:
    """What is shown and kept.

    Attributes:
        interval_s: between two reports of a server rank.
        tensorboard: write TensorBoard events.
        figures: write PNGs at the end.
    """

    interval_s: float = 0.5
    tensorboard: bool = True
    figures: bool = True


@dataclass(kw_only=True)
class Config:
    """The whole configuration of a study."""

    run_dir: str = "???"
    study: StudyConfig = field(default_factory=StudyConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    transport: TransportConfig = field(default_factory=TransportConfig)
    buffer: BufferConfig = field(default_factory=BufferConfig)
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)


def as_config(composed: Any) -> Config:
    """The plain dataclasses of a composed configuration, interpolations resolved.

    Raises:
        ConfigurationError: a value of the wrong type, a field's unknown key, or an interpolation of what is not there.
    """
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), composed))
        assert isinstance(config, Config)
        config.solver.fields = {name: _field(name, spec) for name, spec in config.solver.fields.items()}
    except OmegaConfBaseException as error:
        raise ConfigurationError(f"{error.full_key}: {error.msg}") from None
    return config


def _field(name: str, spec: Any) -> FieldConfig:
    if not isinstance(spec, Mapping):
        raise ConfigurationError(f"solver.fields.{name} is {spec!r}: write a mapping, {{shape: [64, 64]}}")
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(FieldConfig), dict(spec)))
    except OmegaConfBaseException as error:
        raise ConfigurationError(
            f"solver.fields.{name}.{error.full_key}: {str(error.msg).partition(chr(10))[0]}; the keys of a field are "
            f"{', '.join(f.name for f in dataclass_fields(FieldConfig))}"
        ) from None
    assert isinstance(config, FieldConfig)
    return config


def load_config(run_dir: Path) -> Config:
    """The resolved configuration of a study.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        loaded = OmegaConf.load(run_dir / CONFIG_FILE)
    except OSError as error:
        raise ConfigurationError(f"{run_dir / CONFIG_FILE} cannot be read ({error}): name a study") from None
    return as_config(loaded)


def layout_of(solver: SolverConfig) -> Layout:
    """The layout that the solver's declarations stand for.

    Raises:
        ConfigurationError: a field that cannot be stored.
    """
    try:
        return Layout(
            fields=tuple(
                FieldSpec(
                    name=name,
                    shape=tuple(spec.shape),
                    dtype=spec.dtype,
                    bounds=_bounds(name, spec.bounds),
                )
                for name, spec in solver.fields.items()
            ),
            parameters=tuple(solver.parameters),
        )
    except ValueError as error:
        raise ConfigurationError(f"solver.fields: {error}") from None


def _bounds(name: str, given: list[float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    if len(given) != 2:
        raise ValueError(f"field {name!r} has the bounds {given}: write [lowest, highest], or null")
    return given[0], given[1]


def routing_of(transport: TransportConfig) -> Routing:
    """The routing by its name.

    Raises:
        ConfigurationError: no such routing.
    """
    try:
        return Routing[transport.routing.upper()]
    except KeyError:
        raise ConfigurationError(
            f"transport.routing is {transport.routing!r}: write one of {', '.join(r.name.lower() for r in Routing)}"
        ) from None


def _capacity(buffer: BufferConfig, layout: Layout) -> int:
    """Samples of all server ranks together."""
    given = buffer.capacity
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    match = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]i?)?B\s*", given) if isinstance(given, str) else None
    if match is None:
        raise ConfigurationError(
            f"buffer.capacity is {given!r}: write a number of samples (1000) or of bytes as text ('2 GiB')"
        )
    return int(float(match[1]) * _UNITS[match[2] or ""]) // layout.sample_nbytes


def capacity_per_rank(config: Config) -> int:
    """Samples that one server rank holds: the global capacity divided, rounded up."""
    return math.ceil(_capacity(config.buffer, layout_of(config.solver)) / config.launcher.num_server_ranks)


def watermark_per_rank(config: Config) -> int:
    """The watermark of one server rank: the global one divided, rounded up."""
    if config.buffer.watermark is None:
        return capacity_per_rank(config) // 5
    return math.ceil(config.buffer.watermark / config.launcher.num_server_ranks)


def _check_positive(config: Config) -> None:
    lowest: Mapping[str, tuple[float | None, float]] = {
        "study.num_simulations": (config.study.num_simulations, 1),
        "study.num_validation_simulations": (config.study.num_validation_simulations, 0),
        "solver.num_ranks": (config.solver.num_ranks, 1),
        "solver.num_steps": (config.solver.num_steps, 1),
        "buffer.watermark": (config.buffer.watermark, 0),
        "buffer.pseudo_epochs": (config.buffer.pseudo_epochs, 1),
        "buffer.views_per_sample": (config.buffer.views_per_sample, 1),
        "training.batch_size": (config.training.batch_size, 1),
        "training.max_batches": (config.training.max_batches, 1),
        "training.validation_interval": (config.training.validation_interval, 0),
        "training.num_threads": (config.training.num_threads, 1),
        "training.steps_per_agreement": (config.training.steps_per_agreement, 1),
        "launcher.max_jobs": (config.launcher.max_jobs, 1),
        "launcher.max_attempts": (config.launcher.max_attempts, 1),
        "launcher.max_failed_starts": (config.launcher.max_failed_starts, 1),
        "launcher.num_server_ranks": (config.launcher.num_server_ranks, 1),
        "launcher.max_failed_fraction": (config.launcher.max_failed_fraction, 0),
        "launcher.grace_s": (config.launcher.grace_s, 0),
        "transport.budget_bytes": (config.transport.budget_bytes, 1),
    }
    for name, (received, least) in lowest.items():
        if received is not None and received < least:
            raise ConfigurationError(f"{name} is {received}: write {least} or more")
    if config.launcher.server_timeout_s < 3 * config.monitoring.interval_s:
        raise ConfigurationError(
            f"launcher.server_timeout_s is {config.launcher.server_timeout_s} but server ranks report every "
            f"monitoring.interval_s = {config.monitoring.interval_s}: allow at least three reports"
        )
    if not 0 <= config.transport.port <= _LAST_PORT:
        raise ConfigurationError(f"transport.port is {config.transport.port}: write 0 (a free one) to {_LAST_PORT}")
    for name, seconds in {
        "transport.heartbeat_s": config.transport.heartbeat_s,
        "launcher.step_timeout_s": config.launcher.step_timeout_s,
        "launcher.delivery_timeout_s": config.launcher.delivery_timeout_s,
        "launcher.server_timeout_s": config.launcher.server_timeout_s,
        "launcher.start_timeout_s": config.launcher.start_timeout_s,
        "monitoring.interval_s": config.monitoring.interval_s,
    }.items():
        if not seconds > 0:
            raise ConfigurationError(f"{name} is {seconds}: write a number of seconds above 0")


def _check_choices(config: Config) -> None:
    for name, received, valid in (
        ("training.precision", config.training.precision, ("float32", "bf16")),
        ("training.schedule_on", config.training.schedule_on, ("samples", "batches")),
        ("training.device", config.training.device, ("auto", "cpu", "cuda")),
        ("buffer.device", config.buffer.device, ("auto", "cpu", "cuda")),
    ):
        if received not in valid:
            raise ConfigurationError(f"{name} is {received!r}: write one of {', '.join(valid)}")
    if config.buffer.device == "cuda" and config.training.device == "cpu":
        raise ConfigurationError(
            "buffer.device is 'cuda' but training.device is 'cpu', so every batch would travel back: write "
            "buffer.device=cpu, or training.device=cuda"
        )
    if config.training.schedule and config.training.scheduler:
        raise ConfigurationError(
            "training.schedule and training.scheduler are both set: set one of them to null, because both would "
            "change the learning rate"
        )
    if config.training.schedule_on == "batches" and config.training.schedule and config.training.max_batches is None:
        raise ConfigurationError(
            "training.schedule_on is 'batches' but training.max_batches is null, so the end of the schedule is "
            "unknown: set training.max_batches or write schedule_on: samples"
        )
    if bool(config.solver.solve) == bool(config.solver.command):
        raise ConfigurationError(
            f"solver {config.solver.name!r} needs exactly one of solver.solve (a generator plug-in) and solver.command "
            "(a program with its own main)"
        )
    if config.solver.solve and "_target_" not in config.solver.solve:
        raise ConfigurationError("solver.solve has no _target_: write the import path of the generator function")


def _check_recipe(buffer: BufferConfig) -> None:
    settings = {
        name: getattr(buffer, name)
        for name in ("watermark", "pseudo_epochs", "views_per_sample")
        if getattr(buffer, name) is not None
    }
    known = _RECIPE_SETTINGS.get(buffer._target_)
    for name, value in settings.items():
        if known is not None and name not in known:
            raise ConfigurationError(
                f"buffer.{name} is {value} but the recipe {buffer._target_} has no {name}: set it to null, or choose "
                "another recipe (buffer=reservoir)"
            )


def _check_buffer(config: Config) -> None:
    _check_recipe(config.buffer)
    capacity = _capacity(config.buffer, layout_of(config.solver))
    watermark = config.buffer.watermark
    if capacity < config.launcher.num_server_ranks:
        raise ConfigurationError(
            f"buffer.capacity is {config.buffer.capacity} for {config.launcher.num_server_ranks} server ranks: give "
            "at least one sample per server rank"
        )
    if watermark is not None and watermark > capacity:
        raise ConfigurationError(
            f"buffer.watermark is {watermark} but buffer.capacity is {capacity}, so training would never start: "
            "lower the watermark or raise the capacity"
        )
    if config.training.batch_size > capacity_per_rank(config):
        raise ConfigurationError(
            f"training.batch_size is {config.training.batch_size} but a server rank holds only "
            f"{capacity_per_rank(config)} samples: lower the batch size or raise buffer.capacity"
        )
    num_samples = config.study.num_simulations * config.solver.num_steps if config.solver.num_steps else None
    if num_samples is not None and watermark is not None and watermark > num_samples:
        raise ConfigurationError(
            f"buffer.watermark is {watermark} but the study has only {num_samples} training samples "
            f"({config.study.num_simulations} simulations of {config.solver.num_steps} steps), so the buffer would "
            "only ever be drained: lower the watermark"
        )


def check(config: Config) -> None:
    """Refuse what cannot work, before anything is started.

    Raises:
        ConfigurationError: what was received, what was expected and what to write instead.
    """
    _check_positive(config)
    _check_choices(config)
    if not config.solver.parameters:
        raise ConfigurationError("solver.parameters is empty: declare a distribution for each parameter of the solver")
    layout_of(config.solver)
    routing_of(config.transport)
    _check_buffer(config)
