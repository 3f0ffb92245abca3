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
from melissa_like.records import Layout

__all__ = ["Normalization"]

#: Dimensions of values without a grid, [B, C].
_ROWS = 2


def _from_bounds(low: float, high: float) -> tuple[float, float]:
    """Shift and scale that map [low, high] to [-1, 1]; a constant is mapped to 0."""
    return (low + high) / 2, (high - low) / 2 or 1.0


class _Affine(nn.Module):
    """One shift and scale per component of one quantity: buffers [C], NaN until they are set.

    Args:
        components: of the quantity.
        dtype: in which it is shifted and scaled. Inputs are few and may be large and close together, as steps numbered
            from a billion on: in float32 their differences would be lost.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, components: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self._components = components
        self._dtype = dtype
        self.register_buffer("shift", torch.full((components,), math.nan, dtype=dtype))
        self.register_buffer("scale", torch.full((components,), math.nan, dtype=dtype))

    @property
    def is_set(self) -> bool:
        return bool(self.scale.isfinite().all())

    def set(self, affine: Sequence[tuple[float, float]]) -> None:
        """Set shift and scale of each component; one pair stands for all."""
        self.shift.copy_(torch.tensor([shift for shift, _ in affine], dtype=self._dtype))
        self.scale.copy_(torch.tensor([scale for _, scale in affine], dtype=self._dtype))

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        shift, scale = self._along(values)
        return ((values.to(self._dtype) - shift) / scale).float()

    def restore(self, normalized: torch.Tensor) -> torch.Tensor:
        shift, scale = self._along(normalized)
        return normalized.to(self._dtype) * scale + shift

    def _along(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shift and scale along axis 1 of values [B, C, ...]; a single number needs no axis."""
        if self._components == 1 or values.ndim == _ROWS:
            return self.shift, self.scale
        shape = (self._components,) + (1,) * (values.ndim - _ROWS)
        return self.shift.view(shape), self.scale.view(shape)


class Normalization(nn.Module):
    """Of each quantity, component by component; of the parameters; and of the time.

    A quantity that bears the name of a field with declared bounds is mapped from these to [-1, 1], any other to mean 0
    and deviation 1 by `freeze`. Parameters are mapped from their bounds to [-1, 1], and so are the numbers of the time
    steps from those of the first and the last one of a simulation.

    Args:
        quantities: what is normalized, by name, with its components.
        layout: of the study.
    """

    def __init__(self, quantities: Mapping[str, int], layout: Layout) -> None:
        super().__init__()
        # Found by a dictionary of our own: a ModuleDict refuses names with a dot, and those of its methods.
        self._by_name = {name: _Affine(components) for name, components in quantities.items()}
        self._quantities = nn.ModuleList(self._by_name.values())
        self._inputs = _Affine(len(layout.parameters), torch.float64)
        self._steps = _Affine(1, torch.float64)
        for field in layout.fields:
            if field.bounds is not None and field.name in quantities:
                self._by_name[field.name].set([_from_bounds(*field.bounds)])

    @property
    def unset(self) -> tuple[str, ...]:
        """Names of the quantities that still need statistics."""
        return tuple(name for name, affine in self._by_name.items() if not affine.is_set)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._steps.shift.device

    @property
    def time_range(self) -> tuple[float, float] | None:
        """The numbers of the first and the last time step that the time is scaled from; None before they are set."""
        if not self._steps.is_set:
            return None
        shift, scale = self._steps.shift.item(), self._steps.scale.item()
        return shift - scale, shift + scale

    def set_inputs(self, bounds: Sequence[tuple[float, float]], num_steps: int | None) -> None:
        """Set what the parameters are mapped from, and the time if it is known.

        Args:
            bounds: (low, high) of each parameter, in the order of the layout.
            num_steps: time steps per simulation, numbered from 0; None: `freeze` will say.

        Raises:
            ValueError: a bound that is not finite.
        """
        if not all(math.isfinite(bound) for pair in bounds for bound in pair):
            raise ValueError(f"the parameters have the bounds {list(bounds)}: give two finite numbers each")
        self._inputs.set([_from_bounds(low, high) for low, high in bounds])
        if num_steps is not None:
            self._steps.set([_from_bounds(0, num_steps - 1)])

    def freeze(
        self, statistics: Mapping[str, Sequence[Moments]] | None, time_range: tuple[float, float] | None = None
    ) -> None:
        """Set what is known with the first turn.

        Args:
            statistics: moments of the quantities, one per component; a quantity that is set stays as it is.
            time_range: numbers of the first and the last time step of a simulation; None: the time stays as it is.

        Raises:
            ValueError: no usable moments for a quantity that needs them.
        """
        for name in self.unset:
            self._by_name[name].set(_from_moments(name, (statistics or {}).get(name)))
        if time_range is not None:
            self._steps.set([_from_bounds(*time_range)])

    def normalize(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Normalize a quantity in original units, [B, C, *grid] of any dtype, to float32."""
        return self._by_name[name].normalize(values)

    def restore(self, name: str, normalized: torch.Tensor) -> torch.Tensor:
        """A quantity in original units from a normalized one, [B, C, *grid], float32."""
        return self._by_name[name].restore(normalized)

    def normalize_parameters(self, parameters: torch.Tensor) -> torch.Tensor:
        """Normalize parameters, [B, P] of any dtype, to float32."""
        return self._inputs.normalize(parameters)

    def restore_parameters(self, normalized: torch.Tensor) -> torch.Tensor:
        """Parameters in original units from normalized ones, [B, P], float64."""
        return self._inputs.restore(normalized.double())

    def normalize_steps(self, steps: torch.Tensor) -> torch.Tensor:
        """Normalize step indices, [B] of any dtype, to float32."""
        return self._steps.normalize(steps)


def _from_moments(name: str, moments: Sequence[Moments] | None) -> list[tuple[float, float]]:
    if not moments or not all(component.count for component in moments):
        raise ValueError(
            f"{name!r} has no bounds and no statistics came with the first turn: declare solver.fields.{name}.bounds, "
            "or let the loader compute statistics"
        )
    for component in moments:
        if not (math.isfinite(component.mean) and math.isfinite(component.std)):
            raise ValueError(
                f"the first samples of {name!r} have the mean {component.mean} and the deviation {component.std}, so "
                f"it cannot be normalized: declare solver.fields.{name}.bounds if its values are large, and let "
                "solver.not_finite be fail_simulation or drop if some are not finite"
            )
    return [(component.mean, component.std or 1.0) for component in moments]
