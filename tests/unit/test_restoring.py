"""Server ranks save what they have, and others, of the same number or not, go on with all of it and nothing else."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from melissa_like.assembly import Assembler, Consumer, OverSimulations, WindowForming
from melissa_like.buffer import fifo, reservoir
from melissa_like.errors import ConfigurationError
from melissa_like.loading import ThreadCollective
from melissa_like.protocol.control import Restored
from melissa_like.protocol.wire import OPEN_FIELD, Header, Kind, encode
from melissa_like.records import (
    Box,
    FieldSpec,
    Layout,
    Purpose,
    Ranges,
    Routing,
    StudyIdentity,
    Window,
    missing_steps,
    owner_of,
)
from melissa_like.server.cut import take_cut
from melissa_like.server.receiver import Arrival, Receiver
from melissa_like.server.restoring import Found, find_checkpoint, restore_rank
from melissa_like.training import ValidationSet
from melissa_like.training.checkpoint import CheckpointFolder, ShardContent, write_shard
from melissa_like.transport.in_memory import MemoryTransport

DEADLINE_S = 20.0
LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
CAPACITY = 40
NUM_STEPS = 4
HELD_OUT = 9  # the simulation that is


def header(kind: Kind, simulation: int, step: int, attempt: int) -> Header:
    opens = kind is Kind.OPEN
    return Header(
        kind=kind,
        purpose=Purpose.VALIDATION if simulation == HELD_OUT else Purpose.TRAINING,
        study=IDENTITY.study,
        secret=IDENTITY.secret,
        launcher_incarnation=1,
        server_incarnation=1,
        simulation=simulation,
        attempt=attempt,
        client_rank=0,
        num_client_ranks=1,
        layout_id=LAYOUT.layout_id,
        field_id=OPEN_FIELD if opens else 0,
        dtype_code=1 if opens else 0,
        step=0 if opens else step,
        time=0.0 if opens else step / 10,
        box=Box((0,), (1,)) if opens else Box((0,), (4,)),
    )


class Rank:
    """What a server rank is made of, as far as a checkpoint is concerned."""

    def __init__(
        self,
        rank: int,
        num_ranks: int,
        *,
        saves_buffer: bool = True,
        recipe: Any = reservoir,
        window: Window | None = None,
    ) -> None:
        self.rank, self.num_ranks, self.saves_buffer, self.window = rank, num_ranks, saves_buffer, window
        self.routing = Routing.SAMPLE if window is None else Routing.TRAJECTORY
        watermark = {} if recipe is fifo else {"watermark": 0}
        length = {} if window is None else {"window_length": window.length}
        self.buffer = recipe(LAYOUT, CAPACITY, seed=rank, **watermark, **length)
        self.held_out = ValidationSet(LAYOUT, window=window)
        consumers: dict[Purpose, Consumer] = {Purpose.TRAINING: self.buffer, Purpose.VALIDATION: self.held_out}
        if window is not None:
            give_back = self.buffer.give_back
            forming = WindowForming(self.buffer, LAYOUT, window, num_steps=NUM_STEPS, give_back=give_back)
            consumers[Purpose.TRAINING] = forming
        self.assembler = Assembler(
            layout=LAYOUT,
            identity=IDENTITY,
            server_rank=rank,
            num_server_ranks=num_ranks,
            routing=self.routing,
            consumers=consumers,
            window=window,
            num_steps=NUM_STEPS,
            over=OverSimulations(keeps=True, keeps_settled=num_ranks > 1 and not saves_buffer),
        )
        transport = MemoryTransport()
        self.news: list[Any] = []
        parts = transport.part_receiver(queue_length=1000)
        self.sender = transport.part_sender([parts.endpoint], budget_bytes=2**16)
        self.receiver = Receiver(
            socket=parts,
            assembler=self.assembler,
            consumers=consumers,
            tell=self.news.append,
            on_error=self.news.append,
        )
        self.receiver.start()

    def send(self, simulation: int, steps: Sequence[int], attempt: int = 1) -> set[int]:
        """Send what this rank owns of these steps; which of them are delivered by that."""
        before = len(self.news)
        mine = [s for s in steps if owner_of(simulation, s, self.num_ranks, self.routing) == self.rank]
        self._send(header(Kind.OPEN, simulation, 0, attempt), np.array([simulation + 0.5]))
        for step in mine:
            self._send(header(Kind.PART, simulation, step, attempt), np.full(4, 10 * simulation + step, np.float32))
        self.await_all()
        return {step for one in self.news[before:] if isinstance(one, Arrival) for step in one.steps}

    def await_all(self) -> None:
        """What was sent before has been taken: a message that cannot be read comes behind it, and is counted."""
        before = self.receiver.refused["malformed header"]
        self._push(b"nonsense", b"")
        while self.receiver.between_samples(lambda _: self.receiver.refused["malformed header"], DEADLINE_S) == before:
            pass
        self.receiver.refused["malformed header"] = 0

    def _send(self, message: Header, payload: np.ndarray) -> None:
        self._push(encode(message), payload.tobytes())

    def _push(self, encoded: bytes, payload: bytes) -> None:
        def fill(memory: memoryview) -> None:
            memory[:] = payload

        assert self.sender.send(0, encoded, len(payload), fill, DEADLINE_S)
        self.sender.push()

    def hear_over(self, simulation: int) -> None:
        self.receiver.forget(simulation)
        self.await_all()
        self.await_all()  # it takes effect between two messages

    def train(self, n: int) -> None:
        draw = self.buffer.draw(n)
        self.buffer.settle(draw)

    def save(self, folder: CheckpointFolder, number: int) -> None:
        look = partial(
            take_cut,
            assembler=self.assembler,
            receiver=self.receiver,
            buffer=self.buffer,
            held_out=self.held_out,
            consumers={},
            window=self.window,
            saves_buffer=self.saves_buffer,
            num_trained=7 + self.rank,
        )
        cut = self.receiver.between_samples(look, DEADLINE_S)
        state = {"training": {"samples": 7 + self.rank, "rank": self.rank}, "consumers": {}}
        samples, held_out = cut.samples.pieces(200), cut.held_out.pieces(200)
        content = ShardContent(state=state, index=cut.index.as_dict(), samples=samples, held_out=held_out)
        write_shard(folder.place_of(number), self.rank, content)

    def restore(self, found: Found, **changes: Any) -> tuple[dict[str, Any], Restored]:
        given: dict[str, Any] = {
            "rank": self.rank,
            "num_ranks": self.num_ranks,
            "routing": self.routing,
            "layout": LAYOUT,
            "window": self.window,
            "assembler": self.assembler,
            "receiver": self.receiver,
            "buffer": self.buffer,
            "capacity": CAPACITY,
            "capacity_nbytes": None,
            "views_per_sample": None,
            "held_out": self.held_out,
            "consumers": {},
        }
        return restore_rank(found, **{**given, **changes})

    def held(self) -> list[tuple[int, int]]:
        """The samples in the buffer, each whole."""
        memory = self.buffer.peek(CAPACITY)
        keys = memory.labels[:, :2].tolist()
        window = self.window or Window(length=1)
        steps = [list(window.steps_from(t)) for _, t in keys]
        values = memory.fields["u"].reshape(len(keys), window.length, 4).tolist()
        assert values == [[[10 * s + t] * 4 for t in own] for (s, _), own in zip(keys, steps, strict=True)]
        assert memory.parameters[:, 0].tolist() == [s + 0.5 for s, _ in keys]
        assert memory.times.reshape(len(keys), window.length).tolist() == [[t / 10 for t in own] for own in steps]
        return [(s, t) for s, t in keys]


@contextmanager
def ranks(num: int, **more: Any) -> Iterator[list[Rank]]:
    with ExitStack() as stack:
        made = [Rank(rank, num, **more) for rank in range(num)]
        for one in made:
            stack.callback(one.receiver.close, DEADLINE_S)
        yield made


def complete(made: list[Rank], folder: CheckpointFolder, number: int, kept: tuple[str, ...] = ("optimizer",)) -> None:
    for one in made:
        one.save(folder, number)
    layout_id = LAYOUT.layout_id
    folder.finish(number, batches=number, layout_id=layout_id, kept=kept, num_ranks=len(made))


def find(folder: CheckpointFolder, num_ranks: int) -> list[tuple[Found | None, int]]:
    collectives = ThreadCollective.ranks(num_ranks, deadline_s=DEADLINE_S)
    with ThreadPoolExecutor(num_ranks) as pool:
        return list(pool.map(lambda collective: find_checkpoint(folder, collective), collectives))


def send_all(made: list[Rank], simulation: int, steps: Sequence[int] = range(NUM_STEPS)) -> None:
    for one in made:
        one.send(simulation, steps)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("recipe", [reservoir, fifo])
def test_ranks_go_on_with_all_that_was_saved(tmp_path: Path, before: int, after: int, recipe: Any) -> None:
    folder = CheckpointFolder(tmp_path)
    with ranks(before, recipe=recipe) as made:
        for simulation in (0, 1, HELD_OUT):
            send_all(made, simulation)
        send_all(made, 2, [0, 1, 3])
        for one in made:
            one.hear_over(0)
            one.train(2)
        complete(made, folder, 5)
        held = Counter(key for one in made for key in one.held())
        puts = sum(one.buffer.population().puts for one in made)
        draws = sum(one.buffer.population().draws for one in made)
        unseen = sum(one.buffer.population().unseen for one in made)
        received = sum(one.receiver.num_bytes for one in made)
    with ranks(after, recipe=recipe) as others:
        told = []
        for one, (found, newest) in zip(others, find(folder, after), strict=True):
            assert found is not None
            assert (found.manifest.number, newest) == (5, 5)
            saved, restored = one.restore(found)
            told.append(restored)
            assert saved["training"]["rank"] == (one.rank if one.rank < before else 0)
        assert Counter(key for one in others for key in one.held()) == held
        populations = [one.buffer.population() for one in others]
        assert sum(population.puts for population in populations) == puts
        assert sum(population.draws for population in populations) == draws
        assert sum(population.unseen for population in populations) == unseen
        assert sum(one.receiver.num_bytes for one in others) == received
        assert sum(one.held_out.num_samples for one in others) == NUM_STEPS
        assert {restored.over for restored in told} == {((0, 1),)}
        delivered: dict[int, Ranges] = {}
        for held_steps in (steps for restored in told for steps in restored.delivered):
            there = delivered.setdefault(held_steps.simulation, Ranges())
            for start, end in held_steps.steps:
                assert there.add_range(start, end) == end - start  # of one rank only
        assert delivered == {
            1: Ranges([(0, 4)]),
            2: Ranges([(0, 2), (3, 4)]),
            HELD_OUT: Ranges([(0, 4)]),
        }
        fresh = [one.send(2, range(NUM_STEPS), attempt=2) for one in others]
        assert sorted(step for steps in fresh for step in steps) == [2]
        assert [one.send(0, range(NUM_STEPS), attempt=2) for one in others] == [set()] * after


def held_out_steps(made: Sequence[Rank]) -> list[tuple[int, ...]]:
    """Of the held-out simulation, on the ranks that have it."""
    found = [one.held_out.one_simulation() for one in made]
    return [simulation.steps for simulation in found if simulation is not None]


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("window", [Window(length=2), Window(length=2, hop=2), Window(length=2, stride=2)])
@pytest.mark.parametrize("saves_buffer", [True, False])
def test_ranks_go_on_with_the_windows_that_were_saved(
    tmp_path: Path, before: int, after: int, window: Window, saves_buffer: bool
) -> None:
    """Half-formed ones are not, and a new attempt sends what these and those that were lost need."""
    folder = CheckpointFolder(tmp_path)
    firsts = {first for first in range(0, NUM_STEPS, window.hop) if first + window.span <= NUM_STEPS}
    with ranks(before, window=window, saves_buffer=saves_buffer) as made:
        for simulation in (0, HELD_OUT):
            send_all(made, simulation)
        send_all(made, 1, [0, 1, 2])
        for one in made:
            one.hear_over(HELD_OUT)
        complete(made, folder, 5)
        held = Counter(key for one in made for key in one.held())
        steps_of_held_out = held_out_steps(made)
    assert {key for key in held if key[0] == 0} == {(0, first) for first in firsts}
    with ranks(after, window=window, saves_buffer=saves_buffer) as others:
        there: dict[int, Ranges] = {}
        for one, (found, _) in zip(others, find(folder, after), strict=True):
            assert found is not None
            for steps in one.restore(found)[1].delivered:
                there[steps.simulation] = Ranges(steps.steps)
        assert Counter(key for one in others for key in one.held()) == (held if saves_buffer else Counter())
        assert sum(one.held_out.num_samples for one in others) == len(firsts)
        assert held_out_steps(others) == steps_of_held_out
        for simulation in (0, 1):
            delivered = there.get(simulation, Ranges())
            missing = firsts - {*delivered}
            for one in others:
                if owner_of(simulation, 0, after, Routing.TRAJECTORY) == one.rank:
                    assert one.send(simulation, [*missing_steps(NUM_STEPS, delivered, window)], attempt=2) == missing
                    assert one.send(simulation, range(NUM_STEPS), attempt=2) == set()
        assert Counter(key for one in others for key in one.held()) == {
            (s, first): 1 for s in (0, 1) for first in firsts
        }


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_what_was_not_seen_of_a_buffer_that_is_left_out_is_due_again(tmp_path: Path, num_ranks: int) -> None:
    folder = CheckpointFolder(tmp_path)
    with ranks(num_ranks, saves_buffer=False, recipe=fifo) as made:
        for simulation in (0, 1, 2):
            send_all(made, simulation)
            for one in made:
                one.hear_over(simulation)
        for number in (1, 2, 3):  # long over on all
            complete(made, folder, number)
        for one in made:
            one.train(NUM_STEPS * 2 // num_ranks)  # the oldest: of the simulations 0 and 1
        complete(made, folder, 4)
    with ranks(num_ranks, saves_buffer=False, recipe=fifo) as others:
        told = [one.restore(found)[1] for one, (found, _) in zip(others, find(folder, num_ranks), strict=True) if found]
        assert {restored.over for restored in told} == {((0, 2),)}
        assert [restored.delivered for restored in told] == [()] * num_ranks
        assert sum(one.buffer.population().puts for one in others) == 2 * NUM_STEPS
        assert sum(len(one.send(2, range(NUM_STEPS), attempt=2)) for one in others) == NUM_STEPS


def test_of_a_simulation_that_one_rank_lacks_a_sample_of_the_others_keep_theirs(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    with ranks(2, saves_buffer=False, recipe=fifo) as made:
        send_all(made, 0)
        for one in made:
            one.hear_over(0)
        for number in (1, 2, 3):
            complete(made, folder, number)
        made[0].train(2)  # all that rank 0 has
        complete(made, folder, 4)
    with ranks(2, saves_buffer=False, recipe=fifo) as others:
        told = [one.restore(found)[1] for one, (found, _) in zip(others, find(folder, 2), strict=True) if found]
        assert [restored.over for restored in told] == [(), ()]
        assert [[steps.steps for steps in restored.delivered] for restored in told] == [[((0, 1), (2, 3))], []]


def test_all_take_the_newest_that_every_rank_can_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = CheckpointFolder(tmp_path, num_kept=3)
    with ranks(2) as made:
        send_all(made, 0)
        for number in (1, 2, 3):
            complete(made, folder, number)
        made[0].save(folder, 4)  # not complete
    (tmp_path / "000003" / "rank-1.samples").write_bytes(b"")
    for newest in (4, 3):  # what was not complete goes, what is damaged is set aside
        found = find(folder, 2)
        assert [(one.manifest.number, highest) for one, highest in found if one] == [(2, newest)] * 2
    assert "checkpoint 3 is damaged, so the one before it counts" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001", "000002", "000003.damaged"]
    (tmp_path / "000002" / "manifest.json").write_bytes(b"{}")
    (tmp_path / "000001" / "rank-0.json").unlink()
    assert find(folder, 2) == [(None, 3)] * 2


def test_with_nothing_kept_the_training_begins_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = CheckpointFolder(tmp_path)
    with ranks(1) as made:
        complete(made, folder, 1, kept=())
    assert find(folder, 1) == [(None, 1)]
    assert "let the training loop call stream.keep" in capsys.readouterr().err


def test_a_checkpoint_of_other_fields_is_refused(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    with ranks(1) as made:
        complete(made, folder, 1)
    [(found, _)] = find(folder, 1)
    assert found is not None
    with ranks(1) as [other], pytest.raises(ConfigurationError, match="is of other fields or parameters"):
        other.restore(found, layout=replace(LAYOUT, parameters=("b",)))


def test_a_checkpoint_of_other_windows_is_refused(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    with ranks(1, window=Window(length=2)) as made:
        complete(made, folder, 3)
    [(found, _)] = find(folder, 1)
    assert found is not None
    words = r"checkpoint 3 holds samples of windows of 2 .* one every 1, but those .* are one time step now"
    with ranks(1) as [other], pytest.raises(ConfigurationError, match=words):
        other.restore(found)


def test_a_buffer_that_has_become_too_small_is_refused(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    with ranks(1) as made:
        send_all(made, 0)
        complete(made, folder, 1)
    [(found, _)] = find(folder, 1)
    assert found is not None
    with ranks(1) as [other], pytest.raises(ConfigurationError, match=r"raise buffer.capacity to 4 or more"):
        other.restore(found, capacity=3)
