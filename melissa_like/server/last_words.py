"""`LastWords`: what a server rank leaves and reports when its training has ended, however it has."""

from pathlib import Path
from typing import Literal

from msgspec.structs import replace
from torch import nn

from melissa_like.buffer import SampleBuffer
from melissa_like.config import Config
from melissa_like.errors import StudyFailedError
from melissa_like.loading import Loader, LoaderCounters
from melissa_like.protocol.control import ServerFinished, TrainingEnd
from melissa_like.server.build import Sinks
from melissa_like.server.checkpoints import Checkpoints
from melissa_like.server.reception import Reception
from melissa_like.server.results import draw, keep
from melissa_like.server.stream_progress import StreamProgress
from melissa_like.server.telemetry import Telemetry, summary_of
from melissa_like.server.time_range import misfit_of
from melissa_like.training import Surrogate, TrainingStream, ValidationSet

__all__ = ["LastWords"]


class LastWords:
    """The counts, the surrogate and the pictures of a rank.

    Args:
        sees_all: what came to this rank came to this process, and not to an earlier one.

    Attributes:
        loader: of this rank, once there is one.
        stream: the same.
        sinks: the same.
        checkpoints: the same; None as well if none are taken.
    """

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        rank: int,
        *,
        reception: Reception,
        buffer: SampleBuffer,
        held_out: ValidationSet,
        progress: StreamProgress,
        telemetry: Telemetry,
        sees_all: bool,
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._rank = rank
        self._reception = reception
        self._buffer = buffer
        self._held_out = held_out
        self._progress = progress
        self._telemetry = telemetry
        self._sees_all = sees_all
        self.loader: Loader | None = None
        self.stream: TrainingStream | None = None
        self.sinks: Sinks | None = None
        self.checkpoints: Checkpoints | None = None

    def hand_in(self, end: TrainingEnd, trained: nn.Module | None = None, *, incomplete: str | None) -> None:
        """Leave what was trained and report.

        Args:
            end: how the training ended.
            trained: what the loop returned; None: it returned nothing.
            incomplete: why the training did not come to its end; None: it did.

        Raises:
            StudyFailedError: what was trained to the end cannot be saved.
        """
        stream = self.stream
        if trained is None and stream is not None and stream.batches:
            trained = stream.surrogate
        if incomplete is not None:
            self.tell_summary(end)  # the launcher's patience is limited: the counts first, the rest may fail
        kept: Literal["complete", "incomplete"] | None = None
        problems: list[str] = []
        if self._rank == 0 and trained is not None:
            try:
                keep(trained, self._run_dir, incomplete=incomplete)
                kept = "complete" if incomplete is None else "incomplete"
            except StudyFailedError as error:
                if incomplete is None:
                    self._reception.fail(str(error))
                    self.tell_summary("failed")
                    raise
                problems.append(str(error))
            problems += self._draw(trained)
            problems += self._misfit(trained, end)
        if self.sinks is not None:
            problems += [sink.problem for sink in self.sinks.files if sink.problem is not None]
        if self.checkpoints is not None and self.checkpoints.problem is not None:
            problems.append(self.checkpoints.problem)
        self.tell_summary(end, surrogate=kept, problems=tuple(problems))

    def tell_summary(
        self,
        end: TrainingEnd,
        *,
        surrogate: Literal["complete", "incomplete"] | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        """Report the counts as they are; the last report counts.

        Args:
            end: how the training ended.
            surrogate: whether one is saved, and whether its training had come to its end.
            problems: what went wrong, a line each.
        """
        stream, loader, checkpoints = self.stream, self.loader, self.checkpoints
        summary = summary_of(
            stream.summary() if stream is not None else None,
            loader.counters() if loader is not None else LoaderCounters(),
            self._buffer,
            self._reception,
            self._telemetry,
        )
        figures = None if checkpoints is None else checkpoints.figures()
        self._reception.tell(
            ServerFinished(
                end=end,
                summary=replace(summary, surrogate=surrogate, checkpoints=figures, problems=problems),
                history=self._telemetry.validations,
            )
        )

    def _draw(self, trained: nn.Module) -> list[str]:
        """Draw the pictures of a surrogate, if they are wanted; what went wrong."""
        if not isinstance(trained, Surrogate) or not self._config.monitoring.figures or self.sinks is None:
            return []
        if not self._progress.has_time:
            return ["no figures were drawn: launcher.save_timeout_s leaves no time for it"]
        recorder = self.sinks.recorder
        problem = draw(self._config, self._run_dir, trained, self._held_out, recorder, self._telemetry.validations)
        return [] if problem is None else [problem]

    def _misfit(self, trained: nn.Module, end: TrainingEnd) -> list[str]:
        """Whether steps came that the time of the surrogate was not scaled for."""
        if not isinstance(trained, Surrogate) or not trained.task.problem.time:
            return []
        scaled_from = trained.normalization.time_range
        if scaled_from is None:
            return []
        is_complete = end == "drained" and self._sees_all
        misfit = misfit_of(self._reception.receiver.highest_step, scaled_from, is_complete=is_complete)
        return [] if misfit is None else [misfit]
