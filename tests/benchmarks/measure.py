"""Interleaved runs, medians with their spread, and the table that every benchmark prints."""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

__all__ = ["Row", "interleave", "memcpy_rate", "print_rows", "rate_of", "ratio"]


@dataclass(frozen=True)
class Row:
    """One measured case: texts by column."""

    cells: Mapping[str, str]


def interleave(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each in turn, round after round, so that a slow minute of the machine hits all alike; rates by name."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        names = list(contestants)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            rates[name].append(contestants[name]())
    return rates


def ratio(rates: Mapping[str, Sequence[float]], ours: str, other: str) -> str:
    """The median over the rounds of ours / other, with its spread."""
    ratios = [a / b for a, b in zip(rates[ours], rates[other], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def shown(values: Sequence[float], scale: float = 1.0) -> str:
    """Median and spread of a few rates."""
    scaled = [value / scale for value in values]
    return f"{statistics.median(scaled):.4g} ({min(scaled):.3g} to {max(scaled):.3g})"


def rate_of(work: Callable[[], Any], amount: float, *, at_least_s: float = 0.3) -> float:
    """Amount per second of a piece of work, repeated until it took long enough to be measured."""
    work()
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < at_least_s:
        work()
        count += 1
    return count * amount / elapsed


def memcpy_rate(nbytes: int, *, out_of_nbytes: int | None = None, at_least_s: float = 0.3) -> float:
    """Bytes per second of copying so many bytes into one array, all memory touched before.

    Args:
        out_of_nbytes: the source goes round in an array of this size, so that it comes from memory as samples of a
            full buffer do; None: always the same bytes, from the cache where they fit.
    """
    source, target = np.ones(max(nbytes, out_of_nbytes or 0), np.uint8), np.zeros(nbytes, np.uint8)
    starts = itertools.cycle(range(0, len(source) - nbytes + 1, nbytes))

    def work() -> None:
        start = next(starts)
        np.copyto(target, source[start : start + nbytes])

    return rate_of(work, nbytes, at_least_s=at_least_s)


def print_rows(title: str, rows: Sequence[Row]) -> None:
    """The table, wide enough for a log."""
    table = Table(title=title)
    for name in rows[0].cells:
        table.add_column(name)
    for row in rows:
        table.add_row(*row.cells.values())
    Console(width=140).print(table)
