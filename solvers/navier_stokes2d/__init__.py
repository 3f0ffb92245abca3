"""Navier-Stokes on a periodic square: the vorticity of a flow that is stirred, from a random beginning.

Equation: ∂ω/∂t + u · ∇ω = ν Δω − μ ω + f on the unit square, with ∇ · u = 0 and ω = ∂v/∂x − ∂u/∂y; viscosity ν, linear
drag μ, forcing f constant in time.

Discretisation: pseudo-spectral with (`refinement` · `grid_size`)² points, products dealiased by the 2/3 rule; ETDRK4,
an exponential integrator of fourth order, which solves viscosity and drag exactly; float64. Stable while Δt · 2π K (|u|
+ |v|) ≤ 2.8 in each substep, K being a third of the points along a side. By default the substeps are adapted to the
speed at each time step, half as long as that; a given number is checked at each. Rows are shared among the ranks; a
transform has one Alltoall, and the fields are the same on any number of ranks up to rounding, which a chaotic flow
enlarges in time.

Boundary convention: periodic. In a field `vorticity[i, j]` lies at y = i h, x = j h with h = 1 / grid_size. Plot it
with `origin="lower"`.

Parameters: `seed`, any number, gives the initial vorticity, a Gaussian random field with covariance ∝ (−Δ + τ²)^(−5/2),
and the random forcing (`solvers.seeds`). `viscosity`, `drag`, `forcing_amplitude` and `initial_amplitude` are options
that may be drawn as parameters too. A surrogate has no use for the seed: it is given the fields.

Forcings, with amplitude a and m waves along a side: `kolmogorov`, −a cos(2π m y); `diagonal`, a sin(2π m (x + y) +
π/4); `random`, a Gaussian random field of wave vectors about m long, from the seed. No surrogate can know a random
forcing: send it as a field of its own (`send_forcing`), and declare it under `solver.fields`.

Good values: the defaults of `solve`, with viscosities of 1e-3 and above, amplitudes up to 2, and 48 points along a
side, which are within 0.1 % of the converged field (32 within 1 %); the root mean square of ω is 1 to 3 then. In a time
step of 0.5 the field changes by half of its norm at first, then by a tenth to a third. With a `forcing_amplitude` of
0.5 and less the flow settles into a pair of vortices, with 2 it stays chaotic. Two-dimensional flows gather in the
largest vortices: over long times, or with a random forcing, take a drag of 0.1. The first time step from the random
field is hard to learn; a `spin_up` of 1 leaves it out. The case of Li et al. is `forcing: diagonal`,
`forcing_amplitude: 0.1414`, `forcing_wavenumber: 1`, `initial_amplitude: 0.185`, `time_step: 1`, `grid_size: 64`,
`refinement: 4`, with `viscosity` 1e-3, 1e-4 or 1e-5. The amplitude is that of their program; the covariance in their
paper, 7^(3/2) (−Δ + 49)^(−5/2), has a root mean square of 0.043. A simulation of the default options takes 0.2 s.

The same parameters give the same bits on machines of one kind: where all nodes are alike, `solver.deterministic` may be
set.

Modules, in the order to read them: `solve` (the plug-in), `functions` (initial vorticity and forcings), `vorticity`
(one time step), `solvers.etdrk4` (its method), `slabs` (transforms; the only module that communicates). Everything runs
on the calling thread; nothing of the framework is imported, and mpi4py not at all: the communicator is handed in.

References: the case, Li et al., "Fourier neural operator for parametric partial differential equations" (ICLR 2021,
arXiv 2010.08895, section 5.3), who take Crank-Nicolson with Δt = 1e-4 instead; ETDRK4, Cox and Matthews (J. Comput.
Phys. 176, 2002), Kassam and Trefethen (SIAM J. Sci. Comput. 26, 2005), as in exponax (Koehler et al., arXiv
2411.00180); four transforms, Basdevant (J. Comput. Phys. 50, 1983); Kolmogorov flow as a case of learning, Kochkov et
al. (PNAS 118, 2021).
"""

from melissa_like.solvers.navier_stokes2d.solve import solve

__all__ = ["solve"]
