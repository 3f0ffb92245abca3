"""Two pictures of a case: the error over the number of unique simulations, and the loss over wall time."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.benchmarks.claim.results import Result

__all__ = ["draw_case", "draw_curves"]


def draw_case(path: Path, title: str, results: Mapping[str, Sequence[Result]]) -> None:
    """Error over unique simulations, seeds as points and their median as a line; loss over wall time.

    Args:
        path: PNG to be written.
        title: of the picture.
        results: finished runs, by arm; none of them empty.
    """
    figure, (errors, curves) = _figure(2)
    arms = sorted(results.values(), key=lambda runs: runs[0].num_simulations)
    measures = {"one step": lambda run: run.held_out.mean, "99 of 100 below": lambda run: run.held_out.p99}
    if all(run.held_out.rollout for runs in arms for run in runs):
        measures["roll-out"] = lambda run: run.held_out.over_rollout
    measures["on training data"] = lambda run: run.training.mean
    for color, (name, measure) in enumerate(measures.items()):
        sizes = [runs[0].num_simulations for runs in arms]
        errors.loglog(
            sizes,
            [statistics.median(100 * measure(run) for run in runs) for runs in arms],
            color=f"C{color}",
            linestyle="--" if name == "on training data" else "-",
            label=name,
        )
        for size, runs in zip(sizes, arms, strict=True):
            marker = "*" if runs[0].arm == "online" else "."
            errors.plot([size] * len(runs), [100 * measure(run) for run in runs], marker, color=f"C{color}")
    errors.set(xlabel="unique simulations (star: online)", ylabel="relative L2 error (%)", title=title)
    _plot_curves(curves, {name: runs[:1] for name, runs in results.items()})
    for axes in (errors, curves):
        axes.grid(True, which="both", alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=80)


def draw_curves(path: Path, panels: Mapping[str, Mapping[str, Sequence[Result]]]) -> None:
    """Loss over wall time, one panel each.

    Args:
        path: PNG to be written.
        panels: results by name of the curve, by title of the panel.
    """
    figure, all_axes = _figure(len(panels))
    for axes, (title, results) in zip(all_axes, panels.items(), strict=True):
        _plot_curves(axes, results)
        axes.set_title(title)
        axes.grid(True, which="both", alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=80)


def _figure(num_panels: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(4.8 * num_panels, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, num_panels, squeeze=False)[0]


def _plot_curves(axes: Axes, results: Mapping[str, Sequence[Result]]) -> None:
    for color, (name, runs) in enumerate(results.items()):
        for number, run in enumerate(runs):
            label = name if number == 0 else None
            axes.semilogy(run.curve.seconds, run.curve.losses, ".-", color=f"C{color}", label=label)
    axes.set(xlabel="wall time (s), production included", ylabel="validation loss")
