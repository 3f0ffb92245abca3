"""The loader's thread: agree, draw, gather, hand over; again until all ranks agree that it is the end."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch

from melissa_like.buffer import Offer, SampleBuffer
from melissa_like.errors import ConfigurationError
from melissa_like.loading.agreement import (
    AgreementTerms,
    Plan,
    PlannedStep,
    RankState,
    ServerRankFailedError,
    Verdict,
    plan,
)
from melissa_like.loading.batch import Measurement, Moments, Turn, moments_of
from melissa_like.loading.collective import Collective
from melissa_like.loading.lane import Lane, PreparedTurn
from melissa_like.loading.placement import InCommon, batch_of
from melissa_like.records import FloatArray

__all__ = ["LocalState", "Preparation"]

#: Moments of each component, by quantity.
Statistics: TypeAlias = Mapping[str, tuple[Moments, ...]]

#: Pauses between two agreements while there is nothing to draw: the first and the longest.
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.02
#: How long the launcher may take to say how far the time steps go, where a buffer is full and nobody knows.
_BLIND_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalState:
    """What the server rank puts into the agreement besides its buffer.

    Attributes:
        delivered: training samples delivered to this rank so far.
        validation_ready: this rank holds what a validation needs.
        stop_requested: this rank was told to stop.
        time_known: this rank knows what time steps are scaled from, or need not.
        time_range: numbers of the first and the last step of a simulation; None: not known, or not needed.
        checkpoint_due: for this rank it is time for a checkpoint.
        checkpoint_done: number of the newest checkpoint whose writing has ended here, well or not.
        checkpoint_failed: it has not ended well.
    """

    delivered: int
    validation_ready: bool = False
    stop_requested: bool = False
    time_known: bool = True
    time_range: tuple[float, float] | None = None
    checkpoint_due: bool = False
    checkpoint_done: int = 0
    checkpoint_failed: bool = False


class Preparation:
    """Prepares turns until the agreed end, a failure, or the closing of the lane. `run` is the thread's body.

    Attributes:
        num_collectives: exchanges with the other ranks since the first turn was agreed on; those before wait for
            samples and hold no training step up.
        collective_s: seconds in them, waiting for the slowest rank included.
    """

    def __init__(
        self,
        buffer: SampleBuffer,
        terms: AgreementTerms,
        collective: Collective,
        state: Callable[[], LocalState],
        lane: Lane,
        *,
        measurement: Measurement | None,
        batches_done: int,
        newest_checkpoint: int,
        on_checkpoint: Callable[[int, bool], None],
    ) -> None:
        self._buffer = buffer
        self._terms = terms
        self._collective = collective
        self._state = state
        self._lane = lane
        self._measurement = measurement
        self._batches_done = batches_done
        self._newest_checkpoint = newest_checkpoint
        self._settled_checkpoint = newest_checkpoint
        self._on_checkpoint = on_checkpoint
        # One width for every message: a rank that fails can say so whatever the others are exchanging.
        num_moments = 0 if measurement is None else sum(measurement.quantities.values())
        self._width = max(RankState.WIDTH, 1 + 3 * num_moments)
        self._others_listen = collective.size > 1
        self._pause_s = _FIRST_PAUSE_S
        self._blind_since = math.inf
        self._begun = False
        self.num_collectives = 0
        self.collective_s = 0.0

    def run(self) -> None:
        """Prepare turns until the end; an error travels down the lane, and to the other ranks if they can hear it."""
        error: BaseException | None = None
        try:
            self._prepare_turns()
        except BaseException as caught:
            error = caught
        # The trainer first: telling the others may take until they next ask.
        self._lane.end(error)
        if self._others_listen:
            self._say_goodbye(error)

    def _say_goodbye(self, error: BaseException | None) -> None:
        try:
            self._exchange(RankState(failed=True).encode())
        except Exception as untold:
            if error is None:
                self._lane.end(untold)
            else:
                error.add_note(f"the other server ranks could not be told: {untold}")

    def _prepare_turns(self) -> None:
        while not self._lane.closed:
            offer = self._buffer.offer()
            agreed = self._agree(offer)
            time_range = None if self._begun else agreed.time_range
            self._begun = self._begun or bool(agreed.steps)
            statistics = self._statistics_once() if agreed.steps else None
            for step in agreed.steps:
                if not self._prepare(step, agreed, statistics, time_range):
                    return
                statistics = time_range = None
            if agreed.verdict is not Verdict.CONTINUE:
                return
            if not agreed.steps:
                self._wait_for_change(offer)

    def _agree(self, offer: Offer) -> Plan:
        local = self._state()
        first, last = local.time_range or (math.inf, -math.inf)
        state = RankState(
            stop_requested=local.stop_requested,
            validation_ready=local.validation_ready,
            put_waits=_presses(offer, self._terms.batch_size),
            reception_over=offer.reception_over,
            available=offer.available,
            held=offer.held,
            delivered=local.delivered,
            time_known=local.time_known,
            first_step=first,
            last_step=last,
            checkpoint_due=local.checkpoint_due,
            checkpoint_done=local.checkpoint_done,
            checkpoint_failed=local.checkpoint_failed,
        )
        rows = self._exchange(state.encode())
        agreed = plan(
            [RankState.decode(row) for row in rows],
            self._terms,
            batches_done=self._batches_done,
            newest_checkpoint=self._newest_checkpoint,
        )
        if agreed.verdict is not Verdict.BLIND:
            self._blind_since = math.inf
        elif self._may_yet_see():
            agreed = Plan(progress=agreed.progress)
        if agreed.verdict is not Verdict.CONTINUE:
            self._others_listen = False
        if agreed.failed_rank is not None:
            raise ServerRankFailedError(_failure_message(agreed.failed_rank, self._collective.rank))
        if agreed.verdict is Verdict.BLIND:
            raise ConfigurationError(
                "the buffer is full before any simulation has ended, so nobody knows how far the numbers of the time "
                "steps go, from which the network's input is scaled: set solver.num_steps, or solver.end_time (the "
                "number of the last time step, about), or raise buffer.capacity"
            )
        self._batches_done += len(agreed.steps)
        self._note_checkpoint(agreed)
        return agreed

    def _may_yet_see(self) -> bool:
        """Small simulations may have ended all the same: what the launcher has said of them may be on its way."""
        now = time.monotonic()
        self._blind_since = min(self._blind_since, now)
        return now - self._blind_since < _BLIND_S

    def _note_checkpoint(self, agreed: Plan) -> None:
        """All ranks have ended writing the newest one, or a new one is planned."""
        if agreed.checkpoint_down is not None and self._settled_checkpoint < self._newest_checkpoint:
            self._settled_checkpoint = self._newest_checkpoint
            self._on_checkpoint(self._newest_checkpoint, agreed.checkpoint_down)
        if agreed.steps and agreed.steps[-1].checkpoint is not None:
            self._newest_checkpoint = agreed.steps[-1].checkpoint

    def _exchange(self, values: FloatArray) -> FloatArray:
        message = np.zeros(self._width)
        message[: len(values)] = values
        started = time.monotonic()
        try:
            return self._collective.all_gather(message)
        except BaseException:
            self._others_listen = False
            raise
        finally:
            if self._begun:
                self.num_collectives += 1
                self.collective_s += time.monotonic() - started

    def _prepare(
        self,
        step: PlannedStep,
        agreed: Plan,
        statistics: Statistics | None,
        time_range: tuple[float, float] | None,
    ) -> bool:
        """Hand over one turn; False when the lane was closed."""
        slot = self._lane.open_slot()
        if slot is None:
            return False
        size = step.sizes[self._collective.rank]
        draw = batch = None
        if size:
            draw = self._buffer.draw(size, gate_lifted=agreed.gate_lifted)
            slot.prepare()
            self._buffer.gather(draw, slot.memory)
            batch = slot.send(size)
        turn = Turn(
            batch=batch,
            num_samples_global=step.num_samples,
            progress=agreed.progress,
            validate=step.validate,
            statistics=statistics,
            time_range=time_range,
            checkpoint=step.checkpoint,
        )
        self._lane.push(PreparedTurn(turn=turn, slot=slot, draw=draw))
        return True

    def _wait_for_change(self, before: Offer) -> None:
        """Let a little time pass, less if this rank's part of the agreement changes."""
        batch_size = self._terms.batch_size
        self._buffer.wait(
            until=lambda now: _gist(now, batch_size) != _gist(before, batch_size), timeout_s=self._pause_s
        )
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _statistics_once(self) -> Statistics | None:
        """Before the first turn, if asked for: moments over the samples of all ranks."""
        self._pause_s = _FIRST_PAUSE_S
        wanted, self._measurement = self._measurement, None
        if wanted is None:
            return None
        held = self._buffer.peek(wanted.num_of(self._buffer.population()))
        common = InCommon.of(self._buffer.layout, torch.device("cpu"))
        measured = wanted.measure(batch_of(held, len(held.labels), common))
        values = [0.0]
        for name, components in wanted.quantities.items():
            moments = moments_of(measured[name])
            if len(moments) != components:
                raise ValueError(
                    f"the task measured {name!r} with {len(moments)} components, expected {components}: let measure "
                    "return [samples, components, ...]"
                )
            for local in moments:
                values += [local.count, local.mean, local.std]
        return self._merge(self._exchange(np.array(values, dtype=np.float64)), wanted.quantities)

    def _merge(self, rows: FloatArray, quantities: Mapping[str, int]) -> Statistics:
        failed = np.flatnonzero(rows[:, 0])
        if failed.size:
            self._others_listen = False
            raise ServerRankFailedError(_failure_message(int(failed[0]), self._collective.rank))
        merged = []
        for first in range(1, 1 + 3 * sum(quantities.values()), 3):
            parts = rows[:, first : first + 3].tolist()
            merged.append(Moments.merge(Moments(count=int(count), mean=mean, std=std) for count, mean, std in parts))
        following = iter(merged)
        return {name: tuple(islice(following, components)) for name, components in quantities.items()}


def _gist(offer: Offer, batch_size: int) -> tuple[bool, ...]:
    """The part of an offer that can turn waiting into stepping."""
    return (offer.available >= batch_size, offer.held > 0, _presses(offer, batch_size), offer.reception_over)


def _presses(offer: Offer, batch_size: int) -> bool:
    """Whether a put waits for more than the end of training steps that are under way.

    Those may make room by themselves. A batch that is not full, drawn before they have, would let the number of
    training steps depend on who was faster.
    """
    return offer.put_waits and (offer.held >= batch_size or not offer.unsettled)


def _failure_message(failed_rank: int, rank: int) -> str:
    return (
        f"the loader of server rank {failed_rank} failed or was closed before the agreed end, so server rank {rank} "
        f"cannot step any more: look for the first error in the log of rank {failed_rank}"
    )
