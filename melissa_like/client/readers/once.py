"""What a reader sends once: arrays that lie beside those of each step and stay the same, or in a file of their own."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from melissa_like.client.beginning import Beginning
from melissa_like.client.following import Found, Run
from melissa_like.client.readers.fields import Array, Name, listed_sources, sources_of
from melissa_like.client.readers.own_file import OwnFile, ReadOwnFile
from melissa_like.client.readers.table import Dialect
from melissa_like.errors import SolverError

__all__ = ["SameMesh", "StaticSources"]


class StaticSources:
    """The option `static` of a reader: for each static field where it comes from, as for `fields`, and which file.

    Args:
        given: the option; None: nothing is sent once.
        others: reads a file of its own whose suffix does not tell the format; None: there is no such file.
        dialect: of tables that are files of their own; None: it is found out.

    Attributes:
        names: of the arrays that lie beside those of each step.

    Raises:
        ValueError: something else.
    """

    def __init__(self, given: Any = None, others: ReadOwnFile | None = None, *, dialect: Dialect | None = None) -> None:
        self._sources = sources_of(given, "static") if given else {}
        self._files = {
            str(field): OwnFile.said(f"static.{field}.file", said["file"], others, dialect or Dialect())
            for field, said in (listed_sources(given, "static") if given else {}).items()
            if isinstance(said, Mapping) and "file" in said
        }
        self._beside = {field: source for field, source in self._sources.items() if field not in self._files}
        self.names: tuple[Name, ...] = tuple(dict.fromkeys(name for s in self._beside.values() for name in s.names))

    def refuse_beside(self, why: str) -> None:
        """Refuse what has no file of its own, of a reader whose steps cannot have it beside them.

        Args:
            why: the end of a sentence, from `and` on.

        Raises:
            ValueError: there is such a field.
        """
        for field in self._beside:
            raise ValueError(
                f"static.{field} names no file, so it would lie in the file of each step beside the fields, {why}: "
                f"write the file that it is in, static: {{{field}: {{file: NAME}}}}"
            )

    def before(self, run: Run, steps: Iterable[Found]) -> Iterator[Found | Beginning]:
        """What is sent once, read when the first step is complete, and the steps; nothing lies beside these.

        Raises:
            SolverError: a file cannot be read, or an array does not fit to its field; or what comes of the steps.
        """
        mesh = SameMesh(self)
        for step in steps:
            yield from mesh.look(run, {}, "")
            yield step

    def beginning_of(self, run: Run, arrays: Mapping[Name, Array], told: str) -> Beginning | None:
        """What is sent once, when the first step is complete; None if there is nothing.

        Args:
            run: whose folder has the files, and whose declared shapes are known.
            arrays: of the first step, by their names in its file.
            told: that file, for messages.

        Raises:
            SolverError: a file is not there or cannot be read; an array does not fit to its field.
        """
        if not self._sources:
            return None
        static = {}
        for field, source in self._sources.items():
            file = self._files.get(field)
            found = arrays if file is None else file.arrays(run.folder, source.names)
            where = f"static field {field!r} in {told if file is None else file.name}"
            static[field] = source.field_of(found, run.static.get(field), where)
        return Beginning(static=static)


class SameMesh:
    """Looks at the static arrays of each step of one run.

    Args:
        sources: what is sent once.
    """

    def __init__(self, sources: StaticSources) -> None:
        self._sources = sources
        self._first: tuple[str, dict[Name, Array]] | None = None

    def look(self, run: Run, arrays: Mapping[Name, Array], told: str) -> Iterator[Beginning]:
        """The beginning, at the first step of the run; nothing at the others. Files of their own are read only then.

        Args:
            run: whose declared shapes are known.
            arrays: of a step, by their names in its file.
            told: the file, for messages.

        Raises:
            SolverError: a file is not there or cannot be read; an array does not fit to its field, or is another than
                at the first step.
        """
        if self._first is None:
            beginning = self._sources.beginning_of(run, arrays, told)
            self._first = told, {name: np.array(arrays[name]) for name in self._sources.names}
            if beginning is not None:
                yield beginning
            return
        file, first = self._first
        for name, array in first.items():
            if not np.array_equal(array, arrays[name]):
                raise SolverError(
                    f"{name!r} in {told} is another than in {file}: what is sent once must stay the same within a "
                    "simulation; if the mesh moves, its points are a field of each time step"
                )
