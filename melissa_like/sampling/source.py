"""The parameters of a whole study: training and held-out simulations from designs of their own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from melissa_like.records import Purpose
from melissa_like.sampling.designs import Design, MonteCarlo
from melissa_like.sampling.distributions import Distribution

__all__ = ["DesignFactory", "ParameterSource", "parameter_source"]

#: `factory(distributions, num_simulations=..., seed=...)`.
DesignFactory = Callable[..., Design]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSource:
    """Parameters by simulation: training simulations come first in number, held-out ones after them."""

    training: Design
    validation: Design
    num_simulations: int

    def purpose(self, simulation: int) -> Purpose:
        """What a simulation is for."""
        return Purpose.TRAINING if simulation < self.num_simulations else Purpose.VALIDATION

    def draw(self, simulation: int) -> dict[str, float]:
        """The parameters of a simulation; depends on the seed and its number only."""
        if self.purpose(simulation) is Purpose.TRAINING:
            return self.training.draw(simulation)
        return self.validation.draw(simulation - self.num_simulations)


def parameter_source(
    *,
    distributions: Mapping[str, Distribution],
    design_factory: DesignFactory,
    num_simulations: int,
    num_validation_simulations: int,
    seed: int,
) -> ParameterSource:
    """The source of a study.

    Held-out simulations are always drawn by Monte Carlo from a stream of their own, so they stay the same when the
    study grows or its design changes, and studies can be compared.

    Raises:
        ConfigurationError: the design's file does not fit.
        TypeError: the factory does not take what a design takes.
    """
    training_seed, validation_seed = (
        int(child.generate_state(1)[0]) for child in np.random.SeedSequence(seed).spawn(2)
    )
    return ParameterSource(
        training=design_factory(distributions, num_simulations=num_simulations, seed=training_seed),
        validation=MonteCarlo(distributions, num_simulations=num_validation_simulations, seed=validation_seed),
        num_simulations=num_simulations,
    )
