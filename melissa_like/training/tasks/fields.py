"""What tasks share: the axis of components, and samples that nobody sent."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.loading import Batch
from melissa_like.models import FieldShape
from melissa_like.records import FieldSpec, Layout
from melissa_like.training.normalization import Normalization

__all__ = [
    "fields_named",
    "inputs_and_targets",
    "normalized_fields",
    "one_sample",
    "restored_fields",
    "shape_of",
    "with_components",
    "without_components",
]


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


def inputs_and_targets(
    layout: Layout, inputs: Sequence[str], targets: Sequence[str] | None, *, needs_inputs: bool = False
) -> tuple[dict[str, FieldSpec], dict[str, FieldSpec]]:
    """The fields that are inputs only, and those to be learned, each in the order of the layout.

    Args:
        layout: of the study.
        inputs: names of the former.
        targets: names of the latter; None: all others.
        needs_inputs: whether there must be an input.

    Raises:
        ValueError: a name that is no field, a field that is both, none to be learned, or no input where one is needed.
    """
    given = fields_named(layout, inputs, "inputs") if inputs or needs_inputs else {}
    others = [field.name for field in layout.fields if field.name not in given]
    learned = fields_named(layout, others if targets is None else targets, "targets")
    if both := [name for name in learned if name in given]:
        raise ValueError(f"{', '.join(both)} are inputs and targets: name each field once")
    return given, learned


def shape_of(spec: FieldSpec) -> FieldShape:
    """A field as a network sees it."""
    return FieldShape(components=spec.components, grid=spec.grid)


def with_components(values: torch.Tensor, spec: FieldSpec) -> torch.Tensor:
    """From [B, *shape] to [B, C, *grid]: a field of one component has no such axis in a batch."""
    return values.unsqueeze(1) if spec.components == 1 else values


def without_components(values: torch.Tensor, spec: FieldSpec) -> torch.Tensor:
    """From [B, C, *grid] to [B, *shape]."""
    return values.squeeze(1) if spec.components == 1 else values


def normalized_fields(
    scale: Normalization, values: Mapping[str, torch.Tensor], fields: Mapping[str, FieldSpec]
) -> dict[str, torch.Tensor]:
    """Fields of a batch, [B, *shape], as a network sees them: normalized, [B, C, *grid]."""
    return {name: scale.normalize(name, with_components(values[name], spec)) for name, spec in fields.items()}


def restored_fields(
    scale: Normalization, values: Mapping[str, torch.Tensor], fields: Mapping[str, FieldSpec]
) -> dict[str, torch.Tensor]:
    """What a network returned, [B, C, *grid], in original units: [B, *shape]."""
    return {name: without_components(scale.restore(name, values[name]), spec) for name, spec in fields.items()}


def one_sample(
    layout: Layout,
    parameters: torch.Tensor,
    *,
    step: int,
    time: float | None,
    fields: Mapping[str, npt.ArrayLike] | None = None,
) -> Batch:
    """A batch of one, on the CPU, with the fields that are given.

    Args:
        layout: of the study.
        parameters: in original units, [1, P].
        step: index of the time step.
        time: physical time; the step index by default.
        fields: by name, of the shapes of the layout.

    Raises:
        ValueError: a field has another shape.
    """
    return Batch(
        simulations=torch.zeros(1, dtype=torch.int64),
        steps=torch.tensor([step], dtype=torch.int64),
        times=torch.tensor([step if time is None else time], dtype=torch.float64),
        parameters=parameters,
        fields={name: _one_field(layout, name, values) for name, values in (fields or {}).items()},
    )


def _one_field(layout: Layout, name: str, values: npt.ArrayLike) -> torch.Tensor:
    spec = layout.fields[layout.field_id(name)]
    array = np.asarray(values, dtype=spec.numpy_dtype)
    if array.shape != spec.shape:
        raise ValueError(f"field {name!r} has the shape {array.shape}, expected {spec.shape}: give the whole field")
    return torch.from_numpy(array.copy()).unsqueeze(0)
