"""A radial dam break by clawpack (pyclaw), whose arrays are (components, *grid) as ours are."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from clawpack import pyclaw, riemann

HALF_WIDTH, INTERVAL = 2.5, 0.05


def solve(parameters: Mapping[str, float], comm: Any, *, num_cells: int, num_steps: int) -> Iterator[tuple[Any, ...]]:
    """Depth and momenta of shallow water; a column of water falls, the walls reflect its wave."""
    solver = pyclaw.ClawSolver2D(riemann.shallow_roe_with_efix_2D)
    solver.limiters = pyclaw.limiters.tvd.MC
    solver.bc_lower[:] = solver.bc_upper[:] = [pyclaw.BC.wall] * 2
    sides = [pyclaw.Dimension(-HALF_WIDTH, HALF_WIDTH, num_cells, name=name) for name in "xy"]
    domain = pyclaw.Domain(sides)
    state = pyclaw.State(domain, solver.num_eqn)
    state.problem_data["grav"] = 1.0
    inside = np.hypot(*domain.grid.p_centers) < parameters["radius"]
    state.q[:] = 0.0
    state.q[0] = np.where(inside, parameters["depth"], 1.0)
    solution = pyclaw.Solution(state, domain)
    for step in range(num_steps):
        if step:
            solver.evolve_to_time(solution, step * INTERVAL)
        yield step, {"depth": state.q[0], "momentum": state.q[1:]}, step * INTERVAL
