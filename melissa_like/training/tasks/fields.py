"""What tasks share: the axis of components, and samples that nobody sent."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.loading import Batch
from melissa_like.models import FieldShape
from melissa_like.records import FieldSpec, Layout

__all__ = ["fields_named", "one_sample", "parameters_of", "shape_of", "with_components", "without_components"]


def fields_named(layout: Layout, names: Sequence[str] | None, what: str) -> dict[str, FieldSpec]:
    """Some fields of a layout, in its order.

    Args:
        layout: of the study.
        names: of the fields; None: all.
        what: they are, for the message.

    Raises:
        ValueError: a name that is no field, or none at all.
    """
    fields = {field.name: field for field in layout.fields}
    if names is None:
        return fields
    if isinstance(names, str) or not names or not set(names) <= set(fields):
        raise ValueError(
            f"the {what} are {names if isinstance(names, str) else list(names)} and the solver sends "
            f"{', '.join(fields)}: give a list of one or more of these fields as {what}, and leave one or more to be "
            "learned"
        )
    return {name: spec for name, spec in fields.items() if name in names}


def shape_of(spec: FieldSpec) -> FieldShape:
    """A field as a network sees it."""
    return FieldShape(components=spec.components, grid=spec.grid)


def with_components(values: torch.Tensor, spec: FieldSpec) -> torch.Tensor:
    """From [B, *shape] to [B, C, *grid]: a field of one component has no such axis in a batch."""
    return values.unsqueeze(1) if spec.components == 1 else values


def without_components(values: torch.Tensor, spec: FieldSpec) -> torch.Tensor:
    """From [B, C, *grid] to [B, *shape]."""
    return values.squeeze(1) if spec.components == 1 else values


def one_sample(
    layout: Layout,
    parameters: Mapping[str, float],
    *,
    step: int,
    time: float | None,
    fields: Mapping[str, npt.ArrayLike] | None = None,
) -> Batch:
    """A batch of one, on the CPU, with the fields that are given.

    Args:
        layout: of the study.
        parameters: by name, in original units.
        step: index of the time step.
        time: physical time; the step index by default.
        fields: by name, of the shapes of the layout.

    Raises:
        ValueError: a parameter is missing or unknown, or a field has another shape.
    """
    return Batch(
        simulations=torch.zeros(1, dtype=torch.int64),
        steps=torch.tensor([step], dtype=torch.int64),
        times=torch.tensor([step if time is None else time], dtype=torch.float64),
        parameters=parameters_of(layout, parameters),
        fields={name: _one_field(layout, name, values) for name, values in (fields or {}).items()},
    )


def parameters_of(layout: Layout, parameters: Mapping[str, float]) -> torch.Tensor:
    """The parameters of one sample, [1, P], from those by name.

    Raises:
        ValueError: one is missing or unknown.
    """
    names = layout.parameters
    if set(parameters) != set(names):
        raise ValueError(
            f"the parameters are {', '.join(parameters)}, but this surrogate was trained with {', '.join(names)} "
            f"({_difference(parameters, names)}): give exactly these"
        )
    return torch.tensor([[float(parameters[name]) for name in names]], dtype=torch.float64)


def _one_field(layout: Layout, name: str, values: npt.ArrayLike) -> torch.Tensor:
    spec = layout.fields[layout.field_id(name)]
    array = np.asarray(values, dtype=spec.numpy_dtype)
    if array.shape != spec.shape:
        raise ValueError(f"field {name!r} has the shape {array.shape}, expected {spec.shape}: give the whole field")
    return torch.from_numpy(array.copy()).unsqueeze(0)


def _difference(received: Mapping[str, float], expected: tuple[str, ...]) -> str:
    unknown = sorted(set(received) - set(expected))
    missing = sorted(set(expected) - set(received))
    parts = [
        ("unknown: " + ", ".join(unknown)) if unknown else "",
        ("missing: " + ", ".join(missing)) if missing else "",
    ]
    return "; ".join(part for part in parts if part)
