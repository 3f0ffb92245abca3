"""How wrong a surrogate is on simulations from disk, measured as a study measures it on held-out ones."""

from melissa_like.assembly.tally import WindowTally
from melissa_like.config import Config, layout_of
from melissa_like.loading import SoloCollective
from melissa_like.records import SampleKey
from melissa_like.server.build_training import make_recipe, window_of
from melissa_like.training import FieldLosses, Surrogate, ValidationSet
from tests.benchmarks.claim.results import Errors
from tests.benchmarks.claim.simulations import Samples
from tests.contract.consumers import assembled

__all__ = ["errors_of", "validation_set"]


def validation_set(config: Config, steps: Samples) -> ValidationSet:
    """Simulations in memory, as a server rank holds those that are held out.

    Args:
        config: of the study.
        steps: all time steps of the simulations, in order.
    """
    window, layout = window_of(config), layout_of(config.solver)
    made, tallies = ValidationSet(layout, window=window), dict[int, WindowTally]()
    for index in range(len(steps)):
        batch = steps.__getitems__([index])
        key = SampleKey(int(batch.simulations[0]), int(batch.steps[0]))
        formed = None
        if window is not None:
            tally = tallies.setdefault(key.simulation, WindowTally(window, num_steps=config.solver.num_steps))
            formed = tally.add(key.step)
        step = assembled(
            made,
            key,
            [values[0].numpy() for values in batch.fields.values()],
            time=float(batch.times[0]),
            parameters=batch.parameters[0].tolist(),
            windows=formed,
        )
        made.take(step, 0.0)
    return made


def errors_of(config: Config, surrogate: Surrogate, simulations: ValidationSet) -> Errors:
    """Of one step over all samples; of a roll-out from the first steps of each simulation to its end."""
    recipe = make_recipe(config)
    losses = FieldLosses(recipe.loss, surrogate.task.problem, recipe.field_weights)
    report = simulations.evaluate(surrogate, losses, SoloCollective(), batches=0)
    assert report is not None
    return Errors(
        mean=report.relative_l2,
        median=report.relative_l2_median,
        p99=report.relative_l2_p99,
        max=report.relative_l2_max,
        mse=report.loss,
        rollout=() if report.rollout is None else tuple(spread.mean for spread in report.rollout.by_step),
    )
