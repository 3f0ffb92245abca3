"""From fields of a first step, and fields of the same step, to the fields of a later one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import Problem
from melissa_like.records import FieldSpec, Layout
from melissa_like.training.normalization import Normalization
from melissa_like.training.tasks.fields import fields_named, one_sample, shape_of, with_components, without_components
from melissa_like.training.tasks.parameters import GivenParameters
from melissa_like.training.tasks.starts import one_start
from melissa_like.training.tasks.steps import steps_of, wanted
from melissa_like.training.tasks.task import Compared

__all__ = ["FromFirstStep", "Operator", "SameStep"]


def Operator(  # noqa: N802  # a recipe of two classes, and named like them where it is configured
    layout: Layout,
    inputs: Sequence[str] = (),
    initial: Sequence[str] = (),
    targets: Sequence[str] | None = None,
    window: Mapping[str, int | None] | None = None,
    parameters: bool | Sequence[str] = True,
) -> "SameStep | FromFirstStep":
    """(Fields, parameters, time) to fields, in one call, for neural operators such as DeepONet and FNO.

    With `initial`, fields of a first step and the time since then give the fields of any later step; a sample is a
    window. Without, `inputs` give the other fields of the same step: a source the field it causes.

    Args:
        layout: of the study.
        inputs: names of the fields that are given at the step that is predicted; they are inputs only.
        initial: names of the fields that are given at the first step of a window.
        targets: names of the fields to be learned; None: all that are not in `inputs`.
        window: `length`, `stride` and `hop` of the windows; by default 2 steps, so a sample is a step and the next.
        parameters: whether the network is given the parameters, or the names of those that it is given.

    Raises:
        ValueError: a name that is no field or parameter, a field that is both an input and something else, none that is
            given, none left to be learned, or a window where there is no first step.
    """
    others = [field.name for field in layout.fields if field.name not in inputs]
    given = fields_named(layout, inputs, "inputs") if inputs or not initial else {}
    first = fields_named(layout, initial, "initial fields") if initial else {}
    learned = fields_named(layout, others if targets is None else targets, "targets")
    for what, fields in (("targets", learned), ("initial fields", first)):
        both = [name for name in fields if name in given]
        if both:
            raise ValueError(f"{', '.join(both)} are inputs and {what}: name each field once")
    if first:
        return FromFirstStep(layout, first, given, learned, GivenParameters(layout, parameters), window)
    if any(value is not None for value in (window or {}).values()):
        raise ValueError(
            f"the window is {dict(window or {})} but every field is of the same step: name the fields that are given "
            "at the first step of a window as initial, or leave the window out"
        )
    return SameStep(layout, given, learned, GivenParameters(layout, parameters))


class SameStep:
    """(Input fields, parameters, time) to the other fields of the same time step.

    Args:
        layout: of the study.
        inputs: the fields that are given, by name.
        targets: the fields to be learned, by name.
        parameters: those that the network is given.
    """

    window = None

    def __init__(
        self,
        layout: Layout,
        inputs: Mapping[str, FieldSpec],
        targets: Mapping[str, FieldSpec],
        parameters: GivenParameters,
    ) -> None:
        self._layout = layout
        self._parameters = parameters
        self._inputs = inputs
        self._targets = targets
        self._fields = {**inputs, **targets}
        self.problem = Problem(
            fields={name: shape_of(spec) for name, spec in inputs.items()},
            parameters=self._parameters.names,
            time=True,
            targets={name: shape_of(spec) for name, spec in targets.items()},
        )
        self.quantities = {name: spec.components for name, spec in self._fields.items()}

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields, inputs and targets."""
        return {name: with_components(batch.fields[name], spec) for name, spec in self._fields.items()}

    def compare(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Compared:
        """See `Task`."""
        return self.advance(network, scale, batch), self.targets(scale, batch)

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields to be learned."""
        return _normalized(scale, batch.fields, self._targets)

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: one call."""
        predictions: Mapping[str, Tensor] = network(
            fields=_normalized(scale, batch.fields, self._inputs),
            time=scale.normalize_steps(batch.steps),
            **self._parameters.normalized(scale, batch),
        )
        return predictions

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task`."""
        return _restored(scale, values, self._targets)

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`."""
        return {name: batch.fields[name].float() for name in self._targets}

    def request(
        self,
        parameters: Mapping[str, float],
        *,
        fields: Mapping[str, npt.ArrayLike],
        step: int,
        time: float | None = None,
    ) -> Batch:
        """One time step.

        Args:
            parameters: by name, in original units.
            fields: the input fields, by name, in original units and of their global shapes.
            step: index of the time step.
            time: physical time; the step index by default. Nothing here looks at it.

        Raises:
            ValueError: a parameter or an input field is missing or unknown, or a field has another shape.
        """
        if set(fields) != set(self._inputs):
            raise ValueError(f"the fields are {list(fields)}, expected {list(self._inputs)}: give exactly the inputs")
        return one_sample(self._layout, self._parameters.of(parameters), step=step, time=time, fields=fields)


class FromFirstStep:
    """(Fields at the first step of a window, parameters, time since then) to fields at a later step of it.

    The network is called once for a step, however far it is. A training step learns one later step of each sample,
    drawn at random; a validation looks at all of them. The time is that since the first step, so a system that depends
    on the time itself needs an input that tells it.

    Args:
        layout: of the study.
        initial: the fields that are given at the first step, by name.
        inputs: those that are given at the step that is predicted.
        targets: the fields to be learned.
        parameters: those that the network is given.
        window: keys in place of a length of 2 and the distance of windows that share their last and first step.
    """

    history = 1

    def __init__(
        self,
        layout: Layout,
        initial: Mapping[str, FieldSpec],
        inputs: Mapping[str, FieldSpec],
        targets: Mapping[str, FieldSpec],
        parameters: GivenParameters,
        window: Mapping[str, int | None] | None = None,
    ) -> None:
        self._layout = layout
        self._parameters = parameters
        self._initial = initial
        self._inputs = inputs
        self._targets = targets
        length = (window or {}).get("length") or 2
        if length == 1:
            raise ValueError("a window of 1 time step has no later step: give a length of 2 or more")
        self.window = wanted(window, length=length, stride=1, hop=length - 1)
        self.stride = self.window.stride
        self.longest = self.window.length - 1
        self._fields = {**initial, **inputs, **targets}
        self.problem = Problem(
            fields={name: shape_of(spec) for name, spec in (*initial.items(), *inputs.items())},
            parameters=self._parameters.names,
            time=True,
            targets={name: shape_of(spec) for name, spec in targets.items()},
        )
        self.quantities = {name: spec.components for name, spec in self._fields.items()}

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields at every step."""
        return {name: steps_of(batch.fields[name], spec).flatten(0, 1) for name, spec in self._fields.items()}

    def compare(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Compared:
        """See `Task`: one later step of each sample."""
        leads = torch.randint(1, self._length(batch), (batch.size,)).to(batch.steps.device)
        rows = torch.arange(batch.size, device=leads.device)
        later = {name: batch.fields[name][rows, leads] for name in self._fields if name not in self._initial_only}
        return self._call(network, scale, batch, later, leads), _normalized(scale, later, self._targets)

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: all later steps at once."""
        num_later = self._length(batch) - 1
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
        later = range(1, self._length(batch))
        each = [
            _normalized(scale, {name: batch.fields[name][:, lead] for name in self._targets}, self._targets)
            for lead in later
        ]
        return {name: torch.stack([normalized[name] for normalized in each], dim=1) for name in self._targets}

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task`."""
        each = [
            _restored(scale, {name: values[name][:, step] for name in self._targets}, self._targets)
            for step in range(values[next(iter(self._targets))].shape[1])
        ]
        return {name: torch.stack([restored[name] for restored in each], dim=1) for name in self._targets}

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`."""
        return {name: batch.fields[name][:, 1:].float() for name in self._targets}

    def begin(
        self, fields: Mapping[str, npt.ArrayLike], parameters: Mapping[str, float], num_steps: int, *, step: int = 0
    ) -> Batch:
        """See `RollsOut`. Inputs are needed at the first step too, where nothing looks at them."""
        steps = dict.fromkeys(self._initial, 1) | dict.fromkeys(self._inputs, 1 + num_steps)
        return one_start(self._layout, fields, self._parameters.of(parameters), steps, step=step)

    def one_call(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `RollsOut`: a later step; `batch.steps` is how many time steps later."""
        later = {name: batch.fields[name][:, -1] for name in self._inputs}
        made = _restored(scale, self._call(network, scale, batch, later, batch.steps), self._targets)
        return {name: values.unsqueeze(1) for name, values in made.items()}

    def roll_out(
        self, network: nn.Module, scale: Normalization, batch: Batch, num_steps: int
    ) -> Iterator[Mapping[str, Tensor]]:
        """See `RollsOut`: each step from the first one; behind the longest time of a window it is a guess."""
        for lead in range(1, num_steps + 1):
            made = _restored(scale, self._step(network, scale, batch, lead), self._targets)
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
            "fields": _normalized(scale, first, self._initial) | _normalized(scale, later, self._inputs),
            "time": scale.normalize_steps(leads * self.stride),
            **self._parameters.normalized(scale, batch),
        }
        predictions: Mapping[str, Tensor] = network(**given)
        return predictions


def _normalized(
    scale: Normalization, values: Mapping[str, Tensor], fields: Mapping[str, FieldSpec]
) -> dict[str, Tensor]:
    return {name: scale.normalize(name, with_components(values[name], spec)) for name, spec in fields.items()}


def _restored(scale: Normalization, values: Mapping[str, Tensor], fields: Mapping[str, FieldSpec]) -> dict[str, Tensor]:
    return {name: without_components(scale.restore(name, values[name]), spec) for name, spec in fields.items()}
