"""The composition root of a server rank: builds the objects, owns the threads, closes in reverse."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from melissa_like.assembly import Reason
from melissa_like.buffer import SampleBuffer
from melissa_like.config import Config, capacity_per_rank, layout_of, load_config, watermark_per_rank
from melissa_like.errors import ConfigurationError, ReceptionFailedError, TrainingDivergedError
from melissa_like.loading import Loader, LoaderCounters
from melissa_like.monitoring import Recorder
from melissa_like.monitoring.figures import draw_field, draw_losses, draw_population
from melissa_like.records import Purpose
from melissa_like.server.build import (
    make_buffer,
    make_loss,
    make_sinks,
    make_surrogate,
    make_terms,
    make_trainer,
    pick_device,
)
from melissa_like.server.freed_memory import keep_freed_memory
from melissa_like.server.reception import Reception
from melissa_like.server.stream import Stream
from melissa_like.server.telemetry import Telemetry
from melissa_like.training import RankGroup, Surrogate, Trainer, TrainingSummary, ValidationSet, join_ranks
from melissa_like.transport import Transport

__all__ = ["run_server_rank"]

_STATISTICS_SAMPLES = 256
_TRACE_LINES = 20


def run_server_rank(run_dir: Path, *, rank: int, transport: Transport) -> int:
    """One server rank from its start to its last word; the exit code.

    Blocks the calling thread, which becomes the trainer's. An error is told to the launcher with its traceback.
    """
    keep_freed_memory()
    config = load_config(run_dir)
    torch.set_num_threads(config.training.num_threads)
    device = pick_device(config, int(os.environ.get("LOCAL_RANK", "0")))
    with ExitStack() as stack:
        # Received samples must have a place before the first part comes, so the buffer and the validation set exist
        # first; the reception is open before the ranks meet, because jobs wait for every rank's hello.
        buffer = make_buffer(config, rank, device)
        validation = ValidationSet(layout_of(config.solver))
        stream = Stream(config, buffer, rank)
        recorder, sinks = make_sinks(config, run_dir, rank)
        for sink in sinks:
            stack.callback(sink.close)
        telemetry = Telemetry(buffer, lambda: reception.receiver.num_bytes)

        def on_error(error: BaseException) -> None:
            failure = ReceptionFailedError(f"a thread of server rank {rank} ended: {error}")
            failure.__cause__ = error
            buffer.close(failure)

        reception = Reception(
            config=config,
            run_dir=run_dir,
            rank=rank,
            transport=transport,
            consumers={Purpose.TRAINING: buffer, Purpose.VALIDATION: validation},
            measure=telemetry.measure,
            reporting_sinks=sinks,
            device=str(device),
            on_reception_over=buffer.end_reception,
            on_stop=stream.stop,
            on_error=on_error,
            on_simulation_over=stream.simulation_over,
        )
        stack.enter_context(reception)
        stack.callback(buffer.close)  # first of all to close: a receiver that waits for room must not be waited for
        try:
            with _told(reception):
                group = stack.enter_context(join_ranks(device))
                surrogate = make_surrogate(config, device)
                loader, trainer = _assemble(config, surrogate, device, group, buffer, validation, stream, telemetry)
                # Told before the loader closes, because that ends the other ranks, and the cause must come first.
                with loader, _told(reception):
                    summary = trainer.train(loader)
                if rank == 0:
                    surrogate.save(run_dir / "surrogate")
                    if config.monitoring.figures:
                        _draw_figures(config, run_dir, surrogate, validation, recorder, telemetry)
                told = _summary(summary, loader.counters(), buffer, reception, telemetry)
                reception.finish(stream.end, told, telemetry.history())
        except (ConfigurationError, TrainingDivergedError) as error:
            sys.stderr.write(f"{error}\n")
            return 2
        except Exception:
            traceback.print_exc()
            return 1
    return 0


@contextmanager
def _told(reception: Reception) -> Iterator[None]:
    """Tell the launcher of an exception on its way; with a traceback, unless it names the user's mistake."""
    try:
        yield
    except (ConfigurationError, TrainingDivergedError) as error:
        reception.fail(str(error))
        raise
    except Exception as error:
        reception.fail("".join(traceback.format_exception(error)[-_TRACE_LINES:]).strip())
        raise


def _assemble(
    config: Config,
    surrogate: Surrogate,
    device: torch.device,
    group: RankGroup,
    buffer: SampleBuffer,
    validation: ValidationSet,
    stream: Stream,
    telemetry: Telemetry,
) -> tuple[Loader, Trainer]:
    """What trains, not yet opened."""
    loader = Loader(
        buffer,
        make_terms(config, stream.expected),
        state=stream.local_state,
        collective=group.loading,
        device=device,
        num_statistics_samples=_STATISTICS_SAMPLES if surrogate.output_normalization.unset else 0,
    )
    telemetry.watch(loader)
    trainer = make_trainer(
        config,
        surrogate=surrogate,
        loss=make_loss(config),
        validation=validation,
        collective=group.training,
        on_step=telemetry.on_step,
        on_validation=telemetry.on_validation,
    )
    return loader, trainer


def _draw_figures(
    config: Config,
    run_dir: Path,
    surrogate: Surrogate,
    validation: ValidationSet,
    recorder: Recorder,
    telemetry: Telemetry,
) -> None:
    """The pictures of a finished training. What goes wrong is told in the log: it costs a picture, not the study."""
    rows, history = recorder.rows, telemetry.history()
    has_watermark = config.buffer._target_ != "melissa_like.buffer.fifo"
    watermark = watermark_per_rank(config) if has_watermark else None
    folder = run_dir / "figures"
    try:
        folder.mkdir(exist_ok=True)
        draw_losses(folder / "losses.png", rows, history)
        draw_population(folder / "population.png", rows, capacity_per_rank(config), watermark)
        held_out = validation.one_simulation()
        if held_out is None:
            return
        middle = len(held_out.steps) // 2
        step = held_out.steps[middle]
        predicted = surrogate.predict(held_out.parameters, step, time=held_out.times[middle])
        for name, values in held_out.fields.items():
            title = f"held-out simulation {held_out.simulation}, time step {step}"
            draw_field(folder / f"{name}.png", name, title, predicted[name], values[middle])
    except Exception:
        sys.stderr.write(f"not all figures could be drawn:\n{traceback.format_exc()}")


def _summary(
    summary: TrainingSummary,
    counters: LoaderCounters,
    buffer: SampleBuffer,
    reception: Reception,
    telemetry: Telemetry,
) -> dict[str, dict[str, Any]]:
    """This rank's part of the report."""
    population = buffer.population()
    receiver = reception.receiver
    streamed_s = (receiver.last_at or 0.0) - (receiver.first_at or 0.0)
    rejected = {
        reason: count for reason, count in dict(receiver.refused).items() if reason != Reason.DUPLICATE_SAMPLE.value
    }
    last = telemetry.validations[-1] if telemetry.validations else None
    return {
        "samples": {
            "trained_on": population.puts - population.unseen,
            "duplicates_dropped": reception.assembler.duplicates_dropped,
            "rejected": sum(rejected.values()),
        },
        "refused": rejected,
        "training": {
            "batches": summary.batches,
            "samples": summary.samples,
            "seconds": summary.seconds,
            "samples_per_second": summary.samples_per_second,
            "input_wait_fraction": summary.input_wait_fraction,
            "startup_seconds": summary.startup_seconds,
            "final_training_loss": summary.final_training_loss,
            "collectives": counters.num_collectives,
            "collective_seconds": counters.collective_s,
        },
        "validation": {}
        if last is None
        else {"loss": last.loss, "relative_l2": last.relative_l2, "num_samples": last.num_samples},
        "ingest": {"bytes": receiver.num_bytes, "seconds": streamed_s},
        "stalls": {
            "trainer_waited_seconds": summary.input_wait_fraction * summary.seconds,
            "solvers_waited_seconds": receiver.put_wait_seconds,
        },
    }
