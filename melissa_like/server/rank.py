"""The composition root of a server rank: opens the stream, runs the training loop, closes in reverse."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from msgspec.structs import replace
from torch import nn

from melissa_like.buffer import SampleBuffer
from melissa_like.config import Config, load_config
from melissa_like.errors import (
    ConfigurationError,
    ReceptionFailedError,
    StudyFailedError,
    StudyStoppedError,
    TrainingDivergedError,
    printable,
    story_of,
)
from melissa_like.loading import Loader, LoaderCounters, Measurement
from melissa_like.protocol.control import Metrics, Restored, ServerFinished, ServerWelcome, TrainingEnd
from melissa_like.records import Purpose, ServerRank, num_samples
from melissa_like.server.build import guarded, make_buffer, make_consumer, make_sinks, make_terms, pick_device
from melissa_like.server.build_training import make_loop, make_stream, make_surrogate
from melissa_like.server.freed_memory import keep_freed_memory
from melissa_like.server.idle_compiler import leave_compiler_unloaded
from melissa_like.server.loss_reporter import LossReporter
from melissa_like.server.reception import Place, Reception, place_of, tell_failure
from melissa_like.server.reporter import Orders
from melissa_like.server.results import draw, keep
from melissa_like.server.stream_progress import StreamProgress
from melissa_like.server.telemetry import Telemetry, summary_of
from melissa_like.server.time_range import TimeRange, misfit_of
from melissa_like.server.training_clock import TrainingClock
from melissa_like.server.trial import try_training
from melissa_like.server.watch import Watch
from melissa_like.training import (
    RankGroup,
    Surrogate,
    TrainingStream,
    ValidationSet,
    connect_rendezvous,
    join_ranks,
    open_rendezvous,
    run_loop,
)
from melissa_like.transport import Transport
from melissa_like.transport.zmq_sockets import numeric_host

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]  # not in torch's own list of exports

__all__ = ["run_server_rank"]

#: How long the loader may take to tell the other ranks that this one leaves, when they do not listen.
_LEAVE_S = 3.0
#: Deadline of a collective, at least and as a multiple of launcher.training_timeout_s: the rank that keeps the others
#: waiting is found first.
_COLLECTIVE_S, _COLLECTIVE_FACTOR = 300.0, 3.0


def run_server_rank(run_dir: Path, address: ServerRank, transport: Transport) -> int:
    """One server rank from its start to its last word; the exit code.

    Blocks the calling thread, which becomes the trainer's. An error is told to the launcher with its traceback.
    """
    keep_freed_memory()
    config = load_config(run_dir)
    torch.set_num_threads(config.training.num_threads)
    if not config.training.compile:
        leave_compiler_unloaded()
    try:
        place = place_of(config, run_dir, address)
        with ExitStack() as stack:
            try:
                rank = _Rank(config, run_dir, place, transport, stack)
            except Exception as error:
                tell_failure(place, transport, story_of(error))
                raise
            rank.train()
    except StudyStoppedError:
        return 0
    except (ConfigurationError, StudyFailedError, TrainingDivergedError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


class _Rank:
    """What one server rank is made of, opened top to bottom on a stack that its maker closes."""

    def __init__(self, config: Config, run_dir: Path, place: Place, transport: Transport, stack: ExitStack) -> None:
        self._config = config
        self._run_dir = run_dir
        self._place = place
        self._rank = rank = place.address.rank
        self._stack = stack
        self._device = pick_device(config, rank)
        # Received samples must have a place before the first part comes, so the buffer and the validation set exist
        # first; the reception is open before the ranks meet, because jobs wait for every rank's hello.
        self._buffer: SampleBuffer = make_buffer(config, rank, self._device)
        self._watch = Watch(
            TrainingClock(config.launcher.training_timeout_s, first_s=config.launcher.start_timeout_s),
            num_server_ranks=place.num_server_ranks,
            put_waits=lambda: self._reception.receiver.put_waits,
            tell=lambda message: self._reception.tell(message),
        )
        self._held_out = ValidationSet(place.layout, on_chunk=self._watch.moved)
        self._time_range = TimeRange(
            end_time=config.solver.end_time,
            num_steps=config.solver.num_steps,
            highest_step=lambda: self._reception.receiver.highest_step,
        )
        self._progress = self._make_progress()
        self._recorder, self._files = make_sinks(config, run_dir, rank)
        for sink in self._files:
            stack.callback(sink.close)
        self._telemetry = Telemetry(self._buffer, lambda: self._reception.receiver.num_bytes, advice=_advice(config))
        self._loader: Loader | None = None
        self._stream: TrainingStream | None = None
        self._store, rendezvous = self._open_rendezvous()
        training_samples = guarded(
            config,
            make_consumer(config, self._buffer, place.layout, run_dir, rank),
            place.layout,
            give_back=self._buffer.give_back,
        )
        held_out_samples = guarded(config, self._held_out, place.layout, give_back=self._held_out.give_back)
        self._reception = Reception(
            place,
            transport=transport,
            consumers={Purpose.TRAINING: training_samples, Purpose.VALIDATION: held_out_samples},
            orders=self._orders(),
            on_error=self._close_buffer,
            measure=self._measure,
            sinks=(self._recorder, *self._files),
            interval_s=config.monitoring.interval_s,
            device=str(self._device),
            rendezvous=rendezvous,
        )
        stack.callback(self._held_out.close)
        stack.enter_context(self._reception)
        stack.callback(training_samples.close)  # first of all: a receiver that waits for room must not be waited for

    def train(self) -> None:
        """Meet the other ranks, run the loop, and say how it went: the counts and the surrogate, however it ends."""
        try:
            with self._told():
                trained = self._train()
                end = self._progress.end
        except BaseException as error:
            why = self._progress.stop_reason or _first_line(error)
            self._hand_in("stopped" if isinstance(error, StudyStoppedError) else "failed", incomplete=why)
            raise
        with self._told():
            self._hand_in(end, trained, incomplete=self._progress.stop_reason if end == "stopped" else None)

    def _train(self) -> nn.Module:
        if self._rank == 0:
            try_training(self._config, self._device, self._run_dir)
        self._reception.say_hello()
        welcome = self._progress.await_welcome(self._config.launcher.start_timeout_s)
        group = self._meet(welcome)
        if self._place.address.incarnation > 1:
            self._reception.tell(Restored(checkpoint=None))
        surrogate = make_surrogate(self._config, self._device)
        self._loader = loader = self._make_loader(surrogate, group)
        self._stream = stream = self._make_stream(loader, surrogate, group, welcome)
        loop = make_loop(self._config)
        # Told before the loader closes, because that ends the other ranks, and the cause must come first.
        with loader, self._told(), self._watch.training():
            return run_loop(loop, stream)

    def _hand_in(self, end: TrainingEnd, trained: nn.Module | None = None, *, incomplete: str | None) -> None:
        """Leave what was trained and report.

        Args:
            end: how the training ended.
            trained: what the loop returned; None: it returned nothing.
            incomplete: why the training did not come to its end; None: it did.

        Raises:
            StudyFailedError: what was trained to the end cannot be saved.
        """
        stream = self._stream
        if trained is None and stream is not None and stream.batches:
            trained = stream.surrogate
        if incomplete is not None:
            self._tell_summary(end)  # the launcher's patience is limited: the counts first, the rest may fail
        kept: Literal["complete", "incomplete"] | None = None
        problems: list[str] = []
        if self._rank == 0 and trained is not None:
            try:
                keep(trained, self._run_dir, incomplete=incomplete)
                kept = "complete" if incomplete is None else "incomplete"
            except StudyFailedError as error:
                if incomplete is None:
                    self._reception.fail(str(error))
                    self._tell_summary("failed")
                    raise
                problems.append(str(error))
            problems += self._draw(trained)
            problems += self._misfit(trained)
        problems += [sink.problem for sink in self._files if sink.problem is not None]
        self._tell_summary(end, surrogate=kept, problems=tuple(problems))

    def _measure(self) -> Metrics:
        """On the control thread, now and then."""
        self._watch.look()
        return self._telemetry.measure()

    def _draw(self, trained: nn.Module) -> list[str]:
        """Draw the pictures of a surrogate, if they are wanted; what went wrong."""
        if not isinstance(trained, Surrogate) or not self._config.monitoring.figures:
            return []
        if not self._progress.has_time:
            return ["no figures were drawn: launcher.save_timeout_s leaves no time for it"]
        problem = draw(
            self._config, self._run_dir, trained, self._held_out, self._recorder, self._telemetry.validations
        )
        return [] if problem is None else [problem]

    def _misfit(self, trained: nn.Module) -> list[str]:
        """Whether steps came that the time of the surrogate was not scaled for."""
        scaled_from = trained.normalization.time_range if isinstance(trained, Surrogate) else None
        if scaled_from is None:
            return []
        misfit = misfit_of(self._reception.receiver.highest_step, scaled_from)
        return [] if misfit is None else [misfit]

    def _tell_summary(
        self,
        end: TrainingEnd,
        *,
        surrogate: Literal["complete", "incomplete"] | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        stream, loader = self._stream, self._loader
        summary = summary_of(
            stream.summary() if stream is not None else None,
            loader.counters() if loader is not None else LoaderCounters(),
            self._buffer,
            self._reception,
            self._telemetry,
        )
        self._reception.tell(
            ServerFinished(
                end=end,
                summary=replace(summary, surrogate=surrogate, problems=problems),
                history=self._telemetry.validations,
            )
        )

    def _make_progress(self) -> StreamProgress:
        config = self._config
        num_steps = config.solver.num_steps
        return StreamProgress(
            self._buffer,
            rank=self._rank,
            num_server_ranks=self._place.num_server_ranks,
            num_simulations=config.study.num_simulations,
            samples_per_simulation=None if num_steps is None else num_samples(num_steps, None),
            views_per_sample=config.buffer.views_per_sample,
            time_range=self._time_range.known,
        )

    def _orders(self) -> Orders:
        progress = self._progress
        return Orders(
            welcome=progress.welcome,
            standing=progress.standing,
            simulation_over=progress.simulation_over,
            held_out_over=progress.held_out_over,
            step_range=self._time_range.tell,
            list_closed=progress.list_closed,
            reception_over=self._buffer.end_reception,
            stop=progress.stop,
        )

    def _close_buffer(self, error: BaseException) -> None:
        """A thread has died: the trainer's next turn raises, with this as its cause."""
        failure = ReceptionFailedError(f"a thread of server rank {self._rank} ended: {error}")
        failure.__cause__ = error
        self._buffer.close(failure)

    def _open_rendezvous(self) -> "tuple[Store | None, str]":
        """Rank 0 of several opens the place where the others find it, before it announces itself."""
        if self._rank or self._place.num_server_ranks == 1:
            return None, ""
        return open_rendezvous(numeric_host(self._config.transport.host), self._place.num_server_ranks)

    def _meet(self, welcome: ServerWelcome) -> RankGroup:
        num_ranks, store = self._place.num_server_ranks, self._store
        if num_ranks > 1 and store is None:
            store = connect_rendezvous(welcome.rendezvous, num_ranks)
        deadline_s = max(_COLLECTIVE_S, _COLLECTIVE_FACTOR * self._config.launcher.training_timeout_s)
        joined = join_ranks(self._device, rank=self._rank, num_ranks=num_ranks, store=store, timeout_s=deadline_s)
        return self._stack.enter_context(joined)

    def _make_loader(self, surrogate: Surrogate, group: RankGroup) -> Loader:
        needs_statistics = bool(surrogate.normalization.unset)
        task = surrogate.task
        loader = Loader(
            self._buffer,
            make_terms(self._config, self._progress.expected),
            state=self._progress.local_state,
            collective=group.loading,
            device=self._device,
            measurement=Measurement(quantities=task.quantities, measure=task.measure) if needs_statistics else None,
            close_deadline_s=_LEAVE_S,
        )
        self._telemetry.watch(loader)
        return loader

    def _make_stream(
        self, loader: Loader, surrogate: Surrogate, group: RankGroup, welcome: ServerWelcome
    ) -> TrainingStream:
        observers = {"observe": LossReporter(self._reception.tell).observe} if welcome.wants_losses else {}
        return make_stream(
            self._config,
            self._watch.passing(self._telemetry.passing(loader)),
            surrogate=surrogate,
            held_out=self._held_out,
            group=group,
            on_step=self._telemetry.on_step,
            on_validation=self._telemetry.on_validation,
            **observers,
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell the launcher of an exception on its way; with a traceback, unless it is one of ours."""
        try:
            yield
        except StudyStoppedError:
            raise
        except BaseException as error:
            self._reception.fail(story_of(error))
            raise


def _first_line(error: BaseException) -> str:
    """Why a training ended early, in short: for whoever loads the surrogate."""
    text = printable(str(error)).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _advice(config: Config) -> str:
    """What to do about a loss that is not a finite number."""
    advice = "lower training.optimizer.lr, or set training.gradient_clip"
    if config.solver.not_finite == "accept":
        advice += "; solver.not_finite is accept, so the samples themselves may hold values that are not finite"
    return advice
