"""From the configuration to what a server rank trains with: what is plugged in, and the stream for the loop."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from melissa_like.config import Config, layout_of
from melissa_like.errors import ConfigurationError
from melissa_like.loading import Batch, Turn
from melissa_like.plugins import factory_of, make
from melissa_like.training import (
    Constant,
    LearningRateFactory,
    Loop,
    Optimization,
    RankGroup,
    StepReport,
    Surrogate,
    TaskFactory,
    TrainingRecipe,
    TrainingStream,
    ValidationReport,
    ValidationSet,
    build_surrogate,
    by_scheduler,
    on_batches,
    on_samples,
    try_out,
)

__all__ = ["make_loop", "make_recipe", "make_stream", "make_surrogate"]


def make_surrogate(config: Config, device: torch.device) -> Surrogate:
    """The untrained surrogate, the same on every rank.

    Raises:
        ConfigurationError: the task or the model cannot be built, the network does not return what the task needs, or
            the task needs samples of several steps.
    """
    torch.manual_seed(config.study.seed)
    bounds = {name: make(spec, f"solver.parameters.{name}").bounds for name, spec in config.solver.parameters.items()}
    task = factory_of(config.training.task, "training.task")
    model = factory_of(config.model, "model")
    _refuse_windows(config, task)
    try:
        surrogate = build_surrogate(
            layout=layout_of(config.solver),
            parameter_bounds=bounds,
            num_steps=config.solver.num_steps,
            model=model,
            task=task,
        ).to(device)
        try_out(surrogate)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the surrogate cannot be built from model._target_ {config.model.get('_target_')!r}: {error} (a model is "
            "called with the problem of the task and the other keys of its YAML group)"
        ) from error
    return surrogate


def _refuse_windows(config: Config, task: TaskFactory) -> None:
    path = config.training.task.get("_target_")
    try:
        window = task(layout=layout_of(config.solver)).window
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"training.task cannot be made from {path!r}: {error} (a task is called with layout and the other keys of "
            "its mapping)"
        ) from error
    if window is not None:
        raise ConfigurationError(
            f"training.task {path!r} needs samples of {window.length} time steps, which is not supported yet: a sample "
            "is one time step so far; name a task whose window is None, as melissa_like.training.Direct"
        )


def make_recipe(config: Config) -> TrainingRecipe:
    """How to train.

    Raises:
        ConfigurationError: an import path leads nowhere; what is called with wrong arguments later raises it then.
    """
    training = config.training
    return TrainingRecipe(
        loss=_function(training.loss, "training.loss"),
        field_weights=training.field_weights or None,
        optimizer=_named(factory_of(training.optimizer, "training.optimizer"), "training.optimizer"),
        learning_rate=_learning_rate(config),
        optimization=Optimization(
            precision=training.precision, compile=training.compile, gradient_clip=training.gradient_clip
        ),
    )


def _learning_rate(config: Config) -> LearningRateFactory:
    training = config.training
    if training.scheduler:
        key = "training.scheduler"
        return by_scheduler(_named(factory_of(training.scheduler, key), key))
    schedule = Constant() if not training.schedule else make(training.schedule, "training.schedule")
    if training.schedule_on == "batches" and training.max_batches is not None:
        return on_batches(schedule, training.max_batches)
    return on_samples(schedule)


def _named(factory: Callable[[Any], Any], key: str) -> Callable[[Any], Any]:
    """The factory, but its complaint about its arguments names the key that gave them."""

    def call(argument: Any) -> Any:
        try:
            return factory(argument)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{key} cannot be made: {error}") from error

    return call


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
) -> TrainingStream:
    """What the loop is given.

    Raises:
        ConfigurationError: the recipe cannot be made, or its settings do not fit the task.
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
        )
    except ValueError as error:
        raise ConfigurationError(f"training.{error}") from error
