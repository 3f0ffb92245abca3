"""Samples that nobody sent: what a training is tried with before there are any."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from msgspec.structs import replace

from melissa_like.loading import Batch, Moments, Turn, batch_from_samples, moments_of
from melissa_like.records import (
    FieldSpec,
    FormedWindows,
    Layout,
    Purpose,
    Sample,
    SampleKey,
    StaticFields,
    Window,
    static_fields,
)
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.validation import ValidationSet

__all__ = ["Probe"]

#: Values of a field, and steps of a simulation, of which nothing is declared.
_BOUNDS, _NUM_STEPS = (0.0, 1.0), 100
_NUM_MEASURED = 2
_SEED = 0
#: Points of a made-up mesh, and elements: the smallest and behind the largest.
_FEWEST, _MOST = 12, 24


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
        """A batch of so many samples; on meshes that differ each has a small one of its own."""
        generator = torch.Generator().manual_seed(_SEED)
        window = self.window or Window(length=1)
        steps = self._first_steps(size, generator)
        if self.layout.extents or self.layout.static or self.layout.study_wide:
            samples = [self._sample(number, first, generator) for number, first in enumerate(steps.tolist())]
            return batch_from_samples(samples, self.layout, has_windows=self.window is not None, device=self.device)
        times = (steps[:, None] + window.stride * torch.arange(window.length)).double()
        axis = (size,) if self.window is None else (size, window.length)
        parameters = self._parameters(size, generator)
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
        held_out = ValidationSet(self.layout, window=self.window)
        generator = torch.Generator().manual_seed(_SEED)
        first = int(self._first_steps(1, generator)) if self.window is None else 0
        steps = self._sample(0, first, generator)
        for made in steps:
            if made.static is not None:
                held_out.begin(0, 1, self.layout.sized(made.static.extents))
            fields = held_out.reserve(0, 1, made.key.step)
            for values, given in zip(fields, made.fields, strict=True):
                values[...] = given
            complete = (first,) if made is steps[-1] else ()
            windows = None if self.window is None else FormedWindows(complete=complete)
            held_out.take(replace(made, fields=fields, windows=windows), 0.0)
        return held_out

    def _first_steps(self, size: int, generator: torch.Generator) -> torch.Tensor:
        """Of each sample the number of its (first) time step."""
        span = 1 if self.window is None else self.window.span
        return torch.randint(max(1, (self.num_steps or _NUM_STEPS) - span + 1), (size,), generator=generator)

    def _parameters(self, size: int, generator: torch.Generator) -> torch.Tensor:
        parameters = torch.zeros(size, len(self.layout.parameters), dtype=torch.float64)
        for column, name in enumerate(self.layout.parameters):
            parameters[:, column] = _between(
                *self.bounds[name], torch.rand(size, generator=generator, dtype=torch.float64)
            )
        return parameters

    def _sample(self, simulation: int, first: int, generator: torch.Generator) -> list[Sample]:
        """The time steps of a sample, each by itself."""
        layout, static = _mesh(self.layout, generator)
        (parameters,) = self._parameters(1, generator).numpy()
        return [
            Sample(
                key=SampleKey(simulation, step),
                attempt=1,
                purpose=Purpose.VALIDATION,
                time=float(step),
                parameters=parameters,
                fields=tuple(_values(spec, (), generator).numpy() for spec in layout.fields),
                static=static,
            )
            for step in ([first] if self.window is None else self.window.steps_from(first))
        ]


def _mesh(layout: Layout, generator: torch.Generator) -> tuple[Layout, StaticFields | None]:
    """A mesh of random points and elements: the layout with its sizes, and its static data."""
    if not (layout.extents or layout.static):
        return layout, None
    numbers = torch.randint(_FEWEST, _MOST, (len(layout.extents),), generator=generator).tolist()
    sizes = dict(zip(layout.extents, numbers, strict=True))
    sized, arrays = layout.sized(sizes), {}
    for spec in sized.static:
        if spec.indexes is None:
            made = _values(spec, (), generator)
        else:
            behind = sizes[spec.indexes] if isinstance(spec.indexes, str) else spec.indexes
            made = torch.randint(behind, spec.shape, generator=generator).to(getattr(torch, spec.dtype))
        arrays[spec.name] = made.numpy()
    return sized, static_fields(sized, arrays)


def _values(field: FieldSpec, axes: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    low, high = field.bounds or _BOUNDS
    return _between(low, high, torch.rand(*axes, *field.shape, generator=generator)).to(getattr(torch, field.dtype))


def _between(low: float, high: float, share: torch.Tensor) -> torch.Tensor:
    return low * (1 - share) + high * share  # not low + (high - low) · share, whose difference may overflow
