"""From what the trainer says of a validation to what the launcher and the sinks are told."""

import math

from melissa_like.protocol.reports import RollOutFigures, SpreadFigures, ValidationFigures
from melissa_like.training import RollOutReport, Spread, ValidationReport

__all__ = ["figures_of", "metrics_of"]

_SPREAD = ("median", "p99", "max")


def figures_of(report: ValidationReport) -> ValidationFigures:
    """The report as it is sent; None stands for what is not finite, but for the two means, which are numbers."""
    return ValidationFigures(
        batches=report.batches,
        loss=report.loss,
        relative_l2=report.relative_l2,
        num_samples=report.num_samples,
        relative_l2_median=_finite(report.relative_l2_median),
        relative_l2_p99=_finite(report.relative_l2_p99),
        relative_l2_max=_finite(report.relative_l2_max),
        relative_l2_by_field={name: _finite(error) for name, error in report.relative_l2_by_field.items()},
        rollout=None if report.rollout is None else _rolled_out(report.rollout),
    )


def metrics_of(figures: ValidationFigures) -> dict[str, float]:
    """What the sinks get of a validation besides its means, as far as it is known."""
    told: dict[str, float | None] = {
        f"validation_relative_l2_{name}": getattr(figures, f"relative_l2_{name}") for name in _SPREAD
    }
    if figures.rollout is not None:
        errors = figures.rollout.relative_l2
        told["validation_rollout_relative_l2"] = errors.mean
        told |= {f"validation_rollout_relative_l2_{name}": getattr(errors, name) for name in _SPREAD}
        told["validation_persistence"] = figures.rollout.persistence
        told["validation_correlation_time"] = figures.rollout.correlation_time
        told["validation_correlation_time_median"] = figures.rollout.correlation_time_median
        told["validation_correlation_time_min"] = figures.rollout.correlation_time_min
    return {name: value for name, value in told.items() if value is not None}


def _rolled_out(report: RollOutReport) -> RollOutFigures:
    return RollOutFigures(
        num_simulations=report.num_simulations,
        num_steps=report.num_steps,
        relative_l2=_spread(report.relative_l2),
        by_step=tuple(map(_spread, report.by_step)),
        num_fields=report.num_fields,
        correlation_time=_finite(report.correlation_time),
        correlation_time_median=_finite(report.correlation_time_median),
        correlation_time_min=_finite(report.correlation_time_min),
        num_correlated=report.num_correlated,
        persistence=_finite(report.persistence),
    )


def _spread(spread: Spread) -> SpreadFigures:
    return SpreadFigures(
        mean=_finite(spread.mean), median=_finite(spread.median), p99=_finite(spread.p99), max=_finite(spread.max)
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
