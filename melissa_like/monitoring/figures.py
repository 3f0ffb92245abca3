"""The pictures at the end of a study: loss curves, the buffer's population, a predicted field beside the true one.

matplotlib is imported when a figure is drawn, with the Agg canvas: no display is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.monitoring.comparison import LABELS

__all__ = ["Curve", "draw_field", "draw_losses", "draw_population", "draw_sweep", "new_figure"]

_WIDE_RANGE = 20


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """A figure of this size in inches, and its axes, an array [rows, columns]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_losses(path: Path, rows: Sequence[Mapping[str, float]], validations: Sequence[Mapping[str, Any]]) -> None:
    """Training loss and validation error over the training steps.

    Args:
        path: of the PNG.
        rows: recorded metrics with `batches` and `training_loss` (normalized units).
        validations: reports with `batches` and `relative_l2`, its median and 99th percentile if they are known, and the
            same error of the `rollout` if there is one.
    """
    figure, ((left, right),) = new_figure(9, 3.4, columns=2)
    shown = [row for row in rows if np.isfinite(row.get("training_loss", np.nan))]
    left.semilogy([row["batches"] for row in shown], [row["training_loss"] for row in shown], label="training")
    left.set(xlabel="training step", ylabel="training loss (normalized units)")
    for label, line, error in _ERRORS:
        known = [(v["batches"], 100 * found) for v in validations if (found := error(v)) is not None]
        if known:
            right.semilogy(*zip(*known, strict=True), line, label=label)
    right.set(xlabel="training step", ylabel="relative L2 error (%)")
    right.grid(True, which="both", alpha=0.3)
    if validations:
        right.legend(fontsize="small")
    left.grid(True, which="both", alpha=0.3)
    figure.savefig(path, dpi=120)


def draw_population(
    path: Path, rows: Sequence[Mapping[str, float]], capacity: int | None, watermark: int | None
) -> None:
    """Seen and unseen samples in the buffer over time.

    Args:
        path: of the PNG.
        rows: recorded metrics with `seconds`, `seen` and `unseen`.
        capacity: samples, drawn as a line; None: it is in bytes.
        watermark: samples, drawn as a dotted line if there is one.
    """
    figure, ((axes,),) = new_figure(7, 3.4)
    seconds = [row["seconds"] for row in rows]
    axes.stackplot(
        seconds,
        [row["seen"] for row in rows],
        [row["unseen"] for row in rows],
        labels=("seen", "unseen"),
        colors=("#9ecae1", "#3182bd"),
    )
    if capacity is not None:
        axes.axhline(capacity, color="black", linewidth=1, label="capacity")
    if watermark:
        axes.axhline(watermark, color="black", linewidth=1, linestyle=":", label="watermark")
    axes.set(xlabel="seconds", ylabel="samples in the buffer", ylim=(0, None if capacity is None else 1.1 * capacity))
    axes.legend(loc="upper right", ncols=4, fontsize="small")
    figure.savefig(path, dpi=120)


def draw_field(path: Path, name: str, title: str, predicted: npt.NDArray[Any], true: npt.NDArray[Any]) -> None:
    """A predicted field, the solver's, and the error; fields of more than two dimensions show their middle plane.

    Args:
        path: of the PNG.
        name: of the field.
        title: what is shown, beside the name.
        predicted: shape of the field, original units.
        true: the same, from a held-out simulation.
    """
    figure, (axes,) = new_figure(11, 3.3, columns=3)
    figure.suptitle(f"{name}, {title}")
    low, high = float(true.min()), float(true.max())
    if true.ndim == 1:
        for ax, values, label in zip(axes, (predicted, true, predicted - true), LABELS, strict=True):
            ax.plot(values)
            ax.set_title(label)
    else:
        plane = tuple(n // 2 for n in true.shape[:-2])
        error = (predicted - true)[plane]
        span = float(np.abs(error).max()) or 1.0
        for ax, values, label in zip(axes[:2], (predicted[plane], true[plane]), LABELS, strict=False):
            figure.colorbar(ax.imshow(values, vmin=low, vmax=high, origin="lower", cmap="inferno"), ax=ax)
            ax.set_title(label)
        figure.colorbar(axes[2].imshow(error, vmin=-span, vmax=span, origin="lower", cmap="RdBu_r"), ax=axes[2])
        axes[2].set_title(LABELS[2])
    figure.savefig(path, dpi=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Validation errors of studies.

    Attributes:
        label: what the studies have in common.
        at: values of the swept key, as text.
        means: mean relative error at each.
        deviations: standard deviation at each; 0 for a single study.
    """

    label: str
    at: Sequence[str]
    means: Sequence[float]
    deviations: Sequence[float]


def draw_sweep(path: Path, key: str, curves: Sequence[Curve]) -> None:
    """Validation error against a swept key: along a scale if its values are numbers, else side by side.

    Args:
        path: of the PNG.
        key: name of the key.
        curves: at least one, each with at least one value.
    """
    figure, ((axes,),) = new_figure(7, 4)
    words = list(dict.fromkeys(word for curve in curves for word in curve.at))
    try:
        place = {word: float(word) for word in words}
    except ValueError:
        place = {word: float(index) for index, word in enumerate(words)}
        axes.set_xticks(list(place.values()), words)
    else:
        _spread_scale(axes.set_xscale, list(place.values()))
    for curve in curves:
        points = sorted(zip([place[word] for word in curve.at], curve.means, curve.deviations, strict=True))
        at, means, deviations = np.array(points).T
        axes.errorbar(at, 100 * means, yerr=100 * deviations, fmt="o-", capsize=3, label=curve.label)
    _spread_scale(axes.set_yscale, [value for curve in curves for value in curve.means])
    axes.set(xlabel=key, ylabel="relative L2 error of held-out simulations (%)")
    axes.grid(True, which="both", alpha=0.3)
    if any(curve.label for curve in curves):
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _spread_scale(set_scale: Callable[[str], Any], values: Sequence[float]) -> None:
    if min(values) > 0 and max(values) >= _WIDE_RANGE * min(values):
        set_scale("log")


#: Label, line and place of each error in a validation.
_ERRORS: tuple[tuple[str, str, Callable[[Mapping[str, Any]], float | None]], ...] = (
    ("held-out samples, mean", "o-", lambda v: v["relative_l2"]),
    ("median", "--", lambda v: v.get("relative_l2_median")),
    ("99th percentile", ":", lambda v: v.get("relative_l2_p99")),
    ("roll-outs, mean", "s-", lambda v: v["rollout"]["relative_l2"]["mean"] if v.get("rollout") else None),
)
