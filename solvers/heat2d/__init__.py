"""The heat equation on a square, with five temperatures as parameters: the bundled solver, and the one to copy.

Equation: ∂u/∂t = α Δu on the unit square, uniform at first, each edge held at a temperature of its own (Dirichlet).

Discretisation: `grid_size`² interior points at distance h = 1 / (grid_size + 1); five-point Laplacian, backward Euler,
conjugate gradients without a matrix; float64. First order in time, second order in h, stable for every time step.

Boundary convention: the edges are not part of the grid. In a field `u[i, j]` lies at y = (i + 1) h, x = (j + 1) h:
row 0 is next to the bottom edge, column 0 next to the left one. Plot it with `origin="lower"`.

Parameters, in kelvin, each uniform in [100, 500] in the study that this case comes from: `initial_temperature`,
`left_temperature`, `right_temperature`, `bottom_temperature`, `top_temperature`. Good options: the defaults of `solve`,
with a `grid_size` of 32 to try things, 100 on a laptop, 1000 on a cluster. The square is within 1 K of its steady state
after about t = 0.4.

Modules, in the order to read them: `solve` (the plug-in: parameters in, fields out), `heat_equation` (one time step),
`conjugate_gradient` (the linear system), `rows` (the only module that communicates). `python -m
melissa_like.solvers.heat2d` runs it without a launcher. `native` has the same in C and in Fortran, with mains of their
own. Everything runs on the calling thread; nothing of the framework is imported, and mpi4py not at all: the
communicator is handed in, and `solvers.communicator` says what is used of it.

Reference: "High Throughput Training of Deep Surrogates from Large Ensemble Runs" (SC'23, arXiv 2309.16743).
"""

from melissa_like.solvers.heat2d.solve import solve

__all__ = ["solve"]
