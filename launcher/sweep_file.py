"""The table of a sweep as a file: `sweep.csv` has a row per study, `sweep_seeds.csv` means over `study.seed`.

Columns are the swept keys, then what became of the study. The files are whole at any moment, so that `status` can read
them while the sweep runs, and after it was ended in the middle.
"""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from melissa_like.errors import ConfigurationError

__all__ = [
    "FIGURES",
    "SEED",
    "SEEDS_FILE",
    "SWEEP_FILE",
    "Spread",
    "SweepRow",
    "figures_of",
    "over_seeds",
    "read_sweep",
    "write_sweep",
]

SWEEP_FILE, SEEDS_FILE = "sweep.csv", "sweep_seeds.csv"
SEED = "study.seed"
#: What is compared, and where the report has it.
FIGURES: Mapping[str, tuple[str, ...]] = {
    "lost": ("samples", "lost"),
    "batches": ("training", "batches"),
    "samples_per_second": ("training", "samples_per_second"),
    "input_wait_fraction": ("training", "input_wait_fraction"),
    "final_training_loss": ("training", "final_training_loss"),
    "validation_loss": ("validation", "loss"),
    "relative_l2": ("validation", "relative_l2"),
    "relative_l2_median": ("validation", "relative_l2_median"),
    "relative_l2_p99": ("validation", "relative_l2_p99"),
    "relative_l2_max": ("validation", "relative_l2_max"),
    "rollout_relative_l2": ("validation", "rollout", "relative_l2", "mean"),
    "rollout_relative_l2_p99": ("validation", "rollout", "relative_l2", "p99"),
    "correlation_time": ("validation", "rollout", "correlation_time"),
    "seconds": ("seconds",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One study of a sweep.

    Attributes:
        number: in the order of the sweep, from 0.
        swept: value of each swept key, as text.
        outcome: as the report says it; `waiting`, `running`, `refused`, `not run` or `killed` where there is none.
        reason: of the outcome.
        figures: by the names of `FIGURES`, as far as they are known.
        folder: of the study, relative to the sweep's.
    """

    number: int
    swept: Mapping[str, str]
    outcome: str = "waiting"
    reason: str = ""
    figures: Mapping[str, float]
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Studies that differ in their seed only.

    Attributes:
        swept: value of each swept key but the seed.
        num_studies: how many there are.
        num_completed: of which the means are.
        means: by the names of `FIGURES`.
        deviations: standard deviation of a sample; none of a single study.
    """

    swept: Mapping[str, str]
    num_studies: int
    num_completed: int
    means: Mapping[str, float]
    deviations: Mapping[str, float]


def figures_of(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures that a study's report has; those that are null or not finite are left out."""
    found: dict[str, float] = {}
    for name, path in FIGURES.items():
        value: Any = report
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and math.isfinite(value):
            found[name] = value
    return found


def over_seeds(rows: Sequence[SweepRow]) -> list[Spread]:
    """Mean and spread of the studies that differ in `study.seed` only; empty if no seeds were swept."""
    if not any(SEED in row.swept for row in rows):
        return []
    alike: dict[tuple[tuple[str, str], ...], list[SweepRow]] = {}
    for row in rows:
        alike.setdefault(tuple((k, v) for k, v in row.swept.items() if k != SEED), []).append(row)
    return [_spread(dict(swept), members) for swept, members in alike.items()]


def _spread(swept: Mapping[str, str], rows: Sequence[SweepRow]) -> Spread:
    completed = [row for row in rows if row.outcome == "completed"]
    values = {name: [row.figures[name] for row in completed if name in row.figures] for name in FIGURES}
    return Spread(
        swept=swept,
        num_studies=len(rows),
        num_completed=len(completed),
        means={name: mean(given) for name, given in values.items() if given},
        deviations={name: stdev(given) for name, given in values.items() if len(given) > 1},
    )


def read_sweep(folder: Path) -> list[SweepRow]:
    """The rows of a sweep; empty if the folder holds none.

    Raises:
        ConfigurationError: its file cannot be read.
    """
    path = folder / SWEEP_FILE
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [_row(line) for line in csv.DictReader(stream)]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is no table of a sweep"
        ) from None


def _row(line: Mapping[str, str]) -> SweepRow:
    names = list(line)
    return SweepRow(
        number=int(line["study"]),
        swept={name: line[name] for name in names[1 : names.index("outcome")]},
        outcome=line["outcome"],
        reason=line["reason"],
        figures={name: float(line[name]) for name in FIGURES if line[name]},
        folder=line["folder"],
    )


def write_sweep(folder: Path, rows: Sequence[SweepRow]) -> None:
    """Write both tables.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    swept = list(rows[0].swept) if rows else []
    table = [["study", *swept, "outcome", "reason", *FIGURES, "folder"]]
    for row in rows:
        figures = [_text(row.figures.get(name)) for name in FIGURES]
        table.append([str(row.number), *row.swept.values(), row.outcome, row.reason, *figures, row.folder])
    _write(folder / SWEEP_FILE, table)
    if spreads := over_seeds(rows):
        columns = [f"{name}_{kind}" for name in FIGURES for kind in ("mean", "std")]
        seeds = [[*spreads[0].swept, "studies", "completed", *columns]]
        for spread in spreads:
            pairs = [_text(kind.get(name)) for name in FIGURES for kind in (spread.means, spread.deviations)]
            seeds.append([*spread.swept.values(), str(spread.num_studies), str(spread.num_completed), *pairs])
        _write(folder / SEEDS_FILE, seeds)


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _write(path: Path, table: Sequence[Sequence[str]]) -> None:
    """Aside and renamed, so that a reader never sees half a table."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text.getvalue(), encoding="utf-8", newline="")
        aside.rename(path)
    except OSError as error:
        raise ConfigurationError(
            f"the table of the sweep cannot be written to {path} ({error.strerror}): make room, or choose another "
            "run_dir"
        ) from None
