"""Where the values of a field are, from what a simulation has sent once: for pictures."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from melissa_like.monitoring.mesh_figures import Mesh
from melissa_like.records import FieldSpec, Layout

__all__ = ["mesh_of"]

_DIMENSIONS = (2, 3)
_CORNERS = (3, 4)


def mesh_of(layout: Layout, spec: FieldSpec, static: Mapping[str, npt.NDArray[Any]], coordinates: str) -> Mesh | None:
    """The mesh that a field lies on; None: it lies on none that can be drawn.

    Args:
        layout: of the study.
        spec: of the field.
        static: of one simulation, by name: its own, and what all simulations share.
        coordinates: name of the static field that says where the points are, in the plane or in space.
    """
    known = {each.name: each for each in (*layout.static, *(wide.spec for wide in layout.study_wide))}
    places = known.get(coordinates)
    if places is None or len(places.grid) != 1 or places.components not in _DIMENSIONS:
        return None
    if _points_of(places) != _points_of(spec):
        return None
    number = static[coordinates].shape[-1]
    elements = (name for name, each in known.items() if _divides(each, spec, number))
    return Mesh(coordinates=static[coordinates], triangles=next((static[name] for name in elements), None))


def _points_of(spec: FieldSpec) -> str | tuple[int, ...]:
    """On which points a field lies: an extent, or as many as its grid has."""
    return spec.extent or spec.grid


def _divides(elements: FieldSpec, spec: FieldSpec, number: int) -> bool:
    """Whether these are triangles or quadrilaterals of the points that a field lies on."""
    return (
        elements.components in _CORNERS and elements.indexes is not None and elements.indexes in (spec.extent, number)
    )
