"""From parts to windows in a buffer: none lost, none doubled, none of two attempts, whatever is broken off."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.assembly import (
    Assembler,
    Placement,
    Reason,
    Refusal,
    UnfitWindowError,
    WindowForming,
    as_bytes,
    over_and_steps,
)
from melissa_like.buffer import DeviceStorage, SampleBuffer, fifo
from melissa_like.buffer.policies import AlwaysOpen, Never, Oldest
from melissa_like.errors import UnfitSampleError
from melissa_like.protocol.wire import OPEN_FIELD, Header, Kind, encode
from melissa_like.records import (
    STORAGE_DTYPES,
    Box,
    FieldSpec,
    Layout,
    Purpose,
    Ranges,
    Routing,
    Sample,
    SampleKey,
    StudyIdentity,
    Window,
    missing_steps,
    num_samples,
    steps_not_needed,
)
from tests.plugins.means import Means

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(3,)), FieldSpec(name="n", shape=(1,), dtype="int64")), parameters=())
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
CAPACITY = 200
WINDOWS = st.builds(Window, length=st.integers(1, 4), stride=st.integers(1, 3), hop=st.integers(1, 5))


def on_device(window: Window) -> SampleBuffer:
    storage = DeviceStorage(LAYOUT, CAPACITY + 1, device=torch.device("cpu"), window_length=window.length)
    return SampleBuffer(
        storage, capacity=CAPACITY, selector=Oldest(), evictor=Never(), gate=AlwaysOpen(), draws_until_removed=1
    )


BUFFERS: dict[str, Callable[[Window], SampleBuffer]] = {
    "queue": lambda window: fifo(LAYOUT, CAPACITY, spare_slots=3, window_length=window.length),
    "no spare slots": lambda window: fifo(LAYOUT, CAPACITY, spare_slots=0, window_length=window.length),
    "device": on_device,
}


def header(kind: Kind, simulation: int, attempt: int, **changes: object) -> Header:
    values: dict[str, object] = {
        "purpose": Purpose.TRAINING,
        "study": IDENTITY.study,
        "secret": IDENTITY.secret,
        "launcher_incarnation": 1,
        "server_incarnation": 1,
        "simulation": simulation,
        "attempt": attempt,
        "client_rank": 0,
        "num_client_ranks": 1,
        "layout_id": LAYOUT.layout_id,
        "field_id": OPEN_FIELD,
        "dtype_code": 1,
        "step": 0,
        "time": 0.0,
        "box": Box((0,), (0,)),
    }
    return Header(kind=kind, **{**values, **changes})  # type: ignore[arg-type]


class Rank:
    """A server rank without threads: what arrives is assembled, formed, and put into a buffer."""

    def __init__(self, window: Window, num_steps: int | None, make: Callable[[Window], SampleBuffer], mixes: bool):
        self.window, self.num_steps = window, num_steps
        self.buffer = make(window)
        give_back = self.buffer.give_back
        self.forming = WindowForming(self.buffer, LAYOUT, window, num_steps=num_steps, give_back=give_back)
        self.assembler = Assembler(
            layout=LAYOUT,
            identity=IDENTITY,
            server_rank=0,
            num_server_ranks=1,
            routing=Routing.TRAJECTORY,
            consumers={Purpose.TRAINING: self.forming},
            num_steps=num_steps,
            window=window,
            mixes=mixes,
        )
        self.delivered: list[SampleKey] = []
        self.dropped: list[SampleKey] = []

    def open(self, simulation: int, attempt: int) -> None:
        assert self.assembler.open(header(Kind.OPEN, simulation, attempt), np.empty(0)) is None

    def complete(self, simulation: int, attempt: int, step: int) -> Sample | Refusal:
        """Assemble a time step."""
        sample: Sample | None = None
        for number, spec in enumerate(LAYOUT.fields):
            part = header(
                Kind.PART,
                simulation,
                attempt,
                field_id=number,
                dtype_code=STORAGE_DTYPES.index(spec.numpy_dtype),
                step=step,
                time=step / 2,
                box=Box((0,), spec.shape),
            )
            placed = self.assembler.place_again(encode(part)) or self.assembler.place(part)
            if isinstance(placed, Refusal):
                return placed
            self._fill(placed, 100 * simulation + 10 * attempt + step / 16 if number == 0 else step)
            sample = self.assembler.add(placed)
        assert sample is not None
        return sample

    def send(self, simulation: int, attempt: int, step: int, *, is_fit: bool = True) -> Refusal | None:
        sample = self.complete(simulation, attempt, step)
        if isinstance(sample, Refusal):
            return sample
        if not is_fit:
            self.forming.give_back(simulation, step)
            self.dropped += [SampleKey(simulation, first) for first in self.assembler.give_up(sample)]
            return None
        keys = self.forming.take(sample, 0.0)
        assert keys is not None
        self.delivered += keys
        return None

    def _fill(self, placed: Placement, value: float) -> None:
        target = placed.target
        assert isinstance(target, memoryview)
        spec = LAYOUT.fields[placed.place.field_id]
        target[:] = as_bytes(np.full(spec.shape, value, spec.dtype))

    def missing(self, simulation: int, num_steps: int) -> Ranges:
        there = [key.step for key in (*self.delivered, *self.dropped) if key.simulation == simulation]
        return missing_steps(num_steps, Ranges((first, first + 1) for first in there), self.window)

    def windows(self) -> dict[SampleKey, set[int]]:
        """The attempts that each window in the buffer is of; all else in it is as it was sent."""
        found: dict[SampleKey, set[int]] = {}
        memory = self.buffer.peek(CAPACITY)
        for row in range(len(memory.labels)):
            key = SampleKey(int(memory.simulations[row]), int(memory.steps[row]))
            assert key not in found, "a window is doubled"
            steps = torch.tensor(list(self.window.steps_from(key.step)))
            assert memory.fields["n"][row].squeeze(1).tolist() == steps.tolist()
            assert memory.times[row].tolist() == (steps / 2).tolist()
            attempts = (memory.fields["u"][row] - 100 * key.simulation - (steps / 16)[:, None]) / 10
            assert (attempts == attempts[:, :1].round()).all()
            found[key] = {*attempts[:, 0].int().tolist()}
        return found


@pytest.mark.parametrize("buffer", BUFFERS)
@settings(deadline=None, max_examples=100)
@given(WINDOWS, st.integers(1, 14), st.booleans(), st.booleans(), st.data())
def test_every_window_comes_once_whatever_is_broken_off(
    buffer: str, window: Window, num_steps: int, knows_steps: bool, mixes: bool, data: st.DataObject
) -> None:
    """Attempts end anywhere, steps come out of order and twice, are dropped, and the rank is lost and comes back."""
    declared = num_steps if knows_steps else None
    rank = Rank(window, declared, BUFFERS[buffer], mixes)
    before: dict[SampleKey, set[int]] = {}
    expected = {SampleKey(s, n * window.hop) for s in range(2) for n in range(num_samples(num_steps, window))}
    for attempt in range(1, data.draw(st.integers(2, 4))):
        rank.open(0, attempt)
        rank.open(1, attempt)
        steps = [(simulation, step) for simulation in range(2) for step in rank.missing(simulation, num_steps)]
        for simulation, step in data.draw(st.permutations(steps))[: data.draw(st.integers(0, len(steps)))]:
            refused = rank.send(simulation, attempt, step, is_fit=data.draw(st.integers(0, 9)) > 0)
            if refused is None:
                assert rank.send(simulation, attempt, step) is not None  # it is complete
            else:
                assert refused.counts_as_received
        if data.draw(st.booleans()):
            before |= rank.windows()
            delivered, dropped = rank.delivered, rank.dropped
            lacking: dict[int, list[int]] = {}
            for key in dropped:
                lacking.setdefault(key.simulation, []).append(key.step)
            over, there = over_and_steps([rank.assembler.cut(lacking)])
            assert {SampleKey(s, first) for s, some in there.items() for first in some} == {*delivered}
            rank = Rank(window, declared, BUFFERS[buffer], mixes)
            rank.assembler.restore(over, there)
            rank.delivered, rank.dropped = delivered, dropped
    last = 9
    for simulation in range(2):
        rank.open(simulation, last)
        for step in rank.missing(simulation, num_steps):
            refused = rank.send(simulation, last, step)
            assert refused is None or mixes
    found = rank.windows()
    assert not before.keys() & found.keys()
    assert before.keys() | found.keys() == {*rank.delivered}
    assert len({*rank.delivered}) == len(rank.delivered)
    # Nobody knows before the end that a window would go beyond it.
    assert {*rank.delivered} | ({*rank.dropped} & expected if declared is None else {*rank.dropped}) == expected
    assert not {*rank.delivered} & {*rank.dropped}
    assert mixes or all(len(attempts) == 1 for attempts in (*before.values(), *found.values()))
    for simulation in range(2):
        rank.forming.forget(simulation)
    assert not rank.buffer._reservations._reserved, "memory is kept for a simulation that is over"
    assert not rank.forming._steps
    assert not rank.forming._times


def test_a_new_attempt_sends_what_the_missing_windows_need_and_no_more() -> None:
    window = Window(length=3)
    rank = Rank(window, 10, BUFFERS["queue"], mixes=False)
    rank.open(0, 1)
    for step in range(6):
        rank.send(0, 1, step)
    needed = rank.missing(0, 10)
    assert needed == Ranges([(4, 10)])
    assert steps_not_needed(10, Ranges([(0, 4)]), window) == Ranges([(0, 4)])
    rank.open(0, 2)
    for step in range(4):
        refused = rank.send(0, 2, step)
        assert refused is not None
        assert refused.counts_as_received
    assert [rank.send(0, 2, step) for step in needed] == [None] * 6
    assert rank.windows() == {SampleKey(0, first): {1} if first < 4 else {2} for first in range(8)}


def test_a_deterministic_solver_goes_on_where_it_was_broken_off() -> None:
    rank = Rank(Window(length=4), 8, BUFFERS["queue"], mixes=True)
    rank.open(0, 1)
    for step in range(6):
        rank.send(0, 1, step)
    rank.open(0, 2)
    refused = [step for step in rank.missing(0, 8) if rank.send(0, 2, step) is not None]
    assert refused == [3, 4, 5]
    assert [rank.windows()[SampleKey(0, first)] for first in range(5)] == [{1}, {1}, {1}, {1, 2}, {1, 2}]


def test_half_formed_windows_hold_no_more_steps_than_they_may_need() -> None:
    window = Window(length=4, stride=2)
    rank = Rank(window, None, BUFFERS["queue"], mixes=False)
    rank.open(0, 1)
    for step in range(40):
        rank.send(0, 1, step)
        assert len(rank.forming._steps[0]) <= (window.length - 1) * window.stride
        assert len(rank.forming._times[0]) <= (window.length - 1) * window.stride
    assert len(rank.forming._spare) <= 2


def test_windows_that_do_not_overlap_are_assembled_in_their_slot() -> None:
    rank = Rank(Window(length=3, hop=4), 12, BUFFERS["queue"], mixes=False)
    slot = rank.buffer.reserve(5, 1, 4)
    step = rank.forming.reserve(5, 1, 6)
    assert all(np.shares_memory(one[2], other) for one, other in zip(slot, step, strict=True))
    alone = rank.forming.reserve(5, 1, 7)  # in no window
    assert not any(np.shares_memory(one, other) for one, other in zip(slot, alone, strict=True))


class Judge:
    """Takes windows, and refuses or holds back some; there is room for so many."""

    def __init__(self, then: SampleBuffer) -> None:
        self.then = then
        self.unfit: dict[int, bool] = {}  # whether they are dropped, by first step
        self.room = 10**6

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        self.then.begin(simulation, attempt, layout)

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[np.ndarray, ...]:
        return self.then.reserve(simulation, attempt, step)

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        if sample.key.step in self.unfit:
            raise UnfitSampleError("it is ugly", drops=self.unfit[sample.key.step])
        if not self.room:
            return None
        self.room -= 1
        return self.then.take(sample, timeout_s)

    def forget(self, simulation: int) -> None:
        self.then.forget(simulation)

    def close(self) -> None:
        self.then.close()


@pytest.fixture
def judged() -> tuple[Rank, Judge]:
    """All windows of two steps of five are complete with step 2 and 3, which have not come."""
    rank = Rank(Window(length=2), 5, BUFFERS["queue"], mixes=True)
    judge = Judge(rank.buffer)
    rank.forming._then = judge
    rank.open(0, 1)
    for step in (0, 2, 4):
        rank.send(0, 1, step)
    return rank, judge


def completed(rank: Rank, step: int) -> Sample:
    sample = rank.complete(0, 1, step)
    assert isinstance(sample, Sample)
    return sample


def test_a_window_that_waits_for_room_does_not_come_twice(judged: tuple[Rank, Judge]) -> None:
    rank, judge = judged
    judge.room = 1
    sample = completed(rank, 1)
    assert rank.forming.take(sample, 0.0) is None
    assert rank.forming.handed_over == [SampleKey(0, 0)]
    assert rank.forming.take(sample, 0.0) is None
    judge.room = 1
    assert rank.forming.take(sample, 0.0) == (SampleKey(0, 0), SampleKey(0, 1))
    assert rank.windows().keys() == {SampleKey(0, 0), SampleKey(0, 1)}


def test_a_window_that_is_dropped_by_itself_leaves_the_others(judged: tuple[Rank, Judge]) -> None:
    rank, judge = judged
    judge.unfit = {0: True}
    with pytest.raises(UnfitWindowError, match="it is ugly") as refused:
        rank.forming.take(completed(rank, 1), 0.0)
    assert (refused.value.drops, refused.value.lost, refused.value.delivered) == (True, (0,), (SampleKey(0, 1),))
    rank.send(0, 1, 3)
    assert rank.windows().keys() == {SampleKey(0, first) for first in (1, 2, 3)}


def test_windows_that_fail_their_simulation_are_formed_again(judged: tuple[Rank, Judge]) -> None:
    rank, judge = judged
    judge.unfit = {1: False}
    sample = completed(rank, 1)
    with pytest.raises(UnfitWindowError, match="it is ugly") as refused:
        rank.forming.take(sample, 0.0)
    assert (refused.value.drops, refused.value.delivered) == (False, (SampleKey(0, 0),))
    rank.assembler.retract(sample, [key.step for key in refused.value.delivered])
    judge.unfit = {}
    rank.open(0, 2)
    sent = [step for step in range(5) if rank.send(0, 2, step) is None]
    assert sent == [1, 3]
    assert rank.windows().keys() == {SampleKey(0, first) for first in range(4)}


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("window", [Window(length=2, hop=2), Window(length=2, stride=2, hop=4), Window(length=2)])
def test_a_window_that_failed_its_simulation_keeps_the_steps_that_do_not_come_again(
    window: Window, buffer: str
) -> None:
    rank = Rank(window, 4, BUFFERS[buffer], mixes=True)
    judge = Judge(rank.buffer)
    rank.forming._then = judge
    judge.unfit = {0: False}
    rank.open(0, 1)
    for step in range(window.span - 1):
        rank.send(0, 1, step)
    sample = rank.complete(0, 1, window.span - 1)
    assert isinstance(sample, Sample)
    with pytest.raises(UnfitWindowError):
        rank.forming.take(sample, 0.0)
    rank.assembler.retract(sample)
    rank.open(7, 1)
    rank.send(7, 1, 0)  # takes a slot, if one is free
    judge.unfit = {}
    rank.open(0, 2)
    for step in range(4):
        rank.send(0, 2, step)
    assert {key for key in rank.windows() if key.simulation == 0} == {
        SampleKey(0, first) for first in range(0, 4 - window.span + 1, window.hop)
    }


def test_consumers_of_a_user_are_given_windows() -> None:
    window = Window(length=2)
    buffer = BUFFERS["queue"](window)
    means = Means(then=buffer)
    rank = Rank(window, 4, lambda window: buffer, mixes=False)
    rank.forming._then = means
    rank.open(0, 1)
    for step in range(4):
        rank.send(0, 1, step)
    assert means.count == 3
    np.testing.assert_allclose(means.means[1], [[1.0], [2.0]])


def given_up(rank: Rank, steps: Iterable[int]) -> list[int]:
    for step in steps:
        rank.send(0, 1, step, is_fit=False)
    return [key.step for key in rank.dropped]


def test_a_step_that_is_dropped_takes_all_windows_with_it_that_hold_it() -> None:
    rank = Rank(Window(length=3), 8, BUFFERS["queue"], mixes=False)
    rank.open(0, 1)
    rank.send(0, 1, 0)
    rank.send(0, 1, 1)
    assert given_up(rank, [2]) == [0, 1, 2]
    for step in range(3, 8):
        rank.send(0, 1, step)
    assert rank.windows().keys() == {SampleKey(0, first) for first in (3, 4, 5)}


@pytest.mark.parametrize(("dropped", "not_needed"), [(2, [3, 4]), (1, [2, 3, 4]), (4, [])])
def test_what_a_dropped_step_makes_needless_is_no_duplicate(dropped: int, not_needed: list[int]) -> None:
    """Windows of steps 0 to 5 and 5 to 10."""
    rank = Rank(Window(length=6, hop=5), 11, BUFFERS["queue"], mixes=False)
    rank.open(0, 1)
    for step in range(dropped):
        rank.send(0, 1, step)
    assert given_up(rank, [dropped]) == [0]
    refused = {step: rank.send(0, 1, step) for step in range(dropped + 1, 11)}
    assert {step: one.reason for step, one in refused.items() if one} == dict.fromkeys(not_needed, Reason.NOT_NEEDED)
    assert not any(one.is_fault or not one.counts_as_received for one in refused.values() if one)
    assert rank.assembler.duplicates_dropped == 0
    again = [rank.send(0, 1, step) for step in (dropped, 7)]
    assert [one.reason for one in again if one] == [Reason.DUPLICATE_SAMPLE] * 2
    assert rank.assembler.duplicates_dropped == 2


def test_the_slot_of_a_window_that_is_given_up_is_free_again() -> None:
    rank = Rank(Window(length=3, hop=3), 9, BUFFERS["queue"], mixes=False)
    rank.open(0, 1)
    rank.send(0, 1, 0)
    assert given_up(rank, [1]) == [0]
    refused = rank.send(0, 1, 2)  # nobody needs it any more
    assert refused is not None
    assert refused.counts_as_received
    rank.send(0, 1, 3)
    assert list(rank.buffer._reservations._reserved) == [(0, 3)]
