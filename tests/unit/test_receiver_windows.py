"""The receiving thread where samples are windows: what is told of them, dropped, unfit or waiting."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from melissa_like.assembly import FiniteCheck, WindowForming
from melissa_like.buffer import SampleBuffer, fifo
from melissa_like.protocol.control import UnfitSample
from melissa_like.protocol.wire import encode
from melissa_like.records import SampleKey, Window
from melissa_like.server.receiver import Arrival
from tests.unit.test_receiver import DEADLINE_S, LAYOUT, OPEN, PART, Rig, values

PAIRS = Window(length=2)


class WindowRig(Rig):
    """A receiver that looks at time steps, forms pairs of them, and has room for some."""

    def __init__(self, room: int, *, drops: bool, tells_held: bool) -> None:
        self.pairs: SampleBuffer = fifo(LAYOUT, room, spare_slots=2, window_length=2)
        give_back = self.pairs.give_back
        forming = WindowForming(self.pairs, LAYOUT, PAIRS, num_steps=5, give_back=give_back)
        finite = FiniteCheck(forming, LAYOUT, drops=drops, give_back=forming.give_back)
        super().__init__(finite, window=PAIRS, handed_over=lambda: forming.handed_over, tells_held=tells_held)

    def open(self, attempt: int = 1) -> None:
        self.send(encode(replace(OPEN, attempt=attempt)), np.array([7.0]).tobytes())

    def step(self, step: int, *, attempt: int = 1, value: float = 1.0) -> None:
        self.send(encode(replace(PART, attempt=attempt, step=step)), values(value, 0, 0, step))

    def told(self) -> object:
        return self.news.get(timeout=DEADLINE_S)

    def held(self) -> list[int]:
        """First steps of the windows in the buffer, each whole."""
        memory = self.pairs.peek(10)
        firsts = memory.steps.tolist()
        assert memory.fields["u"][:, :, 3].tolist() == [[first, first + 1] for first in firsts]
        return sorted(firsts)


@contextmanager
def receiving(room: int = 8, *, drops: bool = True, tells_held: bool = False) -> Iterator[WindowRig]:
    rig = WindowRig(room, drops=drops, tells_held=tells_held)
    try:
        yield rig
        assert rig.errors == []
    finally:
        rig.pairs.close()
        rig.close()


def test_each_step_counts_as_a_part_and_each_window_as_a_sample() -> None:
    with receiving() as rig:
        rig.open()
        delivered: Sequence[tuple[int, ...]] = [(), (0,), (1,), (2,), (3,)]
        for step, windows in enumerate(delivered):
            rig.step(step)
            assert rig.told() == Arrival(3, 1, windows)
        assert rig.held() == [0, 1, 2, 3]


def test_of_a_deterministic_solver_the_steps_are_told_that_windows_hold() -> None:
    with receiving(tells_held=True) as rig:
        rig.open()
        for step, windows, held in ((0, (), (0,)), (2, (), (2,)), (1, (0, 1), ()), (4, (), (4,)), (3, (2, 3), ())):
            rig.step(step)
            assert rig.told() == Arrival(3, 1, windows, held=held)


def test_a_step_that_is_dropped_gives_up_the_windows_that_hold_it() -> None:
    with receiving() as rig:
        rig.open()
        expected = [((), ()), ((0,), ()), ((), (1, 2)), ((), ()), ((3,), ())]
        for step, (delivered, dropped) in enumerate(expected):
            rig.step(step, value=np.nan if step == 2 else 1.0)
            assert rig.told() == Arrival(3, 1, delivered, dropped)
        assert rig.held() == [0, 3]
        rig.open(attempt=2)
        rig.step(1, attempt=2)  # nobody needs it: what holds it is delivered or given up
        assert rig.told() == Arrival(3, 2)
        assert rig.held() == [0, 3]
        assert undelivered(rig) == {SampleKey(3, 1), SampleKey(3, 2)}


def test_a_step_that_fails_its_simulation_comes_again_with_what_its_windows_need() -> None:
    with receiving(drops=False) as rig:
        rig.open()
        for step in (0, 1, 2):
            rig.step(step, value=np.inf if step == 2 else 1.0)
        assert [rig.told(), rig.told()] == [Arrival(3, 1), Arrival(3, 1, (0,))]
        assert isinstance(rig.told(), UnfitSample)
        rig.open(attempt=2)
        for step in (1, 2, 3, 4):
            rig.step(step, attempt=2)
        assert [rig.told() for _ in range(4)] == [Arrival(3, 2, windows) for windows in ((), (1,), (2,), (3,))]
        assert rig.held() == [0, 1, 2, 3]


def undelivered(rig: WindowRig) -> set[SampleKey]:
    def look(keys: Collection[SampleKey]) -> set[SampleKey]:
        return {*keys}

    return rig.receiver.between_samples(look, DEADLINE_S)


@pytest.mark.parametrize(("room", "waiting"), [(1, {1}), (2, set())])
def test_a_window_that_waits_for_room_is_not_there_and_those_beside_it_are(room: int, waiting: set[int]) -> None:
    """Step 1 completes two windows."""
    with receiving(room) as rig:
        rig.open()
        for step in (0, 2):
            rig.step(step)
            assert rig.told() == Arrival(3, 1)
        rig.step(1)
        if not waiting:
            assert rig.told() == Arrival(3, 1, (0, 1))
        else:
            while not rig.receiver.put_waits:
                assert undelivered(rig) <= {SampleKey(3, 1)}
        assert undelivered(rig) == {SampleKey(3, first) for first in waiting}
        assert len(rig.held()) == room
        rig.pairs.settle(rig.pairs.draw(1))
        if waiting:
            assert rig.told() == Arrival(3, 1, (0, 1))
            assert undelivered(rig) == set()
