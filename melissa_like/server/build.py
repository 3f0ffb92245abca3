"""From the configuration to the objects of a server rank; nothing here starts a thread or opens a socket."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from melissa_like.buffer import SampleBuffer
from melissa_like.config import Config, capacity_per_rank, layout_of, watermark_per_rank
from melissa_like.errors import ConfigurationError
from melissa_like.loading import AgreementTerms, Collective
from melissa_like.monitoring import JsonLinesSink, Recorder, Sink, TensorBoardSink
from melissa_like.training import (
    Constant,
    LearningRateFactory,
    Loss,
    Optimization,
    Surrogate,
    Trainer,
    ValidationSet,
    build_surrogate,
    by_scheduler,
    on_batches,
    on_samples,
)

__all__ = ["make_buffer", "make_loss", "make_sinks", "make_surrogate", "make_terms", "make_trainer", "pick_device"]


def _make(target: Mapping[str, Any], key: str, **arguments: Any) -> Any:
    try:
        made = instantiate(dict(target), _convert_="all", **arguments)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigurationError(f"{key} cannot be made from {target.get('_target_')!r}: {cause}") from error
    if isinstance(made, functools.partial):
        # Hydra's own kind examines its target again at every call, for half as long as a small training step takes.
        return functools.partial(made.func, *made.args, **made.keywords)
    return made


def _factory(target: Mapping[str, Any], key: str) -> Any:
    """What is called later with more arguments: `_partial_` need not be written."""
    return _make({**target, "_partial_": True}, key)


def pick_device(config: Config, local_rank: int) -> torch.device:
    """The device of this server rank: a GPU of its own where there are any.

    Raises:
        ConfigurationError: a GPU is demanded and there is none.
    """
    wanted = config.training.device
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigurationError("training.device is 'cuda' but torch sees no GPU here: write auto or cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def make_buffer(config: Config, rank: int, device: torch.device) -> SampleBuffer:
    """This rank's buffer: its share of the global capacity, and a spare slot for each sample being assembled.

    Args:
        config: of the study.
        rank: of this server rank.
        device: that this rank trains on.

    Raises:
        ConfigurationError: the recipe refuses its settings, or a GPU's memory is demanded where there is none, or not
            enough.
    """
    settings: dict[str, Any] = {"capacity": capacity_per_rank(config)}
    if config.buffer.device == "cuda" and device.type != "cuda":
        raise ConfigurationError(
            f"buffer.device is 'cuda' but this server rank trains on {device}: write buffer.device=auto or cpu"
        )
    if config.buffer.device != "cpu" and device.type != "cpu":
        settings["device"] = device
    if config.buffer.watermark is not None:
        settings["watermark"] = watermark_per_rank(config)
    for name in ("pseudo_epochs", "views_per_sample"):
        if getattr(config.buffer, name) is not None:
            settings[name] = getattr(config.buffer, name)
    recipe = _factory({"_target_": config.buffer._target_}, "buffer")
    try:
        buffer: SampleBuffer = recipe(
            layout_of(config.solver),
            seed=config.study.seed + rank,
            spare_slots=2 * config.launcher.max_jobs + 2,
            **settings,
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"buffer: {error}") from error
    except torch.OutOfMemoryError as error:
        raise ConfigurationError(
            f"buffer.device is {config.buffer.device!r} but {settings['capacity']} samples of "
            f"{layout_of(config.solver).sample_nbytes} bytes do not fit on {device} ({error}): lower buffer.capacity, "
            "or write buffer.device=cpu"
        ) from error
    return buffer


def make_surrogate(config: Config, device: torch.device) -> Surrogate:
    """The untrained surrogate, the same on every rank."""
    torch.manual_seed(config.study.seed)
    bounds = {name: _make(spec, f"solver.parameters.{name}").bounds for name, spec in config.solver.parameters.items()}
    try:
        surrogate = build_surrogate(
            layout=layout_of(config.solver),
            parameter_bounds=bounds,
            num_steps=config.solver.num_steps,
            model=_factory(config.model, "model"),
            transform=_factory(config.training.transform, "training.transform"),
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the surrogate cannot be built from model._target_ {config.model.get('_target_')!r}: {error} (a model is "
            "called with num_inputs, num_outputs and the other keys of its YAML group)"
        ) from error
    return surrogate.to(device)


def make_loss(config: Config) -> Loss:
    """The loss: one value per sample."""
    loss: Loss = _make(config.training.loss, "training.loss")
    return loss


def _learning_rate(config: Config) -> LearningRateFactory:
    training = config.training
    if training.scheduler:
        return by_scheduler(_factory(training.scheduler, "training.scheduler"))
    schedule = Constant() if not training.schedule else _make(training.schedule, "training.schedule")
    if training.schedule_on == "batches" and training.max_batches is not None:
        return on_batches(schedule, training.max_batches)
    return on_samples(schedule)


def make_trainer(
    config: Config,
    *,
    surrogate: Surrogate,
    loss: Loss,
    validation: ValidationSet,
    collective: Collective,
    on_step: Any,
    on_validation: Any,
) -> Trainer:
    """The trainer of this rank.

    Raises:
        ConfigurationError: the optimizer or the scheduler does not take its arguments.
    """
    training = config.training
    optimizer = _factory(training.optimizer, "training.optimizer")
    learning_rate = _learning_rate(config)
    try:
        return Trainer(
            surrogate,
            loss=loss,
            optimizer=optimizer,
            learning_rate=learning_rate,
            optimization=Optimization(
                precision=training.precision, compile=training.compile, gradient_clip=training.gradient_clip
            ),
            validation=validation,
            collective=collective,
            on_step=on_step,
            on_validation=on_validation,
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"training: the trainer cannot be built: {error}") from error


def make_terms(config: Config, expected: int) -> AgreementTerms:
    """What the ranks know from the configuration."""
    return AgreementTerms(
        batch_size=config.training.batch_size,
        expected_samples=expected,
        max_batches=config.training.max_batches,
        validation_interval=config.training.validation_interval,
        steps_per_agreement=config.training.steps_per_agreement,
    )


def make_sinks(config: Config, run_dir: Path, rank: int) -> tuple[Recorder, list[Sink]]:
    """Where this rank's metrics go: memory for the figures, a file, and TensorBoard for rank 0."""
    recorder = Recorder()
    sinks: list[Sink] = [recorder, JsonLinesSink(run_dir / f"metrics-{rank}.jsonl")]
    if rank == 0 and config.monitoring.tensorboard:
        sinks.append(TensorBoardSink(run_dir / "tensorboard"))
    return recorder, sinks
