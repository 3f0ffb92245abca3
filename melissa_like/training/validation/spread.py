"""How errors are spread, and the errors of all ranks in one table."""

from typing import TypeAlias

import numpy as np

from melissa_like.loading import Collective
from melissa_like.records import FloatArray
from melissa_like.training.reports import Spread

__all__ = ["Table", "joined_rows", "spread_of"]

#: Rows of numbers, float64 [n, columns]; the first two columns are simulation and time step.
Table: TypeAlias = FloatArray

_PERCENTS = (50.0, 99.0)


def spread_of(values: FloatArray) -> Spread:
    """The spread of those that are not NaN; a percentile is a value that occurs, the higher of two."""
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return Spread(mean=np.nan, median=np.nan, p99=np.nan, max=np.nan)
    median, p99 = (float(np.percentile(known, percent, method="higher")) for percent in _PERCENTS)
    return Spread(mean=float(known.mean()), median=median, p99=p99, max=float(known[-1]))


def joined_rows(rows: Table, num_columns: int, collective: Collective) -> Table:
    """The rows of all ranks, by their first two columns; every rank must call it, and gets the same.

    Blocks in two collectives, for their deadline at most.

    Args:
        rows: of this rank, [n, num_columns]; n may be 0.
        num_columns: equal on all ranks.
        collective: joins the ranks.
    """
    counts = collective.all_gather(np.array([float(len(rows))]))[:, 0].astype(int)
    padded = np.zeros((counts.max(initial=0), num_columns))
    if not len(padded):
        return padded
    if len(rows):
        padded[: len(rows)] = rows
    gathered = collective.all_gather(padded.ravel()).reshape(collective.size, -1, num_columns)
    joined = np.concatenate([table[:count] for table, count in zip(gathered, counts, strict=True)])
    return joined[np.lexsort((joined[:, 1], joined[:, 0]))]
