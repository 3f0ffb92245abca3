"""The trial of tasks that learn from windows: what works leaves no trace, what does not is told by its key."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from melissa_like.errors import ConfigurationError
from melissa_like.loading import Batch
from melissa_like.models import MLP, Problem
from melissa_like.records import FieldSpec, Layout
from melissa_like.training import (
    Autoregressive,
    Normalization,
    Operator,
    Optimization,
    Probe,
    Suspects,
    TrainingRecipe,
    TrainingStream,
    build_surrogate,
    train,
    try_out,
)
from melissa_like.training.curriculum import Pushforward, RollOut, Unrolling

pytestmark = pytest.mark.filterwarnings("ignore")  # a user's process does not end at a warning of torch
LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(6,)), FieldSpec(name="v", shape=(2, 6), components=2, bounds=(-1.0, 1.0))),
    parameters=("a",),
)
BOUNDS = {"a": (0.0, 1.0)}


def tried(
    folder: Path, task: object, model: object = MLP, *, loop: Callable[..., nn.Module] = train, num_ranks: int = 1
) -> None:
    try_out(
        partial(build_surrogate, layout=LAYOUT, model=model, task=task, parameter_bounds=BOUNDS, num_steps=20),
        TrainingRecipe(optimization=Optimization()),
        loop,
        probe=Probe(layout=LAYOUT, bounds=BOUNDS, num_steps=20, device=torch.device("cpu")),
        sizes=(4, 1),
        num_ranks=num_ranks,
        suspects=Suspects(names={"model": "mine.Network", "training.task": "mine.Task"}),
        folder=folder,
    )


def refusal(folder: Path, task: object, model: object = MLP) -> str:
    with pytest.raises(ConfigurationError) as refused:
        tried(folder, task, model)
    return str(refused.value)


def walk(stream: TrainingStream) -> nn.Module:
    """A loop of one's own."""
    objective = stream.objective()
    for turn in stream.turns:
        objective(turn.batch, turn.progress).sum().backward()
    stream.validate()
    return stream.surrogate


@pytest.mark.parametrize(
    "task",
    [
        Autoregressive,
        partial(Autoregressive, history=2, horizon=2, bundle=3, stride=2, time=True, curriculum=RollOut()),
        partial(Autoregressive, horizon=3, inputs=["v"], residual=False, curriculum=Pushforward(end=0.0)),
        partial(Operator, initial=["u"], inputs=["v"], window={"length": 4}),
        partial(Operator, initial=["u", "v"]),
    ],
)
def test_tasks_of_windows_pass(tmp_path: Path, task: object) -> None:
    before = torch.get_rng_state()
    tried(tmp_path, task)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(tmp_path.iterdir()) == []


def test_with_several_ranks_and_a_loop_of_ones_own_they_pass_too(tmp_path: Path) -> None:
    # Neither raises.
    tried(tmp_path, partial(Autoregressive, horizon=3, curriculum=Pushforward(end=0.0)), num_ranks=2)
    tried(tmp_path, partial(Autoregressive, horizon=2), loop=walk)


class OneStepAhead(Autoregressive):
    """Predicts one step of windows, and has no axis of steps."""

    def compare(
        self, network: nn.Module, scale: Normalization, batch: Batch, progress: float
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        return self.advance(network, scale, batch), self.targets(scale, batch)

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        return {name: values[:, 0] for name, values in super().advance(network, scale, batch).items()}

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        return {name: values[:, 0] for name, values in super().targets(scale, batch).items()}

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        restored = super().restore(scale, batch, {name: each.unsqueeze(1) for name, each in values.items()})
        return {name: each[:, 0] for name, each in restored.items()}

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        return {name: values[:, 0] for name, values in super().truth(batch).items()}

    roll_out = None
    begin = None


class WrongWay(Autoregressive):
    """Its way back is not that there."""

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        return {name: 2 * values for name, values in super().truth(batch).items()}


class TooShort(Autoregressive):
    """Rolls out fewer steps than it is asked for."""

    def roll_out(self, network: nn.Module, scale: Normalization, batch: Batch, num_steps: int) -> object:
        yield from list(super().roll_out(network, scale, batch, num_steps))[:-1]


class Detached(Autoregressive):
    """Lets nothing depend on the weights."""

    def compare(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> object:
        made, targets = super().compare(network, scale, batch, progress)
        return {name: values.detach() for name, values in made.items()}, targets


def no_calls(num_calls: int, progress: float) -> Unrolling:
    """A curriculum that makes more calls than there is room for."""
    return Unrolling(calls=num_calls + 1, run=1)


class Narrow(nn.Module):
    """Returns one step, whatever the bundle."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 6)

    def forward(self, *, fields: Mapping[str, Tensor], parameters: Tensor) -> dict[str, Tensor]:
        made = self.layer(parameters).unsqueeze(1)
        return {"u": made, "v": made.expand(-1, 2, -1)}


def too_long(num_calls: int, progress: float) -> Unrolling:
    """Fine until the study is half over."""
    return Unrolling(calls=num_calls + (progress > 0.5), run=1)


@pytest.mark.parametrize(
    ("task", "model", "words"),
    [
        (WrongWay, MLP, ["training.task (mine.Task)", "restore, given what targets gave", "in other units"]),
        (partial(TooShort, horizon=2), MLP, ["training.task (mine.Task)", "roll_out gave", "(1, 1, 6)", "(1, 2, 6)"]),
        (Detached, MLP, ["model (mine.Network)", "does not depend on its weights"]),
        (partial(Autoregressive, curriculum=no_calls), MLP, ["training.task (mine.Task)", "has room for 1 calls"]),
        (partial(Autoregressive, curriculum=too_long), MLP, ["training.task (mine.Task)", "has room for 1 calls"]),
        (partial(Autoregressive, bundle=2), Narrow, ["model (mine.Network)", "the shape (4, 1, 6)", "(4, 2, 6)"]),
    ],
)
def test_what_cannot_work_is_told(tmp_path: Path, task: object, model: object, words: list[str]) -> None:
    said = refusal(tmp_path, task, model)
    for word in words:
        assert word in said


def test_a_task_of_windows_that_predicts_one_step_needs_no_axis_of_steps(tmp_path: Path) -> None:
    tried(tmp_path, OneStepAhead)  # does not raise
