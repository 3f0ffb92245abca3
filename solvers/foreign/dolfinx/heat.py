"""Heat in a square by finite elements of dolfinx; each rank sends the points that it owns."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import ufl
from dolfinx import fem, mesh
from dolfinx.fem.petsc import LinearProblem
from mpi4py import MPI

from melissa_like.client import Part

TIME_STEP = 0.02


@cache
def problem(num_cells: int) -> tuple[LinearProblem, fem.Function, fem.Function, dict[str, fem.Constant]]:
    """One time step of backward Euler, made once per job; what differs between simulations are constants of it."""
    square = mesh.create_unit_square(MPI.COMM_WORLD, num_cells, num_cells)
    space = fem.FunctionSpace(square, ("Lagrange", 1))
    now, before = fem.Function(space), fem.Function(space)
    given = {name: fem.Constant(square, 0.0) for name in ("conductivity", "x", "y")}
    u, v, place = ufl.TrialFunction(space), ufl.TestFunction(space), ufl.SpatialCoordinate(square)
    source = 100 * ufl.exp(-50 * ((place[0] - given["x"]) ** 2 + (place[1] - given["y"]) ** 2))
    step = u * v + TIME_STEP * given["conductivity"] * ufl.dot(ufl.grad(u), ufl.grad(v))
    square.topology.create_connectivity(1, 2)
    walls = fem.locate_dofs_topological(space, 1, mesh.exterior_facet_indices(square.topology))
    cold = fem.dirichletbc(0.0, walls, space)
    options = {"ksp_type": "cg", "pc_type": "jacobi"}
    right = (before + TIME_STEP * source) * v * ufl.dx
    return LinearProblem(step * ufl.dx, right, [cold], now, petsc_options=options), now, before, given


def solve(parameters: Mapping[str, float], comm: Any, *, num_cells: int, num_steps: int) -> Iterator[tuple[Any, ...]]:
    """A source at a place that is a parameter heats a cold plate with cold edges."""
    linear, now, before, given = problem(num_cells)
    for name, constant in given.items():
        constant.value = parameters[name]
    now.x.array[:] = before.x.array[:] = 0.0
    first, last = now.function_space.dofmap.index_map.local_range  # the others that a rank has are ghosts
    for step in range(num_steps):
        yield step, {"temperature": Part(now.x.array[: last - first], (first,))}, step * TIME_STEP
        linear.solve()
        now.x.scatter_forward()
        before.x.array[:] = now.x.array
