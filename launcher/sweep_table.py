"""The table of a sweep for a person: on the terminal, and as a figure of the validation error."""

import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

from melissa_like.launcher.sweep_file import SEED, Spread, SweepRow, over_seeds
from melissa_like.monitoring.figures import Curve, draw_sweep

__all__ = ["draw_rows", "print_rows"]

_FIGURE_FILE = "sweep.png"
_WIDTH = 140
_SHOWN = {
    "lost": ("lost", "{:.0f}"),
    "batches": ("batches", "{:.0f}"),
    "samples_per_second": ("samples/s", "{:.0f}"),
    "input_wait_fraction": ("input wait", "{:.1%}"),
    "final_training_loss": ("loss", "{:.3g}"),
    "validation_loss": ("validation loss", "{:.4g}"),
    "relative_l2": ("error", "{:.2%}"),
    "relative_l2_p99": ("p99", "{:.2%}"),
    "rollout_relative_l2": ("roll-out", "{:.2%}"),
}
#: Shown where a study knows it.
_RARE = ("rollout_relative_l2",)
_SHOWN_OVER_SEEDS = ("final_training_loss", "validation_loss", "relative_l2", "rollout_relative_l2")


def print_rows(rows: Sequence[SweepRow]) -> None:
    """A row per study, then mean and spread over the seeds, then why studies did not complete."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(title="studies of this sweep")
    for title in ("study", *(rows[0].swept if rows else ()), "outcome"):
        table.add_column(title, overflow="fold")
    names = _known(_SHOWN, {name for row in rows for name in row.figures})
    for name in names:
        table.add_column(_SHOWN[name][0], justify="right")
    for row in rows:
        shown = [_number(row.figures.get(name), _SHOWN[name][1]) for name in names]
        table.add_row(str(row.number), *row.swept.values(), row.outcome, *shown)
    console.print(table, markup=False)
    if spreads := over_seeds(rows):
        console.print(_seeds_table(spreads))
    for row in rows:
        if row.reason and row.outcome != "completed":
            console.print(f"study {row.number}, {row.outcome}: {row.reason}", markup=False, highlight=False)


def _known(names: Iterable[str], known: Collection[str]) -> list[str]:
    """Those that are always shown, and of the others those that a study knows."""
    return [name for name in names if name not in _RARE or name in known]


def _seeds_table(spreads: Sequence[Spread]) -> Table:
    table = Table(title="mean ± standard deviation over study.seed")
    for title in (*spreads[0].swept, "completed"):
        table.add_column(title, overflow="fold")
    names = _known(_SHOWN_OVER_SEEDS, {name for spread in spreads for name in spread.means})
    for name in names:
        table.add_column(_SHOWN[name][0], justify="right")
    for spread in spreads:
        shown = [_spread(spread, name) for name in names]
        table.add_row(*spread.swept.values(), f"{spread.num_completed} of {spread.num_studies}", *shown)
    return table


def _spread(spread: Spread, name: str) -> str:
    pattern = _SHOWN[name][1]
    if name not in spread.deviations:
        return _number(spread.means.get(name), pattern)
    return f"{pattern.format(spread.means[name])} ± {pattern.format(spread.deviations[name])}"


def _number(value: float | None, pattern: str) -> str:
    return "–" if value is None else pattern.format(value)


def draw_rows(folder: Path, rows: Sequence[SweepRow]) -> None:
    """The validation error of the completed studies against what was swept, as `sweep.png`; nothing if there is none.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    known = [row for row in rows if row.outcome == "completed" and "relative_l2" in row.figures and row.swept]
    if known:
        key = _axis([row.swept for row in rows])
        draw_sweep(folder / _FIGURE_FILE, key, _curves(known, key))


def _axis(swept: Sequence[Mapping[str, str]]) -> str:
    """The key along the axis: a number that takes many values, not the seed if anything else was swept."""
    keys = [key for key in swept[0] if key != SEED] or [SEED]
    values = {key: {study[key] for study in swept} for key in keys}
    return max(keys, key=lambda key: (all(map(_is_number, values[key])), len(values[key])))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _curves(rows: Sequence[SweepRow], key: str) -> list[Curve]:
    """One per combination of the other keys; where several seeds meet, their mean and standard deviation."""
    errors: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        label = ", ".join(f"{name}={value}" for name, value in row.swept.items() if name not in (key, SEED))
        errors.setdefault(label, {}).setdefault(row.swept[key], []).append(row.figures["relative_l2"])
    return [
        Curve(
            label=label,
            at=tuple(found),
            means=tuple(mean(values) for values in found.values()),
            deviations=tuple(stdev(values) if len(values) > 1 else 0.0 for values in found.values()),
        )
        for label, found in errors.items()
    ]
