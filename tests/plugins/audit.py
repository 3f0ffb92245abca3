"""What was trained on in the history that led to the final weights, written down from outside our counters.

A loop to be plugged in as `training.loop._target_=tests.plugins.audit.train +training.loop.folder=FOLDER`: the bundled
one, which in the end leaves a file `history-RANK.json` per server rank; `trained_in(FOLDER)` reads it. The history is
kept through `stream.keep`, so it rolls back with a checkpoint: what a lost server rank had trained on since then is not
in it. Every rank keeps that of all ranks, so it also survives a change of their number. Where the solver is one of the
marked ones, each sample, a step or a window of some, is compared with what its parameters and steps say it must be.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from melissa_like.loading import Batch, Collective, Turn
from melissa_like.training import TrainingStream
from melissa_like.training import train as bundled
from tests.plugins.solvers import marks


class History:
    """How often each sample was trained on, by this rank since it began, and by all ranks before.

    Args:
        collective: of the thread that trains; each rank asks for the state at the same training step.
    """

    def __init__(self, collective: Collective) -> None:
        self._collective = collective
        self._before: Counter[tuple[int, int]] = Counter()
        self._mine: Counter[tuple[int, int]] = Counter()

    def add(self, simulations: torch.Tensor, steps: torch.Tensor) -> None:
        """A training step on these samples has ended."""
        self._mine.update(zip(simulations.tolist(), steps.tolist(), strict=True))

    def total(self) -> Counter[tuple[int, int]]:
        """By all ranks from the beginning; every rank must ask."""
        rows = np.array([[*key, count] for key, count in self._mine.items()], np.float64).reshape(-1, 3)
        most = int(self._collective.all_gather(np.array([len(rows)], np.float64)).max())
        padded = np.zeros((most, 3))
        padded[: len(rows)] = rows
        total = Counter(self._before)
        if most:
            for row in self._collective.all_gather(padded.reshape(-1)).reshape(-1, 3).astype(int).tolist():
                total[row[0], row[1]] += row[2]
        return +total  # without the rows that fill up

    def state_dict(self) -> dict[str, Any]:
        """The total, [n, 3]: simulation, step, how often."""
        rows = [[*key, count] for key, count in sorted(self.total().items())]
        return {"trained": torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self._before = Counter({(row[0], row[1]): row[2] for row in state["trained"].tolist()})
        self._mine.clear()


def train(stream: TrainingStream, *, folder: str) -> nn.Module:
    """The bundled loop; see above."""
    history = History(stream.group.training)
    stream.keep("history", history)
    stream.turns = _recorded(stream.turns, history)
    trained = bundled(stream)
    total = sorted(history.total().items())
    if not stream.is_trial:
        path = Path(folder) / f"history-{stream.group.rank}.json"
        path.write_text(json.dumps([[*key, count] for key, count in total]), encoding="utf-8")
    return trained


def _recorded(turns: Iterator[Turn], history: History) -> Iterator[Turn]:
    for turn in turns:
        keys = None if turn.batch is None else _keys_of(turn.batch)
        yield turn
        if keys is not None:  # before the next turn is asked for, which may be when a checkpoint is taken
            history.add(*keys)


def _keys_of(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    if "mark" in batch.fields:
        rows, columns = np.mgrid[0:8, 0:4]
        marked = batch.fields["mark"].cpu().numpy()
        numbers, steps = batch.parameters[:, 0].cpu().numpy()[:, None, None], batch.steps.cpu().numpy()[:, None, None]
        if marked.ndim == 4:  # windows of steps that follow one another
            numbers, steps = numbers[:, None], steps[:, None] + np.arange(marked.shape[1])[None, :, None, None]
        # The trial's samples are made up, and are no marks.
        if (marked == marked.round()).all() and (marked != marks(numbers, steps, rows, columns)).any():
            raise AssertionError(f"a batch of the simulations {batch.simulations.tolist()} is mixed up: {marked}")
    return batch.simulations.clone(), batch.steps.clone()


def trained_in(folder: Path) -> Counter[tuple[int, int]]:
    """How often each (simulation, step) was trained on, in the history of the final weights."""
    rows = json.loads((folder / "history-0.json").read_text(encoding="utf-8"))
    return Counter({(row[0], row[1]): row[2] for row in rows})
