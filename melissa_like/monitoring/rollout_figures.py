"""The pictures of a roll-out: predicted against true over time, in the way that the field's shape asks for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.monitoring.comparison import FEW, LABELS, looks_of
from melissa_like.monitoring.figures import new_figure
from melissa_like.monitoring.mesh_figures import Mesh

__all__ = ["draw_rollout", "draw_rollout_errors"]

_MOST_SNAPSHOTS = 5
_MOST_ROWS = 3
_LINE = 3  # time, components, points
_PERCENT = 100


def draw_rollout(
    path: Path,
    name: str,
    title: str,
    predicted: npt.NDArray[Any],
    true: npt.NDArray[Any],
    *,
    steps: Sequence[int],
    components: int = 1,
    mesh: Mesh | None = None,
) -> None:
    """A field over time: a few values as curves, a line as pictures of space and time, else rows of snapshots.

    Of fields of more than two dimensions the middle plane is shown, of a plane's or a mesh's components the first.

    Args:
        path: of the PNG.
        name: of the field.
        title: what is shown, beside the name.
        predicted: [T, *shape], original units.
        true: the same, from a held-out simulation.
        steps: numbers of the time steps.
        components: of the field; its first axis then.
        mesh: where its values are; None: on a grid.
    """
    with np.errstate(all="ignore"):
        error = predicted - true
    if true[0].size <= FEW:
        _draw_curves(path, f"{name}, {title}", predicted.reshape(len(true), -1), true.reshape(len(true), -1), steps)
        return
    shown = [values if components > 1 else values[:, None] for values in (predicted, true, error)]
    if mesh is not None:
        _draw_snapshots(path, f"{name}, {title}", [values[:, 0] for values in shown], steps, mesh.draw)
    elif shown[0].ndim == _LINE:
        _draw_space_time(path, f"{name}, {title}", shown, steps)
    else:
        plane = (slice(None), 0, *(n // 2 for n in shown[0].shape[2:-2]))
        _draw_snapshots(path, f"{name}, {title}", [values[plane] for values in shown], steps, _draw_grid)


def draw_rollout_errors(path: Path, by_step: Sequence[Mapping[str, float | None]]) -> None:
    """The errors of roll-outs over held-out simulations at each of their steps.

    Args:
        path: of the PNG.
        by_step: mean, median, p99 and max of the relative L2 error; None: not finite.
    """
    figure, ((axes,),) = new_figure(7, 3.4)
    for kind, line in (("mean", "-"), ("median", "--"), ("p99", "-."), ("max", ":")):
        values = [_PERCENT * (np.nan if step[kind] is None else float(step[kind] or 0.0)) for step in by_step]
        axes.semilogy(range(1, len(values) + 1), values, line, label=kind)
    axes.set(xlabel="step of the roll-out", ylabel="relative L2 error (%)")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _draw_curves(
    path: Path, title: str, predicted: npt.NDArray[Any], true: npt.NDArray[Any], steps: Sequence[int]
) -> None:
    figure, rows = new_figure(9, 1 + 1.4 * true.shape[1], rows=true.shape[1])
    figure.suptitle(title)
    for index, (axes,) in enumerate(rows):
        axes.plot(steps, true[:, index], color="black", label=LABELS[1])
        axes.plot(steps, predicted[:, index], "--", color="#d62728", label=LABELS[0])
        axes.set_ylim(*_padded(true[:, index]))
        axes.grid(True, alpha=0.3)
    rows[0][0].legend(loc="upper right", ncols=2, fontsize="small")
    rows[-1][0].set_xlabel("time step")
    figure.savefig(path, dpi=120)


def _draw_space_time(path: Path, title: str, shown: Sequence[npt.NDArray[Any]], steps: Sequence[int]) -> None:
    """Predicted, true and error beside one another, a row for each component; time goes to the right."""
    num_rows = min(_MOST_ROWS, shown[0].shape[1])
    figure, rows = new_figure(12, 0.6 + 2.6 * num_rows, columns=3, rows=num_rows)
    figure.suptitle(title)
    for component, row in enumerate(rows):
        pictures = [values[:, component].T for values in shown]
        for axes, picture, label, look in zip(row, pictures, LABELS, looks_of(*pictures[1:]), strict=True):
            extent = (steps[0] - 0.5, steps[-1] + 0.5, -0.5, len(picture) - 0.5)
            figure.colorbar(axes.imshow(picture, origin="lower", aspect="auto", extent=extent, **look), ax=axes)
            axes.set_title(label)
            axes.set_xlabel("time step")
    figure.savefig(path, dpi=120)


def _draw_snapshots(
    path: Path, title: str, shown: Sequence[npt.NDArray[Any]], steps: Sequence[int], draw: Callable[..., Any]
) -> None:
    """Some times beside one another; predicted, true and error below one another."""
    at = np.unique(np.linspace(0, len(steps) - 1, min(_MOST_SNAPSHOTS, len(steps))).round().astype(int))
    figure, rows = new_figure(1 + 2.2 * len(at), 6.6, columns=len(at), rows=3)
    figure.suptitle(title)
    looks = looks_of(shown[1][at], shown[2][at])
    for row, values, label, look in zip(rows, shown, LABELS, looks, strict=True):
        for axes, index in zip(row, at, strict=True):
            picture = draw(axes, values[index], **look)
            axes.set(xticks=[], yticks=[])
            if label == LABELS[0]:
                axes.set_title(f"time step {steps[index]}", fontsize="small")
        row[0].set_ylabel(label)
        figure.colorbar(picture, ax=row)
    figure.savefig(path, dpi=120)


def _draw_grid(axes: Any, values: npt.NDArray[Any], **look: Any) -> Any:
    return axes.imshow(values, origin="lower", **look)


def _padded(values: npt.NDArray[Any]) -> tuple[float, float]:
    """The range of a curve with some room, so that a prediction that has left does not press it flat."""
    low, high = float(values.min()), float(values.max())
    room = 0.5 * (high - low) or 1.0
    return low - room, high + room
