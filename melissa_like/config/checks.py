"""Mistakes that only show across fields; Hydra has checked names and types before."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from melissa_like.config.capacities import capacity, capacity_nbytes_per_rank, capacity_per_rank, sample_nbytes
from melissa_like.config.derived import max_pending_bytes, num_processes, routing_of, saves_buffer, walltime_s
from melissa_like.config.layouts import layout_of
from melissa_like.config.limits import limits_of
from melissa_like.config.memory import shown
from melissa_like.config.schema import BufferConfig, Config, SolverConfig
from melissa_like.errors import ConfigurationError
from melissa_like.plugins import accepted_settings, factory_of
from melissa_like.records import Window, num_samples

__all__ = ["check", "check_memory", "check_window"]


def _check_limits(config: Config) -> None:
    """Each key by what its declaration says."""
    for group in fields(config):
        _check_group(group.name, getattr(config, group.name))


def _check_group(name: str, settings: Any) -> None:
    for declared in fields(settings) if is_dataclass(settings) else ():
        value, limits = getattr(settings, declared.name), limits_of(declared)
        if is_dataclass(value):
            _check_group(f"{name}.{declared.name}", value)
        elif value is not None and not limits.allow(value):
            raise ConfigurationError(f"{name}.{declared.name} is {value!r}: write {limits.words}")


def _check_combinations(config: Config) -> None:
    if config.launcher.server_timeout_s < 3 * config.monitoring.interval_s:
        raise ConfigurationError(
            f"launcher.server_timeout_s is {config.launcher.server_timeout_s} but server ranks report every "
            f"monitoring.interval_s = {config.monitoring.interval_s}: allow at least three reports"
        )
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


def _check_solver(solver: SolverConfig) -> None:
    """What starts it, and what turns its results into time steps."""
    if bool(solver.solve) == bool(solver.command):
        raise ConfigurationError(
            f"solver {solver.name!r} needs exactly one of solver.solve (a generator plug-in) and solver.command (a "
            "program: one that connects, or any other with a solver.reader for what it writes)"
        )
    if solver.solve and "_target_" not in solver.solve:
        raise ConfigurationError("solver.solve has no _target_: write the import path of the generator function")
    if solver.solve and num_processes(solver) != solver.num_ranks:
        raise ConfigurationError(
            f"solver.num_processes is {solver.num_processes} but solver.num_ranks is {solver.num_ranks}: each process "
            "of a generator plug-in is a client rank, so leave solver.num_processes out"
        )
    if solver.python is not None and not (solver.solve or solver.reader):
        raise ConfigurationError(
            f"solver.python is {solver.python!r} but there is no solver.solve or solver.reader that it would run: "
            "begin solver.command with it instead"
        )
    if solver.reader:
        _check_followed(solver)
        return
    declared = {field.name: field.default for field in fields(SolverConfig)}
    for name in ("files", "work_dir", "remove_sent_files"):
        value = getattr(solver, name)
        if value not in ({}, declared[name]):
            raise ConfigurationError(
                f"solver.{name} is {value!r} but there is no solver.reader: only a program that is followed has a "
                "folder of its own. Name what reads its results (solver.reader; see melissa_like.client.readers)"
            )


def _check_followed(solver: SolverConfig) -> None:
    if solver.solve:
        raise ConfigurationError(
            "solver.solve and solver.reader are both set: a generator yields its time steps itself. Leave "
            "solver.reader out, or name a program under solver.command instead of solver.solve"
        )
    if solver.num_ranks != 1:
        raise ConfigurationError(
            f"solver.num_ranks is {solver.num_ranks} but with solver.reader one client rank follows the program: write "
            f"solver.num_ranks=1, and solver.num_processes={solver.num_ranks} if the program has as many"
        )
    max_pending_bytes(solver)


def _check_recipe(buffer: BufferConfig) -> None:
    """A recipe is asked which settings it takes."""
    accepted = accepted_settings(factory_of({"_target_": buffer._target_}, "buffer"))
    for name in ("watermark", "pseudo_epochs", "views_per_sample"):
        value = getattr(buffer, name)
        if value is not None and accepted is not None and name not in accepted:
            raise ConfigurationError(
                f"buffer.{name} is {value} but the recipe {buffer._target_} has no {name}: set it to null, or choose "
                "another recipe (buffer=reservoir)"
            )


def _check_buffer(config: Config, window: Window | None = None) -> None:
    _check_recipe(config.buffer)
    layout = layout_of(config.solver)
    num_held, nbytes = capacity(config.buffer, layout, window), _sample_nbytes(config, window)
    watermark = config.buffer.watermark
    if num_held < config.launcher.num_server_ranks:
        raise ConfigurationError(
            f"buffer.capacity is {config.buffer.capacity} for {config.launcher.num_server_ranks} server ranks: give "
            "at least one sample per server rank"
        )
    if watermark is not None and watermark > num_held:
        raise ConfigurationError(
            f"buffer.watermark is {watermark} but buffer.capacity is {num_held}, so training would never start: "
            "lower the watermark or raise the capacity"
        )
    if config.training.batch_size > capacity_per_rank(config, window):
        smallest = "even of the smallest mesh" if layout.is_ragged else f"of {shown(nbytes)}"
        raise ConfigurationError(
            f"training.batch_size is {config.training.batch_size} but a server rank holds only "
            f"{capacity_per_rank(config, window)} samples {smallest}: lower the batch size or raise buffer.capacity"
        )
    if config.solver.num_steps is None or watermark is None:
        return
    num_all = config.study.num_simulations * num_samples(config.solver.num_steps, window)
    if watermark > num_all:
        raise ConfigurationError(
            f"buffer.watermark is {watermark} but the study has only {num_all} training samples "
            f"({config.study.num_simulations} simulations of {config.solver.num_steps} steps), so the buffer would "
            "only ever be drained: lower the watermark"
        )


def _sample_nbytes(config: Config, window: Window | None) -> int:
    return sample_nbytes(layout_of(config.solver), window)


def check_window(config: Config, window: Window | None) -> None:
    """Refuse what cannot work with the samples that the task needs, once it is known.

    Args:
        config: of the study.
        window: what a sample is; None: one time step.

    Raises:
        ConfigurationError: what was received, what was expected and what to write instead.
    """
    if window is None:
        return
    routing_of(config.transport, window)
    num_steps = config.solver.num_steps
    if num_steps is not None and window.span > num_steps:
        raise ConfigurationError(
            f"a sample of training.task is a window of {window.length} time steps, {window.stride} apart, so it spans "
            f"{window.span}, but a simulation has only {num_steps} (solver.num_steps): shorten buffer.window, or run "
            "longer simulations"
        )
    _check_buffer(config, window)


def check_memory(config: Config, available: int, window: Window | None = None, *, num_ranks: int) -> None:
    """Refuse buffers in the host's memory that do not fit there.

    Args:
        config: of the study.
        available: bytes of memory of this machine.
        window: what a sample is; None: one time step, or nobody knows yet.
        num_ranks: server ranks whose buffers are on this machine.

    Raises:
        ConfigurationError: with what is needed and what there is.
    """
    layout, nbytes = layout_of(config.solver), _sample_nbytes(config, window)
    in_the_making = 1 if window is None else math.ceil(window.span / window.length)
    held = num_ranks * capacity_nbytes_per_rank(config, window)
    needed = held + in_the_making * config.launcher.max_jobs * nbytes
    if needed > available:
        what = f"{num_ranks * capacity_per_rank(config, window)} samples of {shown(nbytes)}"
        raise ConfigurationError(
            f"buffer.capacity is {config.buffer.capacity}: {shown(held) if layout.is_ragged else what}, and one of "
            f"each job, need {shown(needed)}, but {shown(available)} of memory are free here: lower buffer.capacity "
            "(null takes a quarter of what is free), or launcher.max_jobs"
        )


def check(config: Config) -> None:
    """Refuse what cannot work, before anything is started.

    Raises:
        ConfigurationError: what was received, what was expected and what to write instead.
    """
    _check_limits(config)
    _check_combinations(config)
    _check_solver(config.solver)
    if not config.solver.parameters:
        raise ConfigurationError("solver.parameters is empty: declare a distribution for each parameter of the solver")
    walltime_s(config.launcher)
    _check_buffer(config)
    saves_buffer(config)
