"""One suite over all that takes complete samples."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from melissa_like.assembly import Consumer, FiniteCheck
from melissa_like.buffer import BufferClosedError, DeviceStorage, SampleBuffer, fifo, reservoir
from melissa_like.buffer.policies import AlwaysOpen, Never, Oldest
from melissa_like.errors import UnfitSampleError
from melissa_like.records import FieldSpec, Layout, SampleKey
from melissa_like.server.checking import CheckingConsumer
from melissa_like.training import ValidationSet
from tests.contract.consumers import assembled
from tests.plugins.means import Means

LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(3, 2)), FieldSpec(name="flag", shape=(1,), dtype="uint8")), parameters=("a",)
)
VALUES = (np.arange(6.0).reshape(3, 2), np.ones(1, np.uint8))
NUM_STEPS = 5
DEADLINE_S = 20.0


def guarded(then: SampleBuffer | ValidationSet) -> Consumer:
    return FiniteCheck(then, LAYOUT, drops=True, give_back=then.give_back)


MAKE: dict[str, Callable[[], Consumer]] = {
    "queue": lambda: fifo(LAYOUT, NUM_STEPS, spare_slots=2),
    "reservoir": lambda: reservoir(LAYOUT, NUM_STEPS, spare_slots=2 * NUM_STEPS),
    "no spare slots": lambda: fifo(LAYOUT, NUM_STEPS, spare_slots=0),
    "device": lambda: SampleBuffer(
        DeviceStorage(LAYOUT, NUM_STEPS + 2, device=torch.device("cpu")),
        capacity=NUM_STEPS,
        selector=Oldest(),
        evictor=Never(),
        gate=AlwaysOpen(),
        draws_until_removed=1,
    ),
    "means, then a queue": lambda: Means(then=fifo(LAYOUT, NUM_STEPS, spare_slots=2)),
    "finite, then a queue": lambda: guarded(fifo(LAYOUT, NUM_STEPS, spare_slots=2)),
    "finite, then held-out": lambda: guarded(ValidationSet(LAYOUT)),
    "held-out": lambda: ValidationSet(LAYOUT),
    "check": lambda: CheckingConsumer(LAYOUT),
}


@pytest.fixture(params=MAKE)
def consumer(request: pytest.FixtureRequest) -> Consumer:
    return MAKE[request.param]()


def test_the_memory_is_writable_and_of_the_layout(consumer: Consumer) -> None:
    fields = consumer.reserve(7, 1, 3)
    assert [values.shape for values in fields] == [(3, 2), (1,)]
    assert [str(values.dtype) for values in fields] == ["float32", "uint8"]
    for values in fields:
        assert values.flags.c_contiguous
        assert values.flags.writeable


def test_the_same_step_has_the_same_memory_and_another_step_another(consumer: Consumer) -> None:
    first = consumer.reserve(7, 1, 0)
    others = [consumer.reserve(simulation, 1, step) for simulation, step in ((7, 1), (8, 0), (8, 1))]
    again = consumer.reserve(7, 2, 0)
    for one, other in zip(first, again, strict=True):
        one[...], other[...] = 0, 1
        assert (one == 1).all()
    for other in others:
        for one, values in zip(first, other, strict=True):
            assert not np.shares_memory(one, values)


def test_what_is_complete_is_delivered_once(consumer: Consumer) -> None:
    """Complete in another order than begun, some by a newer attempt; what stays incomplete is forgotten."""
    for step in range(NUM_STEPS):
        consumer.reserve(7, 1, step)
    keys = [SampleKey(7, step) for step in (3, 0, 4)]
    for attempt, key in enumerate(keys, 1):
        sample = assembled(consumer, key, VALUES, attempt=attempt)
        assert consumer.take(sample, 0.0) == (key,)
    consumer.forget(7)
    consumer.forget(8)


def test_what_is_given_back_is_used_again(consumer: Consumer) -> None:
    """A thousand simulations break off, each with a few steps begun, and there is room for one that does not."""
    for simulation in range(1000):
        for step in range(3):
            consumer.reserve(simulation, 1, step)
        consumer.forget(simulation)
    for step in range(NUM_STEPS):
        sample = assembled(consumer, SampleKey(1000, step), VALUES)
        assert consumer.take(sample, 0.0) == (sample.key,)


@pytest.mark.parametrize("name", ["finite, then a queue", "finite, then held-out"])
def test_a_thousand_samples_that_are_not_finite_take_no_memory(name: str) -> None:
    consumer = MAKE[name]()
    bad = (np.full((3, 2), np.inf), VALUES[1])
    memory = set()
    for step in range(1000):
        sample = assembled(consumer, SampleKey(7, step), bad)
        memory.add(sample.fields[0].ctypes.data)
        with pytest.raises(UnfitSampleError):
            consumer.take(sample, 0.0)
        del sample
    assert len(memory) < 10
    sample = assembled(consumer, SampleKey(7, 1000), VALUES)
    assert consumer.take(sample, 0.0) == (sample.key,)


def test_it_can_be_closed_twice(consumer: Consumer) -> None:
    consumer.close()
    consumer.close()


def test_closing_a_full_buffer_ends_the_wait_of_a_sample() -> None:
    buffer = fifo(LAYOUT, 1)
    first, second = (assembled(buffer, SampleKey(7, step), VALUES) for step in range(2))
    assert buffer.take(first, 0.0) == (first.key,)
    ended = Future[BaseException]()

    def wait() -> None:
        try:
            buffer.take(second, DEADLINE_S)
        except BufferClosedError as error:
            ended.set_result(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not buffer.offer().put_waits:
        continue
    buffer.close(RuntimeError("the receiver died"))
    assert str(ended.result(DEADLINE_S).__cause__) == "the receiver died"
    waiting.join(DEADLINE_S)
    assert not waiting.is_alive()
