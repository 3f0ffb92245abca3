"""The pictures of fields on a mesh: coloured triangles, or points where nobody says which of them belong together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.monitoring.comparison import LABELS, looks_of
from melissa_like.monitoring.figures import new_figure

__all__ = ["Mesh", "draw_mesh_field"]

_MOST_ROWS = 3
_SPACE = 3  # dimensions
_CORNERS = 3  # of a triangle
#: Of points in space those are shown whose last coordinate lies in so much of its range, around that of the point
#: nearest to its middle: a mesh of one layer has none there.
_SLICE = 1 / 3
#: Area of all points of a picture together, in points squared.
_INK = 20_000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """Where the values of a field are.

    Attributes:
        coordinates: of the points, [2, N], or [3, N], of which a slice is shown.
        triangles: numbers of their corners, [3, M], or of quadrilaterals in the order around them, [4, M], in the
            plane; None: not known.
    """

    coordinates: npt.NDArray[Any]
    triangles: npt.NDArray[Any] | None = None

    def draw(self, axes: Any, values: npt.NDArray[Any], **look: Any) -> Any:
        """Values of the points, [N], in axes of matplotlib: what a colour bar is made from."""
        axes.set_aspect("equal")
        axes.set(xticks=[], yticks=[])
        if len(self.coordinates) < _SPACE and self.triangles is not None:
            return axes.tripcolor(*self.coordinates, values, triangles=self._thirds(), shading="gouraud", **look)
        shown = self._slice()
        size = min(_INK / len(shown), 40.0)
        return axes.scatter(*self.coordinates[:2, shown], c=values[shown], s=size, edgecolors="none", **look)

    def _thirds(self) -> npt.NDArray[Any]:
        """Triangles [M, 3]; a quadrilateral is two."""
        assert self.triangles is not None
        if len(self.triangles) == _CORNERS:
            return self.triangles.T
        return np.concatenate([self.triangles[:3].T, self.triangles[[0, 2, 3]].T])

    def _slice(self) -> npt.NDArray[Any]:
        """Numbers of the points that are shown."""
        if len(self.coordinates) < _SPACE:
            return np.arange(self.coordinates.shape[1])
        height = self.coordinates[-1]
        middle = height[np.argmin(np.abs(height - (height.min() + height.max()) / 2))]
        return np.flatnonzero(np.abs(height - middle) <= _SLICE / 2 * np.ptp(height))


def draw_mesh_field(
    path: Path, name: str, title: str, mesh: Mesh, predicted: npt.NDArray[Any], true: npt.NDArray[Any]
) -> None:
    """A predicted field on a mesh, the solver's, and the error, a row for each component.

    Args:
        path: of the PNG.
        name: of the field.
        title: what is shown, beside the name.
        mesh: where the values are.
        predicted: [N] or [components, N], original units.
        true: the same, from a held-out simulation.
    """
    known, made = np.atleast_2d(true), np.atleast_2d(predicted)
    num_rows = min(_MOST_ROWS, len(known))
    figure, rows = new_figure(11, 0.6 + 3.2 * num_rows, columns=3, rows=num_rows)
    figure.suptitle(f"{name}, {title}")
    for component, row in enumerate(rows):
        shown = (made[component], known[component], made[component] - known[component])
        for axes, values, label, look in zip(row, shown, LABELS, looks_of(*shown[1:]), strict=True):
            figure.colorbar(mesh.draw(axes, values, **look), ax=axes)
            axes.set_title(label if len(known) == 1 else f"{label}, component {component}")
    figure.savefig(path, dpi=120)
