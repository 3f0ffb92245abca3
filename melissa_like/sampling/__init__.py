"""Which parameters a simulation gets.

A `Distribution` says what values a parameter takes, a `Design` where in their product the points lie, a `Sampler` gives
the next simulations when it is asked: `DesignSampler` walks along a design, one of your own may look at losses. Used on
one thread of the launcher; never imports zmq, torch or hydra.
"""

from melissa_like.sampling.designs import Design, Halton, LatinHypercube, MonteCarlo, ParameterList, Sobol
from melissa_like.sampling.distributions import Choice, Distribution, LogUniform, TruncatedNormal, Uniform
from melissa_like.sampling.making import make_distributions, try_distributions, try_samplers
from melissa_like.sampling.samplers import DesignSampler, Sampler, StudySamplers, design_seeds
from melissa_like.sampling.snapshot import Snapshot, read_snapshot, write_snapshot

__all__ = [
    "Choice",
    "Design",
    "DesignSampler",
    "Distribution",
    "Halton",
    "LatinHypercube",
    "LogUniform",
    "MonteCarlo",
    "ParameterList",
    "Sampler",
    "Snapshot",
    "Sobol",
    "StudySamplers",
    "TruncatedNormal",
    "Uniform",
    "design_seeds",
    "make_distributions",
    "read_snapshot",
    "try_distributions",
    "try_samplers",
    "write_snapshot",
]
