"""Two processes over gloo train as one: uneven batches, empty ranks, collectives from two threads, a missing peer.

This file is also the program of each rank.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from melissa_like.errors import DeadlineExceededError
from melissa_like.loading import Batch, Turn
from melissa_like.models import MLP
from melissa_like.records import FieldSpec, Layout, Purpose, Sample, SampleKey
from melissa_like.training import (
    Optimization,
    Surrogate,
    Trainer,
    ValidationReport,
    ValidationSet,
    build_surrogate,
    join_ranks,
    load_surrogate,
)

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(8,), bounds=(-1.0, 1.0)),), parameters=("a", "b"))
#: Samples of each rank in each training step: even, uneven, one rank empty, the other empty.
SIZES = [(4, 4), (5, 2), (3, 0), (0, 6), (1, 4), (4, 0), (2, 3)]
DEADLINE_S = 60.0


def batch(sizes: tuple[int, int], step: int, ranks: range) -> Batch | None:
    """The samples of some ranks in a training step; those of rank 0 come first in the joined batch."""
    generator = torch.Generator().manual_seed(step)
    parameters = torch.rand(sum(sizes), 2, generator=generator, dtype=torch.float64)
    steps = torch.randint(0, 10, (sum(sizes),), generator=generator)
    u = torch.sin(parameters[:, :1] * torch.arange(8) + steps[:, None] * parameters[:, 1:]).float()
    mine = slice(sum(sizes[: ranks.start]), sum(sizes[: ranks.stop]))
    if mine.start == mine.stop:
        return None
    return Batch(
        simulations=torch.arange(sum(sizes))[mine],
        steps=steps[mine],
        times=steps[mine].double(),
        parameters=parameters[mine],
        fields={"u": u[mine]},
    )


def turns(ranks: range) -> Iterator[Turn]:
    for index, sizes in enumerate(SIZES):
        yield Turn(
            batch=batch(sizes, index, ranks),
            num_samples_global=sum(sizes),
            progress=index / len(SIZES),
            validate=index == 3,
        )


def surrogate(seed: int) -> Surrogate:
    torch.manual_seed(seed)
    bounds = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
    return build_surrogate(layout=LAYOUT, parameter_bounds=bounds, num_steps=10, model=partial(MLP, hidden=(16, 16)))


def held_out() -> ValidationSet:
    validation = ValidationSet(LAYOUT)
    (field,) = fields = validation.reserve(50, 1, 4)
    field[...] = np.linspace(-1, 1, 8)
    parameters = np.array([0.2, 0.7])
    validation.take(
        Sample(
            key=SampleKey(50, 4), attempt=1, purpose=Purpose.VALIDATION, time=4.0, parameters=parameters, fields=fields
        ),
        0.0,
    )
    return validation


def trainer(built: Surrogate, validation: ValidationSet, **options: object) -> Trainer:
    sgd = partial(torch.optim.SGD, lr=0.2, momentum=0.9)
    return Trainer(built, optimizer=sgd, optimization=Optimization(gradient_clip=0.3), validation=validation, **options)


def train(folder: Path) -> None:
    """One rank: trains, while another thread exchanges numbers on the loader's collective."""
    with join_ranks(torch.device("cpu"), timeout_s=DEADLINE_S) as ranks:
        built = surrogate(seed=ranks.rank)  # DDP makes all start from rank 0's weights
        validation = held_out() if ranks.rank == 1 else ValidationSet(LAYOUT)
        validations: list[ValidationReport] = []
        tables = []

        def exchange() -> None:
            for number in range(200):
                tables.append(ranks.loading.all_gather(np.array([ranks.rank, number, 2.0**53])))

        thread = threading.Thread(target=exchange)
        thread.start()
        summary = trainer(built, validation, collective=ranks.training, on_validation=validations.append).train(
            turns(range(ranks.rank, ranks.rank + 1))
        )
        thread.join(DEADLINE_S)
        assert len(tables) == 200
        for number, table in enumerate(tables):
            np.testing.assert_array_equal(table, [[0, number, 2.0**53], [1, number, 2.0**53]])
        built.save(folder / f"surrogate-{ranks.rank}")
        said = {"summary": summary, "validations": validations}
        (folder / f"said-{ranks.rank}.json").write_bytes(msgspec.json.encode(said))


def leave(folder: Path) -> None:
    """Rank 1 ends at once; rank 0 must not wait for it for ever."""
    with join_ranks(torch.device("cpu"), timeout_s=5.0) as ranks:
        if ranks.rank == 0:
            with pytest.raises(DeadlineExceededError, match="server rank 0 of 2"):
                ranks.training.all_gather(np.zeros(1))


def meet_nobody(folder: Path) -> None:
    """Alone where two are expected."""
    with (
        pytest.raises(DeadlineExceededError, match="did not meet the others"),
        join_ranks(torch.device("cpu"), timeout_s=1.0),
    ):
        pass


def run(scenario: str, folder: Path, *, num_started: int = 2) -> None:
    """Start the ranks of a scenario and demand that they end well, in time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with ExitStack() as stack:
        processes = []
        for rank in range(num_started):
            process = subprocess.Popen(
                [sys.executable, __file__, scenario, str(folder)],
                env=common | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            output, _ = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, output


def test_two_uneven_ranks_train_as_one_with_the_joined_batch(tmp_path: Path) -> None:
    run("train", tmp_path)
    alone = surrogate(seed=0)
    validations: list[ValidationReport] = []
    trainer(alone, held_out(), on_validation=validations.append).train(turns(range(2)))
    said = []
    for rank in range(2):
        trained = load_surrogate(tmp_path / f"surrogate-{rank}")
        torch.testing.assert_close(trained.state_dict(), alone.state_dict(), rtol=0, atol=1e-6)
        said.append(msgspec.json.decode((tmp_path / f"said-{rank}.json").read_bytes()))
    untrained = surrogate(seed=0).state_dict()["network.layers.0.weight"]
    assert (alone.state_dict()["network.layers.0.weight"] - untrained).abs().max() > 1e-3
    for rank in range(2):
        assert said[rank]["summary"]["batches"] == len(SIZES)
        assert said[rank]["summary"]["samples"] == sum(sizes[rank] for sizes in SIZES)
        assert [report["batches"] for report in said[rank]["validations"]] == [4, len(SIZES)]
        for report, expected in zip(said[rank]["validations"], validations, strict=True):
            assert report["num_samples"] == 1
            assert report["loss"] == pytest.approx(expected.loss, rel=1e-4)
            assert report["relative_l2"] == pytest.approx(expected.relative_l2, rel=1e-4)


def test_a_rank_that_left_is_noticed(tmp_path: Path) -> None:
    run("leave", tmp_path)


def test_a_rank_that_never_came_is_noticed(tmp_path: Path) -> None:
    run("meet_nobody", tmp_path, num_started=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"train": train, "leave": leave, "meet_nobody": meet_nobody}[sys.argv[1]](Path(sys.argv[2]))
