"""The Gray-Scott reaction: two concentrations on a periodic square that form spots, stripes and waves.

Equation: ∂u/∂t = D_u Δu − u v² + F (1 − u), ∂v/∂t = D_v Δv + u v² − (F + k) v. The feed F brings u in, the reaction
turns u into v, feed and kill k take v away.

Discretisation: `grid_size`² points at distance h = side / grid_size; five-point Laplacian, Heun's method; float64.
Second order in time and in h. A time step Δt, from one sent field to the next, is cut into equal substeps of Heun's
method, stable up to h_t = 2 / (8 D / h² + F + k + 1). The blocks of the ranks swap halos twice a substep; the fields
have the same bits on any number of ranks.

Boundary convention: periodic. In a field `concentration[c, i, j]` lies at y = i h, x = j h; c = 0 is u, c = 1 is v.
Plot it with `origin="lower"`.

The field: one of two components, not two fields. u and v are known at the same points and times, no step of one is
worth anything without the other, and a network on a grid takes both as channels. They are normalized one by one all the
same, and a time step is half as many messages.

Parameters: `feed` and `kill`; `seed`, any number, gives the places and widths of the spots of v in the initial field
(`solvers.seeds`). `u_diffusivity` and `v_diffusivity` are options that may be drawn as parameters too. A surrogate has
no use for the seed: it is given the initial field.

Good values, with the diffusivities 2e-5 and 1e-5 (feed, kill): gliders 0.014, 0.054; spirals 0.018, 0.051; mazes 0.029,
0.057 and 0.04, 0.06; spots that split 0.03, 0.062. For feed in [0.03, 0.045] and kill in [0.059, 0.0615], the
intervals of the study, a pattern grows from any seed and lasts. Above a kill of 0.062 at low feed all v dies out; below
0.058 at high feed the square becomes uniform. In a time step of 25, v changes by half of its norm at first, and by a
twentieth after a time of 1000. With 64 points per unit of length the patterns are of the right kind, but a spot may
split earlier or later than on a finer grid; for converged fields take 128 or more. A simulation of the default options
takes 0.2 s.

The same parameters give the same bits on machines of one kind: where all nodes are alike, `solver.deterministic` may be
set.

Modules, in the order to read them: `solve` (the plug-in), `spots` (the initial field), `reaction_diffusion` (one
substep), `blocks` (the only module that communicates). Everything runs on the calling thread; mpi4py is not imported,
the communicator is handed in.

References: equations and regions, Pearson, "Complex patterns in a simple system" (Science 261, 1993); the pairs of feed
and kill and the spacing of points, the Gray-Scott data of The Well (NeurIPS 2024, arXiv 2412.00568).
"""

from melissa_like.solvers.gray_scott2d.solve import solve

__all__ = ["solve"]
