"""Samples that nobody sent: what a training is tried with before there are any."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from melissa_like.loading import Batch, Moments, Turn, moments_of
from melissa_like.records import FieldSpec, FormedWindows, Layout, Purpose, Sample, SampleKey, Window
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.validation import ValidationSet

__all__ = ["Probe"]

#: Values of a field, and steps of a simulation, of which nothing is declared.
_BOUNDS, _NUM_STEPS = (0.0, 1.0), 100
_NUM_MEASURED = 2
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Random samples of several simulations and steps, within whatever bounds are declared; always the same ones.

    Attributes:
        layout: of the study.
        bounds: (low, high) of each parameter.
        num_steps: time steps per simulation; None: nobody knows.
        device: where the batches lie.
        window: what a sample holds; None: one step.
    """

    layout: Layout
    bounds: Mapping[str, tuple[float, float]]
    num_steps: int | None
    device: torch.device
    window: Window | None = None

    @property
    def time_range(self) -> tuple[float, float]:
        """Numbers of the first and the last time step that a sample may have."""
        return 0.0, (self.num_steps or _NUM_STEPS) - 1.0

    def batch(self, size: int) -> Batch:
        """A batch of so many samples."""
        generator = torch.Generator().manual_seed(_SEED)
        window = self.window or Window(length=1)
        starts = max(1, (self.num_steps or _NUM_STEPS) - window.span + 1)
        steps = torch.randint(starts, (size,), generator=generator)
        times = (steps[:, None] + window.stride * torch.arange(window.length)).double()
        axis = (size,) if self.window is None else (size, window.length)
        parameters = torch.zeros(size, len(self.layout.parameters), dtype=torch.float64)
        for column, name in enumerate(self.layout.parameters):
            parameters[:, column] = _between(
                *self.bounds[name], torch.rand(size, generator=generator, dtype=torch.float64)
            )
        return Batch(
            simulations=torch.arange(size),
            steps=steps,
            times=times[:, 0] if self.window is None else times,
            parameters=parameters,
            fields={field.name: _values(field, axis, generator) for field in self.layout.fields},
        ).to(self.device)

    def statistics(self, surrogate: Surrogate) -> dict[str, tuple[Moments, ...]]:
        """The moments of what the task of a surrogate measures, as they come with the first turn.

        Raises:
            ValueError: the task measures something else than it declares.
        """
        batch, declared = self.batch(_NUM_MEASURED), dict(surrogate.task.quantities)
        measured = surrogate.task.measure(batch)
        found = {name: values.shape[1] for name, values in measured.items() if values.ndim > 1 and len(values)}
        if found != declared:
            raise ValueError(
                f"measure gave quantities of so many components: {found}, expected {declared}, which `quantities` "
                "declares: return [n, components, *grid] under each of these names"
            )
        return {name: moments_of(values) for name, values in measured.items()}

    def turns(self, sizes: tuple[int, ...], *, ends_empty: bool) -> Iterator[Turn]:
        """Turns with batches of these sizes, without statistics.

        Args:
            sizes: of the batches.
            ends_empty: another turn has no batch, as that of a rank whose samples have run out.
        """
        for number, size in enumerate(sizes):
            yield Turn(batch=self.batch(size), num_samples_global=size, progress=number / len(sizes), validate=False)
        if ends_empty:
            yield Turn(batch=None, num_samples_global=1, progress=1.0, validate=False)

    def held_out(self) -> ValidationSet:
        """A validation set of a single sample, from the first step on if that is a window."""
        held_out, batch = ValidationSet(self.layout, window=self.window), self.batch(1)
        first = int(batch.steps[0]) if self.window is None else 0
        steps = [first] if self.window is None else self.window.steps_from(first)
        for position, step in enumerate(steps):
            fields = held_out.reserve(0, 1, step)
            for values, spec in zip(fields, self.layout.fields, strict=True):
                given = batch.fields[spec.name][0].cpu().numpy()
                values[...] = given if self.window is None else given[position]
            complete = (first,) if position == len(steps) - 1 else ()
            sample = Sample(
                key=SampleKey(0, step),
                attempt=1,
                purpose=Purpose.VALIDATION,
                time=float(step),
                parameters=np.array(batch.parameters[0].tolist()),
                fields=fields,
                windows=None if self.window is None else FormedWindows(complete=complete),
            )
            held_out.take(sample, 0.0)
        return held_out


def _values(field: FieldSpec, axes: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    low, high = field.bounds or _BOUNDS
    return _between(low, high, torch.rand(*axes, *field.shape, generator=generator)).to(getattr(torch, field.dtype))


def _between(low: float, high: float, share: torch.Tensor) -> torch.Tensor:
    return low * (1 - share) + high * share  # not low + (high - low) · share, whose difference may overflow
