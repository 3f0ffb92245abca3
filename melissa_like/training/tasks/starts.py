"""Samples that nobody sent, as a user gives them: one time step, or those that a roll-out begins with."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.loading import Batch, BatchAxes, offsets_of, rows_of, static_of
from melissa_like.records import FieldSpec, Layout

__all__ = ["one_sample", "one_start"]

_NOTHING: Mapping[str, Any] = {}


def one_sample(
    layout: Layout,
    parameters: torch.Tensor,
    *,
    step: int,
    time: float | None,
    extents: Sequence[str],
    fields: Mapping[str, npt.ArrayLike] = _NOTHING,
    static: Mapping[str, npt.ArrayLike] = _NOTHING,
) -> Batch:
    """A batch of one, on the CPU, with the fields and static data that are given.

    Args:
        layout: of the study.
        parameters: in original units, [1, P].
        step: index of the time step.
        time: physical time; the step index by default.
        extents: whose sizes must follow from what is given.
        fields: by name, of the shapes of the layout.
        static: by name, likewise.

    Raises:
        ValueError: one has another shape, they contradict one another, or a size does not follow from them.
    """
    specs = _specs(layout)
    given = {name: _array(specs[name], values) for name, values in fields.items()}
    once = {name: _array(specs[name], values) for name, values in static.items()}
    sizes = _checked_sizes(specs, given, once, extents)
    return Batch(
        simulations=torch.zeros(1, dtype=torch.int64),
        steps=torch.tensor([step], dtype=torch.int64),
        times=torch.tensor([step if time is None else time], dtype=torch.float64),
        parameters=parameters,
        fields={name: _of_one(array, specs[name]) for name, array in given.items()},
        offsets=offsets_of(layout, [sizes]),
        static=static_of(layout, [sizes], [once]),
        axes=BatchAxes.of(layout),
    )


def one_start(
    layout: Layout,
    fields: Mapping[str, npt.ArrayLike],
    parameters: torch.Tensor,
    num_steps: Mapping[str, int],
    *,
    step: int,
    extents: Sequence[str],
    static: Mapping[str, npt.ArrayLike] = _NOTHING,
) -> Batch:
    """A batch of one, on the CPU: [1, L, *shape] of each field, or [N, L, C].

    Args:
        layout: of the study.
        fields: by name, in original units, [L, *shape], or [*shape] if L is 1.
        parameters: in original units, [1, P].
        num_steps: L of each field that is needed; more steps than these are left out.
        step: number of the first time step.
        extents: whose sizes must follow from what is given.
        static: by name, of the shapes of the layout.

    Raises:
        ValueError: a field is missing or unknown, one has another shape, they contradict one another, or a size does
            not follow from them.
    """
    if set(fields) != set(num_steps):
        raise ValueError(f"the fields are {', '.join(fields)}, expected {', '.join(num_steps)}: give exactly these")
    specs = _specs(layout)
    given = {name: _steps(specs[name], fields[name], length) for name, length in num_steps.items()}
    once = {name: _array(specs[name], values) for name, values in static.items()}
    sizes = _checked_sizes(specs, given, once, extents)
    longest = max(num_steps.values())
    return Batch(
        simulations=torch.zeros(1, dtype=torch.int64),
        steps=torch.tensor([step], dtype=torch.int64),
        times=torch.arange(step, step + longest, dtype=torch.float64).unsqueeze(0),
        parameters=parameters,
        fields={name: _steps_of_one(array, specs[name]) for name, array in given.items()},
        offsets=offsets_of(layout, [sizes]),
        static=static_of(layout, [sizes], [once]),
        axes=BatchAxes.of(layout),
    )


def _specs(layout: Layout) -> dict[str, FieldSpec]:
    return {spec.name: spec for spec in (*layout.fields, *layout.static)}


def _array(spec: FieldSpec, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """One field, of its own memory."""
    array = _converted(spec, values)
    if not _fits(array.shape, spec):
        raise ValueError(
            f"field {spec.name!r} has the shape {array.shape}, expected {spec.shown_shape}: give the whole field"
        )
    return array


def _converted(spec: FieldSpec, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """A copy in the dtype of the field; whole numbers stay what they are."""
    given = np.asarray(values)
    with np.errstate(invalid="ignore"):  # numbers that a whole one cannot hold are told
        array = given.astype(spec.numpy_dtype)
    if array.dtype.kind in "iu" and not np.array_equal(array, given):
        wrong = given[array != given].flat[0]
        raise ValueError(f"field {spec.name!r} holds {wrong!s}, expected whole numbers of {spec.dtype}: give these")
    return array


def _steps(spec: FieldSpec, values: npt.ArrayLike, length: int) -> npt.NDArray[Any]:
    """The time steps of one field, [L, *shape]."""
    array = _converted(spec, values)
    if length == 1 and _fits(array.shape, spec):
        array = array[None]
    if not _fits(array.shape[1:], spec) or len(array) < length:
        one = f", or {spec.shown_shape}" if length == 1 else ""
        wanted = f"({length}, {spec.shown_shape.strip('(,)')})"
        raise ValueError(
            f"field {spec.name!r} has the shape {array.shape}, expected {wanted}{one}: give {length} whole time steps, "
            "the earliest first"
        )
    return array[:length]


def _fits(shape: tuple[int, ...], spec: FieldSpec) -> bool:
    if spec.extent is None:
        return shape == spec.shape
    return len(shape) == len(spec.shape) and shape[:-1] == spec.shape[:-1] and shape[-1] > 0


def _checked_sizes(
    specs: Mapping[str, FieldSpec],
    given: Mapping[str, npt.NDArray[Any]],
    once: Mapping[str, npt.NDArray[Any]],
    needed: Sequence[str],
) -> dict[str, int]:
    """The size of each extent that fields and static data tell.

    Raises:
        ValueError: two tell different ones, nothing tells one that is needed, or a number of a point is of none.
    """
    told = _sizes_told((specs[name], array) for name, array in (*given.items(), *once.items()))
    indexed = {name: specs[name].indexes for name in once}
    for extent in (*needed, *(each for each in indexed.values() if isinstance(each, str))):
        if extent not in told:
            raise ValueError(
                f"{extent} does not follow from what is given ({', '.join((*given, *once)) or 'nothing'}): let the "
                "task give the network static data that lie on it, as coordinates do (training.task.static)"
            )
    for name, numbered in indexed.items():
        behind, array = told[numbered] if isinstance(numbered, str) else numbered, once[name]
        if behind is not None and not 0 <= array.min() <= array.max() < behind:
            raise ValueError(
                f"{name!r} has numbers of points from {array.min()} to {array.max()}, and there are {behind} points: "
                "number them from 0"
            )
    return told


def _sizes_told(given: Iterable[tuple[FieldSpec, npt.NDArray[Any]]]) -> dict[str, int]:
    sizes: dict[str, tuple[str, int]] = {}
    for spec, array in given:
        if spec.extent is None:
            continue
        by, size = sizes.setdefault(spec.extent, (spec.name, array.shape[-1]))
        if size != array.shape[-1]:
            raise ValueError(
                f"{spec.extent} is {size} in {by!r} and {array.shape[-1]} in {spec.name!r}: give both of the same size"
            )
    return {extent: size for extent, (_, size) in sizes.items()}


def _of_one(array: npt.NDArray[Any], spec: FieldSpec) -> torch.Tensor:
    rows = rows_of(array, spec)
    return torch.from_numpy(rows if spec.extent is not None else rows[None])


def _steps_of_one(array: npt.NDArray[Any], spec: FieldSpec) -> torch.Tensor:
    if spec.extent is None:
        return torch.from_numpy(array[None])
    return torch.from_numpy(np.stack([rows_of(step, spec) for step in array], axis=1))
