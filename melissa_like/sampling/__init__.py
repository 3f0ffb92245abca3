"""Which parameters a simulation gets.

A `Distribution` says what values a parameter takes, a `Design` where in their product the simulations lie, a
`ParameterSource` joins the designs of training and held-out simulations. Static designs depend on (seed, simulation)
only. Used by the launcher's loop; never imports zmq, torch or hydra.
"""

from melissa_like.sampling.designs import Design, Halton, LatinHypercube, MonteCarlo, ParameterList, Sobol
from melissa_like.sampling.distributions import Choice, Distribution, LogUniform, TruncatedNormal, Uniform
from melissa_like.sampling.source import ParameterSource, parameter_source

__all__ = [
    "Choice",
    "Design",
    "Distribution",
    "Halton",
    "LatinHypercube",
    "LogUniform",
    "MonteCarlo",
    "ParameterList",
    "ParameterSource",
    "Sobol",
    "TruncatedNormal",
    "Uniform",
    "parameter_source",
]
