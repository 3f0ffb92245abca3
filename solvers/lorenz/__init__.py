"""The Lorenz attractor with its coefficients and its initial state as parameters: three numbers that never repeat.

Equation: dx/dt = σ (y − x), dy/dt = x (ρ − z) − y, dz/dt = x y − β z.

Discretisation: the classical Runge–Kutta scheme of fourth order, float64, `num_substeps` of them in each time step. No
boundary: the field `state` is (x, y, z), of shape [3]. Step k is at time k Δt; step 0 is the initial state.

Parameters: `sigma`, `rho`, `beta`, `initial_x`, `initial_y`, `initial_z`. Good values: those of Lorenz are σ = 10, ρ =
28, β = 8/3; the study draws around them, σ in [8, 12], ρ in [24, 32], β in [2, 3.3], and the initial state from
[−15, 15] × [−15, 15] × [10, 40], the box that the attractor fills. With the defaults of `solve`, h = 0.005. Along a
chaotic trajectory errors grow by a factor of e in about one unit of time, so no scheme has it right for more than about
35 units.

For ρ < 1 the origin attracts everything. For ρ > 1 two more points rest, (±√(β (ρ − 1)), ±√(β (ρ − 1)), ρ − 1); where
ρ > σ (σ + β + 3) / (σ − β − 1), which is 24.7 for Lorenz's σ and β, they are unstable and the motion is chaotic. The
ranges above hold parameters of both kinds.

One rank: three numbers cannot be shared. Nothing of the framework is imported.

References: E. N. Lorenz, "Deterministic Nonperiodic Flow" (1963), equations 25–27. The study is that of
"Simulation-Based Parallel Training" (arXiv 2211.04119); the ranges above are ours.
"""

from melissa_like.solvers.lorenz.solve import solve

__all__ = ["solve"]
