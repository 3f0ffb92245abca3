"""What is said of a training that diverges."""

import math

import pytest
import torch

from melissa_like.buffer import fifo
from melissa_like.errors import TrainingDivergedError
from melissa_like.loading import Batch, Turn
from melissa_like.records import FieldSpec, Layout
from melissa_like.server.telemetry import Telemetry
from melissa_like.training import StepReport

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))


def turn(*simulations: int) -> Turn:
    numbers = torch.tensor(simulations)
    batch = Batch(simulations=numbers, steps=numbers, times=numbers, parameters=numbers, fields={})
    return Turn(batch=batch if simulations else None, num_samples_global=8, progress=0.0, validate=False)


def report(batch_index: int, loss: float, learning_rate: float = 0.002) -> StepReport:
    return StepReport(batch_index=batch_index, loss=loss, learning_rate=learning_rate, num_samples=1)


def telemetry() -> Telemetry:
    return Telemetry(fifo(LAYOUT, 4), lambda: 0, advice="lower the learning rate")


def test_a_divergence_names_training_steps_learning_rate_and_simulations() -> None:
    seen = telemetry()
    turns = seen.passing([turn(1, 2), turn(5, 3), turn(), turn(9, 5)])
    next(turns)
    seen.on_step(report(20, 0.25))
    for _ in turns:
        pass
    with pytest.raises(TrainingDivergedError) as raised:
        seen.on_step(report(40, math.nan))
    assert str(raised.value) == (
        "the training has diverged: its loss is nan at training step 40 (it was 0.25 at training step 20), with the "
        "learning rate 0.002; the batches since then held samples of the simulations 3, 5, 9: lower the learning rate"
    )


def test_a_divergence_in_a_loop_of_ones_own_that_says_little() -> None:
    seen = telemetry()
    for _ in seen.passing(turn(number) for number in range(100)):
        pass
    with pytest.raises(TrainingDivergedError) as raised:
        seen.on_step(report(100, math.inf, math.nan))
    said = str(raised.value)
    assert "its loss is inf at training step 100, with an unknown learning rate" in said
    assert "87 ..." in said


def test_a_rank_that_had_nothing_to_train_on_since_its_restart_has_not_diverged() -> None:
    seen = telemetry()
    for _ in seen.passing([turn(), turn()]):
        pass
    seen.on_step(StepReport(batch_index=150, loss=math.nan, learning_rate=0.002, num_samples=600))
    assert seen.measure().training_loss is None


def test_memory_that_is_used_again_does_not_change_what_is_known() -> None:
    seen = telemetry()
    one = turn(4)
    for given in seen.passing([one]):
        assert given is one
    assert one.batch is not None
    one.batch.simulations.fill_(77)
    with pytest.raises(TrainingDivergedError, match="simulations 4:"):
        seen.on_step(report(1, math.nan))
