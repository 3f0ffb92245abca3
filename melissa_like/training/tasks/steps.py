"""Time steps of a window: [B, L, C, *grid] here, stacked into components for a network, and as a network predicts them.

A network predicts the state at a later step, or what is added to the last one that it knows. Both are a `State`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from melissa_like.records import FieldSpec, Window
from melissa_like.training.normalization import Normalization
from melissa_like.training.tasks.fields import lacks_components

__all__ = [
    "Increments",
    "State",
    "Values",
    "each_step",
    "stacked",
    "steps_of",
    "unstacked",
    "wanted",
    "widened",
    "without_steps",
]

#: What float32 cannot hold.
_WIDE = (torch.float64, torch.int64, torch.int32)


def steps_of(values: Tensor, spec: FieldSpec) -> Tensor:
    """From [B, L, *shape] to [B, L, C, *grid]; [ΣN, L, C] stays."""
    return values.unsqueeze(2) if lacks_components(spec) else values


def widened(values: Tensor) -> Tensor:
    """To be subtracted: in float32, or in float64 what that cannot hold. Integers would wrap around."""
    return values.double() if values.dtype in _WIDE else values.float()


def without_steps(values: Tensor, spec: FieldSpec) -> Tensor:
    """From [B, L, C, *grid] to [B, L, *shape]; [ΣN, L, C] stays."""
    return values.squeeze(2) if lacks_components(spec) else values


def stacked(values: Tensor) -> Tensor:
    """From [B, L, C, *grid] to [B, L·C, *grid], the components of the earliest step first."""
    return values.flatten(1, 2)


def unstacked(values: Tensor, num_steps: int) -> Tensor:
    """From [B, L·C, *grid] to [B, L, C, *grid]."""
    return values.reshape(values.shape[0], num_steps, values.shape[1] // num_steps, *values.shape[2:])


def each_step(function: Callable[[str, Tensor], Tensor], name: str, values: Tensor) -> Tensor:
    """A function of a quantity [n, C, *grid] on values [B, L, C, *grid]."""
    return function(name, values.flatten(0, 1)).reshape(values.shape)


class State(Protocol):
    """What a network predicts of a field, between time steps [B, K, C, *grid] in original units and normalized ones."""

    def quantity(self, name: str) -> str:
        """What is normalized, of a field."""

    def measure(self, steps: Tensor) -> Tensor:
        """This quantity of time steps [B, L, C, *grid] of any dtype: [n, C, *grid]."""

    def normalize(self, scale: Normalization, name: str, steps: Tensor, before: Tensor) -> Tensor:
        """Time steps, each with the solver's step before it, both `widened`, normalized."""

    def restore(self, scale: Normalization, name: str, values: Tensor, before: Tensor) -> Tensor:
        """What was normalized, in original units."""

    def after(self, scale: Normalization, name: str, last: Tensor, made: Tensor) -> Tensor:
        """The time steps that follow on the last one, [B, 1, C, *grid], by what the network made, [B, K, C, *grid]."""


class Values:
    """The network predicts the field itself."""

    def quantity(self, name: str) -> str:
        """See `State`: the field."""
        return name

    def measure(self, steps: Tensor) -> Tensor:
        """See `State`: every step."""
        return steps.flatten(0, 1)

    def normalize(self, scale: Normalization, name: str, steps: Tensor, before: Tensor) -> Tensor:
        """See `State`: the steps before are not looked at."""
        return each_step(scale.normalize, name, steps)

    def restore(self, scale: Normalization, name: str, values: Tensor, before: Tensor) -> Tensor:
        """See `State`: the steps before are not looked at."""
        return each_step(scale.restore, name, values)

    def after(self, scale: Normalization, name: str, last: Tensor, made: Tensor) -> Tensor:
        """See `State`: the last one is not looked at."""
        return each_step(scale.restore, name, made)


class Increments:
    """The network predicts how much a field changes per time step.

    The k-th step after the last known one is this plus k times the k-th prediction, as in the decoder of Brandstetter
    et al. (2022), Section 3.2. Normalized are the increments between a step and the next.
    """

    def quantity(self, name: str) -> str:
        """See `State`: the increment of the field."""
        return f"increment of {name}"

    def measure(self, steps: Tensor) -> Tensor:
        """See `State`: between each step and the next, so one fewer than steps."""
        steps = widened(steps)
        return (steps[:, 1:] - steps[:, :-1]).flatten(0, 1)

    def normalize(self, scale: Normalization, name: str, steps: Tensor, before: Tensor) -> Tensor:
        """See `State`: the difference to the step before."""
        return each_step(scale.normalize, self.quantity(name), steps - before)

    def restore(self, scale: Normalization, name: str, values: Tensor, before: Tensor) -> Tensor:
        """See `State`: the step before plus the difference."""
        return before + each_step(scale.restore, self.quantity(name), values)

    def after(self, scale: Normalization, name: str, last: Tensor, made: Tensor) -> Tensor:
        """See `State`: the last one plus k times the k-th prediction."""
        change = each_step(scale.restore, self.quantity(name), made)
        ahead = torch.arange(1, made.shape[1] + 1, device=made.device, dtype=change.dtype)
        return last + ahead.view(-1, *(1,) * (made.ndim - 2)) * change


def wanted(window: Mapping[str, int | None] | None, *, length: int, stride: int, predicted: int) -> Window:
    """A window, with the keys that are given in place of a task's own.

    Args:
        window: of the keys `length`, `stride` and `hop`, those that are wanted otherwise.
        length: of the task.
        stride: of the task.
        predicted: steps that the task predicts from one window. The hop is this number, or the largest below it that
            has no common divisor with the stride: otherwise some steps would be in no window.

    Raises:
        ValueError: another key, or a number below 1.
    """
    given = {key: value for key, value in (window or {}).items() if value is not None}
    if not set(given) <= {"length", "stride", "hop"}:
        raise ValueError(f"the window has the keys {', '.join(given)}: give some of length, stride and hop")
    keys = {"length": length, "stride": stride, **given}
    hops = (hop for hop in range(predicted, 0, -1) if math.gcd(hop, keys["stride"]) == 1)
    return Window(**{"hop": next(hops, 1), **keys})
