"""The plug-in: the generator that the framework calls once for each simulation."""

from collections.abc import Iterator, Mapping

import numpy as np

from melissa_like.client import Beginning
from melissa_like.solvers.communicator import Communicator, FloatArray, require_one_rank
from melissa_like.solvers.parameters import read_parameters, require_positive

__all__ = ["PARAMETERS", "solve"]

PARAMETERS = ("hole_x", "hole_y", "radius", "tension", "shear")

_ROUNDING = 1e-9


def solve(
    parameters: Mapping[str, float],
    comm: Communicator,
    *,
    spacing: float = 0.06,
    young: float = 1.0,
    poisson: float = 0.3,
) -> Iterator[Beginning | tuple[int, dict[str, FloatArray]]]:
    """Pull at one plate.

    Args:
        parameters: the five of the package's page.
        comm: anything with a `size`, which must be 1.
        spacing: of the mesh's points far from the hole, in sides of the plate.
        young: Young's modulus, in the unit of the stresses.
        poisson: Poisson's ratio, from 0 to below 0.5.

    Yields:
        First the mesh, as a `Beginning`: the extents `num_points` and `num_triangles`, and the static fields of the
        package's page. Then the one step, `(0, fields)`.

    Raises:
        ValueError: a parameter that is missing, unknown or not finite, a hole that reaches the edge of the plate, an
            option that cannot work, or several ranks.
        ModuleNotFoundError: scikit-fem is not installed.
    """
    try:
        from melissa_like.solvers.plate_fem.elasticity import Elastic, von_mises
        from melissa_like.solvers.plate_fem.mesh import Hole, plate_with_hole
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"plate_fem needs the package {error.name}, which is not installed: pip install 'melissa-like[fem]'",
            name=error.name,
        ) from error

    require_one_rank("plate_fem", comm)
    numbers = read_parameters("plate_fem", parameters, PARAMETERS, {})
    require_positive(spacing=spacing, young=young)
    if not 0 <= poisson < 0.5:
        raise ValueError(f"poisson is {poisson}: give a ratio from 0 to below 0.5")
    hole = Hole(numbers["hole_x"], numbers["hole_y"], numbers["radius"])
    points, triangles = plate_with_hole(hole, spacing)
    on_hole, held, pulled = (
        np.abs(hole.distances(points) - hole.radius) < _ROUNDING,
        points[:, 0] < _ROUNDING,
        points[:, 0] > 1 - _ROUNDING,
    )
    edge = np.stack([on_hole, held, pulled]).astype(float)
    yield Beginning(
        extents={"num_points": len(points), "num_triangles": len(triangles)},
        static={"coordinates": points.T, "triangles": triangles.T, "edge": edge},
    )
    sides = {"left": lambda x: x[0] < _ROUNDING, "right": lambda x: x[0] > 1 - _ROUNDING}
    plate = Elastic(points, triangles, sides, young=young, poisson=poisson)
    found = plate.unknowns({"left": np.zeros_like}, {"right": (numbers["tension"], numbers["shear"])})
    stress = von_mises(plate.stress(found), poisson)
    peak = stress[on_hole].max(keepdims=True)
    yield 0, {"displacement": plate.displacement(found), "stress": stress, "peak_stress": peak}
