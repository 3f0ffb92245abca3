"""A training loop that knows what is in the history of its weights: it looks at every batch, and is kept with them."""

import json
import os
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from melissa_like.loading import Batch, Turn
from melissa_like.training import TrainingStream, train


class Seen:
    """The samples that were trained on, on one rank; a restart brings it back as it was at the checkpoint."""

    def __init__(self, num_held_out: int) -> None:
        self._num_held_out = num_held_out  # these simulations come first
        self.samples: dict[tuple[int, int], int] = {}  # and the attempt of each
        self.num_draws = 0
        self.faults: list[str] = []

    def look(self, batch: Batch) -> None:
        """Note the samples of a batch, and whatever is wrong with them."""
        simulations, steps = batch.simulations.tolist(), batch.steps.tolist()
        for simulation, step, rows in zip(simulations, steps, batch.fields["mark"].cpu(), strict=True):
            rows = rows.long()
            number, attempt, said = (int(value) for value in rows[0, :3])
            whole = bool((rows[:, :3] == rows[0, :3]).all()) and rows[:, 3].tolist() == list(range(len(rows)))
            if not whole or (number, said) != (simulation - self._num_held_out, step):
                self.faults.append(f"simulation {simulation}, step {step} is {rows.tolist()}")
            self.samples[number, step] = attempt
            self.num_draws += 1

    def state_dict(self) -> dict[str, Any]:
        """As tensors and plain values, for `weights_only`."""
        rows = [(*key, attempt) for key, attempt in self.samples.items()]
        table = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
        return {"samples": table, "num_draws": self.num_draws, "faults": list(self.faults)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self.samples = {(int(s), int(t)): int(a) for s, t, a in state["samples"].tolist()}
        self.num_draws, self.faults = state["num_draws"], list(state["faults"])


def audited(
    stream: TrainingStream, *, folder: str, held_out: int = 0, pause_s: float = 0.0, killed_at: int = 0, victim: int = 0
) -> nn.Module:
    """The bundled loop; in the end `seen-RANK.json` tells what the weights have seen.

    Args:
        folder: for that, and for `began-RANK-PID`: when the first turn of each process came, and how many lie before.
        held_out: simulations that are not trained on.
        pause_s: before each training step.
        killed_at: which of the calls of `os.fsync`, with which checkpoints are written, ends the process; 0: none.
        victim: rank of the process to which that happens, once in a study.
    """
    if stream.is_trial:
        return train(stream)
    rank = stream.group.rank
    if killed_at and rank == victim:
        _die_at(killed_at, Path(folder) / "killed")
    seen = Seen(held_out)
    stream.keep("seen", seen)
    turns = stream.turns

    def looked_at() -> Iterator[Turn]:
        began = False
        for turn in turns:
            if not began:
                began = True
                first = {"at": time.time(), "batches": stream.batches}
                (Path(folder) / f"began-{rank}-{os.getpid()}").write_text(json.dumps(first))
            time.sleep(pause_s)
            if turn.batch is not None:
                seen.look(turn.batch)
            yield turn

    stream.turns = looked_at()
    trained = train(stream)
    rows = sorted((simulation, step, attempt) for (simulation, step), attempt in seen.samples.items())
    told = {"samples": rows, "num_draws": seen.num_draws, "faults": seen.faults}
    (Path(folder) / f"seen-{rank}.json").write_text(json.dumps(told))
    return trained


def _die_at(number: int, mark: Path) -> None:
    """Let a call of `os.fsync` end this process, unless that has happened before."""
    calls, fsync = count(1), os.fsync

    def deadly(descriptor: int) -> None:
        if next(calls) == number and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = deadly
