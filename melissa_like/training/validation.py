"""Held-out simulations: received like all others, kept in memory, never trained on.

The receiver's thread adds samples while the trainer's evaluates; one lock guards the samples, and an evaluation works
on those that were there when it began.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer import BatchMemory
from melissa_like.buffer.batch_memory import allocate, rows_within
from melissa_like.loading import Batch, Collective
from melissa_like.records import FloatArray, Layout, Purpose, Sample, SampleKey
from melissa_like.training.losses import FieldLosses
from melissa_like.training.modes import evaluating
from melissa_like.training.reports import ValidationReport
from melissa_like.training.surrogate import Surrogate

__all__ = ["HeldOutSimulation", "KeptHeldOut", "ValidationSet"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutSimulation:
    """The time steps that this rank holds of one held-out simulation.

    Attributes:
        simulation: its number.
        parameters: by name, in the order of the layout.
        steps: ascending.
        times: physical time of each step.
        fields: by name, [T, *shape] in the storage dtype.
    """

    simulation: int
    parameters: Mapping[str, float]
    steps: tuple[int, ...]
    times: tuple[float, ...]
    fields: Mapping[str, npt.NDArray[Any]]

    def batch(self, position: int) -> Batch:
        """One of its time steps as a batch of one, on the CPU."""
        return Batch(
            simulations=torch.tensor([self.simulation]),
            steps=torch.tensor([self.steps[position]]),
            times=torch.tensor([self.times[position]], dtype=torch.float64),
            parameters=torch.tensor([list(self.parameters.values())], dtype=torch.float64),
            fields={name: torch.from_numpy(values[position : position + 1]) for name, values in self.fields.items()},
        )


class ValidationSet:
    """Samples of the held-out simulations of one rank; may be used from several threads.

    It is a consumer of complete samples (`melissa_like.assembly.Consumer`) that always has room.

    Args:
        layout: of the study.
        chunk_size: samples evaluated at once; bounds the memory of an evaluation.
        on_chunk: called before each: an evaluation may take long.

    Raises:
        ValueError: `chunk_size` below 1.
    """

    def __init__(self, layout: Layout, *, chunk_size: int = 64, on_chunk: Callable[[], None] = lambda: None) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}: give at least 1 sample")
        self._layout = layout
        self._chunk_size = chunk_size
        self._on_chunk = on_chunk
        self._lock = threading.Lock()
        self._samples: dict[SampleKey, Sample] = {}
        self._reserved: dict[SampleKey, tuple[npt.NDArray[Any], ...]] = {}

    @property
    def num_samples(self) -> int:
        """Samples held by this rank."""
        with self._lock:
            return len(self._samples)

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[npt.NDArray[Any], ...]:
        """Memory to assemble a sample in, the same for a newer attempt; never blocks."""
        key = SampleKey(simulation, step)
        if key not in self._reserved:
            self._reserved[key] = tuple(np.empty(f.shape, f.numpy_dtype) for f in self._layout.fields)
        return self._reserved[key]

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...]:
        """Keep a complete time step, at once; it replaces one of the same key.

        Returns:
            Its key; where the study learns from windows, those of the windows that are complete with it.
        """
        self._reserved.pop(sample.key, None)
        for values in sample.fields:
            values.flags.writeable = False
        with self._lock:
            self._samples[sample.key] = sample
        if sample.windows is None:
            return (sample.key,)
        return tuple(SampleKey(sample.key.simulation, first) for first in sample.windows.complete)

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation: the memory of what is incomplete goes, what was taken stays."""
        for key in [key for key in self._reserved if key.simulation == simulation]:
            del self._reserved[key]

    def give_back(self, simulation: int, step: int) -> None:
        """A sample will not be taken: the memory that is reserved for it goes."""
        self._reserved.pop(SampleKey(simulation, step), None)

    def kept(self) -> "KeptHeldOut":
        """The samples as they are now, for a checkpoint; they do not change any more, so none is copied."""
        return KeptHeldOut(self._layout, self._sorted())

    def restore(self, rows: BatchMemory, owned: Callable[[SampleKey], bool] = lambda key: True) -> None:
        """Take samples of a checkpoint.

        Args:
            rows: some of them, in host memory; copied.
            owned: whether a sample belongs to this rank.
        """
        for number, (simulation, step) in enumerate(rows.labels[:, :2].tolist()):
            key = SampleKey(simulation, step)
            if not owned(key):
                continue
            fields = self.reserve(simulation, 0, step)
            for target, values in zip(fields, rows.fields.values(), strict=True):
                target[...] = values[number].numpy()
            parameters = rows.parameters[number].numpy().copy()
            time = float(rows.times[number])
            self.take(
                Sample(key=key, attempt=0, purpose=Purpose.VALIDATION, time=time, parameters=parameters, fields=fields),
                0.0,
            )

    def close(self) -> None:
        """Nobody waits here."""

    def one_simulation(self) -> HeldOutSimulation | None:
        """The simulation of which this rank holds most steps, the first of equals; None without any."""
        samples = self._sorted()
        if not samples:
            return None
        numbers, counts = np.unique([sample.key.simulation for sample in samples], return_counts=True)
        chosen = int(numbers[counts.argmax()])
        samples = [sample for sample in samples if sample.key.simulation == chosen]
        return HeldOutSimulation(
            simulation=chosen,
            parameters=dict(zip(self._layout.parameters, samples[0].parameters.tolist(), strict=True)),
            steps=tuple(sample.key.step for sample in samples),
            times=tuple(sample.time for sample in samples),
            fields=self._stack(samples),
        )

    def evaluate(
        self, surrogate: Surrogate, losses: FieldLosses, collective: Collective, *, batches: int
    ) -> ValidationReport | None:
        """The error of a surrogate over the held-out samples of all ranks.

        Every rank must call it, one without samples too: blocks in one collective, for its deadline at most.

        Args:
            surrogate: evaluated in original units, float32, without gradients.
            losses: one value per sample, of all target fields.
            collective: joins the ranks; used by this thread alone.
            batches: training steps done, for the report.

        Returns:
            The report, equal on all ranks; None if no rank holds a sample.
        """
        totals = np.zeros(4)
        with evaluating(surrogate):
            for batch in self._chunks(surrogate.device):
                self._on_chunk()
                totals += _sums(surrogate, losses, batch)
        summed_loss, num_samples, summed_ratios, num_ratios = collective.all_gather(totals).sum(axis=0).tolist()
        if num_samples == 0:
            return None
        return ValidationReport(
            batches=batches,
            loss=summed_loss / num_samples,
            relative_l2=summed_ratios / num_ratios if num_ratios else float("nan"),
            num_samples=int(num_samples),
        )

    def _sorted(self) -> list[Sample]:
        """A snapshot, by simulation and step: the order of arrivals must not change a sum."""
        with self._lock:
            return sorted(self._samples.values(), key=lambda sample: sample.key)

    def _stack(self, samples: Sequence[Sample]) -> dict[str, npt.NDArray[Any]]:
        return {f.name: np.stack([s.fields[i] for s in samples]) for i, f in enumerate(self._layout.fields)}

    def _chunks(self, device: torch.device) -> Iterator[Batch]:
        samples = self._sorted()
        for start in range(0, len(samples), self._chunk_size):
            chunk = samples[start : start + self._chunk_size]
            yield Batch(
                simulations=torch.tensor([s.key.simulation for s in chunk], device=device),
                steps=torch.tensor([s.key.step for s in chunk], device=device),
                times=torch.tensor([s.time for s in chunk], dtype=torch.float64, device=device),
                parameters=torch.from_numpy(np.stack([s.parameters for s in chunk])).to(device),
                fields={name: torch.from_numpy(values).to(device) for name, values in self._stack(chunk).items()},
            )


class KeptHeldOut:
    """Held-out samples of one moment, to be copied out piece by piece."""

    def __init__(self, layout: Layout, samples: Sequence[Sample]) -> None:
        self._layout = layout
        self._samples = samples

    def pieces(self, most_nbytes: int) -> Iterator[BatchMemory]:
        """Copies, each piece in the same memory.

        Args:
            most_nbytes: of a piece; one sample at least.
        """
        num_rows = rows_within(self._layout, most_nbytes)
        memory = allocate(self._layout, min(num_rows, len(self._samples)), device=torch.device("cpu"))
        for start in range(0, len(self._samples), num_rows):
            chunk = self._samples[start : start + num_rows]
            piece = memory.first(len(chunk))
            for number, sample in enumerate(chunk):
                piece.simulations[number], piece.steps[number] = sample.key.simulation, sample.key.step
                piece.times[number] = sample.time
                piece.parameters[number] = torch.from_numpy(sample.parameters)
                for target, values in zip(piece.fields.values(), sample.fields, strict=True):
                    np.copyto(target[number].numpy(), values)
            yield piece


def _sums(surrogate: Surrogate, losses: FieldLosses, batch: Batch) -> FloatArray:
    """Of one chunk: summed loss, number of samples, summed relative errors, number of relative errors."""
    predictions, truth = surrogate(batch), surrogate.task.truth(batch)
    error = _norms({name: predictions[name] - values for name, values in truth.items()})
    size = _norms(truth)
    some = size > 0
    shapes = {name: (shape.components, *shape.grid) for name, shape in surrogate.task.problem.targets.items()}
    per_sample = losses(
        {name: predictions[name].view(-1, *shape) for name, shape in shapes.items()},
        {name: truth[name].view(-1, *shape) for name, shape in shapes.items()},
    )
    return np.array(
        [
            per_sample.sum(dtype=torch.float64).item(),
            batch.size,
            (error[some] / size[some]).sum().item(),
            some.sum().item(),
        ]
    )


def _norms(fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Norm of each field of each sample, float64 [B, F]."""
    return torch.stack(
        [torch.linalg.vector_norm(values.flatten(1), dim=1, dtype=torch.float64) for values in fields.values()], dim=1
    )
