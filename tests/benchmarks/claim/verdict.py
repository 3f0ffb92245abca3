"""What the runs of a case say together: rows of a table, and whether the claim is decided."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.claim.cases import Case
from tests.benchmarks.claim.results import Result
from tests.benchmarks.measure import Row

__all__ = ["Verdict", "cost_rows_of", "gain_of", "rows_of", "spread", "verdict_of"]

#: Offline overfits where the error on what it was trained on is below this share of that on held-out simulations.
_OVERFITS_BELOW = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a case.

    Attributes:
        decided: offline with N overfits in every seed.
        text: in words, with the figures.
    """

    decided: bool
    text: str


def spread(values: Sequence[float], shown: Callable[[float], str] = "{:.3g}".format) -> str:
    """Median, and the lowest and highest of several seeds."""
    middle = shown(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({shown(min(values))} to {shown(max(values))})"


def gain_of(offline: Sequence[Result], online: Sequence[Result], error: Callable[[Result], float]) -> list[float]:
    """By how much less online errs, in per cent, for each seed that both have."""
    by_seed = {result.seed: error(result) for result in online}
    return [100 * (1 - by_seed[result.seed] / error(result)) for result in offline if result.seed in by_seed]


def rows_of(case: Case, results: Mapping[str, Sequence[Result]]) -> list[Row]:
    """One row per arm of which a run has finished.

    Args:
        case: of the table.
        results: finished runs, by arm.
    """
    online = results.get("online", ())
    rows = []
    for arm in case.arms:
        runs = results.get(arm.name, ())
        if not runs:
            continue
        cells = {
            "arm": arm.name,
            "unique simulations": str(arm.num_simulations),
            "seeds": str(len(runs)),
            "one step %": spread([100 * run.held_out.mean for run in runs]),
            "p99 %": spread([100 * run.held_out.p99 for run in runs]),
            "max %": spread([100 * run.held_out.max for run in runs]),
        }
        if all(run.held_out.rollout for run in runs):
            cells["roll-out %"] = spread([100 * run.held_out.over_rollout for run in runs])
        gains = [] if arm.is_online else gain_of(runs, online, lambda run: run.held_out.mean)
        rows.append(
            Row(
                {
                    **cells,
                    "loss": spread([run.held_out.mse for run in runs]),
                    "training %": spread([100 * run.training.mean for run in runs]),
                    "online errs less by %": spread(gains) if gains else "",
                }
            )
        )
    return rows


def cost_rows_of(results: Mapping[str, Sequence[Result]]) -> list[Row]:
    """What the runs of each arm cost, the first arm first."""
    return [
        Row(
            {
                "arm": name,
                "MB written": spread([run.bytes_written / 1e6 for run in runs]),
                "seconds": spread([run.seconds for run in runs], "{:.0f}".format),
                "of these production": spread([run.production_s for run in runs], "{:.0f}".format),
                "input wait %": spread([100 * run.input_wait for run in runs]),
                "load": spread([load for run in runs for load in run.load]),
                "ended": max(run.date for run in runs),
            }
        )
        for name, runs in results.items()
    ]


def verdict_of(case: Case, results: Mapping[str, Sequence[Result]]) -> Verdict:
    """Whether the claim is decided, and how, as far as runs have finished."""
    smallest = case.arms[0]
    offline, online = results.get(smallest.name, ()), results.get("online", ())
    if not offline or not online:
        return Verdict(False, f"{case.name}: {smallest.name} and online must have finished first")
    ratios = [run.training.mean / run.held_out.mean for run in offline]
    overfits = f"{smallest.name} has a training error of {spread(ratios)} of its error on held-out simulations"
    if max(ratios) >= _OVERFITS_BELOW:
        return Verdict(
            False,
            f"{case.name}: undecided: {overfits}, and overfits below {_OVERFITS_BELOW:g} only: choose N smaller",
        )
    gains = gain_of(offline, online, lambda run: run.held_out.mean)
    squared = gain_of(offline, online, lambda run: run.held_out.mse)
    paper = "the paper gives none" if case.published_gain is None else f"the paper {case.published_gain} %"
    return Verdict(
        True,
        f"{case.name}: decided: {overfits}; online errs less by {spread(gains)} % (loss: {spread(squared)} %; "
        f"{paper}). {_at_equal_time(case, results)}",
    )


def _at_equal_time(case: Case, results: Mapping[str, Sequence[Result]]) -> str:
    """Who had the lowest validation loss when online had ended, seed by seed."""
    winners = []
    for online in results["online"]:
        losses = {"online": online.curve.losses[-1]} if online.curve.losses else {}
        for arm in case.arms[:-1]:
            for run in results.get(arm.name, ()):
                if run.seed == online.seed:
                    losses[arm.name] = run.curve.loss_at(online.seconds)
        winners.append(min(losses, key=losses.__getitem__))
    return f"Lowest validation loss at the wall time of online: {', '.join(winners)}"
