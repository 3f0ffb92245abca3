"""How far the stream of a server rank has come: what the agreement and the metrics ask for.

Written by the control thread, read by the loader's thread; each value is set by one thread only.
"""

from melissa_like.buffer import SampleBuffer
from melissa_like.config import Config
from melissa_like.loading import LocalState
from melissa_like.protocol.control import TrainingEnd

__all__ = ["Stream"]


class Stream:
    """Deliveries, simulations over, whether the launcher wants an end, and how the training came to one."""

    def __init__(self, config: Config, buffer: SampleBuffer) -> None:
        self._num_simulations = config.study.num_simulations
        self._num_validation = config.study.num_validation_simulations
        self._num_steps = config.solver.num_steps
        self._views = config.buffer.views_per_sample
        self._num_server_ranks = config.launcher.num_server_ranks
        self._buffer = buffer
        self._training_over: set[int] = set()
        self._validation_over: set[int] = set()
        self.stop_reason: str | None = None

    @property
    def expected(self) -> int:
        """The sum of `delivered` over the server ranks at the end: samples, or simulations of an adaptive solver.

        An adaptive solver does not say in advance how many samples there will be. Then progress is counted in
        simulations, of which every server rank hears.
        """
        if self._num_steps is None:
            return self._num_simulations * self._num_server_ranks
        return self._num_simulations * self._num_steps

    def simulation_over(self, simulation: int) -> None:
        """Nothing more comes of a simulation."""
        over = self._training_over if simulation < self._num_simulations else self._validation_over
        over.add(simulation)

    def stop(self, reason: str) -> None:
        """The launcher ends the study."""
        self.stop_reason = reason

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

    def local_state(self) -> LocalState:
        """This rank's part of the agreement."""
        if self._num_steps is None:
            delivered = len(self._training_over)
        elif self._views is None:
            delivered = self._buffer.population().puts
        else:
            # Draws go on after the last delivery, and their number is known: a schedule shall end with the last one.
            delivered = self._buffer.population().draws // self._views
        return LocalState(
            delivered=delivered,
            validation_ready=0 < self._num_validation == len(self._validation_over),
            stop_requested=self.stop_reason is not None,
        )
