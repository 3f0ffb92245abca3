"""What a reader is given, and what it gives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from melissa_like.client.beginning import Beginning

__all__ = ["Found", "Reader", "Run"]


class Found(NamedTuple):
    """A complete time step that a reader has found.

    Attributes:
        step: its number, from 0, growing.
        fields: arrays by field name, as a generator yields them: whole fields, or `Part`s with their offset.
        time: physical time, if the program tells one.
        files: what the step was read from and nothing else needs: removed once the step is sent, with
            `solver.remove_sent_files`.
    """

    step: int
    fields: Mapping[str, Any]
    time: float | None = None
    files: Sequence[Path] = ()


class Run(Protocol):
    """One execution of the program, as its reader sees it.

    Attributes:
        folder: where it runs; what it writes is looked for here.
        parameters: of the simulation, by name.
        shapes: as declared under `solver.fields`, by field name, components first; a name for a size that differs
            between simulations.
        static: the same of the fields that each simulation sends once.
    """

    folder: Path
    parameters: Mapping[str, float]
    shapes: Mapping[str, tuple[int | str, ...]]
    static: Mapping[str, tuple[int | str, ...]]

    def wait(self) -> bool:
        """Sleep a little, until something may be new.

        Returns:
            Whether the program runs. Once it has ended, False, again and again: then all that it wrote and printed is
            there and complete, and a reader looks a last time.

        Raises:
            SolverError: the program failed.
            StudyStoppedError: the study has ended.
        """
        ...

    def lines(self) -> list[str]:
        """The complete lines that the program has printed to stdout since the last call, without their ends.

        A reader that wants them calls it after each `wait`. When the program has ended, its last line counts as
        complete.
        """
        ...


#: Reads one run: yields its steps in order, while it runs, and returns when the program has ended. Static fields come
#: before the first step, in a `Beginning`; extents that it leaves out follow from the arrays.
Reader = Callable[[Run], Iterable[Found | Beginning]]
