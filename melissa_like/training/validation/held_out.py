"""Held-out simulations: received like all others, kept in memory, never trained on.

Time steps are kept once. Where a sample is a window, what is delivered are the windows that are complete, and each
refers to its steps. The receiver's thread adds samples while the trainer's evaluates; one lock guards them, and an
evaluation works on those that were there when it began.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer import SavedRows
from melissa_like.loading import Batch, Collective
from melissa_like.records import FieldSpec, Layout, Sample, SampleKey, Window
from melissa_like.training.losses import FieldLosses
from melissa_like.training.modes import evaluating
from melissa_like.training.reports import ValidationReport
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.tasks import RollsOut
from melissa_like.training.validation.extracts import Extract, HeldOutSample
from melissa_like.training.validation.kept import KeptHeldOut
from melissa_like.training.validation.one_step import sample_errors
from melissa_like.training.validation.restored import RestoredHeldOut
from melissa_like.training.validation.rollouts import report_of, step_errors
from melissa_like.training.validation.simulations import HeldOutSimulation
from melissa_like.training.validation.spread import joined_rows, spread_of
from melissa_like.training.validation.trajectories import trajectories_of

__all__ = ["ValidationSet"]


class ValidationSet:
    """Samples of the held-out simulations of one rank; may be used from several threads.

    It is a consumer of complete time steps (`melissa_like.assembly.Consumer`) that always has room.

    Args:
        layout: of the study.
        window: what a sample is; None: one time step.
        mixes: the solver is deterministic: a roll-out may be compared with steps of several attempts.
        chunk_size: time steps evaluated at once; bounds the memory of an evaluation.
        on_chunk: called before each: an evaluation may take long.

    Raises:
        ValueError: `chunk_size` below 1.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        window: Window | None = None,
        mixes: bool = False,
        chunk_size: int = 64,
        on_chunk: Callable[[], None] = lambda: None,
    ) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}: give at least 1 sample")
        self._layout = layout
        self._window = window
        self._mixes = mixes
        self._chunk_size = chunk_size
        self._on_chunk = on_chunk
        self._lock = threading.Lock()
        self._samples: dict[SampleKey, HeldOutSample] = {}
        self._steps: dict[SampleKey, Sample] = {}  # of windows: the newest of each time step that may be needed
        self._reserved: dict[SampleKey, tuple[npt.NDArray[Any], ...]] = {}
        self._restored = RestoredHeldOut(layout, window)
        self._sized: dict[int, tuple[FieldSpec, ...]] = {}  # of simulations that have their own sizes

    @property
    def num_samples(self) -> int:
        """Samples held by this rank."""
        with self._lock:
            return len(self._samples)

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """The sizes of a simulation from now on."""
        if self._sized.get(simulation, layout.fields) != layout.fields:
            _drop(self._reserved, simulation)
        self._sized[simulation] = layout.fields

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[npt.NDArray[Any], ...]:
        """Memory to assemble a time step in, the same for a newer attempt of the same sizes; never blocks."""
        key = SampleKey(simulation, step)
        if key not in self._reserved:
            specs = self._sized.get(simulation, self._layout.fields)
            self._reserved[key] = tuple(np.empty(f.shape, f.numpy_dtype) for f in specs)
        return self._reserved[key]

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...]:
        """Keep a complete time step, at once; it replaces one of the same key.

        Returns:
            Its key, or those of the windows that are complete with it. They keep the steps that they were made of,
            whatever a newer attempt sends.
        """
        self._reserved.pop(sample.key, None)
        for values in sample.fields:
            values.flags.writeable = False
        if self._window is None:
            with self._lock:
                self._samples[sample.key] = (sample,)
            return (sample.key,)
        assert sample.windows is not None, "a time step came without the windows that it completes"
        self._keep_step(sample)
        made = {
            SampleKey(sample.key.simulation, first): tuple(
                self._steps[SampleKey(sample.key.simulation, step)] for step in self._window.steps_from(first)
            )
            for first in sample.windows.complete
        }
        with self._lock:
            self._samples |= made
        return tuple(made)

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation: what is incomplete goes, what was taken stays."""
        for kept in (self._reserved, self._steps):
            _drop(kept, simulation)
        self._sized.pop(simulation, None)

    def give_back(self, simulation: int, step: int) -> None:
        """A time step will not be taken: the memory that is reserved for it goes."""
        self._reserved.pop(SampleKey(simulation, step), None)

    def kept(self) -> KeptHeldOut:
        """The samples as they are now, for a checkpoint; they do not change any more, so none is copied."""
        length = None if self._window is None else self._window.length
        return KeptHeldOut(self._layout, self._extract().samples, window_length=length)

    def restore(
        self,
        rows: SavedRows,
        attempts: npt.NDArray[np.int64],
        owned: Callable[[SampleKey], bool] = lambda key: True,
    ) -> None:
        """Take samples of a checkpoint.

        Args:
            rows: some of them, in host memory; copied. Where sizes differ, pieces of a file come in their order.
            attempts: those that their time steps are of, [rows, steps of one].
            owned: whether a sample belongs to this rank.
        """
        for key, steps in self._restored.samples(rows, attempts, owned):
            kept = steps if self._window is None else tuple(self._keep_step(step) for step in steps)
            with self._lock:
                self._samples[key] = kept

    def close(self) -> None:
        """Nobody waits here."""

    def one_simulation(self) -> HeldOutSimulation | None:
        """The simulation of which this rank holds most steps, the first of equals; None without any.

        Of windows it holds those that follow one another from the first step on.
        """
        samples = self._longest()
        if not samples:
            return None
        return HeldOutSimulation(layout=self._layout, samples=tuple(samples))

    def batches(self, most: int, device: torch.device) -> Iterator[Batch]:
        """Some of the samples that this rank holds, from all over, in batches that are validated at once.

        Args:
            most: samples.
            device: of the batches.
        """
        extract = self._extract()
        some = extract.samples[:: max(1, math.ceil(len(extract.samples) / most))]
        for chunk in Extract(self._layout, some, extract.has_windows).chunks(self._chunk_size):
            yield chunk.batch(device)

    def evaluate(
        self, surrogate: Surrogate, losses: FieldLosses, collective: Collective, *, batches: int
    ) -> ValidationReport | None:
        """The error of a surrogate over the held-out samples of all ranks, and that of its roll-outs if it makes some.

        Every rank must call it, one without samples too: blocks in some collectives, for their deadline at most.

        Args:
            surrogate: evaluated in original units, float32, without gradients.
            losses: one value per sample, of all target fields.
            collective: joins the ranks; used by this thread alone.
            batches: training steps done, for the report.

        Returns:
            The report, equal on all ranks; None if no rank holds a sample.
        """
        extract, task = self._extract(), surrogate.task
        rolled = None
        with evaluating(surrogate):
            rows = sample_errors(surrogate, losses, extract, chunk_size=self._chunk_size, on_chunk=self._on_chunk)
            num_columns = int(collective.all_gather(np.array([float(rows.shape[1])])).max())
            table = joined_rows(rows, num_columns, collective)
            if isinstance(task, RollsOut) and self._window is not None:
                trajectories = Extract(self._layout, self._trajectories(extract.samples), has_windows=True)
                steps = step_errors(surrogate, task, trajectories, chunk_size=self._chunk_size, on_chunk=self._on_chunk)
                rolled = report_of(joined_rows(steps, steps.shape[1], collective))
        if not len(table):
            return None
        ratios, targets = table[:, 3:], task.problem.targets
        spread = spread_of(ratios)
        return ValidationReport(
            batches=batches,
            loss=float(table[:, 2].mean()),
            relative_l2=spread.mean,
            relative_l2_median=spread.median,
            relative_l2_p99=spread.p99,
            relative_l2_max=spread.max,
            relative_l2_by_field={
                name: spread_of(ratios[:, place :: len(targets)]).mean for place, name in enumerate(targets)
            },
            num_samples=len(table),
            rollout=rolled,
        )

    def _keep_step(self, sample: Sample) -> Sample:
        """Keep a time step of windows; of equal ones, as a deterministic solver sends them again, the older."""
        known = self._steps.get(sample.key)
        if known is not None and _same_mesh(known, sample) and all(map(np.array_equal, known.fields, sample.fields)):
            return known
        self._steps[sample.key] = sample
        return sample

    def _extract(self) -> Extract:
        """A snapshot, by simulation and step."""
        with self._lock:
            ordered = sorted(self._samples)
            samples = [self._samples[key] for key in ordered]
        return Extract(self._layout, samples, has_windows=self._window is not None)

    def _trajectories(self, windows: Sequence[HeldOutSample]) -> list[HeldOutSample]:
        assert self._window is not None
        return trajectories_of(windows, self._window.stride, mixes=self._mixes)

    def _longest(self) -> Sequence[Sample]:
        """The time steps of one simulation."""
        samples = self._extract().samples
        if self._window is not None:
            return max(self._trajectories(samples), key=len, default=())
        steps: dict[int, list[Sample]] = {}
        for (sample,) in samples:
            steps.setdefault(sample.key.simulation, []).append(sample)
        return max(steps.values(), key=len, default=())


def _drop(kept: dict[SampleKey, Any], simulation: int) -> None:
    """What is kept of one simulation goes."""
    for key in [key for key in kept if key.simulation == simulation]:
        del kept[key]


def _same_mesh(one: Sample, other: Sample) -> bool:
    """Whether two time steps of a simulation have the same sizes and static data."""
    if one.static is None or other.static is None:
        return one.static is other.static
    return one.static.digest == other.static.digest
