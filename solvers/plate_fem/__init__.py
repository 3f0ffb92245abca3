"""A plate with a hole that is held on one side and pulled at the other: a mesh of its own for every simulation.

Equation: ∇·σ = 0 on [0, 1]² without a disc, with σ = λ (∇·u) I + 2 μ ε(u), ε(u) = (∇u + ∇uᵀ) / 2, in plane strain; λ =
E ν / ((1 + ν) (1 − 2 ν)), μ = E / (2 (1 + ν)). The left side is held, u = 0; at the right one the traction (tension,
shear) acts; the rest of the edge and that of the hole are free. Lengths are in sides of the plate, stresses and Young's
modulus E in one unit of yours.

Discretisation: an unstructured triangulation, finer around the hole (`mesh.plate_with_hole`), quadratic elements of
scikit-fem, a direct solver. Number and place of the points depend on the hole; with the spacing of 0.06 there are 300
to 450. What is sent are values at the points, not those of the quadratic elements between them.

Fields, of the only step: `displacement` [2, num_points]; `stress`, that of von Mises, [num_points]; `peak_stress`, the
largest of these on the hole's edge, [1] (in the corners of the held side the exact one is infinite). Static fields:
`coordinates` [2, num_points]; `triangles` [3, num_triangles], the numbers of their corners; `edge` [3, num_points], 1
on the hole's edge, on the held and on the pulled side, else 0.

Parameters: `hole_x`, `hole_y`, `radius`, `tension`, `shear`. Good values: the study draws the centre of the hole from
[0.35, 0.65]², its radius from [0.08, 0.2], the tension from [0.5, 1.5] and the shear from [−0.5, 0.5].

`melissa-like run experiment=plate_fem` learns from 1,000 plates. On 20 others, with meshes that it has not seen, the
mean relative L2 error was 2.8 % of the displacement, 4.1 % of the stress and 1.0 % of the largest stress, after 3,000
training steps with 8 plates each: nine and a half minutes on two cores that other programs used as well. After half of
the steps it was 5.1 %, 6.7 % and 1.8 %.

One rank: a plate takes less than a tenth of a second. It needs scikit-fem (`pip install 'melissa-like[fem]'`) and of
the framework `melissa_like.client.Beginning`.

References: G. Kirsch, "Die Theorie der Elastizität und die Bedürfnisse der Festigkeitslehre" (1898), for a small hole
in a wide plate, whose peak is three times the tension; T. Gustafsson and G. D. McBain, "scikit-fem: A Python package
for finite element assembly" (2020).
"""

from melissa_like.solvers.plate_fem.solve import solve

__all__ = ["solve"]
