"""How a server rank says that its training ended."""

from dataclasses import replace

import numpy as np
import pytest

from melissa_like.buffer import SampleBuffer, fifo, reservoir
from melissa_like.config import BufferConfig, Config, SolverConfig, StudyConfig
from melissa_like.records import FieldSpec, Layout, SampleKey
from melissa_like.server.stream import Stream

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))
CONFIG = Config(study=StudyConfig(num_simulations=2, num_validation_simulations=1), solver=SolverConfig(num_steps=3))


def put(buffer: SampleBuffer, num_samples: int) -> None:
    for step in range(num_samples):
        assert buffer.put(SampleKey(0, step), [np.zeros(4)], time=0.0, parameters=np.zeros(1), timeout_s=0.0)


@pytest.mark.parametrize(
    ("num_samples", "over", "stop", "end"),
    [
        (0, True, None, "drained"),
        (2, True, None, "max_batches"),
        (0, False, None, "max_batches"),
        (0, True, "told to", "stopped"),
    ],
)
def test_only_an_empty_buffer_after_the_reception_is_drained(
    num_samples: int, over: bool, stop: str | None, end: str
) -> None:
    buffer = fifo(LAYOUT, capacity=10, seed=0, spare_slots=2)
    put(buffer, num_samples)
    stream = Stream(CONFIG, buffer, 0)
    if over:
        buffer.end_reception()
    if stop is not None:
        stream.stop(stop)
    assert stream.end == end


def test_a_sample_that_had_all_its_views_is_not_left_over() -> None:
    buffer = reservoir(LAYOUT, capacity=10, watermark=1, views_per_sample=2, seed=0, spare_slots=2)
    put(buffer, 3)
    buffer.end_reception()
    assert buffer.offer().held == 6
    stream = Stream(CONFIG, buffer, 0)
    buffer.settle(buffer.draw(5))
    assert stream.end == "max_batches"
    buffer.settle(buffer.draw(1))
    assert stream.end == "drained"


@pytest.mark.parametrize("views", [None, 2])
def test_samples_that_were_given_up_do_not_hold_the_schedule_back(views: int | None) -> None:
    """Two simulations of three steps on two ranks; one gives up two samples, so four arrive, two on each rank."""
    config = replace(CONFIG, buffer=BufferConfig(views_per_sample=views))
    delivered = 0
    for rank in range(2):
        buffer = reservoir(LAYOUT, capacity=10, watermark=1, views_per_sample=views, seed=0, spare_slots=2)
        stream = Stream(config, buffer, rank)
        put(buffer, 2)
        if views is not None:
            buffer.settle(buffer.draw(2 * views, gate_lifted=True))
        stream.simulation_over(0, 0)
        stream.simulation_over(1, 2)
        delivered += stream.local_state().delivered
    assert delivered == stream.expected == 6


def test_an_adaptive_solver_counts_simulations_whether_given_up_or_not() -> None:
    config = replace(CONFIG, solver=SolverConfig(num_steps=None))
    stream = Stream(config, fifo(LAYOUT, capacity=10, seed=0, spare_slots=2), 0)
    stream.simulation_over(0, 0)
    stream.simulation_over(1, 5)
    assert stream.local_state().delivered == stream.expected == 2
