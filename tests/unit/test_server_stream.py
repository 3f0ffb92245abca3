"""How a server rank says that its training ended."""

import numpy as np
import pytest

from melissa_like.buffer import SampleBuffer, fifo, reservoir
from melissa_like.config import Config, SolverConfig, StudyConfig
from melissa_like.records import FieldSpec, Layout, SampleKey
from melissa_like.server.stream import Stream

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))
CONFIG = Config(study=StudyConfig(num_simulations=2, num_validation_simulations=1), solver=SolverConfig(num_steps=3))


def put(buffer: SampleBuffer, num_samples: int) -> None:
    for step in range(num_samples):
        place = buffer.reserve()
        assert buffer.commit(place, key=SampleKey(0, step), time=0.0, parameters=np.zeros(1), timeout_s=0.0)


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
    stream = Stream(CONFIG, buffer)
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
    stream = Stream(CONFIG, buffer)
    buffer.settle(buffer.draw(5))
    assert stream.end == "max_batches"
    buffer.settle(buffer.draw(1))
    assert stream.end == "drained"
