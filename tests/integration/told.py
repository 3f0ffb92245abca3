"""What the samples of `tests.plugins.told` tell, once a loss has written them down."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from melissa_like.study import Entry, read_journal
from melissa_like.study import events as ev
from tests.integration.studies import marked
from tests.plugins.told import HELD_OUT

Key = tuple[int, int]


def told(folder: Path, *, ranks: int = 1, simulations: int = 8, **options: object) -> list[str]:
    """Overrides of a study of that solver, whose loss leaves every target in the folder."""
    return [
        *marked("told", ranks=ranks, simulations=simulations, folder=folder, **options),
        "solver.solve._target_=tests.plugins.told.told",
        "training.loss._target_=tests.plugins.losses.recording_mse",
        f"+training.loss.folder={folder}",
        "+training.loss.scale=100.0",
        *(["solver.launch=''"] if ranks == 1 else []),
    ]


def trained(folder: Path) -> Iterator[tuple[Key, int]]:
    """(simulation, step) and attempt of every sample that was trained on, as often as it was.

    Raises:
        AssertionError: a sample is mixed of several.
    """
    for path in folder.glob("targets-*.jsonl"):
        for line in path.read_text().splitlines():
            values = np.asarray(json.loads(line)).reshape(8, 4)
            rows = values.astype(int)
            if (rows != values).any():
                continue  # of the trial, made of random numbers
            assert (rows[:, 3] == np.arange(8)).all(), rows
            assert (rows[:, :3] == rows[0, :3]).all(), f"a sample is mixed: {rows}"
            simulation, attempt, step = rows[0, :3].tolist()
            if simulation < HELD_OUT:
                yield (simulation, step), attempt


def happened(run_dir: Path, kind: type[ev.Event]) -> list[Entry]:
    """The journal's entries of one kind of event, oldest first."""
    return [entry for entry in read_journal(run_dir) if isinstance(entry.event, kind)]
