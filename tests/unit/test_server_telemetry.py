"""What is said of a training that diverges."""

import math

import numpy as np
import pytest
import torch

from melissa_like.buffer import fifo
from melissa_like.errors import TrainingDivergedError
from melissa_like.loading import Batch, Turn
from melissa_like.records import FieldSpec, Layout, SampleKey
from melissa_like.server.telemetry import Telemetry
from melissa_like.training import RollOutReport, Spread, StepReport, ValidationReport
from tests.unit import ragged

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))


def turn(*simulations: int) -> Turn:
    numbers = torch.tensor(simulations)
    batch = Batch(simulations=numbers, steps=numbers, times=numbers, parameters=numbers, fields={})
    return Turn(batch=batch if simulations else None, num_samples_global=8, progress=0.0, validate=False)


def report(batch_index: int, loss: float, learning_rate: float = 0.002) -> StepReport:
    return StepReport(batch_index=batch_index, loss=loss, learning_rate=learning_rate, num_samples=1)


def telemetry() -> Telemetry:
    return Telemetry(fifo(LAYOUT, 4), lambda: 0, advice="lower the learning rate")


def test_bytes_are_told_of_a_buffer_whose_samples_differ() -> None:
    assert telemetry().measure().buffer_bytes is None
    assert "buffer_bytes" not in telemetry().measure().by_name()
    buffer = fifo(ragged.LAYOUT, 4, capacity_nbytes=10**5)
    seen = Telemetry(buffer, lambda: 0, advice="")
    assert seen.measure().buffer_bytes == 0
    key, sizes = SampleKey(1, 0), (5, 4)
    given = {"time": 0.0, "parameters": np.zeros(1), "static": ragged.mesh_of(1, sizes)}
    assert buffer.put(key, ragged.fields_of(key, sizes), timeout_s=0.0, **given)
    assert seen.measure().buffer_bytes == buffer.population().nbytes > 0


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


def validated(batches: int, rollout_error: float = 0.5) -> ValidationReport:
    spread = Spread(mean=rollout_error, median=0.4, p99=0.9, max=rollout_error)
    rollout = RollOutReport(
        num_simulations=2,
        num_steps=2,
        relative_l2=spread,
        by_step=(spread, spread),
        num_fields=2,
        correlation_time=1.5,
        correlation_time_median=2.0,
        correlation_time_min=1.0,
        num_correlated=1,
    )
    return ValidationReport(
        batches=batches,
        loss=0.1,
        relative_l2=0.2,
        num_samples=8,
        relative_l2_median=0.15,
        relative_l2_p99=0.7,
        relative_l2_max=0.8,
        rollout=rollout,
    )


def test_the_steps_of_roll_outs_are_kept_of_the_last_validation_alone() -> None:
    seen, restarted = telemetry(), telemetry()
    for batches in (10, 20):
        seen.on_validation(validated(batches))
    restarted.load_state_dict(seen.state_dict())
    assert restarted.validations == seen.validations
    first, last = seen.validations
    assert first.rollout is not None
    assert last.rollout is not None
    assert (first.batches, first.rollout.by_step, len(last.rollout.by_step)) == (10, (), 2)
    assert first.rollout.relative_l2 == last.rollout.relative_l2


def test_the_sinks_get_quantiles_roll_outs_and_correlation_times_as_far_as_they_are_finite() -> None:
    seen = telemetry()
    seen.on_validation(validated(10))
    values = seen.measure().by_name()
    assert {name: value for name, value in values.items() if name.startswith("validation")} == {
        "validation_loss": 0.1,
        "validation_relative_l2": 0.2,
        "validation_relative_l2_median": 0.15,
        "validation_relative_l2_p99": 0.7,
        "validation_relative_l2_max": 0.8,
        "validation_rollout_relative_l2": 0.5,
        "validation_rollout_relative_l2_median": 0.4,
        "validation_rollout_relative_l2_p99": 0.9,
        "validation_rollout_relative_l2_max": 0.5,
        "validation_correlation_time": 1.5,
        "validation_correlation_time_median": 2.0,
        "validation_correlation_time_min": 1.0,
    }
    seen.on_validation(validated(20, math.inf))
    values = seen.measure().by_name()
    assert "validation_rollout_relative_l2" not in values
    assert values["validation_rollout_relative_l2_median"] == 0.4
