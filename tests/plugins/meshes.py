"""A solver on meshes that differ, whose values tell which simulation, step and point they are of, and who audits them.

The loop is that of `tests.plugins.audit`: each batch is compared with what its simulations and steps say it must be,
point by point, static fields too; and a rank may be killed once, after a training step.
"""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from melissa_like.client import Beginning, Part, Scattered
from melissa_like.loading import Batch, Turn
from melissa_like.training import TrainingStream
from tests.plugins import audit


def sizes_of(number: int) -> dict[str, int]:
    """Points and edges of a simulation."""
    num_points = 6 + 5 * (number % 4) + number
    return {"num_points": num_points, "num_edges": 2 * num_points - 3 - number % 2}


def coordinates_of(number: int) -> np.ndarray:
    """Whose mesh it is, and which point: [2, num_points]."""
    num_points = sizes_of(number)["num_points"]
    return np.stack([np.full(num_points, number), np.arange(num_points)]).astype(np.float32)


def edges_of(number: int) -> np.ndarray:
    """To the next point, and to the one after it: [2, num_edges]."""
    sizes = sizes_of(number)
    first = np.arange(sizes["num_edges"]) % sizes["num_points"]
    behind = first + 1 + np.arange(sizes["num_edges"]) // sizes["num_points"]
    return np.stack([first, behind % sizes["num_points"]]).astype(np.int32)


def values_of(number: int, step: int) -> np.ndarray:
    """Two numbers on each point, exact in float32: [2, num_points]."""
    points = np.arange(sizes_of(number)["num_points"], dtype=np.float32)
    return np.stack([1000.0 * number + 10.0 * step + points / 64, points - step]).astype(np.float32)


def solve(
    parameters: Mapping[str, float],
    comm: Any,
    *,
    num_steps: int = 6,
    scattered: bool = False,
    ghosts: bool = False,
    fails_once: str = "",
) -> Iterator[Any]:
    """Each rank sends the points and edges of its share, in order.

    Args:
        parameters: the number of the simulation.
        comm: the ranks.
        num_steps: of each simulation.
        scattered: the points of a rank are any, in any order.
        ghosts: rank 0 sends a point of another rank, too.
        fails_once: a file that does not exist: the last rank makes it, and fails after its third step.
    """
    number = int(parameters["number"])
    points, edges = (_share(comm, sizes_of(number)[extent]) for extent in ("num_points", "num_edges"))
    order = np.random.default_rng(number).permutation(sizes_of(number)["num_points"])
    mine = order[points.start : points.stop + (ghosts and comm.rank == 0)]

    def placed(array: np.ndarray) -> Part | Scattered:
        return Scattered(array[:, mine], mine) if scattered else Part(array[:, points], (0, points.start))

    yield Beginning(
        extents=sizes_of(number),
        static={
            "coordinates": placed(coordinates_of(number)),
            "edges": Part(edges_of(number)[:, edges], (0, edges.start)),
        },
    )
    for step in range(num_steps):
        yield step, {"u": placed(values_of(number, step))}
        if fails_once and step == 2 and comm.rank == comm.size - 1 and not Path(fails_once).exists():
            Path(fails_once).touch()
            raise ArithmeticError("it diverged")


def _share(comm: Any, size: int) -> slice:
    return slice(comm.rank * size // comm.size, (comm.rank + 1) * size // comm.size)


def train(stream: TrainingStream, *, folder: str, killed: str = "", after: int = 5) -> nn.Module:
    """The audited loop.

    Args:
        folder: of the study's folder, `study`; for the history, and `killed`.
        killed: who is killed, once in a study: the last server rank (`server`, SIGKILL) or the launcher (`launcher`,
            SIGTERM); empty: nobody.
        after: training steps of the last rank.
    """
    mark, is_last = Path(folder) / "killed", stream.group.rank == stream.group.size - 1

    def kill() -> None:
        mark.touch()
        if killed == "server":
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(json.loads((Path(folder) / "study" / "status.json").read_text())["pid"], signal.SIGTERM)

    def checked(turns: Iterator[Turn]) -> Iterator[Turn]:
        for turn in turns:
            if turn.batch is not None and not stream.is_trial:
                check(turn.batch)
            yield turn
            if killed and is_last and not stream.is_trial and stream.batches >= after and not mark.exists():
                kill()

    stream.turns = checked(stream.turns)
    return audit.train(stream, folder=folder)


def check(batch: Batch) -> None:
    """Raises an AssertionError if a batch is not what its samples say."""
    points, edges = batch.offsets["num_points"], batch.offsets["num_edges"]
    length = batch.times.shape[1] if batch.times.ndim > 1 else 1  # of windows of steps that follow one another
    for index, (number, step) in enumerate(zip(batch.parameters[:, 0].tolist(), batch.steps.tolist(), strict=True)):
        of_points = slice(int(points[index]), int(points[index + 1]))
        of_edges = slice(int(edges[index]), int(edges[index + 1]))
        expected = {
            "u": (
                batch.fields["u"][of_points].reshape(-1, length, 2),
                np.stack([values_of(int(number), step + now).T for now in range(length)], axis=1),
            ),
            "coordinates": (batch.static["coordinates"][of_points], coordinates_of(int(number)).T),
            "edges": (batch.static["edges"][of_edges] - points[index], edges_of(int(number)).T),
        }
        for name, (found, wanted) in expected.items():
            if not torch.equal(found.double(), torch.from_numpy(wanted).double()):
                raise AssertionError(f"{name} of simulation {number:g}, step {step}, is {found}, not {wanted}")
