"""`WindowForming`: makes windows of the time steps that it is given, and hands them on.

Which windows are complete is not decided here (`WindowTally`); this is about memory. Where a time step can be in one
window only, it is assembled in its place there, and nothing is copied. Where windows overlap, it is assembled by
itself, and copied into each window when that is complete: so half-formed windows take the memory of the steps between
the first that is still needed and the last, not that of all windows which have begun.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from melissa_like.assembly.consumers import Consumer
from melissa_like.errors import UnfitSampleError
from melissa_like.records import FieldSpec, FormedWindows, Layout, Sample, SampleKey, Window

__all__ = ["UnfitWindowError", "WindowForming"]

Fields: TypeAlias = tuple[npt.NDArray[Any], ...]

#: Memory of time steps that is kept for others: fresh memory costs its page faults.
_MOST_KEPT = 64


class UnfitWindowError(UnfitSampleError):
    """A window must not be learned from that is complete with a time step; others may have been taken.

    Args:
        message: what is wrong with it.
        drops: it alone is given up; else its simulation fails.
        lost: the windows that must not be learned from, by their first steps.
        delivered: keys of those that are delivered.
    """

    def __init__(self, message: str, *, drops: bool, lost: tuple[int, ...], delivered: tuple[SampleKey, ...]) -> None:
        super().__init__(message, drops=drops)
        self.lost = lost
        self.delivered = delivered


class WindowForming:
    """A consumer of time steps that hands windows on, each when its last step has come.

    Args:
        then: takes the windows: its memory has an axis of steps in front of each field.
        layout: of a time step.
        window: what a sample is.
        num_steps: of a simulation: no window goes beyond; None: not known.
        give_back: called with simulation and first step: the memory of a window that will not come is free again.
    """

    def __init__(
        self,
        then: Consumer,
        layout: Layout,
        window: Window,
        *,
        num_steps: int | None,
        give_back: Callable[[int, int], None],
    ) -> None:
        self._then = then
        self._fields = layout.fields
        self._sized: dict[int, tuple[FieldSpec, ...]] = {}  # of simulations that have their own sizes
        self._window = window
        self._num_steps = num_steps
        self._give_back = give_back
        self._overlaps = window.overlaps
        self._steps: defaultdict[int, dict[int, Fields]] = defaultdict(dict)  # own memory, by simulation and step
        self._times: defaultdict[int, dict[int, float]] = defaultdict(dict)
        self._spare: list[Fields] = []
        self._taken: Sample | None = None  # the time step that came last, and what is to be done with it
        self._to_form: list[int] = []
        self._formed: Sample | None = None
        self._delivered: list[SampleKey] = []
        self._lost: list[int] = []
        self._why_lost: UnfitSampleError | None = None

    @property
    def handed_over(self) -> Sequence[SampleKey]:
        """Of a time step that waits for room: the windows that are delivered all the same."""
        return self._delivered

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """The sizes of a simulation from now on; its windows have the same."""
        if self._sized.get(simulation, layout.fields) != layout.fields:  # steps of an older attempt are of no use now
            self._steps.pop(simulation, None)
        self._sized[simulation] = layout.fields
        self._then.begin(simulation, attempt, layout)

    def reserve(self, simulation: int, attempt: int, step: int) -> Fields:
        """The place of a time step in the one window that can hold it, or memory of its own."""
        holding = () if self._overlaps else self._window.holding(step, self._num_steps)
        if not holding:
            return self._own_memory(simulation, step)
        first = holding[0]
        position = (step - first) // self._window.stride
        return tuple([values[position] for values in self._then.reserve(simulation, attempt, first)])

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        """Form the windows that are complete with a time step, and hand them on one by one.

        Blocks while there is no room for one, `timeout_s` at most; the call is made again, and goes on with that one.

        Raises:
            UnfitWindowError: the next one refuses a window. If it drops it, the others have been handed on.
        """
        if sample is not self._taken:
            assert sample.windows is not None, "a window came to be formed into windows"
            self._begin(sample, sample.windows)
        while self._formed is not None or self._to_form:
            if self._formed is None:
                self._formed = self._form(sample, self._to_form.pop(0))
            try:
                keys = self._then.take(self._formed, timeout_s)
            except UnfitSampleError as error:
                self._lose(self._formed.key, error)
            else:
                if keys is None:
                    return None
                self._delivered += keys
            self._formed = None
        self._release(sample)
        if self._why_lost is not None:
            raise self._unfit(self._why_lost)
        return tuple(self._delivered)

    def give_back(self, simulation: int, step: int) -> None:
        """A time step will not be taken: memory of its own is free again."""
        taken = self._taken
        if taken is None or (taken.key.simulation, taken.key.step) != (simulation, step):
            self._keep(self._steps[simulation].pop(step, None))

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation: what it has of half-formed windows is free again."""
        for fields in self._steps.pop(simulation, {}).values():
            self._keep(fields)
        self._times.pop(simulation, None)
        self._sized.pop(simulation, None)
        self._then.forget(simulation)

    def close(self) -> None:
        """Close the next one."""
        self._then.close()

    def _own_memory(self, simulation: int, step: int) -> Fields:
        """The same for a newer attempt, which overwrites what the older had sent."""
        steps = self._steps[simulation]
        if step not in steps:
            new = self._spare.pop() if self._spare else None
            specs = self._sized.get(simulation, self._fields)
            steps[step] = new or tuple(np.empty(spec.shape, spec.numpy_dtype) for spec in specs)
        return steps[step]

    def _begin(self, sample: Sample, windows: FormedWindows) -> None:
        simulation = sample.key.simulation
        self._taken, self._formed = sample, None
        self._to_form = [*windows.complete]
        self._delivered, self._lost, self._why_lost = [], [], None
        self._times[simulation][sample.key.step] = sample.time
        if not self._overlaps:
            for first in windows.given_up:
                self._give_back(simulation, first)

    def _form(self, sample: Sample, first: int) -> Sample:
        """A window of the steps that are there: the only copy, if any."""
        simulation = sample.key.simulation
        fields, steps = self._then.reserve(simulation, sample.attempt, first), self._window.steps_from(first)
        if self._overlaps:
            there = self._steps[simulation]
            for position, step in enumerate(steps):
                for target, values in zip(fields, there[step], strict=True):
                    target[position] = values
        times = self._times[simulation]
        return Sample(
            key=SampleKey(simulation, first),
            attempt=sample.attempt,
            purpose=sample.purpose,
            time=times[first],
            times=np.array([times[step] for step in steps]),
            parameters=sample.parameters,
            fields=fields,
            static=sample.static,
        )

    def _release(self, sample: Sample) -> None:
        """The steps that no window needs any more."""
        assert sample.windows is not None
        steps, times = self._steps[sample.key.simulation], self._times[sample.key.simulation]
        for step in sample.windows.spent:
            self._keep(steps.pop(step, None))
            times.pop(step, None)

    def _keep(self, fields: Fields | None) -> None:
        if fields is not None and not self._sized and len(self._spare) < _MOST_KEPT:
            self._spare.append(fields)

    def _lose(self, key: SampleKey, error: UnfitSampleError) -> None:
        """A window must not be learned from; unless it alone is given up, what is left of the step is as well.

        A window whose simulation fails keeps its memory: another attempt of a deterministic solver sends only what the
        window lacked, and `forget` gives it back otherwise.
        """
        self._why_lost = error
        self._lost.append(key.step)
        if error.drops:
            self._give_back(key.simulation, key.step)
        else:
            self._to_form.clear()
            self._formed = None
            raise self._unfit(error) from error

    def _unfit(self, error: UnfitSampleError) -> UnfitWindowError:
        return UnfitWindowError(str(error), drops=error.drops, lost=tuple(self._lost), delivered=tuple(self._delivered))
