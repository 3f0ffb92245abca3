"""Samples that lie apart, as a batch."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.loading.axes import BatchAxes
from melissa_like.loading.batch import Batch
from melissa_like.records import FieldSpec, Layout, Sample

__all__ = ["batch_from_samples", "field_of_sample", "fields_from_samples", "offsets_of", "rows_of", "static_of"]


def batch_from_samples(
    samples: Sequence[Sequence[Sample]], layout: Layout, *, has_windows: bool, device: torch.device
) -> Batch:
    """A batch of samples; its memory is new.

    Args:
        samples: the time steps of each, the earliest first; equally many of all.
        layout: of the study.
        has_windows: the batch has an axis of time steps; without it each sample is one step.
        device: of the batch.
    """
    firsts = [steps[0] for steps in samples]
    axes = (len(firsts), len(samples[0])) if has_windows else (len(firsts),)
    times = torch.tensor([step.time for step in chain(*samples)], dtype=torch.float64)
    begun = [first.static for first in firsts]
    sizes = [{} if each is None else each.extents for each in begun]
    return Batch(
        simulations=torch.tensor([first.key.simulation for first in firsts]),
        steps=torch.tensor([first.key.step for first in firsts]),
        times=times.view(axes),
        parameters=torch.from_numpy(np.stack([first.parameters for first in firsts])),
        fields=fields_from_samples(samples, layout, has_windows=has_windows),
        offsets=offsets_of(layout, sizes),
        static=static_of(layout, sizes, [{} if each is None else each.arrays for each in begun]),
        axes=BatchAxes.of(layout),
    ).to(device)


def fields_from_samples(
    samples: Sequence[Sequence[Sample]], layout: Layout, *, has_windows: bool
) -> dict[str, torch.Tensor]:
    """The fields of such a batch alone, on the CPU."""
    axes = (len(samples), len(samples[0])) if has_windows else (len(samples),)
    return {spec.name: torch.from_numpy(_field(samples, index, spec, axes)) for index, spec in enumerate(layout.fields)}


def offsets_of(layout: Layout, sizes: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
    """Where the rows of each sample begin, by extent, int64 [B + 1]; an extent whose size nobody says is left out.

    Args:
        layout: of the study.
        sizes: of each sample, by extent.
    """
    return {
        extent: torch.from_numpy(np.cumsum([0, *(each[extent] for each in sizes)], dtype=np.int64))
        for extent in layout.extents
        if all(extent in each for each in sizes)
    }


def static_of(
    layout: Layout, sizes: Sequence[Mapping[str, int]], arrays: Sequence[Mapping[str, npt.NDArray[Any]]]
) -> dict[str, torch.Tensor]:
    """What does not change with time, as a batch has it; what no sample has is left out.

    Args:
        layout: of the study.
        sizes: of each sample, by extent.
        arrays: of each sample, by name, as the simulation has sent them.
    """
    offsets = offsets_of(layout, sizes)
    made = {wide.spec.name: torch.from_numpy(np.array(wide.values)) for wide in layout.study_wide}
    for spec in layout.static:
        if any(spec.name not in each for each in arrays):
            continue
        rows = [rows_of(each[spec.name], spec) for each in arrays]
        if isinstance(spec.indexes, str):
            rows = [
                each.astype(np.int64) + first for each, first in zip(rows, offsets[spec.indexes].tolist(), strict=False)
            ]
        made[spec.name] = torch.from_numpy(np.concatenate(rows) if spec.extent is not None else np.stack(rows))
    return made


def rows_of(array: npt.NDArray[Any], spec: FieldSpec) -> npt.NDArray[Any]:
    """From (components, N) or (N,) to [N, C] where points follow one another; else as it is."""
    if spec.extent is None:
        return array
    rows: npt.NDArray[Any] = array[:, None] if spec.components == 1 else np.ascontiguousarray(array.T)
    return rows


def field_of_sample(values: npt.NDArray[Any], spec: FieldSpec) -> npt.NDArray[Any]:
    """A field of a batch of one, without the axis of samples: [*shape], or [L, *shape] with an axis of time steps."""
    if spec.extent is None:
        sample: npt.NDArray[Any] = values[0]
        return sample
    points_last: npt.NDArray[Any] = np.moveaxis(values, 0, -1)
    return np.squeeze(points_last, axis=-2) if spec.components == 1 else points_last


def _field(samples: Sequence[Sequence[Sample]], index: int, spec: FieldSpec, axes: tuple[int, ...]) -> npt.NDArray[Any]:
    if spec.extent is None:
        return np.stack([step.fields[index] for step in chain(*samples)]).reshape(*axes, *spec.shape)
    steps = [[rows_of(step.fields[index], spec) for step in each] for each in samples]
    if len(axes) == 1:
        return np.concatenate([each for (each,) in steps])
    return np.concatenate([np.stack(each, axis=1) for each in steps])
