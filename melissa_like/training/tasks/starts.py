"""Samples that nobody sent, as a user gives them: one time step, or those that a roll-out begins with."""

from collections.abc import Iterable, Mapping
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
    fields: Mapping[str, npt.ArrayLike] = _NOTHING,
    static: Mapping[str, npt.ArrayLike] = _NOTHING,
) -> Batch:
    """A batch of one, on the CPU, with the fields and static data that are given.

    Args:
        layout: of the study.
        parameters: in original units, [1, P].
        step: index of the time step.
        time: physical time; the step index by default.
        fields: by name, of the shapes of the layout.
        static: by name, likewise.

    Raises:
        ValueError: one has another shape, or they contradict one another.
    """
    specs = _specs(layout)
    given = {name: _array(specs[name], values) for name, values in fields.items()}
    once = {name: _array(specs[name], values) for name, values in static.items()}
    sizes = _sizes((specs[name], array) for name, array in (*given.items(), *once.items()))
    return Batch(
        simulations=torch.zeros(1, dtype=torch.int64),
        steps=torch.tensor([step], dtype=torch.int64),
        times=torch.tensor([step if time is None else time], dtype=torch.float64),
        parameters=parameters,
        fields={name: _of_one(array, specs[name]) for name, array in given.items()},
        offsets=offsets_of(layout, [sizes]),
        static=static_of(layout, [sizes], [_checked(once, specs, sizes)]),
        axes=BatchAxes.of(layout),
    )


def one_start(
    layout: Layout,
    fields: Mapping[str, npt.ArrayLike],
    parameters: torch.Tensor,
    num_steps: Mapping[str, int],
    *,
    step: int,
    static: Mapping[str, npt.ArrayLike] = _NOTHING,
) -> Batch:
    """A batch of one, on the CPU: [1, L, *shape] of each field, or [N, L, C].

    Args:
        layout: of the study.
        fields: by name, in original units, [L, *shape], or [*shape] if L is 1.
        parameters: in original units, [1, P].
        num_steps: L of each field that is needed; more steps than these are left out.
        step: number of the first time step.
        static: by name, of the shapes of the layout.

    Raises:
        ValueError: a field is missing or unknown, one has another shape, or they contradict one another.
    """
    if set(fields) != set(num_steps):
        raise ValueError(f"the fields are {', '.join(fields)}, expected {', '.join(num_steps)}: give exactly these")
    specs = _specs(layout)
    given = {name: _steps(specs[name], fields[name], length) for name, length in num_steps.items()}
    once = {name: _array(specs[name], values) for name, values in static.items()}
    sizes = _sizes((specs[name], array) for name, array in (*given.items(), *once.items()))
    longest = max(num_steps.values())
    return Batch(
        simulations=torch.zeros(1, dtype=torch.int64),
        steps=torch.tensor([step], dtype=torch.int64),
        times=torch.arange(step, step + longest, dtype=torch.float64).unsqueeze(0),
        parameters=parameters,
        fields={name: _steps_of_one(array, specs[name]) for name, array in given.items()},
        offsets=offsets_of(layout, [sizes]),
        static=static_of(layout, [sizes], [_checked(once, specs, sizes)]),
        axes=BatchAxes.of(layout),
    )


def _specs(layout: Layout) -> dict[str, FieldSpec]:
    return {spec.name: spec for spec in (*layout.fields, *layout.static)}


def _array(spec: FieldSpec, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """One field, of its own memory."""
    array = np.array(values, dtype=spec.numpy_dtype)
    if not _fits(array.shape, spec):
        raise ValueError(
            f"field {spec.name!r} has the shape {array.shape}, expected {spec.shown_shape}: give the whole field"
        )
    return array


def _steps(spec: FieldSpec, values: npt.ArrayLike, length: int) -> npt.NDArray[Any]:
    """The time steps of one field, [L, *shape]."""
    array = np.asarray(values, dtype=spec.numpy_dtype)
    if length == 1 and _fits(array.shape, spec):
        array = array[None]
    if not _fits(array.shape[1:], spec) or len(array) < length:
        one = f", or {spec.shown_shape}" if length == 1 else ""
        wanted = f"({length}, {spec.shown_shape.strip('(,)')})"
        raise ValueError(
            f"field {spec.name!r} has the shape {array.shape}, expected {wanted}{one}: give {length} whole time steps, "
            "the earliest first"
        )
    return array[:length].copy()


def _fits(shape: tuple[int, ...], spec: FieldSpec) -> bool:
    if spec.extent is None:
        return shape == spec.shape
    return len(shape) == len(spec.shape) and shape[:-1] == spec.shape[:-1] and shape[-1] > 0


def _sizes(given: Iterable[tuple[FieldSpec, npt.NDArray[Any]]]) -> dict[str, int]:
    """The size of each extent that the arrays tell.

    Raises:
        ValueError: two tell different ones.
    """
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


def _checked(
    once: Mapping[str, npt.NDArray[Any]], specs: Mapping[str, FieldSpec], sizes: Mapping[str, int]
) -> Mapping[str, npt.NDArray[Any]]:
    """Static data whose numbers of points are all there.

    Raises:
        ValueError: a number that no point has.
    """
    for name, array in once.items():
        numbered = specs[name].indexes
        behind = sizes.get(numbered) if isinstance(numbered, str) else numbered
        if behind is not None and array.size and not 0 <= array.min() <= array.max() < behind:
            raise ValueError(
                f"{name!r} has numbers of points from {array.min()} to {array.max()}, and there are {behind} points: "
                "number them from 0"
            )
    return once


def _of_one(array: npt.NDArray[Any], spec: FieldSpec) -> torch.Tensor:
    rows = rows_of(array, spec)
    return torch.from_numpy(rows if spec.extent is not None else rows[None])


def _steps_of_one(array: npt.NDArray[Any], spec: FieldSpec) -> torch.Tensor:
    if spec.extent is None:
        return torch.from_numpy(array[None])
    return torch.from_numpy(np.stack([rows_of(step, spec) for step in array], axis=1))
