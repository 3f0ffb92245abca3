"""The time folders of OpenFOAM."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.contents import Contents
from melissa_like.client.readers.fields import MESH_EDGES, Array, Name, sources_of
from melissa_like.client.readers.finding import FieldsOfSteps, Place
from melissa_like.client.readers.foam_file import CellValues, cell_values, read_foam
from melissa_like.client.readers.foam_mesh import FoamMesh
from melissa_like.client.readers.folder import nothing_found, wrong_file
from melissa_like.client.readers.once import SameMesh, StaticSources
from melissa_like.client.readers.own_file import not_there
from melissa_like.client.readers.pattern import Pattern, Placed, files_that_match
from melissa_like.client.readers.series import completion_of, paths_of
from melissa_like.client.readers.steps import StepBook, StepFiles

__all__ = ["OpenFoamTimes"]


class OpenFoamTimes:
    """Reads the values of all cells from the time folders of OpenFOAM, text or binary, compressed or not.

    Steps are counted in the order of the times, which are the physical ones. The first time folder is the input, and no
    step. A vector has the axes (3, cells), a symmetric tensor (6, cells); `select: ":2"` leaves out the third component
    of a plane flow. A program in parallel writes folders `processor0`, `processor1`, ...: with `num_ranks` their cells
    are put into the order of the whole mesh.

    Args:
        fields: for each field its file, as `velocity: U`, or where it comes from: name, shape, order, select, axes.
        complete: `next`: a time is complete when the next one is there; `end`: when the program has ended.
        num_ranks: processes of the program, if it runs in parallel.
        initial: the first time folder is a step too.
        static: for each static field its file in the time folders, as `coordinates: C`, which `writeCellCentres`
            writes, or `mesh:edges`, the two cells of each inner face (2, faces), or where it comes from: as for
            `fields`, numbers_from, and file, if that is not in each time folder, as `0/C`.

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self, *, fields: Any, complete: str = "next", num_ranks: int = 1, initial: bool = False, static: Any = None
    ) -> None:
        self._fields = FieldsOfSteps(sources_of(fields), None)
        self._static = StaticSources(static, self._read_once)
        self._pattern = Pattern("processor{rank}/{time}/{field}" if num_ranks > 1 else "{time}/{field}")
        self._complete = completion_of(complete, self._pattern)
        self._num_ranks = num_ranks
        self._initial = initial

    def __call__(self, run: Run) -> Iterator[Found | Beginning]:
        """Each time once it is complete; what is sent once before the first.

        Raises:
            SolverError: nothing found, or a file that cannot be read, or whose cells are not those of the mesh.
        """
        names = [*self._fields.names, *(name for name in self._static.names if name != MESH_EDGES)]
        files = [*dict.fromkeys(map(str, names))]
        book = StepBook(complete=self._complete, fields=files, num_ranks=self._num_ranks)
        mesh, same, runs = FoamMesh(run.folder), SameMesh(self._static), True
        while runs:
            runs = run.wait()
            for step in book.take(self._listing(run.folder), ended=not runs):
                arrays: dict[Name, Array] = {
                    name: mesh.whole(_pieces(run.folder, step, str(name)), f"{name} at time {step.time:g}")
                    for name in names
                }
                if MESH_EDGES in self._static.names:
                    arrays[MESH_EDGES] = mesh.edges()
                yield from same.look(run, arrays, f"time {step.time:g}")
                place = Place(step.step, step.before, f"time {step.time:g}", step.time)
                yield self._fields.found(run, arrays, place, paths_of(run.folder, step))
        if not book.num_taken:
            where = " of processor0, processor1, ..." if self._num_ranks > 1 else ""
            raise nothing_found(run.folder, f"files {', '.join(files)} in time folders{where} after the first time")

    def _read_once(self, folder: Path, file: str, names: Sequence[Name]) -> Contents:
        """The values of all cells from one file of the case, or one of each process."""
        pieces: dict[int | None, CellValues] = {}
        for rank in range(self._num_ranks) if self._num_ranks > 1 else [None]:
            name = file if rank is None else f"processor{rank}/{file}"
            there = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
            if not there:
                raise not_there(folder, name)
            pieces[rank] = _values_in(there[0])
        if len(names) != 1:
            raise wrong_file(folder / file, f"it holds one field, and {', '.join(map(str, names))} are needed")
        return Contents({names[0]: FoamMesh(folder).whole(pieces, file)})

    def _listing(self, folder: Path) -> list[Placed]:
        """All files in time folders but the first, compressed or not."""
        placed = [*files_that_match(folder, self._pattern)]
        first = min((each.key for each in placed), default=())
        return [
            replace(each, field=(each.field or "").removesuffix(".gz"))
            for each in placed
            if self._initial or each.key > first
        ]


def _pieces(folder: Path, step: StepFiles, field: str) -> Mapping[int | None, CellValues]:
    """The values of a field by process."""
    return {rank: _values_in(folder / name) for (of, rank), name in step.files.items() if of == field}


def _values_in(path: Path) -> CellValues:
    try:
        return cell_values(read_foam(path))
    except ValueError as error:
        raise wrong_file(path, error) from error
