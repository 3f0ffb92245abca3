"""Meshes: VTK's files, EnSight, XDMF."""

from collections.abc import Iterator
from typing import Any

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.fields import MESH_CELLS, MESH_EDGES, sources_of
from melissa_like.client.readers.finding import FieldsOfSteps, Place
from melissa_like.client.readers.folder import nothing_found
from melissa_like.client.readers.mesh_file import MeshFile, read_mesh
from melissa_like.client.readers.once import SameMesh, StaticSources
from melissa_like.client.readers.own_file import own_file
from melissa_like.client.readers.pattern import Pattern, files_that_match
from melissa_like.client.readers.series import FileSeries, completion_of, paths_of, told_of
from melissa_like.client.readers.steps import StepBook

__all__ = ["MeshFiles"]


class MeshFiles:
    """Reads what PyVista reads: VTK (`.vtu .pvtu .vtp .vti .vtr .vts .vtk`), `.pvd`, EnSight `.case`, `.xdmf`, `.e`.

    It needs the extra `readers`. A file is one step, or, as EnSight's and XDMF's, all of them: then its name has no
    placeholder, and it is read when the program has ended. A vector has the axes (components, points); `select: ":2"`
    leaves out the third component of a plane flow. The points of a structured grid are in VTK's order, the first
    direction fastest; the blocks of a file follow one another.

    Args:
        files: pattern of the names, as `out_{step}.vtu`.
        fields: for each field its array in the file, `points:T` or `cells:T` where both have one of the name, or where
            it comes from: name, shape, order, select, axes.
        complete: `next`: a file is complete when the next one is there; `renamed`: as soon as it is there; `end`: when
            the program has ended. The default is `next`, and `end` for one file.
        time: name of the time in the file, the time from one step number to the next, or a list of times; None: what
            the file tells as its time, if it does.
        num_ranks: ranks that write a file each: `{rank}` in the pattern; their points follow one another.
        static: for each static field an array of the files, or a part of the mesh: `mesh:points` (3, points),
            `mesh:cells` (corners, cells), `mesh:edges` (2, edges), or where it comes from: as for `fields`,
            numbers_from, and file, if that is not the one of each step.

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self,
        *,
        files: str,
        fields: Any,
        complete: str | None = None,
        time: Any = None,
        num_ranks: int = 1,
        static: Any = None,
    ) -> None:
        sources = sources_of(fields)
        self._static = StaticSources(static, own_file(read_mesh))
        if num_ranks > 1 and {MESH_CELLS, MESH_EDGES}.intersection(self._static.names):
            raise ValueError(
                f"static reads {MESH_CELLS} or {MESH_EDGES}, and num_ranks is {num_ranks}: each rank's file numbers "
                "its points from 0, so let one rank write the whole mesh, into a file of its own: {file: NAME, name: "
                f"{MESH_EDGES}}}"
            )
        self._pattern = Pattern(files)
        self._complete = completion_of(complete, self._pattern)
        self._fields = FieldsOfSteps(sources, time)
        #: Files of a step each; None: one file with all of them.
        self._series: FileSeries | None = None
        if self._pattern.is_ordered or num_ranks > 1:
            self._series = FileSeries(
                files, sources, complete=complete, time=time, num_ranks=num_ranks, join=-1, static=self._static
            )

    def __call__(self, run: Run) -> Iterator[Found | Beginning]:
        """Each step once it is complete; what is sent once before the first.

        Raises:
            ConfigurationError: PyVista is not installed.
            SolverError: nothing found, or a file that cannot be read, lacks an array, or has another mesh.
        """
        return self._all_steps(run) if self._series is None else self._series.follow(run, read_mesh)

    def _all_steps(self, run: Run) -> Iterator[Found | Beginning]:
        book, same, runs = StepBook(complete=self._complete), SameMesh(self._static), True
        while runs:
            runs = run.wait()
            for files in book.take(files_that_match(run.folder, self._pattern), ended=not runs):
                paths = paths_of(run.folder, files)
                mesh = MeshFile(paths[0])
                for step, time in enumerate(mesh.times or [None]):
                    point = step if mesh.times else None
                    contents = mesh.read([*self._fields.names, *self._fields.times, *self._static.names], point)
                    yield from same.look(run, contents.arrays, f"step {step} of {told_of(files)}")
                    place = Place(step, step, told_of(files), contents.time if time is None else time)
                    yield self._fields.found(run, contents.arrays, place)
        if not book.num_taken:
            raise nothing_found(run.folder, f"the file {self._pattern.text}")
