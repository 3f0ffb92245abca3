"""What the trainer gets: batches, the turns that carry them, and moments of what is measured in them."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch

from melissa_like.buffer import Population
from melissa_like.loading.axes import BatchAxes

__all__ = ["Batch", "Measurement", "Moments", "Turn", "moments_of"]


#: Dimensions of values without a grid, [n, C].
_ROWS = 2
#: Of a batch whose first axes are all of samples.
_OF_SAMPLES = BatchAxes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B samples on the loader's device. The memory is reused: clone what must outlive the turn.

    A sample is a time step, or L of them if the task has a `window`: step j of one has the number `steps` + j · stride.
    A window of one step has the axis L too.

    Where the sizes of a mesh differ between simulations, the points of all samples follow one another, as graph
    libraries have it: sample b has the rows `offsets[extent][b]` to before `offsets[extent][b + 1]`. A field of such an
    extent has its components in the last axis, also if it is one. On grids there are no offsets.

    Attributes:
        simulations: int64 [B], which simulation each sample comes from.
        steps: int64 [B], its time step; of a window the first one.
        times: float64 [B], its physical time; of windows [B, L], that of each of their steps.
        parameters: float64 [B, P], the parameters of its simulation.
        fields: by name, [B, *shape] in the storage dtype; of windows [B, L, *shape]. With an extent [ΣN, C], or
            [ΣN, L, C].
        offsets: by extent, int64 [B + 1].
        static: what does not change with time, by name: [ΣN, C] with an extent, [B, *shape] if each simulation has its
            own, [*shape] if all have the same. Numbers of points count through the batch.
        axes: which of these it is.
    """

    simulations: torch.Tensor
    steps: torch.Tensor
    times: torch.Tensor
    parameters: torch.Tensor
    fields: Mapping[str, torch.Tensor]
    offsets: Mapping[str, torch.Tensor] = field(default_factory=dict)
    static: Mapping[str, torch.Tensor] = field(default_factory=dict)
    axes: BatchAxes = _OF_SAMPLES

    @property
    def size(self) -> int:
        """Number of samples B."""
        return self.simulations.shape[0]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device; itself if it is there."""
        if self.simulations.device == device:
            return self
        return Batch(
            simulations=self.simulations.to(device),
            steps=self.steps.to(device),
            times=self.times.to(device),
            parameters=self.parameters.to(device),
            fields={name: values.to(device) for name, values in self.fields.items()},
            offsets={extent: values.to(device) for extent, values in self.offsets.items()},
            static={name: values.to(device) for name, values in self.static.items()},
            axes=self.axes,
        )

    def part(self, first: int, behind: int) -> "Batch":
        """Some of the samples, in the same memory; but numbers of points are counted anew, in memory of their own."""
        some = slice(first, behind)
        rows = {extent: slice(*ends[[first, behind]].tolist()) for extent, ends in self.offsets.items()}
        return Batch(
            simulations=self.simulations[some],
            steps=self.steps[some],
            times=self.times[some],
            parameters=self.parameters[some],
            fields={
                name: values[rows.get(self.axes.points.get(name, ""), some)] for name, values in self.fields.items()
            },
            offsets={extent: ends[first : behind + 1] - ends[first] for extent, ends in self.offsets.items()},
            static={name: self._static_part(name, some, rows) for name in self.static},
            axes=self.axes,
        )

    def _static_part(self, name: str, some: slice, rows: Mapping[str, slice]) -> torch.Tensor:
        values = self.static[name]
        if name in self.axes.shared:
            return values
        values = values[rows.get(self.axes.points.get(name, ""), some)]
        numbered = self.axes.indexes.get(name)
        return values if numbered is None else values - self.offsets[numbered][some.start]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Count, mean and population standard deviation of the values of one component of a quantity.

    An empty set has count 0, mean 0 and std 0.
    """

    count: int
    mean: float
    std: float

    @staticmethod
    def merge(parts: Iterable["Moments"]) -> "Moments":
        """The moments of the union of disjoint sets, free of cancellation.

        Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", equation 1.5. The order of the
        parts decides the last bits: give the same order where the same result is needed.
        """
        count, mean, squares = 0, 0.0, 0.0
        for part in parts:
            if part.count == 0:
                continue
            total = count + part.count
            delta = part.mean - mean
            squares += part.count * part.std**2 + delta**2 * count * part.count / total
            mean += delta * part.count / total
            count = total
        return Moments(count=count, mean=mean, std=math.sqrt(squares / count) if count else 0.0)


def moments_of(values: torch.Tensor) -> tuple[Moments, ...]:
    """Moments of each component of a quantity, [n, C, ...] of any numeric dtype.

    Computed in float64 sample by sample, so that the conversion needs the memory of one sample only; of [n, C], numbers
    of samples or points of meshes, all at once.
    """
    components = values.transpose(0, 1)
    if values.ndim == _ROWS:
        return tuple(_moments_of_one(component) for component in components)
    return tuple(Moments.merge(_moments_of_one(sample) for sample in component) for component in components)


def _moments_of_one(sample: torch.Tensor) -> Moments:
    if not sample.numel():
        return Moments(count=0, mean=0.0, std=0.0)
    std, mean = torch.std_mean(sample.to(torch.float64), correction=0)
    return Moments(count=sample.numel(), mean=float(mean), std=float(std))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Statistics that are wanted before the first turn.

    Attributes:
        quantities: what is measured, by name, with its components.
        measure: from a batch on the host to its quantities, [n, C, ...] each; called by the loader's thread.
        num_samples: per rank, at most.
        most_nbytes: of these together, or one sample, where their sizes differ, by those that are there; None: no
            bound.
    """

    quantities: Mapping[str, int]
    measure: Callable[[Batch], Mapping[str, torch.Tensor]]
    num_samples: int = 256
    most_nbytes: int | None = None

    def num_of(self, population: Population) -> int:
        """Samples to be taken from a buffer that holds some."""
        if self.most_nbytes is None or not population.nbytes:
            return self.num_samples
        return min(self.num_samples, max(1, self.most_nbytes * population.size // population.nbytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One agreed training step of this rank.

    Attributes:
        batch: what to train on; None: nothing is left here, step with zero weight so that the other ranks can.
        num_samples_global: samples of this step over all ranks: divide the summed loss by it.
        progress: share of the study's samples delivered, 0 to 1, equal on all ranks: for schedules.
        validate: validate after this step; all ranks do.
        checkpoint: number of the checkpoint that is taken after this step, on all ranks; None: none.
        statistics: moments of each component of each quantity over the samples of all ranks, equal on all ranks; in the
            first turn only, if they are wanted.
        time_range: numbers of the first and the last time step of a simulation, from which the time is scaled, equal on
            all ranks; in the first turn only, if it is known.
    """

    batch: Batch | None
    num_samples_global: int
    progress: float
    validate: bool
    statistics: Mapping[str, tuple[Moments, ...]] | None = None
    time_range: tuple[float, float] | None = None
    checkpoint: int | None = None
