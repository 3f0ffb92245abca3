"""From the configuration to the objects of a server rank; nothing here starts a thread or opens a socket."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from melissa_like.assembly import Consumer, FiniteCheck, WindowForming
from melissa_like.buffer import SampleBuffer
from melissa_like.config import (
    Config,
    available_memory,
    capacity_nbytes_per_rank,
    capacity_per_rank,
    check_memory,
    layout_of,
    shown,
    watermark_per_rank,
)
from melissa_like.errors import ConfigurationError
from melissa_like.loading import AgreementTerms
from melissa_like.monitoring import JsonLinesSink, LenientSink, Recorder, TensorBoardSink
from melissa_like.plugins import accepted_settings, factory_of, make
from melissa_like.records import Layout, SampleKey, Window
from melissa_like.training import Stateful

__all__ = [
    "Chain",
    "Sinks",
    "guarded",
    "make_buffer",
    "make_consumer",
    "make_sinks",
    "make_terms",
    "pick_device",
]


def pick_device(wanted: str, local_rank: int) -> torch.device:
    """The device of this server rank: a GPU of its own where there are any.

    Args:
        wanted: as in `training.device`.
        local_rank: of this rank among those of its host, from 0.

    Raises:
        ConfigurationError: a GPU is demanded and there is none.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigurationError("training.device is 'cuda' but torch sees no GPU here: write auto or cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def make_buffer(config: Config, rank: int, device: torch.device, window: Window | None = None) -> SampleBuffer:
    """This rank's buffer: its share of the global capacity, and a spare slot for each sample being assembled.

    Args:
        config: of the study.
        rank: of this server rank.
        device: that this rank trains on.
        window: what a sample is; None: one time step.

    Raises:
        ConfigurationError: the recipe refuses its settings, or takes no windows, or a GPU's memory is demanded where
            there is none, or not enough of it.
    """
    layout, nbytes = layout_of(config.solver), capacity_nbytes_per_rank(config, window)
    settings: dict[str, Any] = {"capacity": capacity_per_rank(config, window)}
    if config.buffer.device == "cuda" and device.type != "cuda":
        raise ConfigurationError(
            f"buffer.device is 'cuda' but this server rank trains on {device}: write buffer.device=auto or cpu"
        )
    if config.buffer.device != "cpu" and device.type != "cpu":
        settings["device"] = device
    if config.buffer.watermark is not None:
        settings["watermark"] = watermark_per_rank(config, window)
    for name in ("pseudo_epochs", "views_per_sample"):
        if getattr(config.buffer, name) is not None:
            settings[name] = getattr(config.buffer, name)
    if "device" not in settings:
        check_memory(config, available_memory(), window, num_ranks=1)
    recipe = factory_of({"_target_": config.buffer._target_}, "buffer")
    if layout.is_ragged:
        settings["capacity_nbytes"] = nbytes
        if "capacity_nbytes" not in (accepted_settings(recipe) or settings):
            raise ConfigurationError(
                f"the recipe {config.buffer._target_} takes no capacity_nbytes, but each simulation has sizes or "
                "static fields of its own: let it take one, as melissa_like.buffer.fifo does, or choose another recipe"
            )
    if window is not None:
        settings["window_length"] = window.length
        if "window_length" not in (accepted_settings(recipe) or settings):
            raise ConfigurationError(
                f"the recipe {config.buffer._target_} takes no window_length, but a sample of training.task is a "
                f"window of {window.length} time steps: let it take one, as melissa_like.buffer.fifo does, or choose "
                "another recipe"
            )
    try:
        buffer: SampleBuffer = recipe(
            layout,
            seed=config.study.seed + rank,
            spare_slots=_spare_slots(config.launcher.max_jobs, window),
            **settings,
        )
    except (TypeError, ValueError, MemoryError) as error:
        raise ConfigurationError(f"buffer: {error}") from error
    except torch.OutOfMemoryError as error:
        raise ConfigurationError(
            f"buffer.device is {config.buffer.device!r} but {settings['capacity']} samples, which take up to "
            f"{shown(nbytes)}, do not fit on {device} ({error}): lower buffer.capacity, or write buffer.device=cpu"
        ) from error
    return buffer


def _spare_slots(max_jobs: int, window: Window | None) -> int:
    """For samples in the making: a time step of each job and the next one, or its windows that are assembled in place.

    Windows that overlap are made when they are complete, one after the other.
    """
    if window is None:
        return 2 * max_jobs + 2
    if window.overlaps:
        return max_jobs + 2
    return (math.ceil(window.span / window.hop) + 1) * max_jobs + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What takes the training samples.

    Attributes:
        first: hands on to the next one, until the buffer.
        give_back: called with simulation and step: the memory of what will not be taken is free again.
        handed_over: samples that are delivered of a time step of which others still wait for room.
        stateful: those of `training.consumers` that a checkpoint saves, by name: they have `state_dict` and
            `load_state_dict`.
    """

    first: Consumer
    give_back: Callable[[int, int], None]
    handed_over: Callable[[], Collection[SampleKey]]
    stateful: Mapping[str, Stateful]


def make_consumer(
    config: Config, buffer: SampleBuffer, layout: Layout, run_dir: Path, rank: int, window: Window | None
) -> Chain:
    """What takes the training samples: the buffer, within whatever `training.consumers` puts around it.

    Where a sample is a window, they take windows, and what takes the time steps forms them.

    Raises:
        ConfigurationError: one of them cannot be made.
    """
    consumer: Consumer = buffer
    stateful: dict[str, Stateful] = {}
    for name, target in reversed(config.training.consumers.items()):
        key = f"training.consumers.{name}"
        told: dict[str, Any] = {"then": consumer, "layout": layout, "run_dir": run_dir, "rank": rank, "window": window}
        accepted = accepted_settings(factory_of(target, key))
        consumer = make(target, key, **{n: value for n, value in told.items() if accepted is None or n in accepted})
        missing = [n for n in ("reserve", "take", "forget", "close") if not callable(getattr(consumer, n, None))]
        if missing:
            raise ConfigurationError(
                f"{key} is a {type(consumer).__name__}, which has no {', '.join(missing)}: see "
                "melissa_like.assembly.Consumer"
            )
        if all(callable(getattr(consumer, n, None)) for n in ("state_dict", "load_state_dict")):
            stateful[name] = cast(Stateful, consumer)
    if window is None:
        return Chain(first=consumer, give_back=buffer.give_back, handed_over=tuple, stateful=stateful)
    forming = WindowForming(consumer, layout, window, num_steps=config.solver.num_steps, give_back=buffer.give_back)
    return Chain(first=forming, give_back=forming.give_back, handed_over=lambda: forming.handed_over, stateful=stateful)


def guarded(config: Config, consumer: Consumer, layout: Layout, *, give_back: Callable[[int, int], None]) -> Consumer:
    """A consumer behind the look for values that are not finite; itself where there is nothing to look for.

    Args:
        config: of the study.
        consumer: takes the samples.
        layout: of the study.
        give_back: of the consumer in whose memory samples are assembled.
    """
    what = config.solver.not_finite
    if what == "accept" or not any(spec.numpy_dtype.kind == "f" for spec in layout.fields):
        return consumer
    return FiniteCheck(consumer, layout, drops=what == "drop", give_back=give_back)


def make_terms(config: Config, expected: int) -> AgreementTerms:
    """What the ranks know from the configuration."""
    return AgreementTerms(
        batch_size=config.training.batch_size,
        expected_samples=expected,
        max_batches=config.training.max_batches,
        validation_interval=config.training.validation_interval,
        steps_per_agreement=config.training.steps_per_agreement,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sinks:
    """Where a rank's metrics go.

    Attributes:
        recorder: in memory, for the figures.
        lines: the file of this rank.
        files: all that are written, the lines among them.
    """

    recorder: Recorder
    lines: JsonLinesSink
    files: Sequence[LenientSink]


def make_sinks(config: Config, run_dir: Path, rank: int, *, position: int = 0, batches: int = 0) -> Sinks:
    """Where this rank's metrics go: memory, a file, and TensorBoard for rank 0.

    Args:
        config: of the study.
        run_dir: of the study.
        rank: of this server rank.
        position: in its file, where it goes on.
        batches: training steps after which TensorBoard goes on.
    """
    path, folder = run_dir / f"metrics-{rank}.jsonl", run_dir / "tensorboard"
    lines = JsonLinesSink(path, position)
    files = [LenientSink(lines, str(path))]
    if rank == 0 and config.monitoring.tensorboard:
        files.append(LenientSink(TensorBoardSink(folder, batches), str(folder)))
    return Sinks(recorder=Recorder(), lines=lines, files=files)
