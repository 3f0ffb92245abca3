"""Files of meshes, as PyVista reads them."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from melissa_like.client.readers.contents import Contents
from melissa_like.client.readers.fields import MESH_CELLS, MESH_EDGES, MESH_POINTS, Array, Name
from melissa_like.client.readers.folder import without, wrong_file
from melissa_like.client.readers.optional import library
from melissa_like.errors import SolverError

__all__ = ["MeshFile", "read_mesh"]

_READER = "MeshFiles"
#: Under which ParaView's formats keep the time.
_TIME = "TimeValue"
_XML = (".vtu", ".vtp", ".vti", ".vtr", ".vts", ".pvtu", ".pvtp", ".pvti", ".pvtr", ".pvts", ".vtm", ".pvd")
_TAIL_BYTES = 1000
_LEGACY = re.compile(rb"^DATASET .*^(?:POINT_DATA|CELL_DATA) \d", re.MULTILINE | re.DOTALL)
_HEAVY_DATA = re.compile(rb">\s*([^<>:]+\.(?:h5|hdf5|hdf)):")


class MeshFile:
    """A file that is complete: VTK's formats, EnSight, XDMF, PVD and what else PyVista reads.

    Args:
        path: of the file.

    Raises:
        ConfigurationError: PyVista is not installed.
        SolverError: the file is not there, cut off, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _refuse_what_ends_vtk(path)
        with _told_errors(path):
            self._reader: Any = library("pyvista", _READER).get_reader(path)
            self._num_times = int(getattr(self._reader, "number_time_points", 0))
            #: Times of the steps that it holds; none if it has no times.
            self.times = [float(self._reader.time_point_value(point)) for point in range(self._num_times)]

    def read(self, names: Sequence[Name], point: int | None = None) -> Contents:
        """Arrays: [values] of scalars, [components, values] of vectors and tensors.

        Args:
            names: of arrays; `points:NAME` or `cells:NAME` where both have one of the name; `mesh:points`, [3, points],
                `mesh:cells`, [corners, cells], `mesh:edges`, [2, edges], whose values are numbers of points.
            point: position of the time in `times`.

        Raises:
            SolverError: an array is not there, or the file is cut off.
        """
        with _told_errors(self._path):
            if point is not None:
                self._reader.set_active_time_point(point)
            leaves = [*_leaves(self._reader.read())]
        if not leaves:
            raise wrong_file(self._path, "there is no mesh in it")
        arrays = {name: _joined(leaves, str(name), self._path) for name in names}
        told = leaves[0].field_data.get(_TIME)
        return Contents(arrays, None if told is None or np.size(told) != 1 else float(np.ravel(told)[0]))


def read_mesh(path: Path, names: Sequence[Name]) -> Contents:
    """Arrays of a file that holds one step.

    Raises:
        SolverError: as `MeshFile`, or it holds several steps.
    """
    file = MeshFile(path)
    if len(file.times) > 1:
        raise SolverError(
            f"{path} holds {len(file.times)} steps, and its name is of one: write the name of this file alone, without "
            "{step}, {time} or {order}"
        )
    return file.read(names)


@contextmanager
def _told_errors(path: Path) -> Iterator[None]:
    """What VTK says of a file that it cannot read; of some that are cut off it only warns, and invents the rest."""
    pyvista = library("pyvista", _READER)
    told = pyvista.VtkErrorCatcher(raise_errors=False, send_to_logging=False)
    try:
        with told:
            yield
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise wrong_file(path, next((str(event) for event in told.events), error)) from error
    said = [str(event) for event in told.events if "error" in str(event).lower()]
    if said:
        raise wrong_file(path, said[0])


def _refuse_what_ends_vtk(path: Path) -> None:
    """Some files that are cut off, or whose data are not there, end the process in VTK's readers, without a word."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise wrong_file(path, error) from error
    if path.suffix in _XML and b"</VTKFile>" not in content[-_TAIL_BYTES:]:
        raise wrong_file(path, "its last element, </VTKFile>, is not there")
    if path.suffix == ".vtk" and not _LEGACY.search(content):
        raise wrong_file(path, "it has no DATASET with values")
    if path.suffix in (".xdmf", ".xmf"):
        for name in sorted(set(_HEAVY_DATA.findall(content))):
            if not (path.parent / os.fsdecode(name.strip())).exists():
                raise wrong_file(path, f"its data are in {os.fsdecode(name.strip())}, which is not there")


def _leaves(mesh: Any) -> Iterator[Any]:
    if not hasattr(mesh, "n_blocks"):
        yield mesh
        return
    for number in range(mesh.n_blocks):
        if mesh[number] is not None:
            yield from _leaves(mesh[number])


def _joined(leaves: Sequence[Any], name: str, path: Path) -> Array:
    """An array of all blocks, one after the other; their points are numbered on."""
    if name not in (MESH_CELLS, MESH_EDGES):
        return np.concatenate([_array_of(leaf, name, path) for leaf in leaves], axis=-1)
    parts, first = [], 0
    for leaf in leaves:
        parts.append(first + (_cells_of(leaf, path) if name == MESH_CELLS else _edges_of(leaf)))
        first += leaf.n_points
    if len({len(part) for part in parts}) > 1:
        raise _mixed(path)
    return np.concatenate(parts, axis=-1)


def _cells_of(mesh: Any, path: Path) -> Array:
    """The corners of all cells: [corners, cells]."""
    cells = mesh if hasattr(mesh, "celltypes") else mesh.cast_to_unstructured_grid()
    listed = np.asarray(cells.cells, np.int64)  # each with its number of corners in front
    width = 1 + int(listed[0]) if listed.size else 0
    if not width or listed.size % width or (listed[::width] != listed[0]).any():
        raise _mixed(path)
    return listed.reshape(-1, width)[:, 1:].T


def _mixed(path: Path) -> SolverError:
    return SolverError(
        f"{path} has no cells, or cells of several numbers of corners: {MESH_CELLS} is for cells that all have as "
        f"many; write {MESH_EDGES}, or a reader of your own"
    )


def _edges_of(mesh: Any) -> Array:
    """Each edge of a cell once: [2, edges]."""
    lines = mesh.extract_all_edges().lines  # of all points, in their order
    return np.asarray(lines, np.int64).reshape(-1, 3)[:, 1:].T


def _array_of(mesh: Any, name: str, path: Path) -> Array:
    if name == MESH_POINTS:
        return np.asarray(mesh.points).T
    holders = {"points": mesh.point_data, "cells": mesh.cell_data, "data": mesh.field_data}
    there = [(where, inside) for where, holder in holders.items() for inside in holder.keys()]  # noqa: SIM118 - VTK's
    asked, _, bare = name.partition(":")
    found = [(where, inside) for where, inside in there if inside == name or (where == asked and inside == bare)]
    if not found:
        raise without(path, "array", name, [f"{where}:{inside}" for where, inside in there])
    if len(found) > 1:
        options = " or ".join(f"{where}:{inside}" for where, inside in found)
        raise SolverError(f"{path} has several arrays {name!r}: write {options}")
    where, inside = found[0]
    values = np.asarray(holders[where][inside])
    return values.T if values.ndim > 1 else values
