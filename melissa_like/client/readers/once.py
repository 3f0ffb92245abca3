"""What a reader sends once: arrays that lie beside those of each step, and must stay the same."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from melissa_like.client.beginning import Beginning
from melissa_like.client.following import Run
from melissa_like.client.readers.fields import Array, Name, sources_of
from melissa_like.errors import SolverError

__all__ = ["MESH_CELLS", "MESH_EDGES", "MESH_POINTS", "SameMesh", "StaticSources"]

#: Names of what is no array of a file, but its mesh.
MESH_POINTS, MESH_CELLS, MESH_EDGES = "mesh:points", "mesh:cells", "mesh:edges"


class StaticSources:
    """The option `static` of a reader: for each static field where in a step's file it comes from, as for `fields`.

    Args:
        given: the option; None: nothing is sent once.

    Raises:
        ValueError: something else.
    """

    def __init__(self, given: Any) -> None:
        self._sources = sources_of(given) if given else {}
        self.names: tuple[Name, ...] = tuple(dict.fromkeys(name for s in self._sources.values() for name in s.names))

    def beginning_of(self, run: Run, arrays: Mapping[Name, Array], told: str) -> Beginning | None:
        """What the first step's file holds of it; None if nothing is sent once.

        Raises:
            SolverError: an array does not fit to its field.
        """
        if not self._sources:
            return None
        return Beginning(
            static={
                field: source.field_of(arrays, run.static.get(field), f"static field {field!r} in {told}")
                for field, source in self._sources.items()
            }
        )


class SameMesh:
    """Looks at the static arrays of each step of one run.

    Args:
        sources: what is sent once.
    """

    def __init__(self, sources: StaticSources) -> None:
        self._sources = sources
        self._first: tuple[str, dict[Name, Array]] | None = None

    def look(self, run: Run, arrays: Mapping[Name, Array], told: str) -> Iterator[Beginning]:
        """The beginning, at the first step of the run; nothing at the others.

        Args:
            run: whose declared shapes are known.
            arrays: of a step, by their names in its file.
            told: the file, for messages.

        Raises:
            SolverError: an array does not fit to its field, or is another than at the first step.
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
