"""Equations on a periodic line, with functions as parameters: the combined equation, and Kuramoto–Sivashinsky.

Equation: ∂u/∂t + ∂/∂x (α u² − β ∂u/∂x + γ ∂²u/∂x²) = δ(t, x) on a ring of length L. It holds the heat equation (α = γ =
0), Burgers' equation (α = 1/2, γ = 0) and that of Korteweg and de Vries (α = 3, β = 0, γ = 1). The forcing and the
initial condition u(0, x) = δ(0, x) are a sum of sines, δ = Σ A sin(ω t + 2π ℓ x / L + φ).

Discretisation: cell averages. ∂(u²)/∂x is a finite-volume flux (WENO of fifth order, Godunov's flux): without diffusion
shocks form, where a spectral method would oscillate, and this one gives them the right speed and spreads them over two
or three cells. Diffusion and dispersion are multiplications in Fourier space, exact for averages too, and are
integrated exactly (ETDRK4), so they do not bound the time step; the speed of the waves does. The integral of u stays
what it is. Fifth order in space and fourth in time where u is smooth, first order in the mean at a shock. float64.

Boundary convention: periodic. Value j of the field `u`, of shape [num_points], is the average over the cell from
j L / num_points to (j + 1) L / num_points; it lies at the centre. The computation has `refinement` cells in each of
them. Step k is at time k end_time / (num_steps − 1); step 0 is the initial condition.

Parameters: `seed`, a number from which the sum of sines is drawn (`melissa_like.solvers.seeds`), and of `alpha`,
`beta`, `gamma`, `amplitude` those that differ between simulations; the others are options. A surrogate gets the fields
and these coefficients, and not the seed.

Good values: the defaults are those of the paper, L = 16, J = 5 waves, A in [−0.5, 0.5], ω in [−0.4, 0.4], ℓ in {1, 2,
3}, 250 steps to time 4 on 100 points. Its three cases: E1 (`solver=pde1d`) α = 1, β = γ = 0; E2 (`solver=pde1d_e2`)
α = 1, β in [0, 0.2], γ = 0; E3 (`solver=pde1d_e3`) α in [0, 3], β in [0, 0.4], γ in [0, 1]. The authors' program has
α = 1/2 in these units for E1 and E2, and ends E3 at time 2: `solver.solve.alpha=0.5`, `solver.solve.end_time=2`. With a
`refinement` of 2 the relative L2 error was 0.1 to 0.3 % in the mean over the steps of a simulation, and up to 1.5 % in
the steps in which a shock forms. With γ below 0.05 and β below 0.1 a shock sheds waves that 200 cells cannot hold:
refine.

One rank: a simulation takes a fraction of a second. Nothing of the framework is imported.

Modules, in the order to read them: `solve` (the plug-in), `combined_equation` (from one time step to the next), `weno`
(the flux), `solvers.etdrk4` (time), `sines` (functions from numbers), `times`. `kuramoto_sivashinsky` is
the other plug-in, with a page of its own.

References: J. Brandstetter, D. Worrall and M. Welling, "Message Passing Neural PDE Solvers" (ICLR 2022, arXiv
2202.03376), section 4.1, for equation and cases; `etdrk4` and `weno` name theirs.
"""

from melissa_like.solvers.pde1d.kuramoto_sivashinsky import kuramoto_sivashinsky
from melissa_like.solvers.pde1d.solve import solve

__all__ = ["kuramoto_sivashinsky", "solve"]
