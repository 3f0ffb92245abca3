"""Validation: held-out simulations, and what a surrogate makes of them, over all ranks.

Nouns: a `ValidationSet` keeps the time steps of the held-out simulations of one rank; an `Extract` is some samples of
it, from which batches are made; a `Trajectory` is what is known of one simulation, from its first time step on. The
receiver's thread adds samples, the trainer's evaluates those that are there when it begins.

Errors are computed for each sample by the rank that holds it, and joined before anything is averaged. So means and
quantiles are the same however many ranks there are.
"""

from melissa_like.training.validation.extracts import Extract
from melissa_like.training.validation.held_out import ValidationSet
from melissa_like.training.validation.kept import KeptHeldOut
from melissa_like.training.validation.simulations import HeldOutSimulation

__all__ = ["Extract", "HeldOutSimulation", "KeptHeldOut", "ValidationSet"]
