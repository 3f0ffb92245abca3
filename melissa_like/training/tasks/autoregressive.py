"""From the last time steps to the next."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy.typing as npt
import torch
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import FieldShape, Problem
from melissa_like.records import FieldSpec, Layout, Window
from melissa_like.training.curriculum import Curriculum, Gradual, TeacherForcing, Unrolling
from melissa_like.training.normalization import Normalization
from melissa_like.training.outputs import check_shapes
from melissa_like.training.tasks.fields import inputs_and_targets, shape_of
from melissa_like.training.tasks.parameters import GivenParameters
from melissa_like.training.tasks.starts import one_start
from melissa_like.training.tasks.static import GivenStatic
from melissa_like.training.tasks.steps import (
    Increments,
    State,
    Values,
    each_step,
    stacked,
    steps_of,
    unstacked,
    wanted,
    widened,
    without_steps,
)
from melissa_like.training.tasks.task import Compared

__all__ = ["Autoregressive"]


class Autoregressive:
    """Some time steps of the fields to those that follow: what a solver does, in larger steps.

    In one call the network is given `history` steps and returns `bundle` steps (temporal bundling). A sample is a
    window with room for `horizon` calls; how they are unrolled in training is the curriculum's choice. With `residual`
    the increments between steps are what is normalized, and an error counts in units of their deviation.

    Good values: residual, unless a step changes the fields altogether; history 1 if the fields are the whole state;
    horizon 1 for one step, 2 to 5 with `Pushforward` or `Gradual` for long roll-outs. The message-passing solver of
    Brandstetter et al. (2022) has history and bundle 25, horizon 2 and `Pushforward`.

    Args:
        layout: of the study.
        history: time steps that the network is given.
        horizon: calls of the network that a sample has room for; None: 1, or what `window` says.
        bundle: time steps that the network returns.
        stride: distance of the time steps in those of the solver.
        residual: whether it predicts increments.
        parameters: whether it is given the parameters, or the names of those that it is given: a seed need not be
            among them.
        static: the same for the static data.
        time: whether it is given the number of the last step that it is given.
        inputs: names of the fields that are given at the same steps as the history, and are not learned.
        targets: names of the fields to be learned; None: all others.
        curriculum: how calls are unrolled in training; None: `Gradual`, which for a horizon of 1 is teacher forcing.
        window: `length`, `stride` or `hop`, in place of what follows from the above: history + horizon · bundle steps,
            the windows as many solver steps apart as each predicts steps, or a few less so that hop and stride have no
            common divisor and each step is in a window, but for some at both ends of a simulation.

    Raises:
        ValueError: a name that is no field or parameter, a field that is both, none to be learned, a number below 1, or
            a length that does not fit to history and bundle.
    """

    longest = None

    def __init__(
        self,
        layout: Layout,
        history: int = 1,
        horizon: int | None = None,
        bundle: int = 1,
        stride: int = 1,
        residual: bool = True,
        parameters: bool | Sequence[str] = True,
        static: bool | Sequence[str] = True,
        time: bool = False,
        inputs: Sequence[str] = (),
        targets: Sequence[str] | None = None,
        curriculum: Curriculum | None = None,
        window: Mapping[str, int | None] | None = None,
    ) -> None:
        self._layout = layout
        self._inputs, self._targets = inputs_and_targets(layout, inputs, targets)
        # What the network is given, in the order of the layout.
        self._known: dict[str, FieldSpec] = {
            spec.name: spec for spec in layout.fields if spec.name in self._targets or spec.name in self._inputs
        }
        self.history, self.bundle = history, bundle
        self.window = _window(history, horizon, bundle, stride, window)
        self.stride = self.window.stride
        self._curriculum: Curriculum = Gradual() if curriculum is None else curriculum
        self._parameters = GivenParameters(layout, parameters)
        self._static = GivenStatic(layout, static)
        self._state: State = Increments() if residual else Values()
        self.problem = Problem(
            fields={name: _shape(spec, history) for name, spec in self._known.items()},
            parameters=self._parameters.names,
            time=time,
            targets={name: _shape(spec, bundle) for name, spec in self._targets.items()},
            static=self._static.shapes,
        )
        learned = {self._state.quantity(name): spec.components for name, spec in self._targets.items()}
        known = {name: spec.components for name, spec in self._known.items()}
        self.quantities = known | learned | self._static.quantities

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the fields, and the increments of those to be learned if it predicts these."""
        steps = {name: steps_of(batch.fields[name], spec) for name, spec in self._known.items()}
        fields = {name: values.flatten(0, 1) for name, values in steps.items()}
        learned = {self._state.quantity(name): self._state.measure(steps[name]) for name in self._targets}
        return fields | learned | self._static.measure(batch)

    def compare(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Compared:
        """See `Task`: the calls that the curriculum wants."""
        num_calls = self._num_calls(batch)
        unrolling = self._curriculum(num_calls, progress).within(num_calls)
        return self._unroll(network, scale, batch, unrolling), self._targets_of(scale, batch, unrolling)

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: every call from the solver's steps, and so all at once; on meshes one after the other."""
        num_calls = self._num_calls(batch)
        if self.problem.static or self.problem.extents:
            return self._unroll(network, scale, batch, TeacherForcing()(num_calls, 1.0))
        apart = self._apart(batch, num_calls)
        made = self._unroll(network, scale, apart, TeacherForcing()(1, 1.0))
        return {name: values.reshape(batch.size, -1, *values.shape[2:]) for name, values in made.items()}

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the steps behind the history, or their increments."""
        return self._targets_of(scale, batch, TeacherForcing()(self._num_calls(batch), 1.0))

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task`: increments are added to the solver's step before each."""
        restored = {}
        for name, spec in self._targets.items():
            before = self._before(batch, name, slice(0, values[name].shape[1]))
            restored[name] = without_steps(self._state.restore(scale, name, values[name], before), spec).float()
        return restored

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Task`: the steps behind the history."""
        behind = self.history + self._num_calls(batch) * self.bundle
        return {name: batch.fields[name][:, self.history : behind].float() for name in self._targets}

    def begin(
        self,
        fields: Mapping[str, npt.ArrayLike],
        parameters: Mapping[str, float],
        num_steps: int,
        *,
        step: int = 0,
        static: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Batch:
        """See `RollsOut`. Inputs are needed at every step that a call is given."""
        num_calls = -(-num_steps // self.bundle)
        steps = dict.fromkeys(self._targets, self.history)
        steps |= dict.fromkeys(self._inputs, self.history + (num_calls - 1) * self.bundle)
        once = self._static.of_one(static)
        given, extents = self._parameters.of(parameters), self.problem.extents
        return one_start(self._layout, fields, given, steps, step=step, extents=extents, static=once)

    def one_call(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """See `RollsOut`: the history to the `bundle` steps that follow; `batch.steps` is the first of the history."""
        return next(self.roll_out(network, scale, batch, self.bundle))

    def roll_out(
        self, network: nn.Module, scale: Normalization, batch: Batch, num_steps: int
    ) -> Iterator[Mapping[str, Tensor]]:
        """See `RollsOut`: `bundle` steps at a time."""
        known = self._given_at(batch, 0)
        for first in range(0, num_steps, self.bundle):
            predicted = self._call(network, scale, batch, known, first)
            yield {
                name: without_steps(predicted[name][:, : num_steps - first], spec).float()
                for name, spec in self._targets.items()
            }
            known = self._behind(known, predicted)

    def _apart(self, batch: Batch, num_calls: int) -> Batch:
        """What each call of a sample needs as a sample of its own: those of the first sample first."""
        starts = self.bundle * torch.arange(num_calls, device=batch.steps.device)
        steps = starts[:, None] + torch.arange(self.history + self.bundle, device=starts.device)
        return Batch(
            simulations=batch.simulations.repeat_interleave(num_calls),
            steps=(batch.steps[:, None] + starts * self.stride).flatten(),
            times=batch.times[:, steps].flatten(0, 1),
            parameters=batch.parameters.repeat_interleave(num_calls, dim=0),
            fields={name: batch.fields[name][:, steps].flatten(0, 1) for name in self._known},
        )

    def _num_calls(self, batch: Batch) -> int:
        """Calls that the time steps of a batch have room for."""
        length = batch.fields[next(iter(self._targets))].shape[1]
        return (length - self.history) // self.bundle

    def _unroll(
        self, network: nn.Module, scale: Normalization, batch: Batch, unrolling: Unrolling
    ) -> dict[str, Tensor]:
        """What the calls that count predict, normalized."""
        predicted: list[dict[str, Tensor]] = []
        known: dict[str, Tensor] = {}
        for number in range(unrolling.calls):
            at = (unrolling.first + number) * self.bundle
            if number % unrolling.run == 0:
                known = self._given_at(batch, at)
            with torch.no_grad() if number < unrolling.silent else nullcontext():
                made = self._call(network, scale, batch, known, at)
            if number >= unrolling.silent:
                predicted.append(made)
            known = self._behind(known, made)
        counted = self._counted(unrolling)
        return {
            name: self._state.normalize(
                scale,
                name,
                torch.cat([each[name] for each in predicted], dim=1),
                self._before(batch, name, counted),
            )
            for name in self._targets
        }

    def _targets_of(self, scale: Normalization, batch: Batch, unrolling: Unrolling) -> dict[str, Tensor]:
        """What these calls should predict, normalized."""
        counted = self._counted(unrolling)
        steps = slice(self.history + counted.start, self.history + counted.stop)
        return {
            name: self._state.normalize(
                scale, name, self._steps(batch, name, steps), self._before(batch, name, counted)
            )
            for name in self._targets
        }

    def _counted(self, unrolling: Unrolling) -> slice:
        """The steps behind the history that are in the loss."""
        first = unrolling.first + unrolling.silent
        return slice(first * self.bundle, (unrolling.first + unrolling.calls) * self.bundle)

    def _before(self, batch: Batch, name: str, steps: slice) -> Tensor:
        """The solver's step before each of some steps behind the history."""
        before = slice(self.history - 1 + steps.start, self.history - 1 + steps.stop)
        return self._steps(batch, name, before)

    def _steps(self, batch: Batch, name: str, steps: slice) -> Tensor:
        """Some steps of a field to be learned, as the solver sent them, `widened`."""
        return widened(steps_of(batch.fields[name], self._targets[name])[:, steps])

    def _given_at(self, batch: Batch, at: int) -> dict[str, Tensor]:
        """A history of the solver's, that begins at a step of the window: of the fields to be learned."""
        steps = slice(at, at + self.history)
        return {name: self._steps(batch, name, steps) for name in self._targets}

    def _behind(self, known: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The last steps of those that are known and those that were made."""
        return {name: torch.cat([known[name], made[name]], dim=1)[:, -self.history :] for name in self._targets}

    def _call(
        self, network: nn.Module, scale: Normalization, batch: Batch, known: Mapping[str, Tensor], at: int
    ) -> dict[str, Tensor]:
        """One call: the steps that follow, in original units, [B, bundle, C, *grid].

        Args:
            network: called once.
            scale: of what it is given and what it returns.
            batch: of the inputs, the parameters and the time.
            known: the history, in original units, [B, history, C, *grid].
            at: the step of the window that the history begins with.
        """
        steps = slice(at, at + self.history)
        seen = {**known, **{name: steps_of(batch.fields[name], spec)[:, steps] for name, spec in self._inputs.items()}}
        given: dict[str, object] = {
            "fields": {name: stacked(each_step(scale.normalize, name, seen[name])) for name in self._known},
            **self._parameters.normalized(scale, batch),
            **self._static.given(scale, self.problem, batch),
        }
        if self.problem.time:
            given["time"] = scale.normalize_steps(batch.steps + (at + self.history - 1) * self.stride)
        made = network(**given)
        shapes = self.problem.targets.items()  # not len() below: an export would take it for a constant
        check_shapes(made, {name: (known[name].shape[0], shape.components, *shape.grid) for name, shape in shapes})
        return {
            name: self._state.after(scale, name, known[name][:, -1:], unstacked(made[name], self.bundle))
            for name in self._targets
        }


def _shape(spec: FieldSpec, num_steps: int) -> FieldShape:
    one = shape_of(spec)
    return replace(one, components=num_steps * one.components, steps=num_steps)


def _window(
    history: int, horizon: int | None, bundle: int, stride: int, window: Mapping[str, int | None] | None
) -> Window:
    """What a sample holds.

    Raises:
        ValueError: a number below 1, a length without room for whole calls, or one that contradicts the horizon.
    """
    numbers = {"history": history, "horizon": horizon, "bundle": bundle, "stride": stride}
    if wrong := [f"{name} = {number}" for name, number in numbers.items() if number is not None and number < 1]:
        raise ValueError(f"the task has {', '.join(wrong)}: give numbers of 1 or more")
    own = history + (1 if horizon is None else horizon) * bundle
    length = (window or {}).get("length") or own
    calls, rest = divmod(length - history, bundle)
    if calls < 1 or rest:
        raise ValueError(
            f"a window of {length} time steps has no room for a history of {history} and calls of {bundle} steps each: "
            f"give history + horizon · bundle, as {own}"
        )
    if horizon is not None and length != own:
        raise ValueError(
            f"a window of {length} time steps has room for {calls} calls, but the horizon is {horizon}: give one of "
            "the two"
        )
    return wanted(window, length=length, stride=stride, predicted=calls * bundle)
