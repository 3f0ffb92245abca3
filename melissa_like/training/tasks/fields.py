"""What tasks share: which fields are what, and the axis of components."""

from collections.abc import Mapping, Sequence

import torch

from melissa_like.models import FieldShape
from melissa_like.records import FieldSpec, Layout
from melissa_like.training.normalization import Normalization

__all__ = [
    "fields_named",
    "inputs_and_targets",
    "lacks_components",
    "normalized_fields",
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
    grid = () if spec.extent is not None else spec.grid
    return FieldShape(components=spec.components, grid=grid, extent=spec.extent)


def lacks_components(spec: FieldSpec) -> bool:
    """Whether a field has no axis of components in a batch: that of one component on a grid."""
    return spec.components == 1 and spec.extent is None


def with_components(values: torch.Tensor, spec: FieldSpec) -> torch.Tensor:
    """From [B, *shape] to [B, C, *grid]: a field of one component has no such axis in a batch. [ΣN, C] stays."""
    return values.unsqueeze(1) if lacks_components(spec) else values


def without_components(values: torch.Tensor, spec: FieldSpec) -> torch.Tensor:
    """From [B, C, *grid] to [B, *shape]; [ΣN, C] stays."""
    return values.squeeze(1) if lacks_components(spec) else values


def normalized_fields(
    scale: Normalization, values: Mapping[str, torch.Tensor], fields: Mapping[str, FieldSpec]
) -> dict[str, torch.Tensor]:
    """Fields of a batch, [B, *shape], as a network sees them: normalized, [B, C, *grid]. [ΣN, C] stay so."""
    return {name: scale.normalize(name, with_components(values[name], spec)) for name, spec in fields.items()}


def restored_fields(
    scale: Normalization, values: Mapping[str, torch.Tensor], fields: Mapping[str, FieldSpec]
) -> dict[str, torch.Tensor]:
    """What a network returned, [B, C, *grid], in original units: [B, *shape]. [ΣN, C] stay so."""
    return {name: without_components(scale.restore(name, values[name]), spec) for name, spec in fields.items()}
