"""From the configuration to what a server rank trains with: what is plugged in, and the stream for the loop."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from msgspec.structs import replace

from melissa_like.config import Config, check_window, layout_of
from melissa_like.errors import ConfigurationError
from melissa_like.loading import Batch, Measurement, Turn
from melissa_like.plugins import accepted_settings, factory_of, make
from melissa_like.records import Layout, Window
from melissa_like.sampling import make_distributions
from melissa_like.training import (
    Constant,
    LearningRateFactory,
    Loop,
    Optimization,
    RankGroup,
    StepReport,
    Surrogate,
    Suspects,
    Task,
    TaskFactory,
    TrainingRecipe,
    TrainingStream,
    ValidationReport,
    ValidationSet,
    build_surrogate,
    by_scheduler,
    on_batches,
    on_samples,
)

__all__ = [
    "make_loop",
    "make_recipe",
    "make_stream",
    "make_surrogate",
    "measurement_of",
    "num_measured_of",
    "parameter_bounds",
    "suspects_of",
    "window_of",
]

#: Time steps of each rank, about, from which the statistics for the normalization are taken.
_NUM_MEASURED = 256
#: Windows of each rank at least, unless they are larger than this together: those of one simulation tell little of the
#: others.
_NUM_WINDOWS, _MOST_BYTES = 32, 2**30


def make_surrogate(config: Config, device: torch.device) -> Surrogate:
    """The untrained surrogate, the same on every rank and at every call.

    Raises:
        ConfigurationError: the task or the model cannot be built.
    """
    torch.manual_seed(config.study.seed)
    task = _task_of(config)
    model = factory_of(config.model, "model")
    with _blamed_task(config):
        task(layout=layout_of(config.solver))
    with suspects_of(config).blame("model", "is called with the problem of the task and the other keys of its group"):
        return build_surrogate(
            layout=layout_of(config.solver),
            parameter_bounds=parameter_bounds(config),
            num_steps=config.solver.num_steps,
            model=model,
            task=task,
        ).to(device)


def parameter_bounds(config: Config) -> dict[str, tuple[float, float]]:
    """(low, high) of each parameter.

    Raises:
        ConfigurationError: one has no distribution.
    """
    return {name: made.bounds for name, made in make_distributions(config.solver.parameters).items()}


def measurement_of(task: Task, layout: Layout, window: Window | None) -> Measurement:
    """The statistics for the normalization.

    Args:
        task: says of what.
        layout: of the study.
        window: what a sample is; None: one time step.
    """
    return Measurement(
        quantities=task.quantities,
        measure=task.measure,
        num_samples=num_measured_of(None if layout.extents else layout.sample_nbytes, window),
        most_nbytes=_MOST_BYTES,
    )


def num_measured_of(step_nbytes: int | None, window: Window | None) -> int:
    """From how many samples of each rank the statistics for the normalization are taken.

    Args:
        step_nbytes: of one time step; None: they differ.
        window: what a sample is; None: one time step.
    """
    if window is None:
        return _NUM_MEASURED
    if step_nbytes is None:
        return max(math.ceil(_NUM_MEASURED / window.length), _NUM_WINDOWS)
    affordable = _MOST_BYTES // (window.length * step_nbytes)
    return max(math.ceil(_NUM_MEASURED / window.length), min(_NUM_WINDOWS, affordable))


def suspects_of(config: Config) -> Suspects:
    """What takes part in a training, by the keys that name it."""
    training = config.training
    plugged = {
        "model": config.model,
        "training.task": training.task,
        "training.loss": training.loss,
        "training.loop": training.loop,
        "training.optimizer": training.optimizer,
        "training.schedule": training.schedule,
        "training.scheduler": training.scheduler,
    }
    return Suspects(
        names={key: str(target["_target_"]) for key, target in plugged.items() if target and "_target_" in target},
        rate="training.scheduler" if training.scheduler else "training.schedule",
    )


def window_of(config: Config) -> Window | None:
    """What a sample of the study is; None: one time step.

    Raises:
        ConfigurationError: the task cannot be built, or has not the window that is wanted, or it cannot be had.
    """
    task, wanted = _task_of(config), _wanted_window(config)
    with _blamed_task(config):
        window = task(layout=layout_of(config.solver)).window
    if window is None and wanted:
        raise ConfigurationError(
            f"buffer.window is {wanted}, but a sample of training.task {config.training.task.get('_target_')!r} is one "
            "time step: set the keys of buffer.window to null, or name a task that learns from several steps"
        )
    if window is not None and "hop" in wanted:
        window = replace(window, hop=wanted["hop"])
    check_window(config, window)
    return window


def _task_of(config: Config) -> TaskFactory:
    """The task, told which window is wanted, if it asks for one; of another task only the hop can be changed."""
    target, wanted = config.training.task, _wanted_window(config)
    task = factory_of(target, "training.task")
    if not wanted:
        return task
    if "window" in (accepted_settings(task) or ()):
        return functools.partial(task, window={**(target.get("window") or {}), **wanted})
    if set(wanted) - {"hop"}:
        raise ConfigurationError(
            f"buffer.window is {wanted}, but the samples of training.task {target.get('_target_')!r} hold the steps "
            "that it says itself, because it takes no `window`: set length and stride to null (hop can be changed), or "
            "change the options of the task"
        )
    return task


def _wanted_window(config: Config) -> dict[str, int]:
    """The keys of `buffer.window` that are set."""
    window = config.buffer.window
    keys = {"length": window.length, "stride": window.stride, "hop": window.hop}
    return {name: value for name, value in keys.items() if value is not None}


def _blamed_task(config: Config) -> AbstractContextManager[None]:
    return suspects_of(config).blame("training.task", "is called with layout and the other keys of its mapping")


def make_recipe(config: Config) -> TrainingRecipe:
    """How to train.

    Raises:
        ConfigurationError: an import path leads nowhere; what is called with wrong arguments later raises it then.
    """
    training = config.training
    try:
        optimization = Optimization(
            precision=training.precision, compile=training.compile, gradient_clip=training.gradient_clip
        )
    except ValueError as error:
        raise ConfigurationError(f"training.{error}") from error
    return TrainingRecipe(
        loss=_function(training.loss, "training.loss"),
        field_weights=training.field_weights or None,
        optimizer=factory_of(training.optimizer, "training.optimizer"),
        learning_rate=_learning_rate(config),
        optimization=optimization,
    )


def _learning_rate(config: Config) -> LearningRateFactory:
    training = config.training
    if training.scheduler:
        return by_scheduler(factory_of(training.scheduler, "training.scheduler"))
    schedule = Constant() if not training.schedule else make(training.schedule, "training.schedule")
    if training.schedule_on == "batches" and training.max_batches is not None:
        return on_batches(schedule, training.max_batches)
    return on_samples(schedule)


def make_loop(config: Config) -> Loop:
    """The training loop."""
    loop: Loop = _function(config.training.loop, "training.loop")
    return loop


def _function(target: Mapping[str, Any], key: str) -> Callable[..., Any]:
    """A function with its options bound; a class is called with them, and what it makes is the function."""
    bound = factory_of(target, key)
    if isinstance(bound.func if isinstance(bound, functools.partial) else bound, type):
        made: Callable[..., Any] = make(target, key)
        return made
    return bound


def make_stream(
    config: Config,
    turns: Iterable[Turn],
    *,
    surrogate: Surrogate,
    held_out: ValidationSet | None = None,
    group: RankGroup | None = None,
    on_step: Callable[[StepReport], None] = lambda report: None,
    on_validation: Callable[[ValidationReport], None] = lambda report: None,
    observe: Callable[[Batch, torch.Tensor], None] = lambda batch, losses: None,
    on_cut: Callable[[int | None], None] = lambda number: None,
    restored: Mapping[str, Any] | None = None,
) -> TrainingStream:
    """What the loop is given.

    Raises:
        ConfigurationError: the recipe cannot be made, its settings do not fit the task, or what was restored does not
            fit the surrogate.
    """
    recipe = make_recipe(config)
    try:
        return TrainingStream(
            turns,
            surrogate=surrogate,
            held_out=held_out,
            group=group,
            recipe=recipe,
            on_step=on_step,
            on_validation=on_validation,
            observe=observe,
            on_cut=on_cut,
            restored=restored,
        )
    except ValueError as error:
        raise ConfigurationError(f"training.{error}") from error
