"""From fields of a first step to those of any later one."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import Problem
from melissa_like.records import FieldSpec, Layout
from melissa_like.training.normalization import Normalization
from melissa_like.training.tasks.fields import (
    normalized_fields,
    restored_fields,
    shape_of,
)
from melissa_like.training.tasks.parameters import GivenParameters
from melissa_like.training.tasks.starts import one_start
from melissa_like.training.tasks.static import GivenStatic
from melissa_like.training.tasks.steps import each_step, steps_of, wanted, without_steps
from melissa_like.training.tasks.task import Compared

__all__ = ["FromFirstStep"]


class FromFirstStep:
    """(Fields at the first step of a window, parameters, time since then) to fields at a later step of it.

    The network is called once for a step, however far it is. A training step learns one later step of each sample,
    drawn at random; a validation looks at all of them. The time is that since the first step, scaled from -1 there to
    1 at the last step of a window, so a system that depends on the time itself needs an input that tells it.

    Args:
        layout: of the study.
        initial: the fields that are given at the first step, by name.
        inputs: those that are given at the step that is predicted.
        targets: the fields to be learned.
        parameters: those that the network is given.
        static: the same of what does not change with time.
        window: keys in place of a length of 2, a stride of 1, and windows as many solver steps apart as each has later
            steps, or a few less so that hop and stride have no common divisor.

    Raises:
        ValueError: a window of one time step, another key than those of a window, or a number below 1.
    """

    history = 1

    def __init__(
        self,
        layout: Layout,
        initial: Mapping[str, FieldSpec],
        inputs: Mapping[str, FieldSpec],
        targets: Mapping[str, FieldSpec],
        parameters: GivenParameters,
        static: GivenStatic,
        window: Mapping[str, int | None] | None = None,
    ) -> None:
        self._layout = layout
        self._parameters = parameters
        self._static = static
        self._initial = initial
        self._inputs = inputs
        self._targets = targets
        length = (window or {}).get("length") or 2
        if length == 1:
            raise ValueError("a window of 1 time step has no later step: give a length of 2 or more")
        self.window = wanted(window, length=length, stride=1, predicted=length - 1)
        self.stride = self.window.stride
        self.longest = self.window.length - 1
        self._fields = {**initial, **inputs, **targets}
        self.problem = Problem(
            fields={name: shape_of(spec) for name, spec in (*initial.items(), *inputs.items())},
            parameters=self._parameters.names,
            time=True,
            targets={name: shape_of(spec) for name, spec in targets.items()},
            static=static.shapes,
        )
        self.quantities = {name: spec.components for name, spec in self._fields.items()} | static.quantities

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields at every step, and the static data."""
        fields = {name: steps_of(batch.fields[name], spec).flatten(0, 1) for name, spec in self._fields.items()}
        return fields | self._static.measure(batch)

    def compare(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Compared:
        """See `Task`: one later step of each sample."""
        leads = torch.randint(1, self._length(batch), (batch.size,)).to(batch.steps.device)
        later = {name: _at(batch, spec, leads) for name, spec in self._fields.items() if name not in self._initial_only}
        return self._call(network, scale, batch, later, leads), normalized_fields(scale, later, self._targets)

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: all later steps at once; on meshes, and with static data, one after the other."""
        num_later = self._length(batch) - 1
        if self.problem.static or self.problem.extents:
            steps = [self._step(network, scale, batch, lead) for lead in range(1, num_later + 1)]
            return {name: torch.stack([step[name] for step in steps], dim=1) for name in self._targets}
        leads = torch.arange(1, num_later + 1, device=batch.steps.device).repeat(batch.size)
        apart = Batch(
            simulations=batch.simulations.repeat_interleave(num_later),
            steps=batch.steps.repeat_interleave(num_later),
            times=batch.times[:, 1:].flatten(),
            parameters=batch.parameters.repeat_interleave(num_later, dim=0),
            fields={name: batch.fields[name][:, :1].repeat_interleave(num_later, dim=0) for name in self._initial},
        )
        later = {name: batch.fields[name][:, 1:].flatten(0, 1) for name in self._inputs}
        made = self._call(network, scale, apart, later, leads)
        return {name: values.reshape(batch.size, num_later, *values.shape[1:]) for name, values in made.items()}

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned at all later steps."""
        return {
            name: each_step(scale.normalize, name, steps_of(batch.fields[name], spec)[:, 1:])
            for name, spec in self._targets.items()
        }

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task`: all later steps."""
        return {
            name: without_steps(each_step(scale.restore, name, values[name]), spec)
            for name, spec in self._targets.items()
        }

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned, at all later steps."""
        return {name: batch.fields[name][:, 1:].float() for name in self._targets}

    def begin(
        self,
        fields: Mapping[str, npt.ArrayLike],
        parameters: Mapping[str, float],
        num_steps: int,
        *,
        step: int = 0,
        static: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Batch:
        """See `RollsOut`. Inputs are needed at the first step too, where nothing looks at them."""
        steps = dict.fromkeys(self._initial, 1) | dict.fromkeys(self._inputs, 1 + num_steps)
        once = self._static.of_one(static)
        given, extents = self._parameters.of(parameters), self.problem.extents
        return one_start(self._layout, fields, given, steps, step=step, extents=extents, static=once)

    def one_call(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `RollsOut`: a later step; `batch.steps` is how many time steps later."""
        later = {name: batch.fields[name][:, -1] for name in self._inputs}
        made = restored_fields(scale, self._call(network, scale, batch, later, batch.steps), self._targets)
        return {name: values.unsqueeze(1) for name, values in made.items()}

    def roll_out(
        self, network: nn.Module, scale: Normalization, batch: Batch, num_steps: int
    ) -> Iterator[Mapping[str, Tensor]]:
        """See `RollsOut`: each step from the first one; behind the longest time of a window it is a guess."""
        for lead in range(1, num_steps + 1):
            made = restored_fields(scale, self._step(network, scale, batch, lead), self._targets)
            yield {name: values.unsqueeze(1) for name, values in made.items()}

    @property
    def _initial_only(self) -> set[str]:
        return set(self._initial) - set(self._targets)

    def _length(self, batch: Batch) -> int:
        return batch.fields[next(iter(self._targets))].shape[1]

    def _step(self, network: nn.Module, scale: Normalization, batch: Batch, lead: int) -> Mapping[str, Tensor]:
        """What the network predicts for all samples so many steps later."""
        later = {name: batch.fields[name][:, lead] for name in self._inputs}
        return self._call(network, scale, batch, later, torch.full_like(batch.steps, lead))

    def _call(
        self, network: nn.Module, scale: Normalization, batch: Batch, later: Mapping[str, Tensor], leads: Tensor
    ) -> Mapping[str, Tensor]:
        first = {name: batch.fields[name][:, 0] for name in self._initial}
        given: dict[str, Any] = {
            "fields": normalized_fields(scale, first, self._initial) | normalized_fields(scale, later, self._inputs),
            "time": 2 * leads / self.longest - 1,
            **self._parameters.normalized(scale, batch),
            **self._static.given(scale, self.problem, batch),
        }
        predictions: Mapping[str, Tensor] = network(**given)
        return predictions


def _at(batch: Batch, spec: FieldSpec, leads: Tensor) -> Tensor:
    """Of each sample one time step of a field, [B, *shape] or [ΣN, C]."""
    values = batch.fields[spec.name]
    if spec.extent is not None:
        leads = leads.repeat_interleave(batch.offsets[spec.extent].diff())
    return values[torch.arange(len(values), device=leads.device), leads]
