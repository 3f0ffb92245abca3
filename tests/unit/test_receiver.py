"""The receiving thread: whatever arrives, it goes on; what belongs to the study is taken."""

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest

from melissa_like.assembly import Assembler, Consumer, FiniteCheck
from melissa_like.buffer import BufferClosedError, fifo
from melissa_like.errors import DeadlineExceededError
from melissa_like.protocol.control import UnfitSample
from melissa_like.protocol.wire import OPEN_FIELD, Header, Kind, encode
from melissa_like.records import Box, FieldSpec, Layout, Purpose, Routing, Sample, SampleKey, StudyIdentity, Window
from melissa_like.server.receiver import Arrival, Receiver, Rejection
from melissa_like.transport import PartSender, Transport
from melissa_like.transport.in_memory import MemoryTransport
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.plugins.means import Means

DEADLINE_S = 20.0
LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
PART = Header(
    kind=Kind.PART,
    purpose=Purpose.TRAINING,
    study=IDENTITY.study,
    secret=IDENTITY.secret,
    launcher_incarnation=1,
    server_incarnation=1,
    simulation=3,
    attempt=1,
    client_rank=0,
    num_client_ranks=1,
    layout_id=LAYOUT.layout_id,
    field_id=0,
    dtype_code=0,
    step=0,
    time=0.5,
    box=Box((0,), (4,)),
)
OPEN = replace(PART, kind=Kind.OPEN, field_id=OPEN_FIELD, dtype_code=1, box=Box((0,), (1,)))


class Rig:
    """A receiver with a consumer behind it, a queue by default, a sender in front, and what it tells."""

    def __init__(
        self,
        consumer: Consumer | None = None,
        transport: Transport | None = None,
        *,
        window: Window | None = None,
        handed_over: Callable[[], Collection[SampleKey]] = tuple,
        tells_held: bool = False,
    ) -> None:
        self.news: SimpleQueue[Arrival | Rejection | UnfitSample] = SimpleQueue()
        self.errors: list[BaseException] = []
        self.buffer = fifo(LAYOUT, 8, spare_slots=2)
        consumers = {Purpose.TRAINING: consumer or self.buffer}
        transport = transport or MemoryTransport()
        self.parts = transport.part_receiver(queue_length=8)
        self.sender: PartSender = transport.part_sender([self.parts.endpoint], budget_bytes=2**16)
        self.receiver = Receiver(
            socket=self.parts,
            assembler=Assembler(
                layout=LAYOUT,
                identity=IDENTITY,
                server_rank=0,
                num_server_ranks=1,
                routing=Routing.SAMPLE,
                consumers=consumers,
                window=window,
            ),
            consumers=consumers,
            tell=self.news.put,
            on_error=self.errors.append,
            handed_over=handed_over,
            tells_held=tells_held,
        )
        self.receiver.start()

    def send(self, header: bytes, payload: bytes) -> None:
        def fill(memory: memoryview) -> None:
            memory[:] = payload

        assert self.sender.send(0, header, len(payload), fill, DEADLINE_S)
        self.sender.push()

    def close(self) -> None:
        self.receiver.close(DEADLINE_S)

    def a_sample_arrives(self) -> None:
        self.send(encode(OPEN), np.array([7.0]).tobytes())
        self.send(encode(PART), np.arange(4, dtype=np.float32).tobytes())
        assert self.news.get(timeout=DEADLINE_S) == Arrival(3, 1, (0,))
        draw = self.buffer.draw(1)
        memory = self.buffer.batch_memory(1, pinned=False)
        self.buffer.gather(draw, memory)
        assert memory.fields["u"].tolist() == [[0.0, 1.0, 2.0, 3.0]]
        assert memory.parameters.tolist() == [[7.0]]
        assert memory.times.tolist() == [0.5]
        assert self.errors == []


@pytest.fixture
def rig() -> Iterator[Rig]:
    with closing(Rig()) as made:
        yield made


def test_a_sample_arrives(rig: Rig) -> None:
    rig.a_sample_arrives()


def test_a_part_that_is_lost_with_shared_memory_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(path: str) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with closing(ZmqTransport()) as transport, closing(Rig(transport=transport)) as rig:
        rig.a_sample_arrives()  # so the ring is proven
        rig.send(encode(replace(PART, step=1)), bytes(16))
        assert rig.news.get(timeout=DEADLINE_S) == Arrival(3, 1, (1,))
        monkeypatch.setattr(os, "readlink", no_memory)
        rig.parts._mappings.close()  # type: ignore[attr-defined]  # as if the ring had vanished
        rig.send(encode(replace(PART, step=2)), bytes(16))
        told = rig.news.get(timeout=DEADLINE_S)
        assert isinstance(told, Rejection)
        assert (told.simulation, told.attempt) == (3, 1)
        assert "cannot be opened" in told.message
        rig.sender.close(0.0)


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b"nonsense", b"123"),
        (encode(replace(OPEN, secret=b"?" * 16, box=Box((0,), (2**60,)))), b"123"),
        (encode(replace(OPEN, box=Box((0,), (2**60,)))), b"123"),
        (encode(replace(OPEN, dtype_code=0)), b"1234"),
        (encode(replace(PART, secret=b"?" * 16)), b"123"),
        (encode(replace(PART, field_id=5)), b"x" * 16),
        (encode(replace(PART, box=Box((2**40,), (2**40,)))), b"123"),
        (encode(replace(PART, attempt=0)), bytes(16)),
        (encode(replace(OPEN, attempt=0)), bytes(8)),
    ],
)
def test_no_message_ends_it(rig: Rig, header: bytes, payload: bytes) -> None:
    rig.send(header, payload)
    rig.send(encode(replace(PART, simulation=5)), bytes(16))  # not opened: told, so everything before was taken
    while not isinstance(told := rig.news.get(timeout=DEADLINE_S), Rejection) or told.simulation != 5:
        assert isinstance(told, Rejection)
    assert sum(rig.receiver.refused.values()) == 2
    rig.a_sample_arrives()


def test_a_step_beyond_all_that_can_be_counted_does_not_end_it(rig: Rig) -> None:
    """-1 as a C client sends it, first and after a part of the same box was accepted."""
    rig.send(encode(OPEN), np.array([7.0]).tobytes())
    rig.send(encode(replace(PART, step=2**64 - 1)), bytes(16))
    assert isinstance(told := rig.news.get(timeout=DEADLINE_S), Rejection)
    assert "number the steps from 0" in told.message
    rig.a_sample_arrives()
    rig.send(encode(replace(PART, step=2**64 - 1)), bytes(16))
    assert isinstance(rig.news.get(timeout=DEADLINE_S), Rejection)
    assert rig.receiver.refused == {"of a time step that is out of range": 2}
    assert rig.errors == []


@pytest.mark.parametrize("header", [OPEN, PART])
def test_a_payload_of_the_wrong_size_counts_as_not_received_and_is_told(rig: Rig, header: Header) -> None:
    """Its step can never become complete: the launcher need not wait for that."""
    rig.send(encode(OPEN), np.array([7.0]).tobytes())
    for _ in range(3):
        rig.send(encode(header), b"short")
    told = rig.news.get(timeout=DEADLINE_S)
    assert isinstance(told, Rejection)
    assert (told.simulation, told.attempt) == (3, 1)
    assert "a payload that cannot be read: the payload has 5 bytes" in told.message
    rig.a_sample_arrives()
    assert rig.receiver.refused == {"malformed message": 3}


def test_refusals_are_counted_by_reason_and_the_first_of_each_is_written(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        rig.send(encode(replace(PART, study=b"o" * 16)), bytes(16))
    for _ in range(2):
        rig.send(b"no header", bytes(16))
    rig.a_sample_arrives()
    assert rig.receiver.refused == {"of another study": 3, "malformed header": 2}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "of another study" in lines[0]
    assert "client rank 0 of simulation 3" in lines[0]
    assert "malformed header" in lines[1]


class Delivering:
    """A consumer that answers as it is told, and keeps what it was asked to take."""

    def __init__(self, answers: Iterable[tuple[SampleKey, ...] | None]) -> None:
        self.answers = iter(answers)
        self.taken: list[Sample] = []
        self.rig: Rig | None = None
        self.waits: list[bool] = []

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """All have the same sizes."""

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[np.ndarray, ...]:
        return (np.empty(4, np.float32),)

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        assert self.rig is not None
        self.waits.append(self.rig.receiver.put_waits)
        self.taken.append(sample)
        return next(self.answers)

    def forget(self, simulation: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nobody waits."""


def steps_told(consumer: Delivering, num_steps: int) -> list[tuple[int, ...]]:
    """What is told while so many steps arrive, the parts of attempt 2."""
    with closing(Rig(consumer)) as rig:
        consumer.rig = rig
        rig.send(encode(replace(OPEN, attempt=2)), np.array([7.0]).tobytes())
        told = []
        for step in range(num_steps):
            rig.send(encode(replace(PART, attempt=2, step=step)), bytes(16))
            news = rig.news.get(timeout=DEADLINE_S)
            assert isinstance(news, Arrival)
            assert (news.simulation, news.attempt) == (3, 2)
            told.append(news.steps)
        assert rig.errors == []
    return told


def test_delivered_is_what_the_consumer_says_none_one_several_or_late() -> None:
    key = partial(SampleKey, 3)
    consumer = Delivering([(), (), (key(0), key(1)), (key(3),), (key(2), key(4)), ()])
    assert steps_told(consumer, 6) == [(), (), (0, 1), (3,), (2, 4), ()]
    assert [sample.key for sample in consumer.taken] == [key(step) for step in range(6)]


def test_a_sample_without_room_is_offered_again_until_it_is_taken() -> None:
    consumer = Delivering([None, None, (SampleKey(3, 0),), (SampleKey(3, 1),)])
    assert steps_told(consumer, 2) == [(0,), (1,)]
    assert [sample.key.step for sample in consumer.taken] == [0, 0, 0, 1]
    assert consumer.taken[0] is consumer.taken[1] is consumer.taken[2]
    assert consumer.waits == [False, True, True, False]


def test_the_wait_for_room_ends_with_the_thread_and_nothing_is_told() -> None:
    consumer = Delivering(repeat(None))
    rig = Rig(consumer)
    consumer.rig = rig
    rig.send(encode(OPEN), np.array([7.0]).tobytes())
    rig.send(encode(PART), bytes(16))
    while not rig.receiver.put_waits:
        continue
    rig.close()
    assert rig.news.empty()
    assert rig.errors == []


def test_a_consumer_of_yours_wraps_the_buffer_and_sees_each_sample_once(tmp_path: Path) -> None:
    """Six samples in a queue of two, so that four are offered again and again; parts of two client ranks each."""
    values = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)
    buffer = fifo(LAYOUT, 2, spare_slots=2)
    means = Means(then=buffer, folder=str(tmp_path))
    with closing(Rig(means)) as rig:
        for rank in range(2):
            rig.send(encode(replace(OPEN, client_rank=rank, num_client_ranks=2)), np.array([7.0]).tobytes())
        delivered = []
        for step in range(6):
            for rank in range(2):
                part = replace(PART, step=step, client_rank=rank, num_client_ranks=2, box=Box((2 * rank,), (2,)))
                rig.send(encode(part), values[step, 2 * rank : 2 * rank + 2].tobytes())
            if step >= 2:
                while not buffer.offer().put_waits:
                    continue
                buffer.settle(buffer.draw(1))
            told = [rig.news.get(timeout=DEADLINE_S) for _ in range(2)]
            delivered += [step for news in told if isinstance(news, Arrival) for step in news.steps]
        assert rig.errors == []
    assert delivered == list(range(6))
    assert means.count == 6
    np.testing.assert_allclose(means.means[0], values.astype(np.float64).mean(axis=0), rtol=1e-12)
    means.close()
    (path,) = tmp_path.iterdir()
    with np.load(path) as written:
        assert written["count"] == 6
        np.testing.assert_array_equal(written["field_0"], means.means[0])
    with pytest.raises(BufferClosedError):
        buffer.offer()


def test_a_consumer_that_delivers_for_another_simulation_is_named() -> None:
    consumer = Delivering([(SampleKey(8, 0),)])
    with closing(Rig(consumer)) as rig:
        consumer.rig = rig
        rig.send(encode(OPEN), np.array([7.0]).tobytes())
        rig.send(encode(PART), bytes(16))
        while not rig.errors:
            continue
    (error,) = rig.errors
    assert "Delivering took SampleKey(simulation=3, step=0)" in str(error)


def test_a_purpose_that_nobody_takes_is_refused_when_it_is_opened(rig: Rig) -> None:
    held_out = {"purpose": Purpose.VALIDATION, "simulation": 4}
    rig.send(encode(replace(OPEN, **held_out)), np.array([7.0]).tobytes())
    rig.send(encode(replace(PART, **held_out)), bytes(16))
    told = [rig.news.get(timeout=DEADLINE_S) for _ in range(2)]
    assert [news.reason for news in told if isinstance(news, Rejection)] == [
        "of a purpose that nobody takes samples for",
        "of a simulation that was not opened",
    ]
    assert "open it for the purpose that Assignment gave" in told[0].message
    rig.a_sample_arrives()


def guarded(*, drops: bool) -> Consumer:
    buffer = fifo(LAYOUT, 8, spare_slots=2)
    return FiniteCheck(buffer, LAYOUT, drops=drops, give_back=buffer.give_back)


def values(*numbers: float) -> bytes:
    return np.array(numbers, dtype=np.float32).tobytes()


def test_a_sample_that_is_not_finite_is_told_once_of_an_attempt_and_may_come_again() -> None:
    with closing(Rig(guarded(drops=False))) as rig:
        for attempt in (1, 2):
            rig.send(encode(replace(OPEN, attempt=attempt)), np.array([7.0]).tobytes())
            for step in (0, 1):
                rig.send(encode(replace(PART, attempt=attempt, step=step)), values(1, np.nan, 2, 3))
            told = rig.news.get(timeout=DEADLINE_S)
            assert isinstance(told, UnfitSample)
            assert (told.simulation, told.attempt) == (3, attempt)
            assert "time step 0 of simulation 3 is not finite: field 'u' is nan at [1]" in told.message
        rig.send(encode(replace(OPEN, attempt=3)), np.array([7.0]).tobytes())
        for step in (1, 0):
            rig.send(encode(replace(PART, attempt=3, step=step)), values(1, 4, 2, 3))
            assert rig.news.get(timeout=DEADLINE_S) == Arrival(3, 3, (step,))
        assert rig.errors == []


def test_a_sample_that_is_dropped_counts_as_received_and_is_not_taken_again() -> None:
    with closing(Rig(guarded(drops=True))) as rig:
        rig.send(encode(OPEN), np.array([7.0]).tobytes())
        rig.send(encode(PART), values(np.inf, 0, 0, 0))
        assert rig.news.get(timeout=DEADLINE_S) == Arrival(3, 1, dropped=(0,))
        rig.send(encode(replace(OPEN, attempt=2)), np.array([7.0]).tobytes())
        rig.send(encode(replace(PART, attempt=2)), values(0, 0, 0, 0))
        assert rig.news.get(timeout=DEADLINE_S) == Arrival(3, 2)
        assert rig.receiver.refused == {"of a sample that is already complete": 1}
        assert rig.errors == []


def test_a_look_between_samples_sees_what_is_complete_and_not_delivered() -> None:
    with closing(Rig()) as rig:
        rig.a_sample_arrives()
        for step in range(1, 9):  # one more than there is room for
            rig.send(encode(replace(PART, step=step)), bytes(16))
        for _ in range(7):
            rig.news.get(timeout=DEADLINE_S)
        rig.buffer.wait(lambda offer: offer.put_waits, DEADLINE_S)
        threads: list[str] = []

        def look(undelivered: Collection[SampleKey]) -> list[SampleKey]:
            threads.append(threading.current_thread().name)
            return sorted(undelivered)

        assert rig.receiver.between_samples(look, DEADLINE_S) == [SampleKey(3, 8)]
        rig.buffer.settle(rig.buffer.draw(1))
        assert rig.news.get(timeout=DEADLINE_S) == Arrival(3, 1, (8,))
        assert rig.receiver.between_samples(look, DEADLINE_S) == []
        assert threads == ["receiver", "receiver"]


def test_an_error_of_a_look_is_raised_where_it_was_asked_for_and_ends_nothing(rig: Rig) -> None:
    with pytest.raises(ZeroDivisionError):
        rig.receiver.between_samples(lambda undelivered: 1 // 0, DEADLINE_S)
    rig.a_sample_arrives()


def test_a_look_does_not_wait_for_a_receiver_that_has_ended(rig: Rig) -> None:
    rig.close()
    with pytest.raises(DeadlineExceededError, match="it has ended"):
        rig.receiver.between_samples(len, DEADLINE_S)


def test_a_look_that_has_begun_is_waited_for_however_late_it_is(rig: Rig) -> None:
    began, go_on = threading.Event(), threading.Event()

    def look(undelivered: Collection[SampleKey]) -> int:
        began.set()
        assert go_on.wait(DEADLINE_S)
        return 7

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rig.receiver.between_samples, look, 0.0)
        assert began.wait(DEADLINE_S)
        second = pool.submit(rig.receiver.between_samples, len, 0.0)
        with pytest.raises(DeadlineExceededError, match="did not pause within 0 s"):
            second.result(DEADLINE_S)
        go_on.set()
        assert first.result(DEADLINE_S) == 7


def test_a_sample_that_was_dropped_is_not_there_at_a_cut() -> None:
    with closing(Rig(guarded(drops=True))) as rig:
        rig.send(encode(OPEN), np.array([7.0]).tobytes())
        rig.send(encode(PART), values(np.inf, 0, 0, 0))
        assert rig.news.get(timeout=DEADLINE_S) == Arrival(3, 1, dropped=(0,))
        assert rig.receiver.between_samples(sorted, DEADLINE_S) == [SampleKey(3, 0)]
        rig.receiver.forget(3)
        rig.send(b"nonsense", b"")
        while rig.receiver.between_samples(len, DEADLINE_S):
            pass


class InPairs:
    """Delivers every second sample, with the one before."""

    def __init__(self, then: Consumer) -> None:
        self._then = then
        self._waiting: list[SampleKey] = []
        self.reserve, self.forget, self.close = then.reserve, then.forget, then.close

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        assert self._then.take(sample, timeout_s) is not None
        self._waiting.append(sample.key)
        if len(self._waiting) < 2:
            return ()
        delivered, self._waiting = tuple(self._waiting), []
        return delivered


def test_what_a_consumer_holds_back_is_not_delivered_at_a_cut() -> None:
    with closing(Rig(InPairs(fifo(LAYOUT, 8, spare_slots=2)))) as rig:
        rig.send(encode(OPEN), np.array([7.0]).tobytes())
        held_back = []
        for step in range(3):
            rig.send(encode(replace(PART, step=step)), bytes(16))
            rig.news.get(timeout=DEADLINE_S)
            held_back.append(rig.receiver.between_samples(sorted, DEADLINE_S))
        assert held_back == [[SampleKey(3, 0)], [], [SampleKey(3, 2)]]
