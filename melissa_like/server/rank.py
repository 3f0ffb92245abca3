"""The composition root of a server rank: opens the stream, runs the training loop, closes in reverse."""

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from melissa_like.assembly import OverSimulations
from melissa_like.buffer import SampleBuffer
from melissa_like.config import (
    Config,
    capacity_nbytes_per_rank,
    capacity_per_rank,
    largest_mesh_nbytes,
    load_config,
    routing_of,
    saves_buffer,
)
from melissa_like.errors import (
    ConfigurationError,
    ReceptionFailedError,
    StudyFailedError,
    StudyStoppedError,
    TrainingDivergedError,
    printable,
    story_of,
)
from melissa_like.loading import Loader
from melissa_like.monitoring import Relay
from melissa_like.protocol.control import EndIsNear, Metrics, Restored, ServerWelcome
from melissa_like.records import Purpose, ServerRank, num_samples
from melissa_like.server.build import guarded, make_buffer, make_consumer, make_sinks, make_terms, pick_device
from melissa_like.server.build_training import make_loop, make_stream, make_surrogate, measurement_of, window_of
from melissa_like.server.checkpoints import Checkpoints
from melissa_like.server.cut import take_cut
from melissa_like.server.end_notice import EndNotice
from melissa_like.server.freed_memory import keep_freed_memory
from melissa_like.server.idle_compiler import leave_compiler_unloaded
from melissa_like.server.last_words import LastWords
from melissa_like.server.loss_reporter import LossReporter
from melissa_like.server.nodes import local_rank
from melissa_like.server.reception import Place, Reception, place_of, tell_failure
from melissa_like.server.reporter import Orders
from melissa_like.server.restoring import StartingPoint, find_checkpoint, restore_rank
from melissa_like.server.stacks import StackAlarm
from melissa_like.server.stream_progress import StreamProgress
from melissa_like.server.telemetry import Telemetry
from melissa_like.server.time_range import TimeRange
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
from melissa_like.training.checkpoint import CheckpointFolder, restore_random_states
from melissa_like.transport import Transport

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]  # not in torch's own list of exports

__all__ = ["run_server_rank"]

#: In the run directory.
_CHECKPOINTS = "checkpoints"
#: How long the loader may take to tell the other ranks that this one leaves, when they do not listen.
_LEAVE_S = 3.0
#: Part of launcher.server_timeout_s after which a rank that cannot report leaves its stacks in its log.
_ALARM = 0.8
#: Deadline of a collective, at least and as a multiple of launcher.training_timeout_s: the rank that keeps the others
#: waiting is found first.
_COLLECTIVE_S, _COLLECTIVE_FACTOR = 300.0, 3.0


def run_server_rank(
    run_dir: Path,
    address: ServerRank,
    transport: Transport,
    *,
    host: str = "127.0.0.1",
    tried: bool = False,
    end_notice: EndNotice | None = None,
) -> int:
    """One server rank from its start to its last word; the exit code.

    Blocks the calling thread, which becomes the trainer's. An error is told to the launcher with its traceback.

    Args:
        run_dir: of the study.
        address: its own.
        transport: to the launcher and the solvers.
        host: under which the other server ranks reach this one.
        tried: the training was tried already for this launcher.
        end_notice: takes the word of a scheduler; None: there is none.
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
                rank = _Rank(
                    config,
                    run_dir,
                    place,
                    transport,
                    stack,
                    host=host,
                    tried=tried,
                    end_notice=end_notice or EndNotice(),
                )
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

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        place: Place,
        transport: Transport,
        stack: ExitStack,
        *,
        host: str,
        tried: bool,
        end_notice: EndNotice,
    ) -> None:
        self._tried = tried
        self._end_notice = end_notice
        self._config = config
        self._run_dir = run_dir
        self._window = window = window_of(config)
        self._place = place = replace(
            place,
            routing=routing_of(config.transport, window),
            window=window,
            most_nbytes=largest_mesh_nbytes(config, window),
        )
        self._host = host
        self._rank = rank = place.address.rank
        self._stack = stack
        self._device = pick_device(config.training.device, local_rank(rank, os.environ))
        # Received samples must have a place before the first part comes, so the buffer and the validation set exist
        # first; the reception is open before the ranks meet, because jobs wait for every rank's hello.
        self._buffer: SampleBuffer = make_buffer(config, rank, self._device, window)
        self._watch = Watch(
            TrainingClock(config.launcher.training_timeout_s, first_s=config.launcher.start_timeout_s),
            num_server_ranks=place.num_server_ranks,
            put_waits=lambda: self._reception.receiver.put_waits,
            tell=lambda message: self._reception.tell(message),
            alarm=StackAlarm(_ALARM * config.launcher.server_timeout_s),
        )
        self._held_out = ValidationSet(
            place.layout, window=window, mixes=place.deterministic, on_chunk=self._watch.moved
        )
        self._time_range = TimeRange(
            end_time=config.solver.end_time,
            num_steps=config.solver.num_steps,
            highest_step=lambda: self._reception.receiver.highest_step,
        )
        self._returned_early = False
        self._progress = self._make_progress()
        self._sinks = Relay()
        stack.callback(self._sinks.close)
        self._telemetry = Telemetry(self._buffer, lambda: self._reception.receiver.num_bytes, advice=_advice(config))
        self._store, rendezvous = self._open_rendezvous()
        chain = make_consumer(config, self._buffer, place.layout, run_dir, rank, window)
        self._stateful = chain.stateful
        training_samples = guarded(config, chain.first, place.layout, give_back=chain.give_back)
        held_out_samples = guarded(config, self._held_out, place.layout, give_back=self._held_out.give_back)
        self._reception = Reception(
            place,
            transport=transport,
            consumers={Purpose.TRAINING: training_samples, Purpose.VALIDATION: held_out_samples},
            orders=self._orders(),
            on_error=self._close_buffer,
            measure=self._measure,
            sinks=(self._sinks,),
            interval_s=config.monitoring.interval_s,
            device=str(self._device),
            rendezvous=rendezvous,
            handed_over=chain.handed_over,
            over=self._over(),
        )
        self._last_words = LastWords(
            config,
            run_dir,
            rank,
            reception=self._reception,
            buffer=self._buffer,
            held_out=self._held_out,
            progress=self._progress,
            telemetry=self._telemetry,
            sees_all=self._place.address.incarnation == 1,
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
                if end == "max_batches" and self._returned_early:
                    end = "returned"
        except BaseException as error:
            why = self._progress.stop_reason or _first_line(error)
            self._last_words.hand_in("stopped" if isinstance(error, StudyStoppedError) else "failed", incomplete=why)
            raise
        with self._told(), self._watch.handing_in():
            incomplete = self._progress.stop_reason if end == "stopped" else None
            self._last_words.hand_in(end, trained, incomplete=incomplete)

    def _train(self) -> nn.Module:
        if self._rank == 0 and not self._tried:
            try_training(self._config, self._device, self._run_dir)
        self._reception.say_hello()
        welcome = self._progress.await_welcome(self._config.launcher.start_timeout_s)
        group = self._meet(welcome)
        start = self._restore(group)
        checkpoints = self._open_checkpoints(start)
        surrogate = make_surrogate(self._config, self._device)
        loader = self._make_loader(surrogate, group, checkpoints, start)
        self._open_sinks(start)
        stream = self._make_stream(loader, surrogate, group, welcome, checkpoints, start)
        loop = make_loop(self._config)
        if start.saved is not None:
            self._go_on(start.saved, surrogate)
        # Told before the loader closes, because that ends the other ranks, and the cause must come first.
        with loader, self._told(), self._watch.training():
            trained = run_loop(loop, stream)
        self._returned_early = not stream.ended
        if checkpoints is not None:
            if self._progress.stop_reason is not None:
                self._last_words.tell_summary("stopped")  # the launcher's patience is limited: the counts first
            checkpoints.finish(group.training, self._progress.save_until)
        return trained

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _over(self) -> OverSimulations:
        """What a checkpoint must know of simulations that are over."""
        several, is_saved = self._place.num_server_ranks > 1, saves_buffer(self._config, self._window)
        if self._config.training.checkpoint.interval_s is None:
            return OverSimulations(keeps=False)
        return OverSimulations(keeps=several or not is_saved, keeps_settled=several and not is_saved)

    def _folder(self) -> CheckpointFolder:
        return CheckpointFolder(self._run_dir / _CHECKPOINTS, num_kept=self._config.training.checkpoint.num_kept)

    def _restore(self, group: RankGroup) -> StartingPoint:
        """A later incarnation loads what was saved, and waits until all its ranks have."""
        if self._place.address.incarnation == 1:
            return StartingPoint()
        found, newest_number = find_checkpoint(self._folder(), group.training)
        saved, told = None, Restored(checkpoint=None)
        if found is not None:
            saved, told = restore_rank(
                found,
                rank=self._rank,
                num_ranks=self._place.num_server_ranks,
                routing=self._place.routing,
                layout=self._place.layout,
                assembler=self._reception.assembler,
                receiver=self._reception.receiver,
                buffer=self._buffer,
                window=self._window,
                capacity=capacity_per_rank(self._config, self._window),
                capacity_nbytes=(
                    capacity_nbytes_per_rank(self._config, self._window) if self._place.layout.is_ragged else None
                ),
                views_per_sample=self._config.buffer.views_per_sample,
                held_out=self._held_out,
                consumers=self._stateful,
            )
        self._reception.tell(told)
        self._progress.await_standing(self._config.launcher.start_timeout_s)
        return StartingPoint(newest_number=newest_number, saved=saved)

    def _open_checkpoints(self, start: StartingPoint) -> Checkpoints | None:
        settings = self._config.training.checkpoint
        if settings.interval_s is None:
            return None
        checkpoints = Checkpoints(
            self._folder(),
            rank=self._rank,
            num_ranks=self._place.num_server_ranks,
            newest_number=start.newest_number,
            interval_s=settings.interval_s,
            receiver=self._reception.receiver,
            look=partial(
                take_cut,
                assembler=self._reception.assembler,
                receiver=self._reception.receiver,
                buffer=self._buffer,
                held_out=self._held_out,
                consumers=self._stateful,
                window=self._window,
                saves_buffer=saves_buffer(self._config, self._window),
            ),
            monitoring=self._monitoring,
            tell=self._reception.tell,
            layout=self._place.layout,
            device=self._device,
        )
        self._last_words.checkpoints = checkpoints
        return self._stack.enter_context(checkpoints)

    def _monitoring(self) -> dict[str, Any]:
        """What is measured goes on after a restart, on the trainer's thread."""
        sinks = self._last_words.sinks
        assert sinks is not None, "a checkpoint is taken before anything can be measured"
        return {
            "telemetry": self._telemetry.state_dict(),
            "recorder": sinks.recorder.state_dict(),
            "position": sinks.lines.position,
        }

    def _open_sinks(self, start: StartingPoint) -> None:
        """From now on metrics are kept, behind those of the checkpoint."""
        sinks = make_sinks(self._config, self._run_dir, self._rank, position=start.position, batches=start.batches)
        if start.saved is not None:
            sinks.recorder.load_state_dict(start.saved["monitoring"]["recorder"])
            self._telemetry.load_state_dict(start.saved["monitoring"]["telemetry"])
        self._last_words.sinks = sinks
        self._sinks.sinks = (sinks.recorder, *sinks.files)

    def _go_on(self, saved: Mapping[str, Any], surrogate: Surrogate) -> None:
        """What is left to restore when everything is made."""
        if surrogate.normalization.time_range is not None:
            self._time_range.tell(*surrogate.normalization.time_range)
        restore_random_states(saved["random"], self._device)

    def _measure(self) -> Metrics:
        """On the control thread, now and then."""
        self._watch.look()
        if (notice := self._end_notice.take()) is not None:
            self._reception.tell(EndIsNear(message=notice))
        return self._telemetry.measure()

    def _make_progress(self) -> StreamProgress:
        config = self._config
        num_steps = config.solver.num_steps
        return StreamProgress(
            self._buffer,
            rank=self._rank,
            num_server_ranks=self._place.num_server_ranks,
            num_simulations=config.study.num_simulations,
            samples_per_simulation=None if num_steps is None else num_samples(num_steps, self._window),
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
        return open_rendezvous(self._host, self._place.num_server_ranks)

    def _meet(self, welcome: ServerWelcome) -> RankGroup:
        num_ranks, store = self._place.num_server_ranks, self._store
        if num_ranks > 1 and store is None:
            store = connect_rendezvous(welcome.rendezvous, num_ranks)
        deadline_s = max(_COLLECTIVE_S, _COLLECTIVE_FACTOR * self._config.launcher.training_timeout_s)
        joined = join_ranks(self._device, rank=self._rank, num_ranks=num_ranks, store=store, timeout_s=deadline_s)
        return self._stack.enter_context(joined)

    def _make_loader(
        self,
        surrogate: Surrogate,
        group: RankGroup,
        checkpoints: Checkpoints | None,
        start: StartingPoint,
    ) -> Loader:
        needs_statistics = bool(surrogate.normalization.unset) and not start.batches
        task, progress = surrogate.task, self._progress
        state = partial(progress.local_state, needs_time=task.problem.time)
        measurement = measurement_of(task, self._place.layout, self._window)
        loader = Loader(
            self._buffer,
            make_terms(self._config, self._progress.expected),
            state=state if checkpoints is None else lambda: checkpoints.add_to(state()),
            collective=group.loading,
            device=self._device,
            measurement=measurement if needs_statistics else None,
            batches_done=start.batches,
            samples_done=start.samples,
            newest_checkpoint=start.newest_number,
            on_checkpoint=checkpoints.settle if checkpoints is not None else lambda number, is_down: None,
            close_deadline_s=_LEAVE_S,
        )
        self._last_words.loader = loader
        self._telemetry.watch(loader)
        return loader

    def _make_stream(
        self,
        loader: Loader,
        surrogate: Surrogate,
        group: RankGroup,
        welcome: ServerWelcome,
        checkpoints: Checkpoints | None,
        start: StartingPoint,
    ) -> TrainingStream:
        def cut(number: int | None) -> None:
            loader.settle()
            if checkpoints is not None:
                checkpoints.take(number, stream)

        observers = {"observe": LossReporter(self._reception.tell).observe} if welcome.wants_losses else {}
        stream = make_stream(
            self._config,
            self._watch.passing(self._telemetry.passing(loader)),
            surrogate=surrogate,
            held_out=self._held_out,
            group=group,
            on_step=self._telemetry.on_step,
            on_validation=self._telemetry.on_validation,
            on_cut=cut,
            restored=start.training,
            **observers,
        )
        self._last_words.stream = stream
        return stream

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
