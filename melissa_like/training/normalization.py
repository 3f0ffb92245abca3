"""Affine normalizations between original units and what a network sees, as modules: they are saved with it.

A value is normalized as (value − shift) / scale. Until they are known shift and scale are NaN, so that nothing trained
or predicted by mistake looks right. They are set once and then frozen: a moving normalization would change what the
trained weights mean.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from melissa_like.loading import Moments
from melissa_like.records import FieldSpec, Layout

__all__ = ["FieldNormalization", "InputNormalization"]


def _from_bounds(low: float, high: float) -> tuple[float, float]:
    """Shift and scale that map [low, high] to [-1, 1]; a constant is mapped to 0."""
    return (low + high) / 2, (high - low) / 2 or 1.0


class InputNormalization(nn.Module):
    """Maps each input from its bounds to [-1, 1]; an input that is constant to 0.

    Args:
        num_inputs: features per sample I.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.full((num_inputs,), math.nan))
        self.register_buffer("scale", torch.full((num_inputs,), math.nan))

    def set_bounds(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Set the bounds, one number per input each.

        Raises:
            ValueError: a bound that is not finite, or another number of inputs.
        """
        if not len(low) == len(high) == len(self.shift) or not all(map(math.isfinite, [*low, *high])):
            raise ValueError(f"the inputs have the bounds {low} and {high}: give {len(self.shift)} finite numbers each")
        affine = [_from_bounds(a, b) for a, b in zip(low, high, strict=True)]
        self.shift.copy_(torch.tensor([shift for shift, _ in affine]))
        self.scale.copy_(torch.tensor([scale for _, scale in affine]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalize raw inputs, [B, I]."""
        return (inputs - self.shift) / self.scale


class FieldNormalization(nn.Module):
    """One shift and scale per field: from its declared bounds to [-1, 1], else to mean 0 and deviation 1.

    Acts on all fields of a time step flattened and concatenated in the order of the layout, [B, N].

    Args:
        layout: of the study; fields with bounds are set at once, the others by `freeze`.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._fields = layout.fields
        self._num_outputs = sum(field.size for field in layout.fields)
        affine = [_from_bounds(*f.bounds) if f.bounds is not None else (math.nan, math.nan) for f in layout.fields]
        self.register_buffer("shift", torch.tensor([shift for shift, _ in affine]))
        self.register_buffer("scale", torch.tensor([scale for _, scale in affine]))
        self.register_buffer("_sizes", torch.tensor([f.size for f in layout.fields]), persistent=False)

    @property
    def unset(self) -> tuple[str, ...]:
        """Names of the fields that still need statistics."""
        is_set = self.scale.isfinite().tolist()
        return tuple(field.name for field, known in zip(self._fields, is_set, strict=True) if not known)

    def freeze(self, statistics: Mapping[str, Moments] | None) -> None:
        """Set what is still unset from the moments of the fields; what is set stays.

        Raises:
            ValueError: no usable moments for a field that needs them.
        """
        unset = self.unset
        for index, field in enumerate(self._fields):
            if field.name in unset:
                shift, scale = _from_moments(field, (statistics or {}).get(field.name))
                self.shift[index], self.scale[index] = shift, scale

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Normalize fields in original units, [B, N]."""
        return (values - self._spread(self.shift)) / self._spread(self.scale)

    def restore(self, normalized: torch.Tensor) -> torch.Tensor:
        """Fields in original units from normalized ones, [B, N]."""
        return normalized * self._spread(self.scale) + self._spread(self.shift)

    def _spread(self, per_field: torch.Tensor) -> torch.Tensor:
        """From one number per field to one per element; a single field broadcasts for nothing."""
        if len(self._fields) == 1:
            return per_field
        sizes = self.get_buffer("_sizes")
        return per_field.repeat_interleave(sizes, output_size=self._num_outputs)


def _from_moments(field: FieldSpec, moments: Moments | None) -> tuple[float, float]:
    if moments is None or moments.count == 0:
        raise ValueError(
            f"field {field.name!r} has no bounds and no statistics came with the first turn: declare "
            f"solver.fields.{field.name}.bounds, or let the loader compute statistics (num_statistics_samples)"
        )
    if not (math.isfinite(moments.mean) and math.isfinite(moments.std)):
        raise ValueError(
            f"the first samples of field {field.name!r} have the mean {moments.mean} and the deviation {moments.std}, "
            f"so it cannot be normalized: the solver sends values that are not finite; run `melissa-like check`"
        )
    return moments.mean, moments.std or 1.0
