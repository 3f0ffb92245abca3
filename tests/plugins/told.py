"""A solver whose values tell which simulation, attempt, step and row they are of, and which can be made to fail.

Every row of a field is (simulation, attempt, step, row): whole numbers that float32 holds exactly. So a sample that was
put together from two attempts or steps can be seen, whatever the counters say. Simulations are numbered from 0, among
those that are trained on; the held-out ones, whose parameters are no such numbers, are 1000 and more.
"""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from melissa_like.client import Part

ROWS = 8
HELD_OUT = 1000


def told(
    parameters: Mapping[str, float],
    comm: Any,
    *,
    folder: str,
    num_steps: int = 6,
    pause_s: float = 0.0,
    simulation: int = -1,
    step: int = 0,
    rank: int = 0,
    attempts: int = 1,
    how: str = "SIGKILL",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sends its steps; in the first attempts of one simulation a rank sends itself a signal before one of them.

    Args:
        folder: for the numbers of attempts, and for `hit-SIMULATION-ATTEMPT`: when the signal was sent, and to whom.
        pause_s: before each step.
        simulation: that fails; -1: none.
        step: before which; `num_steps`: after the last one.
        rank: that gets the signal.
        attempts: that fail.
        how: name of the signal.
    """
    number = number_of(parameters)
    attempt = _attempt(Path(folder), number, comm)
    first, last = ROWS * comm.rank // comm.size, ROWS * (comm.rank + 1) // comm.size
    rows = np.arange(first, last)
    fails = number == simulation and attempt <= attempts and comm.rank == rank

    def fail_at(now: int) -> None:
        if fails and now == step:
            mark = {"at": time.time(), "pid": os.getpid()}
            (Path(folder) / f"hit-{number}-{attempt}").write_text(json.dumps(mark))
            os.kill(os.getpid(), signal.Signals[how])

    for now in range(num_steps):
        time.sleep(pause_s)
        fail_at(now)
        values = np.stack([np.full(last - first, told) for told in (number, attempt, now)] + [rows], axis=1)
        yield now, {"mark": Part(values.astype(float), (first, 0))}
    fail_at(num_steps)


def number_of(parameters: Mapping[str, float]) -> int:
    """Which simulation this is."""
    number = parameters["number"]
    return int(number) if number.is_integer() else HELD_OUT + int(number)


def _attempt(folder: Path, number: int, comm: Any) -> int:
    """How often this simulation was begun, this time included; counted by rank 0."""
    attempt = 0
    if comm.rank == 0:
        with (folder / f"attempts-{number}").open("a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()}\n")
        attempt = len((folder / f"attempts-{number}").read_text().splitlines())
    return attempt if comm.size == 1 else int(comm.bcast(attempt, root=0))


def always_dies(
    parameters: Mapping[str, float], comm: Any, *, folder: str, **options: Any
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Two steps of each simulation leave, then the process is killed."""
    for now, fields in told(parameters, comm, folder=folder):
        if now == 2:
            time.sleep(0.05)  # what was sent leaves the process
            os.kill(os.getpid(), signal.SIGKILL)
        yield now, fields
