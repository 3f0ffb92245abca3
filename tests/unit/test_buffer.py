"""What a user of a buffer relies on: each sample trained on, the right ones evicted, nobody waiting for ever."""

import io
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.buffer import (
    BatchMemory,
    BufferClosedError,
    BufferState,
    HostStorage,
    KeptSamples,
    SampleBuffer,
    fifo,
    firo,
    reservoir,
)
from melissa_like.buffer.batch_memory import allocate
from melissa_like.buffer.pins import Pins
from melissa_like.buffer.policies import AlwaysOpen, FillTo, Uniform, UniformSeen
from melissa_like.buffer.slots import SlotSet
from melissa_like.records import FieldSpec, Layout, Sample, SampleKey
from tests.contract.consumers import assembled

LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(3,)), FieldSpec(name="flag", shape=(1,), dtype="uint8")), parameters=("a",)
)
SOON = 0.02
DEADLINE_S = 20.0


def put(buffer: SampleBuffer, number: int, timeout_s: float = SOON) -> bool:
    fields = [np.full(3, number, np.float32), np.full(1, number % 256, np.uint8)]
    return buffer.put(
        SampleKey(number, 2 * number),
        fields,
        time=number / 10,
        parameters=np.array([number + 0.5]),
        timeout_s=timeout_s,
    )


def of(buffer: SampleBuffer, number: int, *, attempt: int = 1) -> Sample:
    """The sample that `put` puts, complete and not taken yet."""
    values = [np.full(3, number, np.float32), np.full(1, number % 256, np.uint8)]
    key = SampleKey(number, 2 * number)
    return assembled(buffer, key, values, attempt=attempt, time=number / 10, parameters=[number + 0.5])


def drawn(buffer: SampleBuffer, n: int, *, gate_lifted: bool = False, settle: bool = True) -> list[int]:
    """Draw n samples, check that every column belongs to the same one, and settle."""
    draw = buffer.draw(n, gate_lifted=gate_lifted)
    memory = buffer.batch_memory(n, pinned=False)
    buffer.gather(draw, memory)
    numbers = memory.simulations.tolist()
    assert memory.steps.tolist() == [2 * number for number in numbers]
    assert memory.times.tolist() == [number / 10 for number in numbers]
    assert memory.parameters.tolist() == [[number + 0.5] for number in numbers]
    assert memory.fields["u"].tolist() == [[number] * 3 for number in numbers]
    assert memory.fields["flag"].flatten().tolist() == [number % 256 for number in numbers]
    if settle:
        buffer.settle(draw)
    return numbers


def restore(buffer: SampleBuffer, kept: KeptSamples, most_nbytes: int = 100) -> None:
    """Through a file, as a checkpoint does it: each piece is gone when the next one comes."""
    pieces = list(copies(kept, most_nbytes))
    saved = io.BytesIO()
    torch.save(kept.state.as_dict(), saved)
    saved.seek(0)
    buffer.restore(BufferState.of_dict(torch.load(saved, weights_only=True)), pieces)


def copies(kept: KeptSamples, most_nbytes: int) -> Iterator[BatchMemory]:
    for piece in kept.pieces(most_nbytes):
        copied = allocate(LAYOUT, len(piece.labels), device=torch.device("cpu"))
        for target, source in zip(copied.tensors, piece.tensors, strict=True):
            target.copy_(source)
        yield copied


def drain(buffer: SampleBuffer, n: int = 4) -> list[int]:
    """Draw to the end as the loader does."""
    numbers: list[int] = []
    while (offer := buffer.offer()).held:
        numbers += drawn(buffer, min(n, offer.held), gate_lifted=True)
    return numbers


def test_fifo_draws_each_sample_once_in_order() -> None:
    buffer = fifo(LAYOUT, 8)
    for number in range(6):
        assert put(buffer, number)
    assert drawn(buffer, 4) == [0, 1, 2, 3]
    assert put(buffer, 6)
    buffer.end_reception()
    assert drain(buffer) == [4, 5, 6]
    assert buffer.population().size == buffer.population().unseen == 0


def test_fifo_put_waits_while_full_until_the_training_step_has_ended() -> None:
    buffer = fifo(LAYOUT, 2)
    assert put(buffer, 0)
    assert put(buffer, 1)
    draw = buffer.draw(1)
    assert not put(buffer, 2)  # drawn, but its slot is still in use
    assert buffer.offer().put_waits
    buffer.settle(draw)
    assert put(buffer, 2)
    assert not buffer.offer().put_waits


def test_firo_keeps_the_watermark_and_removes_after_pseudo_epochs() -> None:
    buffer = firo(LAYOUT, 10, watermark=4, pseudo_epochs=2, seed=1)
    for number in range(4):
        put(buffer, number)
    assert buffer.offer().available == 0
    for number in range(4, 10):
        put(buffer, number)
    assert buffer.offer().available == 6
    assert not put(buffer, 10)
    views = Counter(drawn(buffer, 6))
    assert max(views.values()) <= 2
    buffer.end_reception()
    views.update(drain(buffer))
    assert set(views) == set(range(10))
    assert max(views.values()) <= 2


def test_firo_with_one_pseudo_epoch_draws_each_sample_once() -> None:
    buffer = firo(LAYOUT, 50, watermark=10, seed=3)
    numbers: list[int] = []
    for number in range(200):
        put(buffer, number)
        if buffer.offer().available >= 4:
            numbers += drawn(buffer, 4)
    assert numbers != sorted(numbers)
    buffer.end_reception()
    assert sorted(numbers + drain(buffer)) == list(range(200))


def test_reservoir_waits_for_the_watermark_then_draws_without_end() -> None:
    buffer = reservoir(LAYOUT, 10, watermark=3)
    put(buffer, 0)
    put(buffer, 1)
    assert buffer.offer().available == 0
    assert buffer.offer().held > 1000
    with pytest.raises(ValueError, match="0 are on offer"):
        buffer.draw(1)
    put(buffer, 2)
    assert set(drawn(buffer, 200)) == {0, 1, 2}


def test_reservoir_never_evicts_an_unseen_sample() -> None:
    buffer = reservoir(LAYOUT, 5, watermark=0, seed=2)
    for number in range(5):
        assert put(buffer, number)
    assert not put(buffer, 5)
    seen = set(drawn(buffer, 2))
    for number in range(5, 5 + len(seen)):
        assert put(buffer, number)
    assert not put(buffer, 9)
    buffer.end_reception()
    assert set(drain(buffer)) == {*range(5), *range(5, 5 + len(seen))} - seen
    assert buffer.population().evicted == len(seen)


def test_reservoir_trains_on_every_sample_whatever_the_interleaving() -> None:
    rng = np.random.default_rng(0)
    buffer = reservoir(LAYOUT, 20, watermark=5, seed=5)
    trained: set[int] = set()
    number = 0
    while number < 500:
        if rng.random() < 0.8:
            number += put(buffer, number, timeout_s=0.0)
        if (offer := buffer.offer()).available or offer.put_waits:
            trained.update(drawn(buffer, 3, gate_lifted=True))
    buffer.end_reception()
    trained.update(drain(buffer))
    population = buffer.population()
    assert trained == set(range(500))
    assert population.puts == 500
    assert population.unseen == population.size == 0
    assert population.evicted + population.removed == 500


def test_reservoir_draws_uniformly() -> None:
    buffer = reservoir(LAYOUT, 20, watermark=20, seed=7)
    for number in range(20):
        put(buffer, number)
    counts = Counter(drawn(buffer, 20_000))
    expected = 1000
    chi_squared = sum((counts[number] - expected) ** 2 / expected for number in range(20))
    assert chi_squared < 43.8  # 0.1 % of the chi-squared distribution with 19 degrees of freedom


def test_reservoir_evicts_uniformly_among_the_seen() -> None:
    counts: Counter[int] = Counter()
    for seed in range(2000):
        buffer = reservoir(LAYOUT, 5, watermark=0, seed=seed)
        for number in range(5):
            put(buffer, number)
        for _ in range(12):  # all seen, but for one chance in a thousand
            drawn(buffer, 5)
        put(buffer, 5)
        buffer.end_reception()
        buffer.offer()
        counts.update(set(range(5)) - set(drain(buffer, 5)))
    expected = 2000 / 5
    assert sum((counts[number] - expected) ** 2 / expected for number in range(5)) < 18.5  # 0.1 %, 4 degrees


def test_a_draw_pins_its_samples_until_it_is_settled() -> None:
    buffer = reservoir(LAYOUT, 2, watermark=0)
    put(buffer, 0)
    put(buffer, 1)
    while buffer.population().unseen:
        drawn(buffer, 1)
    draws = [buffer.draw(1) for _ in range(20)]  # both samples with overwhelming probability
    assert not put(buffer, 2)
    for draw in draws:
        buffer.settle(draw)
    assert put(buffer, 2)


def test_draws_settled_in_any_order_pin_until_the_last_one_on_a_sample() -> None:
    buffer = reservoir(LAYOUT, 1, watermark=0)
    put(buffer, 0)
    drawn(buffer, 1)
    first, second, third = (buffer.draw(1) for _ in range(3))
    for draw in (second, third):
        buffer.settle(draw)
        assert not put(buffer, 1, timeout_s=0.0)
    buffer.settle(first)
    assert put(buffer, 1)


def test_a_draw_is_settled_once() -> None:
    buffer = reservoir(LAYOUT, 1, watermark=0)
    put(buffer, 0)
    draw = buffer.draw(1)
    buffer.settle(draw)
    with pytest.raises(KeyError):
        buffer.settle(draw)


@pytest.mark.parametrize("num_pinned", [4, 49, 69, 78])
def test_reservoir_evicts_uniformly_among_the_seen_that_are_not_pinned(num_pinned: int) -> None:
    """Few pinned, many, and so many that trying at random hardly ever hits one that is not."""
    pins, evictor, rng = Pins(100), UniformSeen(), np.random.default_rng(num_pinned)
    for slot in range(20, 100):
        evictor.add(slot)
    pins.hold(range(20, 20 + num_pinned))
    counts = Counter(evictor.pick(rng.random, pins) for _ in range(20_000))
    free = range(20 + num_pinned, 100)
    assert set(counts) == set(free)
    expected = 20_000 / len(free)
    chi_squared = sum((counts[slot] - expected) ** 2 / expected for slot in free)
    assert chi_squared < scipy.stats.chi2.ppf(0.999, len(free) - 1)


def test_nothing_can_be_evicted_while_all_seen_samples_are_pinned() -> None:
    pins, evictor = Pins(10), UniformSeen()
    assert not evictor.finds(pins)
    for slot in range(3):
        evictor.add(slot)
    one, other = pins.hold([0, 1, 1, 1]), pins.hold([1, 2])
    assert not evictor.finds(pins)
    pins.release(one)
    assert evictor.finds(pins)
    assert evictor.pick(lambda: 0.5, pins) == 0
    pins.release(other)
    assert pins.at_most == 0


@given(
    actions=st.lists(st.one_of(st.lists(st.integers(0, 5), max_size=4), st.integers(0, 5)), max_size=40),
)
def test_pins_are_the_union_of_the_holds_that_stand(actions: list[list[int] | int]) -> None:
    pins = Pins(6)
    holds: dict[int, set[int]] = {}
    for action in actions:
        if isinstance(action, list):
            holds[pins.hold(action)] = set(action)
        elif holds:
            number = sorted(holds)[action % len(holds)]
            pins.release(number)
            del holds[number]
        pinned = set().union(*holds.values())
        assert {slot for slot in range(6) if slot in pins} == pinned
        assert set(pins.unpinned(np.arange(6)).tolist()) == set(range(6)) - pinned
        assert pins.at_most >= len(pinned)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=300))
def test_a_slot_set_is_a_set(actions: list[tuple[bool, int]]) -> None:
    slots, model = SlotSet(), set()
    for add, slot in actions:
        if not add:
            slots.discard(slot)
            model.discard(slot)
        elif slot not in model:
            slots.add(slot)
            model.add(slot)
    assert len(slots) == len(model)
    assert sorted(slots) == sorted(model)
    if model:
        us = np.linspace(0.0, 1.0, len(model), endpoint=False)
        assert sorted(slots.choose_several(us + 1e-9).tolist()) == sorted(model)
        assert {slots.choose(float(u) + 1e-9) for u in us} == model


def test_a_sample_drawn_twice_and_removed_by_one_unsettled_draw_is_saved_once() -> None:
    buffer = firo(LAYOUT, 4, watermark=0, pseudo_epochs=2)
    put(buffer, 0)
    draws = drawn(buffer, 1, settle=False) + drawn(buffer, 1, settle=False)
    put(buffer, 1)
    buffer.end_reception()
    assert draws == [0, 0]
    assert buffer.keep().state.keys[:, 0].tolist() == [0, 1]
    twice_in_one = firo(LAYOUT, 4, watermark=0, pseudo_epochs=2, seed=1)
    for number in range(2):
        put(twice_in_one, number)
    assert len(twice_in_one.draw(2).removed) == 1
    assert sorted(twice_in_one.keep().state.keys[:, 0].tolist()) == [0, 1]


def test_an_empty_buffer_has_a_state() -> None:
    buffer = reservoir(LAYOUT, 4, watermark=0)
    restore(buffer, reservoir(LAYOUT, 4).keep())
    assert put(buffer, 0)
    assert drawn(buffer, 2) == [0, 0]


def test_a_provisional_draw_does_not_make_a_sample_seen() -> None:
    buffer = reservoir(LAYOUT, 3, watermark=0)
    put(buffer, 0)
    draw = buffer.draw(1)
    assert buffer.population().unseen == 1
    buffer.settle(draw)
    assert buffer.population().unseen == 0


@pytest.mark.parametrize("views", [1, 3, 10])
def test_views_per_sample_fixes_the_number_of_draws_and_draws_each_sample(views: int) -> None:
    rng = np.random.default_rng(views)
    buffer = reservoir(LAYOUT, 12, watermark=4, views_per_sample=views, seed=views)
    counts: Counter[int] = Counter()
    number = 0
    while number < 60:
        if rng.random() < 0.5:
            number += put(buffer, number, timeout_s=0.0)
        if available := buffer.offer().available:
            counts.update(drawn(buffer, min(4, available)))
        population = buffer.population()
        assert population.draws <= views * population.puts
    buffer.end_reception()
    counts.update(drain(buffer))
    assert set(counts) == set(range(60))
    assert sum(counts.values()) == views * 60


def test_views_per_sample_holds_puts_back_when_draws_are_slow() -> None:
    buffer = reservoir(LAYOUT, 10, watermark=0, views_per_sample=4)
    for number in range(10):
        assert put(buffer, number)
    drawn(buffer, 3)
    assert not put(buffer, 10)  # 37 draws are owed: 4 more would exceed what 10 samples bear
    drawn(buffer, 1)
    assert put(buffer, 10)


class Opening(HostStorage):
    """Notes which slots are opened."""

    def __init__(self, num_slots: int) -> None:
        super().__init__(LAYOUT, num_slots)
        self.opened: list[int | None] = []

    def open(self, slot: int | None, extents: Mapping[str, int] | None = None) -> tuple[np.ndarray, ...]:
        self.opened.append(slot)
        return super().open(slot, extents)


def test_a_sample_in_memory_of_its_own_is_copied_when_no_slot_is_spare() -> None:
    storage = Opening(5)
    buffer = SampleBuffer(
        storage, capacity=4, selector=Uniform(), evictor=UniformSeen(), gate=AlwaysOpen(), draws_until_removed=None
    )
    buffer.reserve(100, 1, 0)
    samples = [of(buffer, number) for number in range(2)]
    assert [slot is None for slot in storage.opened] == [False, True, True]
    for sample in samples:
        assert buffer.take(sample, SOON) == (sample.key,)
    buffer.forget(100)
    buffer.reserve(101, 1, 0)
    assert storage.opened[-1] is not None
    assert set(drawn(buffer, 50)) == {0, 1}


class Pausing(HostStorage):
    """Stops in the middle of one kind of copy until it may go on."""

    def __init__(self, pause_in: str) -> None:
        super().__init__(LAYOUT, 8)
        self.pause_in = pause_in
        self.paused, self.go_on = threading.Event(), threading.Event()

    def pause(self, where: str) -> None:
        if where == self.pause_in and not self.paused.is_set():
            self.paused.set()
            assert self.go_on.wait(DEADLINE_S)

    def gather(self, *args: Any) -> None:
        self.pause("gather")
        super().gather(*args)

    def write(self, *args: Any, **kwargs: Any) -> None:
        self.pause("write")
        super().write(*args, **kwargs)

    def read(self, *args: Any) -> None:
        self.pause("read")
        super().read(*args)


def test_draws_that_were_offered_stand_while_a_sample_is_being_replaced() -> None:
    """With the watermark at the capacity the buffer must not look smaller in between."""
    storage = Pausing(pause_in="")
    buffer = SampleBuffer(
        storage, capacity=7, selector=Uniform(), evictor=UniformSeen(), gate=FillTo(7), draws_until_removed=None
    )
    for number in range(7):
        put(buffer, number)
    while buffer.population().unseen:
        drawn(buffer, 7)
    buffer.reserve(100, 1, 0)
    storage.pause_in = "write"
    thread = threading.Thread(target=lambda: put(buffer, 7))
    thread.start()
    assert storage.paused.wait(DEADLINE_S)
    assert len(drawn(buffer, 20)) == 20
    storage.go_on.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    buffer.forget(100)
    assert (buffer.population().size, buffer.population().evicted) == (7, 1)


@pytest.mark.parametrize("copy", ["gather", "write", "write without a spare slot", "read"])
def test_no_lock_is_held_during_a_copy(copy: str) -> None:
    storage = Pausing(pause_in="")
    buffer = SampleBuffer(
        storage, capacity=7, selector=Uniform(), evictor=UniformSeen(), gate=AlwaysOpen(), draws_until_removed=None
    )
    for number in range(5):
        put(buffer, number)
    storage.pause_in = copy.split()[0]
    if copy.endswith("slot"):
        buffer.reserve(100, 1, 0)
    copies = {"gather": lambda: drawn(buffer, 4), "write": lambda: put(buffer, 5), "read": lambda: buffer.peek(3)}
    thread = threading.Thread(target=copies[storage.pause_in])
    thread.start()
    assert storage.paused.wait(DEADLINE_S)
    drawn(buffer, 3)
    assert put(buffer, 6)
    assert buffer.offer().available
    assert thread.is_alive()
    storage.go_on.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert buffer.population().puts == 6 + (storage.pause_in == "write")
    buffer.forget(100)


def test_peek_copies_and_counts_no_draw() -> None:
    buffer = fifo(LAYOUT, 4)
    put(buffer, 7)
    put(buffer, 8)
    peeked = buffer.peek(10)
    assert peeked.fields["u"][:, 0].tolist() == [7.0, 8.0]
    assert peeked.simulations.tolist() == [7, 8]
    assert buffer.population().draws == 0
    assert drawn(buffer, 2) == [7, 8]


@pytest.mark.parametrize(("n", "expected"), [(3, [0, 3, 6]), (4, [0, 2, 4, 6]), (9, list(range(9))), (1, [0])])
def test_peek_takes_from_all_over_the_buffer(n: int, expected: list[int]) -> None:
    """The first slots hold the first simulations only."""
    buffer = fifo(LAYOUT, 12)
    for number in range(10):
        put(buffer, number)
    buffer.settle(buffer.draw(1))
    assert buffer.peek(n).simulations.tolist() == [number + 1 for number in expected]


def test_closing_wakes_everybody_and_draws_raise_with_the_cause() -> None:
    buffer = fifo(LAYOUT, 1)
    put(buffer, 0)
    results: list[object] = []

    def expect(blocked: Callable[[], object]) -> None:
        try:
            blocked()
        except BufferClosedError as error:
            results.append(error.__cause__)

    threads = [
        threading.Thread(target=expect, args=(lambda: buffer.wait(lambda offer: offer.available > 5, DEADLINE_S),)),
        threading.Thread(target=expect, args=(lambda: put(buffer, 1, timeout_s=DEADLINE_S),)),
    ]
    for thread in threads:
        thread.start()
    cause = RuntimeError("the receiver died")
    buffer.close(cause)
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert results == [cause, cause]
    with pytest.raises(BufferClosedError):
        buffer.offer()


@pytest.mark.parametrize("recipe", ["fifo", "firo", "reservoir", "views"])
def test_no_wake_up_is_lost_with_many_threads(recipe: str) -> None:
    """Four producers and one consumer, each waiting for the other all the time: all samples come through."""
    num_producers, per_producer = 4, 300
    buffer = {
        "fifo": lambda: fifo(LAYOUT, 8),
        "firo": lambda: firo(LAYOUT, 8, watermark=2),
        "reservoir": lambda: reservoir(LAYOUT, 8, watermark=2),
        "views": lambda: reservoir(LAYOUT, 8, watermark=2, views_per_sample=2),
    }[recipe]()
    counts: Counter[int] = Counter()

    def produce(first: int) -> None:
        for number in range(first, first + per_producer):
            assert put(buffer, number, timeout_s=DEADLINE_S)

    def consume() -> None:
        while True:
            buffer.wait(lambda offer: bool(offer.held) or offer.reception_over, DEADLINE_S)
            offer = buffer.offer()
            if not offer.held:
                assert offer.reception_over
                return
            counts.update(drawn(buffer, min(3, offer.held), gate_lifted=True))

    producers = [threading.Thread(target=produce, args=(index * per_producer,)) for index in range(num_producers)]
    consumer = threading.Thread(target=consume)
    for thread in (*producers, consumer):
        thread.start()
    for thread in producers:
        thread.join(2 * DEADLINE_S)
        assert not thread.is_alive()
    buffer.end_reception()
    consumer.join(2 * DEADLINE_S)
    assert not consumer.is_alive()
    assert set(counts) == set(range(num_producers * per_producer))


@pytest.mark.parametrize("recipe", ["fifo", "firo", "reservoir", "views"])
def test_a_restart_goes_on_as_if_unsettled_draws_had_not_been_made(recipe: str) -> None:
    def make() -> SampleBuffer:
        return {
            "fifo": lambda: fifo(LAYOUT, 12),
            "firo": lambda: firo(LAYOUT, 12, watermark=0, pseudo_epochs=2),
            "reservoir": lambda: reservoir(LAYOUT, 12, watermark=0),
            "views": lambda: reservoir(LAYOUT, 12, watermark=0, views_per_sample=2),
        }[recipe]()

    first = make()
    for number in range(10):
        put(first, number)
    settled = drawn(first, 3)
    provisional = drawn(first, 4, settle=False)
    second = make()
    restore(second, first.keep())
    assert second.population().draws == 3
    assert second.population().unseen == 10 - len(set(settled))
    second.end_reception()
    later = drain(second)
    assert set(settled) | set(later) == set(range(10))
    if recipe == "fifo":
        assert later[:4] == provisional
    if recipe == "views":
        assert len(settled) + len(later) == 20


def test_what_is_kept_does_not_give_way_before_it_is_copied() -> None:
    buffer = reservoir(LAYOUT, 4, watermark=0, spare_slots=2)
    for number in range(4):
        put(buffer, number)
    while buffer.population().unseen:
        drawn(buffer, 4)
    kept = buffer.keep()
    assert not put(buffer, 4)
    pieces = kept.pieces(45)
    for number, piece in enumerate(itertools.islice(pieces, 2)):
        assert piece.simulations.tolist() == kept.state.keys[[number], 0].tolist() == [number]
        assert put(buffer, 5 + number)
        assert not put(buffer, 7)
    drawn(buffer, 4)
    kept.let_go()
    assert put(buffer, 7)
    assert list(pieces) == []
    assert buffer.population().size == 4


def test_pieces_begin_short_and_grow_to_what_is_allowed() -> None:
    buffer = fifo(LAYOUT, 1000)
    for number in range(1000):
        put(buffer, number)
    lengths = [len(piece.labels) for piece in buffer.keep().pieces(256 * 45)]
    assert lengths[:7] == [4, 8, 16, 32, 64, 128, 256]
    assert (max(lengths), sum(lengths)) == (256, 1000)


def test_a_removed_sample_that_is_kept_makes_room_when_it_is_copied() -> None:
    buffer = fifo(LAYOUT, 2)
    put(buffer, 0)
    put(buffer, 1)
    first, second = buffer.keep(), buffer.keep()
    assert drawn(buffer, 1) == [0]
    assert not put(buffer, 2)
    first.let_go()
    assert not put(buffer, 2)
    assert [piece.fields["u"][:, 0].tolist() for piece in copies(second, 1000)] == [[0.0], [1.0]]
    assert put(buffer, 2)
    assert drawn(buffer, 2) == [1, 2]


def test_a_buffer_that_is_left_out_has_put_only_what_was_seen() -> None:
    buffer = reservoir(LAYOUT, 4, watermark=0)
    for number in range(3):
        put(buffer, number)
    seen = set(drawn(buffer, 2))
    state = buffer.keep().state
    assert sorted(state.unseen_keys[:, 0].tolist()) == sorted(set(range(3)) - seen)
    other = reservoir(LAYOUT, 4, watermark=0)
    other.restore(state.without_samples(), [])
    population = other.population()
    assert (population.size, population.puts, population.evicted, population.draws) == (0, len(seen), len(seen), 2)
    assert put(other, 9)
    assert set(drawn(other, 3)) == {9}


def test_a_saved_buffer_that_does_not_fit_is_refused() -> None:
    buffer = fifo(LAYOUT, 3)
    for number in range(3):
        put(buffer, number)
    with pytest.raises(ValueError, match="holds 3 samples but the capacity is 2"):
        restore(fifo(LAYOUT, 2), buffer.keep())
    kept = buffer.keep()
    with pytest.raises(ValueError, match="2 samples came of a buffer that held 3"):
        fifo(LAYOUT, 3).restore(kept.state, list(copies(kept, 100))[:-1])


def test_the_same_seed_draws_the_same_samples() -> None:
    def numbers(seed: int) -> list[int]:
        buffer = reservoir(LAYOUT, 10, watermark=0, seed=seed)
        for number in range(10):
            put(buffer, number)
        return drawn(buffer, 30)

    assert numbers(1) == numbers(1) != numbers(2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: reservoir(LAYOUT, 500, watermark=600), "watermark is 600 and the capacity 500"),
        (lambda: firo(LAYOUT, 10, watermark=10), "below the capacity"),
        (lambda: firo(LAYOUT, 10, pseudo_epochs=0), "pseudo_epochs is 0"),
        (lambda: reservoir(LAYOUT, 10, views_per_sample=0), "views_per_sample is 0"),
        (lambda: fifo(LAYOUT, 0), "capacity is 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_fields_keep_their_dtype() -> None:
    buffer = fifo(LAYOUT, 2)
    assert buffer.batch_memory(1, pinned=False).fields["flag"].dtype is torch.uint8


def test_memory_that_no_slot_stands_for_is_used_again() -> None:
    buffer = fifo(LAYOUT, 4, spare_slots=1)
    buffer.reserve(100, 1, 0)
    first = of(buffer, 7)
    assert buffer.take(first, SOON) == (first.key,)
    second = buffer.reserve(8, 1, 16)
    assert second[0] is first.fields[0]
    second[0][:] = -1
    buffer.forget(8)
    assert buffer.reserve(9, 1, 18)[0] is first.fields[0]
    buffer.forget(100)
    assert drawn(buffer, 1) == [7]
