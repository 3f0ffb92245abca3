"""`WindowTally`: which windows of a simulation are complete, and which time steps they still need. Pure."""

from collections.abc import Collection, Iterable

from melissa_like.assembly.progress import CompletedSteps
from melissa_like.records import FormedWindows, Window

__all__ = ["WindowTally"]


class WindowTally:
    """The windows of one simulation, by their first steps; each becomes complete once, or is given up.

    A window is *formed* when all its steps are there; it is not formed again, whatever comes later. Until then its
    steps must all come of one attempt, unless the solver is deterministic.

    Args:
        window: what a sample is.
        num_steps: of the simulation: no window goes beyond; None: not known.
        mixes: the solver is deterministic, so that what one attempt lacks may come of another.
        formed: windows that were formed before, with the distance `window.hop`; None: none.

    Attributes:
        formed: the windows that are formed or given up.
    """

    __slots__ = ("_given_up", "_left", "_mixes", "_num_steps", "_spent", "_uses", "_window", "formed")

    def __init__(
        self, window: Window, *, num_steps: int | None, mixes: bool = False, formed: CompletedSteps | None = None
    ) -> None:
        self._window = window
        self._num_steps = num_steps
        self._mixes = mixes
        self.formed = CompletedSteps(window.hop) if formed is None else formed
        self._left: dict[int, int] = {}  # steps that a window lacks, of those that have begun
        self._uses: dict[int, int] = {}  # windows to be formed that hold a step, of those that are there
        self._given_up: list[int] = []
        self._spent: list[int] = []

    @property
    def num_held(self) -> int:
        """Time steps that are there and that a window still needs."""
        return len(self._uses)

    def add(self, step: int) -> FormedWindows:
        """A time step is complete; what that makes of the windows."""
        return self._told(self._count(step))

    def retract(self, step: int, formed: FormedWindows, delivered: Collection[int] = ()) -> None:
        """A time step that was added last was not taken, nor what it made of the windows.

        Args:
            step: as it was added.
            formed: what `add` returned.
            delivered: of the windows that it completed, those that stay formed.
        """
        for first in formed.complete:
            if first not in delivered:
                self.formed.discard(first)
        self._given_up += formed.given_up
        there = {*self._uses, *formed.spent} - {step}
        self._left.clear()
        self._uses.clear()
        for one in sorted(there):
            assert not self._count(one), "what is there completes a window"

    def give_up(self, step: int, formed: FormedWindows) -> tuple[int, ...]:
        """A time step that was added last must not be learned from: the windows that hold it, none of which will be.

        Args:
            step: as it was added.
            formed: what `add` returned; nobody has acted on it.
        """
        self._given_up += formed.given_up
        self._spent += formed.spent
        begun = [first for first in self._window.holding(step, self._num_steps) if first not in self.formed]
        for first in begun:
            self._left.pop(first, None)
            self._form(first)
        lost = tuple(sorted({*formed.complete, *begun}))
        self._given_up += lost
        return lost

    def begin_attempt(self, complete: CompletedSteps) -> CompletedSteps:
        """Another attempt begins: windows that are not formed begin anew, unless attempts may be mixed.

        Args:
            complete: the steps that are there.

        Returns:
            Those that need not come again.
        """
        if self._mixes:
            return complete
        self._left.clear()
        self._uses.clear()
        return self.settled_steps()

    def needs(self, step: int) -> bool:
        """Whether a window that is not formed holds a step; true of one that no window holds at all."""
        holding = self._window.holding(step, self._num_steps)
        return not holding or any(first not in self.formed for first in holding)

    def not_needed(self, windows: Iterable[int]) -> list[int]:
        """The steps of some windows that no window needs any more, ascending."""
        steps = {step for first in windows for step in self._window.steps_from(first)}
        return sorted(step for step in steps if not self.needs(step))

    def spend(self, steps: Iterable[int]) -> None:
        """Steps that are not complete, and need not become so."""
        self._spent += steps

    def settled_steps(self) -> CompletedSteps:
        """The steps that another attempt need not send, because all windows that hold them are formed."""
        done = CompletedSteps(1)
        for step in self.not_needed(self.formed):
            done.add(step)
        return done

    def _count(self, step: int) -> list[int]:
        """The windows that are complete with a step."""
        firsts = [first for first in self._window.holding(step, self._num_steps) if first not in self.formed]
        if firsts:
            self._uses[step] = len(firsts)
        else:
            self._spent.append(step)
        complete = []
        for first in firsts:
            left = self._left.get(first, self._window.length) - 1
            if left:
                self._left[first] = left
            else:
                self._left.pop(first, None)
                self._form(first)
                complete.append(first)
        return complete

    def _form(self, first: int) -> None:
        """One that is formed, or given up, needs none of its steps any more."""
        self.formed.add(first)
        for step in self._window.steps_from(first):
            uses = self._uses.get(step)
            if uses is not None and uses > 1:
                self._uses[step] = uses - 1
            elif uses is not None:
                del self._uses[step]
                self._spent.append(step)

    def _told(self, complete: list[int]) -> FormedWindows:
        given_up, spent = tuple(self._given_up), tuple(self._spent)
        self._given_up.clear()
        self._spent.clear()
        return FormedWindows(complete=tuple(complete), given_up=given_up, spent=spent)
