"""How far the stream of a server rank has come: what the agreement and the metrics ask for.

Written by the control thread, as the launcher's orders; read by the loader's and the trainer's thread. Each value is
set by one thread only.
"""

import math
import threading
import time
from collections.abc import Callable

from melissa_like.buffer import SampleBuffer
from melissa_like.errors import DeadlineExceededError, StudyStoppedError
from melissa_like.loading import LocalState
from melissa_like.protocol.control import ServerWelcome, SimulationOver, Standing, TrainingEnd
from melissa_like.records import Purpose

__all__ = ["StreamProgress"]

#: For the last words of a rank, before its launcher ends it.
_LAST_WORDS_S = 5.0


class StreamProgress:
    """Deliveries, simulations over, whether the launcher wants an end, and how the training came to one.

    Args:
        buffer: of this rank.
        rank: this one.
        num_server_ranks: of all.
        num_simulations: training simulations that the study asks for.
        samples_per_simulation: None of an adaptive solver, which does not say in advance how many there will be.
        views_per_sample: draws that each sample stands for, if that is fixed.
        time_range: numbers of the first and the last time step of a simulation; None as long as nobody knows.
    """

    def __init__(
        self,
        buffer: SampleBuffer,
        *,
        rank: int,
        num_server_ranks: int,
        num_simulations: int,
        samples_per_simulation: int | None,
        views_per_sample: int | None,
        time_range: Callable[[], tuple[float, float] | None],
    ) -> None:
        self._buffer = buffer
        self._rank = rank
        self._num_server_ranks = num_server_ranks
        self._num_simulations = num_simulations
        self._samples_per_simulation = samples_per_simulation
        self._views = views_per_sample
        self._time_range = time_range
        self._num_over = 0  # training simulations; every server rank hears of each
        self._num_unlisted = 0
        self._samples_given_up = 0
        self._held_out_over = False
        self._heard = threading.Event()
        self._welcome: ServerWelcome | None = None
        self._restored = threading.Event()
        self._stands = False
        self.stop_reason: str | None = None
        self._save_until = math.inf

    # -- the launcher's orders, on the control thread -----------------------------------------------------------------

    def welcome(self, message: ServerWelcome) -> None:
        """The server ranks may meet."""
        self._welcome = message
        self._heard.set()

    def standing(self, message: Standing) -> None:
        """All server ranks have restored what they go on from; and what `simulation_over` had told those before."""
        self._samples_given_up = message.samples_given_up
        self._num_over = message.num_over
        self._stands = True
        self._restored.set()

    def simulation_over(self, message: SimulationOver) -> None:
        """Nothing more comes of a simulation, and so many training samples of it never will."""
        if message.purpose is Purpose.TRAINING:
            self._samples_given_up += message.samples_given_up
            self._num_over += 1

    def held_out_over(self) -> None:
        """Nothing more comes of the held-out simulations."""
        self._held_out_over = True

    def list_closed(self, num_simulations: int) -> None:
        """There are fewer training simulations than the study asked for."""
        self._num_unlisted = self._num_simulations - num_simulations

    def stop(self, reason: str, save_within_s: float) -> None:
        """The launcher ends the study; in so many seconds it ends this process too."""
        self._save_until = time.monotonic() + save_within_s
        self.stop_reason = reason
        self._heard.set()
        self._restored.set()

    # -- what the other threads ask -----------------------------------------------------------------------------------

    def await_welcome(self, timeout_s: float) -> ServerWelcome:
        """Block until the launcher has answered this rank's hello, and every rank can be met.

        Raises:
            DeadlineExceededError: it has not within `timeout_s`.
            StudyStoppedError: the study ends instead.
        """
        self._heard.wait(timeout_s)
        if self.stop_reason is not None:
            raise StudyStoppedError(self.stop_reason)
        if self._welcome is None:
            raise DeadlineExceededError(
                f"server rank {self._rank} was not welcomed within {timeout_s:g} s: look for the first error in the "
                "logs of the other ranks, above all of rank 0, which opens their rendezvous"
            )
        return self._welcome

    def await_standing(self, timeout_s: float) -> None:
        """Block until the launcher has heard from every rank what it has restored.

        Raises:
            DeadlineExceededError: it has not within `timeout_s`.
            StudyStoppedError: the study ends instead.
        """
        self._restored.wait(timeout_s)
        if self.stop_reason is not None:
            raise StudyStoppedError(self.stop_reason)
        if not self._stands:
            raise DeadlineExceededError(
                f"server rank {self._rank} has restored its part, but not all others have within {timeout_s:g} s: look "
                "for the first error in their logs"
            )

    @property
    def save_until(self) -> float:
        """When the launcher ends this process, on the monotonic clock; infinite if it has not said so."""
        return self._save_until

    @property
    def expected(self) -> int:
        """The sum of `delivered` over the server ranks at the end: samples, or simulations of an adaptive solver.

        An adaptive solver's progress is counted in simulations, of which every server rank hears.
        """
        each = self._num_server_ranks if self._samples_per_simulation is None else self._samples_per_simulation
        return max(1, self._num_simulations * each)

    @property
    def end(self) -> TrainingEnd:
        """Why the training ended; asked when it has, and its last draws are settled.

        Raises:
            BufferClosedError: the buffer was closed.
        """
        if self.stop_reason is not None:
            return "stopped"
        # Nothing to draw alone proves nothing (more may come), nor do samples that are held: they had all their views.
        offer = self._buffer.offer()
        return "drained" if offer.reception_over and offer.held == 0 else "max_batches"

    @property
    def has_time(self) -> bool:
        """Whether the launcher leaves time for more than what must be saved and told."""
        return time.monotonic() < self._save_until - _LAST_WORDS_S

    def local_state(self, *, needs_time: bool = True) -> LocalState:
        """This rank's part of the agreement.

        Args:
            needs_time: the network is given the time, so that the training waits for what it is scaled from.
        """
        time_range = self._time_range()
        return LocalState(
            delivered=self._delivered(),
            validation_ready=self._held_out_over,
            stop_requested=self.stop_reason is not None,
            time_known=time_range is not None or not needs_time,
            time_range=time_range,
        )

    def _delivered(self) -> int:
        # With fixed views draws go on after the last delivery, and their number is known: a schedule shall end with the
        # last one.
        population = self._buffer.population()
        if self._samples_per_simulation is None:
            over = self._num_over + self._num_unlisted
            if self._views is None or not population.puts:
                return over
            return int(over * min(1.0, population.draws / (self._views * population.puts)))
        delivered = population.puts if self._views is None else population.draws // self._views
        if self._rank == 0:
            # What will never come counts as come, or the schedule would not end; every rank hears of it, one says it.
            delivered += self._samples_given_up + self._num_unlisted * self._samples_per_simulation
        return delivered
