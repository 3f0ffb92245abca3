"""Distributions as a configuration names them, and whether they, a design and a sampler keep their contracts.

Whatever is wrong is the user's own code or its arguments, so every refusal names the key that brought it in.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from melissa_like.errors import ConfigurationError
from melissa_like.plugins import make
from melissa_like.records import Purpose
from melissa_like.sampling.distributions import Distribution
from melissa_like.sampling.samplers import StudySamplers
from melissa_like.sampling.snapshot import encode_state

__all__ = ["make_distributions", "try_distributions", "try_samplers"]

#: Inside of (0, 1): at its ends the value of an unbounded distribution is rightly infinite.
_PROBABILITIES = (0.001, 0.25, 0.5, 0.75, 0.999)
_WRITE = "name a class with `bounds` and `ppf`, such as melissa_like.sampling.Uniform"
#: Numbers that float32 must be able to tell apart between the lowest and the highest value of a parameter.
_LEAST_NUMBERS = 100


def make_distributions(specs: Mapping[str, Any]) -> dict[str, Distribution]:
    """The distribution of each parameter, its bounds looked at.

    Args:
        specs: by parameter, a mapping with an import path under `_target_`.

    Raises:
        ConfigurationError: one cannot be made, is no distribution, or has bounds that cannot be.
    """
    made = {}
    for name, spec in specs.items():
        key = f"solver.parameters.{name}"
        distribution = make(spec, key)
        path = spec["_target_"]
        if "bounds" not in dir(distribution) or not callable(getattr(distribution, "ppf", None)):
            raise ConfigurationError(
                f"{key} is made by {path!r}, which gave a {type(distribution).__name__} and no distribution: {_WRITE}"
            )
        _check_bounds(distribution, f"{key} ({path})")
        made[name] = distribution
    return made


def _check_bounds(distribution: Distribution, who: str) -> None:
    try:
        low, high = (float(bound) for bound in distribution.bounds)
    except (Exception, SystemExit) as error:  # the class is the user's: whatever it raises
        raise ConfigurationError(
            f"{who} has bounds that cannot be read ({type(error).__name__}: {error}): give a property `bounds` with "
            "the lowest and the highest value"
        ) from error
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigurationError(
            f"{who} has the bounds ({low:g}, {high:g}): give the lowest and the highest value, both finite, the lowest "
            "first"
        )
    largest = max(abs(low), abs(high))
    if largest > float(np.finfo(np.float32).max):
        raise ConfigurationError(
            f"{who} has the bounds ({low:g}, {high:g}), but a network computes in float32, which ends at "
            f"{np.finfo(np.float32).max:.3g}: give the parameter in other units"
        )
    if low < high and high - low < _LEAST_NUMBERS * float(np.spacing(np.float32(largest))):
        raise ConfigurationError(
            f"{who} has the bounds ({low!r}, {high!r}), between which float32, in which a network computes, knows too "
            "few numbers: let the parameter be the difference from the lowest value"
        )


def try_distributions(distributions: Mapping[str, Distribution]) -> None:
    """Ask each distribution for a few values.

    Raises:
        ConfigurationError: it raises, or gives what are no values of it.
    """
    u = np.array(_PROBABILITIES)
    for name, distribution in distributions.items():
        who = f"solver.parameters.{name} ({type(distribution).__module__}.{type(distribution).__qualname__})"
        try:
            values = np.asarray(distribution.ppf(u.copy()), dtype=np.float64)
        except (Exception, SystemExit) as error:
            raise ConfigurationError(
                f"{who} cannot be drawn from: ppf({list(_PROBABILITIES)}) raised {type(error).__name__}: {error} (it "
                "is called with an array of probabilities and returns an array of values)"
            ) from error
        if values.shape != u.shape:
            raise ConfigurationError(
                f"{who} gave values of shape {values.shape} for {len(u)} probabilities: ppf returns an array of the "
                f"shape that it is given, {u.shape}"
            )
        if not np.isfinite(values).all():
            raise ConfigurationError(
                f"{who} gave values that are not finite: {values.tolist()} at the probabilities {list(_PROBABILITIES)}"
            )
        low, high = (float(bound) for bound in distribution.bounds)
        slack = 1e-6 * max(abs(low), abs(high), high - low)
        if values.min() < low - slack or values.max() > high + slack:
            raise ConfigurationError(
                f"{who} gave values from {values.min():g} to {values.max():g} but has the bounds ({low:g}, {high:g}), "
                "by which a network's inputs are scaled: return bounds that hold every value"
            )


def try_samplers(samplers: StudySamplers, *, with_sampler: bool) -> None:
    """Draw the parameters of a simulation for each purpose. It may change the samplers: draw from others afterwards.

    Args:
        samplers: of a study.
        with_sampler: whether `sampling.sampler` draws; else `sampling.design` does.

    Raises:
        ConfigurationError: drawing raises, or gives what are no parameters.
    """
    key = "sampling.sampler" if with_sampler else "sampling.design"
    rows: Sequence[Sequence[float]]
    try:
        rows = samplers.next(Purpose.TRAINING, range(1))
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        what = str(error) if isinstance(error, ValueError) else f"it raised {type(error).__name__}: {error}"
        raise ConfigurationError(f"{key} was asked for the parameters of one simulation: {what}") from error
    if not rows:
        raise ConfigurationError(
            f"{key} was asked for the parameters of the first simulation and gave none, so there would be nothing to "
            "run: return a row of parameters for it"
        )
    if not samplers.observes:
        return
    try:
        encode_state(samplers.snapshot(0, ()).state)
    except Exception as error:
        raise ConfigurationError(
            f"{key} cannot be kept for a resume: state_dict() gave no state ({type(error).__name__}: {error})"
        ) from error
