"""The mesh of one simulation of a program: its sizes follow from what its reader finds first, and stay."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from melissa_like.client.beginning import Beginning
from melissa_like.client.following.found import Found
from melissa_like.client.parts import Part
from melissa_like.client.points import Scattered
from melissa_like.errors import SolverError

__all__ = ["Declared", "MeshOfRun"]

#: Shapes by the names of fields: numbers, and the name of an extent for a size that each simulation says.
Declared = Mapping[str, tuple[int | str, ...]]


class MeshOfRun:
    """Puts the beginning of a simulation before its first step.

    A reader may yield a `Beginning` first. Extents that it does not give are the sizes of the arrays along the axis
    that is declared with their name, of static fields or of the first step.

    Args:
        shapes: of the fields of a step, as declared.
        static: of the fields that are sent once.
    """

    def __init__(self, shapes: Declared, static: Declared) -> None:
        self._shapes = shapes
        self._static = static
        self._told: Beginning | None = None
        #: Of each extent, and where it was seen; None before the first step.
        self._sizes: dict[str, tuple[int, str]] | None = None

    def ready(self, item: Found | Beginning) -> Iterator[Found | Beginning]:
        """What is to be sent now: nothing, the beginning and the first step, or a step.

        Raises:
            SolverError: a second beginning, or one after a step; arrays that disagree on a size; a step on another
                mesh.
        """
        if isinstance(item, Beginning):
            if self._told is not None or self._sizes is not None:
                raise SolverError(
                    "a Beginning was found after another one or after a time step: a simulation has one mesh, so yield "
                    "it once, before the first Found"
                )
            self._told = item
            return
        if self._sizes is None:
            self._sizes = self._first_sizes(item)
            if self._told is not None or self._sizes or self._static:
                static = {} if self._told is None else self._told.static
                yield Beginning(extents={name: size for name, (size, _) in self._sizes.items()}, static=static)
        else:
            for extent, size, told in _sizes_in(self._shapes, item.fields, f"of time step {item.step}"):
                if extent in self._sizes and self._sizes[extent][0] != size:
                    first, where = self._sizes[extent]
                    raise SolverError(
                        f"{told} has {size} values along {extent}, but {where} has {first}: the mesh must stay the "
                        "same within a simulation; let the program keep it, or bring its results onto the first one"
                    )
        yield item

    def _first_sizes(self, first: Found) -> dict[str, tuple[int, str]]:
        beginning = self._told or Beginning()
        sizes = {name: (size, "the extent that the reader gave") for name, size in beginning.extents.items()}
        found = [
            *_sizes_in(self._static, beginning.static, "that is sent once"),
            *_sizes_in(self._shapes, first.fields, f"of time step {first.step}"),
        ]
        for extent, size, told in found:
            known, where = sizes.setdefault(extent, (size, told))
            if known != size:
                raise SolverError(
                    f"{told} has {size} values along {extent}, but {where} has {known}: all that is on the same points "
                    "has the same size"
                )
        return sizes


def _sizes_in(declared: Declared, arrays: Mapping[str, Any], where: str) -> Iterator[tuple[str, int, str]]:
    """The extents that arrays show: name, size, and which array it is."""
    for name, array in arrays.items():
        shape = declared.get(name, ())
        extent = shape[-1] if shape else None
        if isinstance(extent, str) and not isinstance(array, Part | Scattered):
            given = np.shape(array)
            if len(given) == len(shape):  # else the session says what is wrong
                yield extent, given[-1], f"field {name!r} {where}"
