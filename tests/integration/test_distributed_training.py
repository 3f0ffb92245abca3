"""Two processes over gloo train as one: uneven batches, empty ranks, collectives from two threads, a missing peer.

This file is also the program of each rank. Rank 0 opens the rendezvous and says where; the other is told.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_model
from torch import nn

from melissa_like.assembly import WindowTally
from melissa_like.errors import DeadlineExceededError
from melissa_like.loading import Batch, Moments, Turn
from melissa_like.models import MLP
from melissa_like.records import FieldSpec, Layout, Purpose, Sample, SampleKey, Window
from melissa_like.training import (
    Autoregressive,
    Optimization,
    RankGroup,
    Surrogate,
    TrainingRecipe,
    TrainingStream,
    ValidationReport,
    ValidationSet,
    build_surrogate,
    connect_rendezvous,
    join_ranks,
    load_surrogate,
    open_rendezvous,
    run_loop,
    save_surrogate,
    train,
)
from melissa_like.training.curriculum import Curriculum, Gradual, RollOut
from tests.contract.consumers import assembled
from tests.plugins.curricula import farthest_push
from tests.plugins.networks import GridNetwork

ROOT = Path(__file__).parents[2]
NUM_RANKS = 2
LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(8,), bounds=(-1.0, 1.0)),), parameters=("a", "b"))
FLOW = Layout(
    fields=(FieldSpec(name="velocity", shape=(2, 6, 5), components=2), FieldSpec(name="pressure", shape=(6, 5))),
    parameters=("a", "b"),
)
FLOW_STATISTICS = {
    "velocity": (Moments(count=9, mean=0.5, std=0.4), Moments(count=9, mean=-2.0, std=1.5)),
    "pressure": (Moments(count=9, mean=100.0, std=20.0),),
}
#: Samples of each rank in each training step: even, uneven, one rank empty, the other empty.
SIZES = [(4, 4), (5, 2), (3, 0), (0, 6), (1, 4), (4, 0), (2, 3)]
DEADLINE_S = 60.0


def solution(parameters: torch.Tensor, steps: torch.Tensor) -> dict[str, torch.Tensor]:
    """One field on a line, and a velocity and a pressure on a grid, of very different sizes."""
    a, b = parameters[:, :1], parameters[:, 1:]
    phase = (a * torch.arange(8) + steps[:, None] * b).float()
    x, y = torch.meshgrid(torch.linspace(0, 3, 6), torch.linspace(0, 2, 5), indexing="ij")
    wave = torch.sin(x + 2 * a.float()[:, :, None]) * torch.cos(y + steps[:, None, None] / 10)
    return {
        "u": torch.sin(phase),
        "velocity": torch.stack([0.5 + 0.5 * wave, -2 + 2 * b.float()[:, :, None] * wave], dim=1),
        "pressure": 100 + 25 * wave**2,
    }


def batch(layout: Layout, sizes: tuple[int, int], step: int, ranks: range) -> Batch | None:
    """The samples of some ranks in a training step; those of rank 0 come first in the joined batch."""
    generator = torch.Generator().manual_seed(step)
    parameters = torch.rand(sum(sizes), 2, generator=generator, dtype=torch.float64)
    steps = torch.randint(0, 10, (sum(sizes),), generator=generator)
    mine = slice(sum(sizes[: ranks.start]), sum(sizes[: ranks.stop]))
    if mine.start == mine.stop:
        return None
    fields = solution(parameters, steps)
    return Batch(
        simulations=torch.arange(sum(sizes))[mine],
        steps=steps[mine],
        times=steps[mine].double(),
        parameters=parameters[mine],
        fields={field.name: fields[field.name][mine] for field in layout.fields},
    )


def turns(layout: Layout, ranks: range, *, rounds: int = 1) -> Iterator[Turn]:
    for index, sizes in enumerate(rounds * SIZES):
        yield Turn(
            batch=batch(layout, sizes, index, ranks),
            num_samples_global=sum(sizes),
            progress=index / (rounds * len(SIZES)),
            validate=index == 3,
            statistics=FLOW_STATISTICS if index == 0 else None,
        )


def surrogate(seed: int, layout: Layout = LAYOUT) -> Surrogate:
    torch.manual_seed(seed)
    bounds = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
    model: Callable[..., nn.Module] = partial(MLP, hidden=(16, 16)) if layout is LAYOUT else GridNetwork
    return build_surrogate(layout=layout, parameter_bounds=bounds, num_steps=10, model=model)


def held_out(layout: Layout = LAYOUT) -> ValidationSet:
    """Four samples, or none."""
    validation = ValidationSet(layout)
    given = batch(layout, (4, 0), 999, range(1))
    assert given is not None
    for number in range(given.size):
        key = SampleKey(50 + number, int(given.steps[number]))
        fields = validation.reserve(key.simulation, 1, key.step)
        for target, values in zip(fields, given.fields.values(), strict=True):
            target[...] = values[number].numpy()
        sample = Sample(
            key=key,
            attempt=1,
            purpose=Purpose.VALIDATION,
            time=0.0,
            parameters=given.parameters[number].numpy(),
            fields=fields,
        )
        validation.take(sample, 0.0)
    return validation


def stream(
    given: Iterator[Turn], built: Surrogate, validation: ValidationSet | None, **options: object
) -> TrainingStream:
    sgd = partial(torch.optim.SGD, lr=0.2, momentum=0.9)
    recipe = TrainingRecipe(optimizer=sgd, optimization=Optimization(gradient_clip=0.3))
    return TrainingStream(given, surrogate=built, held_out=validation, recipe=recipe, **options)


def readme_loop() -> Callable[[TrainingStream], nn.Module]:
    """The loop that the README shows."""
    (text,) = re.findall(
        r"```python\n(import torch\n\n\ndef loop\(stream\).*?)```", (ROOT / "README.md").read_text(), re.S
    )
    names: dict[str, Callable[[TrainingStream], nn.Module]] = {}
    exec(text, names)
    return names["loop"]


def chain(parameters: torch.Tensor, length: int) -> torch.Tensor:
    """Waves that move by a parameter at each step and shrink by another: [B, length, 8]."""
    phase = torch.arange(8) * 2 * torch.pi / 8 + torch.arange(length)[:, None] * parameters[:, 1, None, None]
    return ((1 - parameters[:, 0, None, None] / 10) ** torch.arange(length)[:, None] * torch.sin(phase)).float()


def windows(ranks: range) -> Iterator[Turn]:
    """Turns with windows of four steps, as uneven as those with single steps."""
    for turn in turns(LAYOUT, ranks):
        if turn.batch is None:
            yield turn
            continue
        given = turn.batch
        windowed = Batch(
            simulations=given.simulations,
            steps=given.steps,
            times=given.times[:, None] + torch.arange(4),
            parameters=given.parameters,
            fields={"u": chain(given.parameters, 4)},
        )
        yield replace(turn, batch=windowed, statistics={"increment of u": (Moments(count=9, mean=0.0, std=0.3),)})


def autoregressive(seed: int, curriculum: Curriculum) -> Surrogate:
    torch.manual_seed(seed)
    bounds = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
    task = partial(Autoregressive, horizon=3, curriculum=curriculum)
    model = partial(MLP, hidden=(16,))
    return build_surrogate(layout=LAYOUT, parameter_bounds=bounds, num_steps=10, model=model, task=task)


def held_out_windows(simulations: Iterable[int]) -> ValidationSet:
    window = Window(length=4, hop=3)
    validation = ValidationSet(LAYOUT, window=window)
    for number in simulations:
        parameters = torch.tensor([[0.1 * number, 0.2 * number]], dtype=torch.float64)
        tally = WindowTally(window, num_steps=10)
        for step, values in enumerate(chain(parameters, 10)[0].numpy()):
            key = SampleKey(number, step)
            sample = assembled(validation, key, [values], parameters=parameters[0].tolist(), windows=tally.add(step))
            validation.take(sample, 0.0)
    return validation


CURRICULA: dict[str, Curriculum] = {"roll_out": RollOut(), "gradual": Gradual(end=0.9), "pushforward": farthest_push}

# -- what a rank does -------------------------------------------------------------------------------------------------


@contextmanager
def joined(rank: int, address: str, *, timeout_s: float = DEADLINE_S) -> Iterator[RankGroup]:
    if rank == 0:
        store, address = open_rendezvous("127.0.0.1", NUM_RANKS)
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
    else:
        store = connect_rendezvous(address, NUM_RANKS)
    with join_ranks(torch.device("cpu"), rank=rank, num_ranks=NUM_RANKS, store=store, timeout_s=timeout_s) as ranks:
        yield ranks


def train_one_field(folder: Path, rank: int, address: str) -> None:
    """Trains, while another thread exchanges numbers on the loader's collective."""
    with joined(rank, address) as ranks:
        assert (ranks.rank, ranks.size) == (rank, NUM_RANKS)
        built = surrogate(seed=rank)  # DDP makes all start from rank 0's weights
        validations: list[ValidationReport] = []
        tables = []

        def exchange() -> None:
            for number in range(200):
                tables.append(ranks.loading.all_gather(np.array([rank, number, 2.0**53])))

        thread = threading.Thread(target=exchange)
        thread.start()
        training = stream(
            turns(LAYOUT, range(rank, rank + 1)),
            built,
            held_out() if rank == 1 else ValidationSet(LAYOUT),
            group=ranks,
            on_validation=validations.append,
        )
        run_loop(train, training)
        thread.join(DEADLINE_S)
        assert len(tables) == 200
        for number, table in enumerate(tables):
            np.testing.assert_array_equal(table, [[0, number, 2.0**53], [1, number, 2.0**53]])
        save_surrogate(built, folder / f"surrogate-{rank}")
        said = {"summary": training.summary(), "validations": validations}
        (folder / f"said-{rank}.json").write_bytes(msgspec.json.encode(said))


def train_two_fields(folder: Path, rank: int, address: str) -> None:
    with joined(rank, address) as ranks:
        built = surrogate(rank, FLOW)
        run_loop(train, stream(turns(FLOW, range(rank, rank + 1), rounds=20), built, None, group=ranks))
        save_surrogate(built, folder / f"surrogate-{rank}")


def train_windows(folder: Path, rank: int, address: str) -> None:
    """Several calls of the network in each training step, with each curriculum."""
    with joined(rank, address) as ranks:
        for name, curriculum in CURRICULA.items():
            built = autoregressive(rank, curriculum)
            validations: list[ValidationReport] = []
            run_loop(
                train,
                stream(
                    windows(range(rank, rank + 1)),
                    built,
                    held_out_windows([rank, 2] if rank == 0 else [rank]),
                    group=ranks,
                    on_validation=validations.append,
                ),
            )
            save_model(built, str(folder / f"{name}-{rank}"))
            (folder / f"{name}-{rank}.json").write_bytes(msgspec.json.encode(validations))


def train_by_hand(folder: Path, rank: int, address: str) -> None:
    with joined(rank, address) as ranks:
        built = surrogate(rank)
        training = stream(turns(LAYOUT, range(rank, rank + 1), rounds=10), built, None, group=ranks)
        assert run_loop(readme_loop(), training) is built
        assert training.summary().batches == 10 * len(SIZES)
        save_surrogate(built, folder / f"surrogate-{rank}")


def leave(folder: Path, rank: int, address: str) -> None:
    """Rank 1 ends at once; rank 0 must not wait for it for ever."""
    with joined(rank, address, timeout_s=5.0) as ranks:
        if rank == 0:
            with pytest.raises(DeadlineExceededError, match="server rank 0 of 2"):
                ranks.training.all_gather(np.zeros(1))


def meet_nobody(folder: Path, rank: int, address: str) -> None:
    """Alone where two are expected."""
    with (
        pytest.raises(DeadlineExceededError, match="server rank 0 of 2 did not meet the others"),
        joined(rank, address, timeout_s=1.0),
    ):
        pass


SCENARIOS = {
    function.__name__: function
    for function in (train_one_field, train_two_fields, train_windows, train_by_hand, leave, meet_nobody)
}


def run(scenario: Callable[[Path, int, str], None], folder: Path, *, num_started: int = NUM_RANKS) -> None:
    """Start the ranks of a scenario and demand that they end well, in time."""
    with ExitStack() as stack:
        processes, address = [], "-"
        for rank in range(num_started):
            process = subprocess.Popen(
                [sys.executable, __file__, scenario.__name__, str(folder), str(rank), address],
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
            if rank == 0:
                assert process.stdout is not None
                address = process.stdout.readline().strip()
        for process in processes:
            output, _ = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, output


# -- the tests --------------------------------------------------------------------------------------------------------


def test_two_uneven_ranks_train_as_one_with_the_joined_batch(tmp_path: Path) -> None:
    run(train_one_field, tmp_path)
    alone = surrogate(seed=0)
    validations: list[ValidationReport] = []
    run_loop(train, stream(turns(LAYOUT, range(NUM_RANKS)), alone, held_out(), on_validation=validations.append))
    said = []
    for rank in range(NUM_RANKS):
        trained = load_surrogate(tmp_path / f"surrogate-{rank}")
        torch.testing.assert_close(trained.state_dict(), alone.state_dict(), rtol=0, atol=1e-6)
        said.append(msgspec.json.decode((tmp_path / f"said-{rank}.json").read_bytes()))
    untrained = surrogate(seed=0).state_dict()["network.layers.0.weight"]
    assert (alone.state_dict()["network.layers.0.weight"] - untrained).abs().max() > 1e-3
    for rank in range(NUM_RANKS):
        assert said[rank]["summary"]["batches"] == len(SIZES)
        assert said[rank]["summary"]["samples"] == sum(sizes[rank] for sizes in SIZES)
        assert [report["batches"] for report in said[rank]["validations"]] == [4, len(SIZES)]
        for report, expected in zip(said[rank]["validations"], validations, strict=True):
            assert report["num_samples"] == 4
            assert report["loss"] == pytest.approx(expected.loss, rel=1e-4)
            assert report["relative_l2"] == pytest.approx(expected.relative_l2, rel=1e-4)


def test_a_network_on_a_grid_learns_two_fields_of_different_components_on_two_ranks(tmp_path: Path) -> None:
    run(train_two_fields, tmp_path)
    alone = surrogate(0, FLOW)
    validations: list[ValidationReport] = []
    untrained = held_out(FLOW)
    run_loop(
        train,
        stream(turns(FLOW, range(NUM_RANKS), rounds=20), alone, untrained, on_validation=validations.append),
    )
    # Of the error of predicting the mean everywhere, in normalized units, less than half is left in each component.
    scale, task = alone.normalization, alone.task
    joined_batch = batch(FLOW, (40, 24), 4321, range(NUM_RANKS))
    assert joined_batch is not None
    with torch.no_grad():
        made, targets = task.advance(alone.network, scale, joined_batch), task.targets(scale, joined_batch)
    for name, target in targets.items():
        error = (made[name] - target).square().mean(dim=(0, 2, 3)).sqrt()
        spread = (target - target.mean(dim=(0, 2, 3), keepdim=True)).square().mean(dim=(0, 2, 3)).sqrt()
        assert (error < 0.5 * spread).all(), (name, error, spread)
    assert len(validations) == 2
    assert validations[1].loss < 0.5 * validations[0].loss
    for rank in range(NUM_RANKS):
        trained = load_surrogate(tmp_path / f"surrogate-{rank}")
        torch.testing.assert_close(trained.state_dict(), alone.state_dict(), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_two_uneven_ranks_train_as_one_when_the_network_is_called_several_times(tmp_path: Path) -> None:
    run(train_windows, tmp_path)
    for name, curriculum in CURRICULA.items():
        alone = autoregressive(0, curriculum)
        validations: list[ValidationReport] = []
        held = held_out_windows(range(3))
        run_loop(train, stream(windows(range(NUM_RANKS)), alone, held, on_validation=validations.append))
        expected = msgspec.json.decode(msgspec.json.encode(validations))
        assert [report["rollout"]["num_simulations"] for report in expected] == [3, 3]
        for rank in range(NUM_RANKS):
            trained = load_file(tmp_path / f"{name}-{rank}")
            torch.testing.assert_close(trained, dict(alone.state_dict()), rtol=0, atol=1e-5)
            said = msgspec.json.decode((tmp_path / f"{name}-{rank}.json").read_bytes())
            for report, other in zip(said, expected, strict=True):
                assert report["num_samples"] == other["num_samples"] == 9
                assert report["relative_l2"] == pytest.approx(other["relative_l2"], rel=1e-3)
                each = [step["max"] for step in report["rollout"]["by_step"]]
                assert each == pytest.approx([step["max"] for step in other["rollout"]["by_step"]], rel=1e-3)


def test_the_loop_of_the_readme_trains_on_two_uneven_ranks(tmp_path: Path) -> None:
    run(train_by_hand, tmp_path)
    alone = surrogate(seed=0)
    run_loop(readme_loop(), stream(turns(LAYOUT, range(NUM_RANKS), rounds=10), alone, None))
    for rank in range(NUM_RANKS):
        trained = load_surrogate(tmp_path / f"surrogate-{rank}")
        torch.testing.assert_close(trained.state_dict(), alone.state_dict(), rtol=0, atol=1e-4)


def test_a_rank_that_left_is_noticed(tmp_path: Path) -> None:
    run(leave, tmp_path)


def test_a_rank_that_never_came_is_noticed(tmp_path: Path) -> None:
    run(meet_nobody, tmp_path, num_started=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    SCENARIOS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
