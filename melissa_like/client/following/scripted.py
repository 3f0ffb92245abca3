"""A run without a program, for tests of readers."""

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["ScriptedRun"]


class ScriptedRun:
    """The twin of a program's run: each `wait` does the next of its acts; after the last one the program has ended.

    So a reader is tested without a process and without sleeping, at each state of the folder that matters to it: a file
    half-written, complete, renamed.

    Args:
        folder: an existing folder, in which the acts write.
        acts: what the program does between two looks of the reader. What an act returns is printed; what it raises,
            `wait` raises, as it does when the program fails.
        parameters: of the simulation.
        shapes: of the declared fields.
        static: of those that are sent once.
    """

    def __init__(
        self,
        folder: Path,
        *acts: Callable[[], str | None],
        parameters: Mapping[str, float] | None = None,
        shapes: Mapping[str, tuple[int | str, ...]] | None = None,
        static: Mapping[str, tuple[int | str, ...]] | None = None,
    ) -> None:
        self.folder = folder
        self.parameters: Mapping[str, float] = dict(parameters or {})
        self.shapes: Mapping[str, tuple[int | str, ...]] = dict(shapes or {})
        self.static: Mapping[str, tuple[int | str, ...]] = dict(static or {})
        self._acts = deque(acts)
        self._printed = ""

    def wait(self) -> bool:
        """Do the next act; see `Run.wait`. The last one returns False: a program may end before a reader looks."""
        if self._acts:
            self._printed += self._acts.popleft()() or ""
        return bool(self._acts)

    def lines(self) -> list[str]:
        """What the acts have printed since the last call; see `Run.lines`."""
        *complete, begun = self._printed.split("\n")
        if not self._acts:
            complete, begun = [*complete, *([begun] if begun else [])], ""
        self._printed = begun
        return complete
