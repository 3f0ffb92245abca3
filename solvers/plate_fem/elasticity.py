"""Plane strain on a triangulation, by quadratic finite elements (scikit-fem)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from skfem import Basis, ElementTriP2, ElementVector, FacetBasis, LinearForm, MeshTri, asm, condense, solve
from skfem.helpers import dot, sym_grad
from skfem.models.elasticity import lame_parameters, linear_elasticity

from melissa_like.solvers.communicator import FloatArray

__all__ = ["Elastic", "von_mises"]

#: The corners of a triangle in its own coordinates, and weights that nobody asks for.
_CORNERS = (np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.full(3, 1 / 6))


class Elastic:
    """A body of one material.

    ∇·σ = 0 with σ = λ (∇·u) I + 2 μ ε(u), where λ and μ follow from Young's modulus and Poisson's ratio. Displacements
    are quadratic on each triangle, whose sides are straight. Where the edge is neither held nor pulled it is free.

    Args:
        points: [N, 2].
        triangles: [M, 3], counter-clockwise.
        edges: parts of the edge by name: which of the points [2, n] in the middle of sides belong to it, [n].
        young: Young's modulus.
        poisson: Poisson's ratio, below 0.5.
    """

    def __init__(
        self,
        points: FloatArray,
        triangles: npt.NDArray[Any],
        edges: Mapping[str, Callable[[FloatArray], npt.NDArray[np.bool_]]],
        *,
        young: float,
        poisson: float,
    ) -> None:
        mesh = MeshTri(np.ascontiguousarray(points.T), np.ascontiguousarray(triangles.T))
        self._mesh = mesh.with_boundaries(dict(edges))
        self._lame = lame_parameters(young, poisson)
        self._basis = Basis(self._mesh, ElementVector(ElementTriP2()))

    def unknowns(
        self, held: Mapping[str, Callable[[FloatArray], FloatArray]], pulled: Mapping[str, tuple[float, float]]
    ) -> FloatArray:
        """The coefficients of the displacement, for the methods below.

        Args:
            held: displacements of parts of the edge, one at least: from places [2, n] to [2, n].
            pulled: tractions on others: the force per area along x and along y.
        """
        basis = self._basis
        stiffness = linear_elasticity(*self._lame).assemble(basis)
        load, known, fixed = basis.zeros(), basis.zeros(), []
        for name, traction in pulled.items():
            load += asm(_pull(traction), FacetBasis(self._mesh, basis.elem, facets=name))
        along = np.zeros(basis.N, dtype=int)
        along[np.concatenate([basis.nodal_dofs[1], basis.facet_dofs[1]])] = 1
        for name, prescribed in held.items():
            numbers = basis.get_dofs(name).flatten()
            known[numbers] = prescribed(basis.doflocs[:, numbers])[along[numbers], np.arange(len(numbers))]
            fixed.append(numbers)
        found: FloatArray = solve(*condense(stiffness, load, x=known, D=np.unique(np.concatenate(fixed))))
        return found

    def displacement(self, unknowns: FloatArray) -> FloatArray:
        """At the points, [2, N]."""
        found: FloatArray = unknowns[self._basis.nodal_dofs]
        return found

    def stress(self, unknowns: FloatArray) -> FloatArray:
        """σ_xx, σ_yy and σ_xy at the points, [3, N]: the mean over the triangles that meet there."""
        at_corners = Basis(self._mesh, self._basis.elem, quadrature=_CORNERS)
        strain = sym_grad(at_corners.interpolate(unknowns))
        lame, shear = self._lame
        pressure = lame * (strain[0, 0] + strain[1, 1])
        parts = (pressure + 2 * shear * strain[0, 0], pressure + 2 * shear * strain[1, 1], 2 * shear * strain[0, 1])
        corners = self._mesh.t.T.ravel()
        met = np.bincount(corners)
        return np.stack([np.bincount(corners, part.ravel()) / met for part in parts])


def von_mises(stress: FloatArray, poisson: float) -> FloatArray:
    """Von Mises' equivalent stress in plane strain, [N], from σ_xx, σ_yy and σ_xy, [3, N].

    √(((σ_xx − σ_yy)² + (σ_yy − σ_zz)² + (σ_zz − σ_xx)²) / 2 + 3 σ_xy²) with σ_zz = ν (σ_xx + σ_yy).
    """
    xx, yy, xy = stress
    zz = poisson * (xx + yy)
    found: FloatArray = np.sqrt(((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 2 + 3 * xy**2)
    return found


def _pull(traction: tuple[float, float]) -> Any:
    force = np.array(traction)[:, None, None]
    return LinearForm(lambda v, w: dot(force, v))
