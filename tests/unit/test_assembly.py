"""Whatever the order of arrival, each sample comes out once, whole, and of one attempt."""

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.assembly import Assembler, Consumer, Placement, Reason, Refusal, as_bytes, over_and_steps
from melissa_like.protocol.wire import OPEN_FIELD, Header, Kind, encode
from melissa_like.records import Box, FieldSpec, Layout, Purpose, Ranges, Routing, Sample, SampleKey, StudyIdentity
from melissa_like.transport.interface import copy_payload

LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(6, 5)), FieldSpec(name="p", shape=(4,), dtype="float64")), parameters=("a", "b")
)
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)


class Memory:
    """A consumer that counts what is reserved, and what of it is given back."""

    def __init__(self) -> None:
        self.fields: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}
        self.num_forgotten = 0

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """All have the same sizes."""

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[np.ndarray, ...]:
        new = tuple(np.empty(field.shape, field.dtype) for field in LAYOUT.fields)
        return self.fields.setdefault((simulation, step), new)

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...]:
        del self.fields[sample.key.simulation, sample.key.step]
        return (sample.key,)

    def forget(self, simulation: int) -> None:
        for key in [key for key in self.fields if key[0] == simulation]:
            del self.fields[key]
            self.num_forgotten += 1

    def close(self) -> None:
        """Nobody waits."""


def assembler(memory: Consumer | None = None, *, rank: int = 0, num_ranks: int = 1, **limits: int) -> Assembler:
    memory = memory or Memory()
    return Assembler(
        layout=LAYOUT,
        identity=IDENTITY,
        server_rank=rank,
        num_server_ranks=num_ranks,
        routing=Routing.SAMPLE,
        consumers=dict.fromkeys(Purpose, memory),
        **limits,
    )


def header(kind: Kind = Kind.PART, **changes: object) -> Header:
    values: dict[str, object] = {
        "purpose": Purpose.TRAINING,
        "study": IDENTITY.study,
        "secret": IDENTITY.secret,
        "launcher_incarnation": 1,
        "server_incarnation": 1,
        "simulation": 0,
        "attempt": 1,
        "client_rank": 0,
        "num_client_ranks": 2,
        "layout_id": LAYOUT.layout_id,
        "field_id": 0,
        "dtype_code": 0,
        "step": 0,
        "time": 0.0,
        "box": Box((0, 0), (6, 5)),
    }
    return Header(kind=kind, **{**values, **changes})  # type: ignore[arg-type]


def open_message(**changes: object) -> Header:
    return header(Kind.OPEN, **{"field_id": OPEN_FIELD, "box": Box((0,), (2,)), "dtype_code": 1, **changes})


def opened(memory: Memory | None = None, **changes: object) -> Assembler:
    made = assembler(memory)
    assert made.open(open_message(**changes), np.array([1.0, 2.0])) is None
    return made


def value_of(simulation: int, attempt: int, step: int, field_id: int) -> np.ndarray:
    shape = LAYOUT.fields[field_id].shape
    base = 1000 * simulation + 100 * attempt + 10 * step + field_id
    return (base + np.arange(np.prod(shape)).reshape(shape) / 1000).astype(LAYOUT.fields[field_id].dtype)


def deliver(made: Assembler, message: Header) -> Sample | Refusal | None:
    """Send a part with the values that belong there, as the receiver does."""
    placed = made.place_again(encode(message)) or made.place(message)
    if isinstance(placed, Refusal):
        return placed
    values = value_of(message.simulation, message.attempt, message.step, message.field_id)[message.box.slices]
    assert copy_payload(as_bytes(np.ascontiguousarray(values)), placed.target) is None
    return made.add(placed)


def cuts(extent: int, at: list[int]) -> list[tuple[int, int]]:
    edges = sorted({0, extent, *(min(cut, extent) for cut in at)})
    return [(a, b - a) for a, b in itertools.pairwise(edges)]


def decomposition(shape: tuple[int, ...], at: list[list[int]]) -> list[Box]:
    """A tensor product of cuts: rows, columns or blocks."""
    pieces = itertools.product(*(cuts(extent, places) for extent, places in zip(shape, at, strict=True)))
    return [Box(tuple(o for o, _ in piece), tuple(n for _, n in piece)) for piece in pieces]


def parts(simulation: int, attempt: int, step: int, at: list[list[int]]) -> Iterator[Header]:
    for box in decomposition((6, 5), at[:2]):
        yield header(simulation=simulation, attempt=attempt, step=step, box=box)
    for box in decomposition((4,), at[2:]):
        yield header(simulation=simulation, attempt=attempt, step=step, field_id=1, dtype_code=1, box=box)


some_cuts = st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=3, max_size=3)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_sample_comes_out_once_and_whole_in_any_order(data: st.DataObject) -> None:
    """Decompositions differ, parts of two simulations mix, some come twice after their sample is complete."""
    made = assembler()
    messages: list[Header] = []
    for simulation in range(2):
        assert made.open(open_message(simulation=simulation), np.array([simulation, 1.0])) is None
        for step in range(2):
            messages += parts(simulation, 1, step, data.draw(some_cuts))
    order = data.draw(st.permutations(messages))
    completed: dict[tuple[int, int], Sample] = {}
    for message in order:
        answer = deliver(made, message)
        assert not isinstance(answer, Refusal)
        if answer is not None:
            key = (answer.key.simulation, answer.key.step)
            assert key not in completed
            completed[key] = answer
            late = deliver(made, message)
            assert isinstance(late, Refusal)
            assert late.reason is Reason.DUPLICATE_SAMPLE
            assert late.counts_as_received
            assert not late.is_fault
    assert set(completed) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    for (simulation, step), sample in completed.items():
        assert sample.parameters.tolist() == [simulation, 1.0]
        for field_id in range(2):
            np.testing.assert_array_equal(sample.fields[field_id], value_of(simulation, 1, step, field_id))
    assert made.duplicates_dropped == 4


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_newer_attempt_replaces_what_is_incomplete_and_nothing_else(data: st.DataObject) -> None:
    memory = Memory()
    made = opened(memory)
    first = list(parts(0, 1, 0, data.draw(some_cuts))) + list(parts(0, 1, 1, data.draw(some_cuts)))
    kept = data.draw(st.integers(0, len(first) - 1))
    early = [answer for message in first[:kept] if isinstance(answer := deliver(made, message), Sample)]
    assert made.open(open_message(attempt=2), np.array([1.0, 2.0])) is None
    for message in first[kept:]:  # what is still on its way of the old attempt
        answer = deliver(made, message)
        assert isinstance(answer, Refusal)
        assert not answer.is_fault
    second = [m for step in range(2) for m in parts(0, 2, step, data.draw(some_cuts))]
    samples = [answer for message in second if isinstance(answer := deliver(made, message), Sample)]
    assert {sample.key.step for sample in samples} == {0, 1} - {sample.key.step for sample in early}
    for sample in samples:
        np.testing.assert_array_equal(sample.fields[0], value_of(0, 2, sample.key.step, 0))
    for sample in early + samples:
        memory.take(sample, 0.0)
    assert memory.fields == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"study": b"o" * 16}, Reason.OTHER_STUDY),
        ({"secret": b"o" * 16}, Reason.OTHER_STUDY),
        ({"launcher_incarnation": 2}, Reason.OTHER_INCARNATION),
        ({"server_incarnation": 2}, Reason.OTHER_INCARNATION),
        ({"attempt": 2}, Reason.NOT_OPENED),
        ({"attempt": 0}, Reason.NO_ATTEMPT),
        ({"step": 2**63}, Reason.NO_STEP),
        ({"step": 2**64 - 1}, Reason.NO_STEP),
        ({"simulation": 1}, Reason.NOT_OPENED),
        ({"layout_id": 1}, Reason.WRONG_LAYOUT),
        ({"field_id": 2}, Reason.UNDECLARED_FIELD),
        ({"dtype_code": 1}, Reason.WRONG_DTYPE),
        ({"box": Box((3, 0), (4, 5))}, Reason.OUTSIDE),
        ({"box": Box((0,), (6,))}, Reason.OUTSIDE),
        ({"num_client_ranks": 3}, Reason.CONTRADICTION),
        ({"purpose": Purpose.VALIDATION}, Reason.CONTRADICTION),
        ({"box": Box((0, 0), (2, 5))}, Reason.SAME_BOX_TWICE),
        ({"box": Box((1, 1), (1, 1))}, Reason.OVERLAP),
    ],
)
def test_a_part_that_does_not_belong_is_refused_with_its_reason(changes: dict[str, object], reason: Reason) -> None:
    made = opened()
    assert deliver(made, header(box=Box((0, 0), (2, 5)))) is None
    refusal = made.place(header(**changes))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    harmless = {Reason.OTHER_STUDY, Reason.OTHER_INCARNATION, Reason.OLD_ATTEMPT}
    assert refusal.is_fault is (reason not in harmless)
    assert not refusal.counts_as_received


def test_a_simulation_that_the_study_does_not_have_is_not_opened() -> None:
    made = assembler(num_simulations=3)
    assert made.open(open_message(simulation=2), np.array([1.0, 2.0])) is None
    for simulation in (3, 2**32 - 1):
        refusal = made.refuse_open(open_message(simulation=simulation))
        assert refusal is not None
        assert refusal.reason is Reason.NO_SIMULATION
        assert not refusal.is_fault


@pytest.mark.parametrize("step", [3, 2**62])
def test_no_more_steps_are_incomplete_at_once_than_a_simulation_has(step: int) -> None:
    """Whether its ranks number them differently, or somebody makes numbers up: each would take memory for a sample."""
    memory = Memory()
    made = assembler(memory, num_steps=3)
    assert made.open(open_message(), np.array([1.0, 2.0])) is None
    for message in parts(0, 1, 7, [[], [], []]):
        deliver(made, message)  # one is complete, and does not count
    rows = Box((0, 0), (3, 5))
    for begun in range(3):
        assert deliver(made, header(step=begun, box=rows)) is None
    refusal = deliver(made, header(step=step, box=rows))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.TOO_MANY_STEPS
    assert refusal.is_fault
    assert "3 time steps were incomplete" in refusal.message
    assert len(memory.fields) == 4  # the complete one was not taken
    assert deliver(made, header(step=2, box=Box((3, 0), (3, 5)))) is None  # those that were begun go on


def test_overlaps_are_found_in_later_samples_too() -> None:
    """The fast way, over boxes that an earlier sample has proven to be disjoint, finds the same mistakes."""
    made = opened()
    for message in parts(0, 1, 0, [[3], [], []]):
        deliver(made, message)
    assert deliver(made, header(step=1, box=Box((0, 0), (3, 5)))) is None
    twice = deliver(made, header(step=1, box=Box((0, 0), (3, 5))))
    across = deliver(made, header(step=1, box=Box((2, 0), (2, 5))))
    assert isinstance(twice, Refusal)
    assert twice.reason is Reason.SAME_BOX_TWICE
    assert isinstance(across, Refusal)
    assert across.reason is Reason.OVERLAP
    assert deliver(made, header(step=2, box=Box((2, 0), (2, 5)))) is None
    known_over_unknown = deliver(made, header(step=2, box=Box((0, 0), (3, 5))))
    assert isinstance(known_over_unknown, Refusal)
    assert known_over_unknown.reason is Reason.OVERLAP


def test_a_part_for_another_server_rank_is_refused() -> None:
    made = assembler(rank=1, num_ranks=2)
    assert made.open(open_message(), np.array([1.0, 2.0])) is None
    refusal = made.place(header(step=2))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.WRONG_OWNER
    assert isinstance(made.place(header(step=3)), Placement)


def test_ranks_that_disagree_on_the_parameters_are_refused() -> None:
    made = opened()
    refusal = made.open(open_message(client_rank=1), np.array([1.0, 3.0]))
    assert refusal is not None
    assert refusal.reason is Reason.CONTRADICTION
    refusal = assembler().open(open_message(box=Box((0,), (1,))), np.array([1.0]))
    assert refusal is not None
    assert refusal.reason is Reason.WRONG_PARAMETERS


def test_a_part_is_placed_in_the_sample_itself() -> None:
    made = opened()
    rows = made.place(header(box=Box((2, 0), (2, 5))))
    assert isinstance(rows, Placement)
    assert isinstance(rows.target, memoryview)
    columns = made.place(header(box=Box((0, 2), (2, 2))))
    assert isinstance(columns, Placement)
    assert isinstance(columns.target, np.ndarray)
    (field, *_) = rows.partial.fields
    assert np.shares_memory(columns.target, field)
    assert np.shares_memory(np.asarray(rows.target), field)


def test_an_empty_box_is_legal_at_any_time_and_no_duplicate() -> None:
    """A rank without rows, as when there are more ranks than rows; it may be the last to be heard, or the first."""
    memory = Memory()
    made = opened(memory)
    empty = header(client_rank=1, box=Box((6, 0), (0, 5)))
    for message in (empty, empty, replace(empty, step=7)):
        assert deliver(made, message) is None
    assert memory.fields == {}
    assert deliver(made, header()) is None
    assert deliver(made, empty) is None
    sample = deliver(made, header(field_id=1, dtype_code=1, box=Box((0,), (4,))))
    assert isinstance(sample, Sample)
    memory.take(sample, 0.0)
    assert deliver(made, empty) is None, "its step is complete"
    made.drop(made.place(empty))
    made.forget(0)
    assert deliver(made, empty) is None, "its simulation is over"
    assert made.duplicates_dropped == 0


def test_an_empty_box_is_refused_where_it_cannot_be() -> None:
    refusal = opened().place(header(box=Box((7, 0), (0, 5))))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.OUTSIDE
    stranger = opened().place(header(secret=b"?" * 16, box=Box((6, 0), (0, 5))))
    assert isinstance(stranger, Refusal)
    assert stranger.reason is Reason.OTHER_STUDY


@pytest.mark.parametrize("times", list(itertools.permutations([0.5, float("nan"), 0.25])))
def test_the_time_of_a_sample_does_not_depend_on_the_order_of_its_parts(times: tuple[float, ...]) -> None:
    """One rank gives none, one another: the earliest counts."""
    made = opened()
    for row, time in zip((0, 2, 4), times, strict=True):
        assert deliver(made, header(box=Box((row, 0), (2, 5)), time=time)) is None
    sample = deliver(made, header(field_id=1, dtype_code=1, box=Box((0,), (4,)), time=float("nan")))
    assert isinstance(sample, Sample)
    assert sample.time == 0.25


def test_a_dropped_part_leaves_nothing() -> None:
    memory = Memory()
    made = opened(memory)
    placed = made.place(header())
    assert isinstance(placed, Placement)
    made.drop(placed)
    assert deliver(made, header()) is None
    assert len(memory.fields) == 1


def test_a_forgotten_simulation_gives_its_memory_back_and_refuses_latecomers() -> None:
    memory = Memory()
    made = opened(memory)
    _, sample = (deliver(made, message) for message in parts(0, 1, 0, [[], [], []]))
    assert isinstance(sample, Sample)
    memory.take(sample, 0.0)
    deliver(made, header(step=1))
    made.forget(0)
    assert memory.num_forgotten == 1
    late, done = deliver(made, header(step=1)), deliver(made, header(step=0))
    again = made.open(open_message(attempt=2), np.array([1.0, 2.0]))
    for refusal in (late, done, again):
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.OVER
        assert not refusal.is_fault
    assert memory.fields == {}


def test_a_simulation_that_is_over_before_it_was_opened_stays_over() -> None:
    made = assembler()
    made.forget(0)
    refusal = made.open(open_message(), np.array([1.0, 2.0]))
    assert refusal is not None
    assert refusal.reason is Reason.OVER
    assert isinstance(refusal := made.place(header()), Refusal)
    assert refusal.reason is Reason.OVER


def test_attempts_are_numbered_from_one() -> None:
    refusal = assembler().open(open_message(attempt=0), np.array([1.0, 2.0]))
    assert refusal is not None
    assert refusal.reason is Reason.NO_ATTEMPT
    assert refusal.is_fault
    assert "attempts are numbered from 1: send the one Assignment gave" in refusal.message


def test_a_newer_attempt_goes_on_in_the_memory_of_the_older() -> None:
    memory = Memory()
    made = opened(memory)
    top = header(box=Box((0, 0), (3, 5)))
    first = made.place(top)
    assert isinstance(first, Placement)
    made.add(first)
    made.open(open_message(attempt=2), np.array([1.0, 2.0]))
    assert made.place_again(encode(top)) is None
    second = made.place(replace(top, attempt=2))
    assert isinstance(second, Placement)
    assert second.partial.fields is first.partial.fields
    assert second.partial.arrived == {}


def test_a_restored_assembler_goes_on_where_the_cut_was() -> None:
    made = opened()
    deliver(made, open_message(simulation=5))
    for simulation, steps in ((0, (0, 1, 3)), (5, (0,))):
        for step in steps:
            deliver_whole(made, simulation, step)
    made.forget(7)
    over, steps = over_and_steps([made.cut({5: {0}})])
    assert over == Ranges([(7, 8)])
    assert steps == {0: Ranges([(0, 2), (3, 4)])}
    other = assembler()
    other.restore(over, steps)
    assert over_and_steps([other.cut({})]) == (over, steps)
    other.forget(0)
    assert over_and_steps([other.cut({})]) == (Ranges([(0, 1), (7, 8)]), {})
    again = assembler()
    again.restore(over, steps)
    assert again.open(open_message(attempt=2), np.array([1.0, 2.0])) is None
    assert not [step for step in range(4) if deliver_whole(again, 0, step, attempt=2) and step != 2]
    assert again.duplicates_dropped == 3 * len(LAYOUT.fields)
    refused = again.open(open_message(simulation=7), np.array([1.0, 2.0]))
    assert refused is not None
    assert refused.reason is Reason.OVER


def deliver_whole(made: Assembler, simulation: int, step: int, *, attempt: int = 1) -> bool:
    """Whether a sample came of all its parts."""
    boxes = [Box((0,) * len(spec.shape), spec.shape) for spec in LAYOUT.fields]
    told = [
        deliver(
            made,
            header(simulation=simulation, attempt=attempt, step=step, field_id=number, dtype_code=number, box=box),
        )
        for number, box in enumerate(boxes)
    ]
    return isinstance(told[-1], Sample)


class Discard:
    """A consumer that keeps nothing: what grows is the assembler's."""

    def __init__(self) -> None:
        self._fields = tuple(np.empty(field.shape, field.dtype) for field in LAYOUT.fields)

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """All have the same sizes."""

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[np.ndarray, ...]:
        return self._fields

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...]:
        return (sample.key,)

    def forget(self, simulation: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nobody waits."""


NUM_OVER = 3000


def bytes_per_simulation(made: Assembler, run: Callable[[Assembler, int], None], numbers: Sequence[int]) -> float:
    """What an assembler keeps of each of these simulations, all of them over."""
    for number in range(NUM_OVER, NUM_OVER + 100):
        run(made, number)
    gc.collect()
    tracemalloc.start()
    try:
        for number in numbers:
            run(made, number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / len(numbers)
    finally:
        tracemalloc.stop()


def test_a_simulation_that_is_over_costs_next_to_nothing() -> None:
    """Opened, one step complete and another begun, over, a part comes late: ten at once, out of order."""
    made = assembler(Discard())
    late: dict[int, bytes] = {}

    def run(made: Assembler, number: int) -> None:
        made.open(open_message(simulation=number), np.array([number, 1.0]))
        for message in (*parts(number, 1, 0, [[], [], []]), header(simulation=number, step=1)):
            made.add(made.place_again(encode(message)) or made.place(message))
        late[number] = encode(header(simulation=number, step=2))
        if len(late) == 10:
            over = number if number % 2 else next(iter(late))
            made.forget(over)
            assert made.place_again(late.pop(over)) is None

    assert bytes_per_simulation(made, run, range(NUM_OVER)) < 25


def test_gaps_between_the_simulations_that_are_over_cost_little() -> None:
    numbers = range(0, 2 * NUM_OVER, 2)
    assert bytes_per_simulation(assembler(Discard()), Assembler.forget, numbers) < 100


def test_a_part_accepted_once_is_accepted_again_at_other_steps_only() -> None:
    made = opened()
    top, bottom = (header(box=Box((row, 0), (3, 5))) for row in (0, 3))
    assert made.place_again(encode(top)) is None, "never seen"
    deliver(made, top)
    assert made.place_again(encode(top)) is None, "the same box twice"
    deliver(made, bottom)
    again = made.place_again(encode(replace(top, step=7, time=0.5)))
    assert again is not None
    assert (again.simulation, again.attempt, again.step, again.partial.time) == (0, 1, 7, 0.5)
    made.drop(again)
    assert made.place_again(encode(replace(top, secret=b"?" * 16, step=8))) is None
    assert made.place_again(b"short") is None


def test_what_was_accepted_of_an_older_attempt_is_looked_at_again() -> None:
    made = opened()
    deliver(made, header(box=Box((0, 0), (3, 5))))
    made.open(open_message(attempt=2), np.array([1.0, 2.0]))
    later = header(box=Box((0, 0), (3, 5)), step=1)
    assert made.place_again(encode(later)) is None
    assert isinstance(refusal := made.place(later), Refusal)
    assert refusal.reason is Reason.OLD_ATTEMPT
    deliver(made, replace(later, attempt=2))
    made.forget(0)
    assert made.place_again(encode(replace(later, attempt=2, step=2))) is None


def test_what_was_accepted_is_refused_where_it_is_complete_or_belongs_elsewhere() -> None:
    made = assembler(rank=0, num_ranks=2)
    made.open(open_message(), np.array([1.0, 2.0]))
    pressure = {"field_id": 1, "dtype_code": 1, "box": Box((0,), (4,))}
    for step in (0, 2):
        deliver(made, header(step=step))
        assert isinstance(deliver(made, header(step=step, **pressure)), Sample)
    assert made.place_again(encode(header(step=2))) is None
    assert made.place_again(encode(header(step=3))) is None
    assert made.place_again(encode(header(step=4))) is not None
