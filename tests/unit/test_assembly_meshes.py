"""Meshes in the assembly: own sizes, what is sent once, points by index lists, and what contradicts itself."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.assembly import Assembler, Reason, Refusal, as_bytes
from melissa_like.protocol.wire import INDEX_DTYPE_CODE, OPEN_FIELD, Header, Kind, encode
from melissa_like.records import (
    STORAGE_DTYPES,
    Box,
    FieldSpec,
    Layout,
    Purpose,
    Routing,
    Sample,
    SampleKey,
    StudyIdentity,
    Window,
)
from melissa_like.transport.interface import copy_payload

LAYOUT = Layout(
    fields=(
        FieldSpec(name="p", shape=(0,), dtype="float64", extent="num_points"),
        FieldSpec(name="u", shape=(2, 0), components=2, extent="num_points"),
        FieldSpec(name="drag", shape=(1,)),
    ),
    parameters=("a", "b"),
    static=(
        FieldSpec(name="x", shape=(2, 0), components=2, extent="num_points"),
        FieldSpec(name="edges", shape=(2, 0), dtype="int64", components=2, extent="num_edges", indexes="num_points"),
        FieldSpec(name="k", shape=(3,)),
    ),
)
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)


class Memory:
    """A consumer whose memory has the sizes that each simulation has said."""

    def __init__(self, layout: Layout) -> None:
        self.sizes: dict[int, list[dict[str, int]]] = {}
        self._layouts: defaultdict[int, Layout] = defaultdict(lambda: layout)

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        self._layouts[simulation] = layout
        self.sizes.setdefault(simulation, []).append(layout.sizes)

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[np.ndarray, ...]:
        return tuple(np.full(spec.shape, 99, spec.dtype) for spec in self._layouts[simulation].fields)

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...]:
        return (sample.key,)

    def forget(self, simulation: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nobody waits."""


class Rank:
    """A server rank that is sent the messages of client ranks, one after another.

    Attributes:
        samples: that came out, in order.
    """

    def __init__(self, *, layout: Layout = LAYOUT, **settings: Any) -> None:
        self.memory = Memory(layout)
        self.layout = layout
        self.assembler = Assembler(
            layout=layout,
            identity=IDENTITY,
            server_rank=0,
            num_server_ranks=1,
            routing=Routing.SAMPLE,
            consumers=dict.fromkeys(Purpose, self.memory),
            **settings,
        )
        self.samples: list[Sample] = []

    def header(self, kind: Kind, field_id: int, dtype: str, offset: Any, shape: Any, **changes: Any) -> Header:
        values = {
            "purpose": Purpose.TRAINING,
            "study": IDENTITY.study,
            "secret": IDENTITY.secret,
            "launcher_incarnation": 1,
            "server_incarnation": 1,
            "simulation": 0,
            "attempt": 1,
            "client_rank": 0,
            "num_client_ranks": 2,
            "layout_id": self.layout.layout_id,
            "step": 0,
            "time": 0.0,
            **changes,
        }
        code = [str(one) for one in STORAGE_DTYPES].index(dtype)
        return Header(kind=kind, field_id=field_id, dtype_code=code, box=Box(offset, shape), **values)

    def open(self, extents: Sequence[float], parameters: Sequence[float] = (1.0, 2.0), **who: Any) -> Refusal | None:
        numbers = np.array([*parameters, *extents])
        message = self.header(Kind.OPEN, OPEN_FIELD, "float64", (0,), numbers.shape, **who)
        return self.assembler.refuse_open(message) or self.assembler.open(message, numbers)

    def index(self, number: int, points: Sequence[int], **who: Any) -> Refusal | None:
        array = np.array(points, np.int64)
        message = self.header(Kind.INDEX, number, "int64", (0,), array.shape, **who)
        assert message.dtype_code == INDEX_DTYPE_CODE
        return self._once(message, array)

    def static(
        self, name: str, values: np.ndarray, offset: Any = None, *, by: int | None = None, **who: Any
    ) -> Refusal | None:
        """A box at an offset, or the points of an index list."""
        field_id = [spec.name for spec in LAYOUT.static].index(name)
        kind = Kind.STATIC if by is None else Kind.STATIC_SCATTER
        message = self.header(kind, field_id, str(values.dtype), _place(values, offset, by), values.shape, **who)
        return self._once(message, values)

    def part(
        self, name: str, values: np.ndarray, offset: Any = None, *, by: int | None = None, **who: Any
    ) -> Refusal | None:
        field_id = [spec.name for spec in self.layout.fields].index(name)
        kind = Kind.PART if by is None else Kind.SCATTER
        message = self.header(kind, field_id, str(values.dtype), _place(values, offset, by), values.shape, **who)
        placed = self.assembler.place_again(encode(message)) or self.assembler.place(message)
        if isinstance(placed, Refusal):
            return placed
        assert copy_payload(as_bytes(np.ascontiguousarray(values)), placed.target) is None
        sample = self.assembler.add(placed)
        if sample is not None:
            self.samples.append(sample)
        return None

    def _once(self, message: Header, values: np.ndarray) -> Refusal | None:
        placed = self.assembler.place_once(message)
        if isinstance(placed, Refusal):
            return placed
        assert copy_payload(as_bytes(np.ascontiguousarray(values)), placed.target) is None
        refusal = self.assembler.add_once(placed)
        while (sample := self.assembler.next_waiting(message.simulation)) is not None:
            self.samples.append(sample)
        return refusal


def _place(values: np.ndarray, offset: Any, by: int | None) -> tuple[int, ...]:
    if by is not None:
        return (*[0] * (values.ndim - 1), by)
    return (0,) * values.ndim if offset is None else offset


class Mesh:
    """The fields of a mesh of some size, each value another."""

    def __init__(self, num_points: int, num_edges: int = 3) -> None:
        self.sizes = (num_points, num_edges)
        self.x = np.arange(2 * num_points, dtype=np.float32).reshape(2, -1) / 8
        self.edges = np.arange(2 * num_edges).reshape(2, -1) % num_points
        self.k = np.array([1, 2, 3], np.float32)

    def fields(self, step: int) -> dict[str, np.ndarray]:
        num_points = self.sizes[0]
        return {
            "p": np.arange(num_points) + 1000.0 * step,
            "u": (np.arange(2 * num_points).reshape(2, -1) + 500 * step).astype(np.float32),
            "drag": np.array([step], np.float32),
        }

    def send_static(self, rank: Rank, **who: Any) -> None:
        for name in ("x", "edges", "k"):
            assert rank.static(name, getattr(self, name), **who) is None

    def send(self, rank: Rank, step: int, **who: Any) -> None:
        for name, values in self.fields(step).items():
            assert rank.part(name, values, step=step, **who) is None

    def is_in(self, sample: Sample) -> bool:
        fields = zip(self.fields(sample.key.step).values(), sample.fields, strict=True)
        assert sample.static is not None
        arrays = sample.static.arrays
        return (
            all(np.array_equal(a, b) for a, b in fields)
            and all(np.array_equal(getattr(self, name), arrays[name]) for name in ("x", "edges", "k"))
            and [*sample.static.extents.values()] == [*self.sizes]
        )


def refused(refusal: Refusal | None, reason: Reason, words: str) -> None:
    assert refusal is not None
    assert (refusal.reason, refusal.is_fault) == (reason, True)
    assert words in refusal.message


def test_each_simulation_has_its_own_sizes() -> None:
    rank, meshes = Rank(), (Mesh(7), Mesh(4, 9))
    for number, mesh in enumerate(meshes):
        assert rank.open(mesh.sizes, simulation=number) is None
        mesh.send_static(rank, simulation=number)
    for step in range(2):
        for number, mesh in enumerate(meshes):
            mesh.send(rank, step, simulation=number)
    assert [(sample.key.simulation, sample.key.step) for sample in rank.samples] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    for sample in rank.samples:
        assert meshes[sample.key.simulation].is_in(sample)
        assert sample.parameters.tolist() == [1.0, 2.0]
    assert rank.samples[0].static is rank.samples[2].static
    assert rank.memory.sizes == {
        0: [{"num_points": 7, "num_edges": 3}],
        1: [{"num_points": 4, "num_edges": 9}],
    }


def test_steps_wait_for_what_is_sent_once() -> None:
    rank, mesh = Rank(), Mesh(5)
    assert rank.open(mesh.sizes) is None
    mesh.send(rank, 1)
    assert rank.static("x", mesh.x) is None
    mesh.send(rank, 0)
    assert rank.static("k", mesh.k) is None
    assert rank.samples == []
    assert rank.static("edges", mesh.edges) is None
    assert [sample.key.step for sample in rank.samples] == [1, 0]
    assert all(map(mesh.is_in, rank.samples))
    mesh.send(rank, 2)
    assert mesh.is_in(rank.samples[2])


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_partition_in_any_order_gives_the_same_samples(data: st.DataObject) -> None:
    """Two client ranks own any points, each in any order; lists of points that follow one another are boxes."""
    num_points = data.draw(st.integers(1, 9))
    rank, mesh = Rank(), Mesh(num_points)
    owner = np.array(data.draw(st.lists(st.integers(0, 1), min_size=num_points, max_size=num_points)))
    points = [data.draw(st.permutations(np.flatnonzero(owner == one).tolist())) for one in range(2)]
    queues: list[list[Any]] = []
    for one, mine in enumerate(points):
        who = {"client_rank": one}
        queue = [(rank.open, mesh.sizes, {}, who), (rank.index, (7, mine), {}, who)]
        if mine:
            queue.append((rank.static, ("x", mesh.x[:, mine]), {"by": 7}, who))
        if one == 0:
            queue += [(rank.static, ("edges", mesh.edges), {}, who), (rank.static, ("k", mesh.k), {}, who)]
        for step in range(3):
            fields = mesh.fields(step)
            if mine:
                queue += [
                    (rank.part, (name, fields[name][..., mine]), {"by": 7}, who | {"step": step}) for name in "pu"
                ]
            if one == step % 2:
                queue.append((rank.part, ("drag", fields["drag"]), {}, who | {"step": step}))
        queues.append(queue)
    while any(queues):
        queue = queues[data.draw(st.sampled_from([i for i in range(2) if queues[i]]))]
        call, arguments, named, who = queue.pop(0)
        answer = call(arguments, **who) if call == rank.open else call(*arguments, **named, **who)
        assert answer is None
    assert sorted(sample.key.step for sample in rank.samples) == [0, 1, 2]
    assert all(map(mesh.is_in, rank.samples))


@pytest.mark.parametrize(
    ("extents", "reason", "words"),
    [
        ([5], Reason.WRONG_PARAMETERS, "the study has 2 (a, b), and then 2 extents (num_points, num_edges)"),
        ([0, 3], Reason.WRONG_EXTENTS, "'num_points': 0.0"),
        ([2.5, 3], Reason.WRONG_EXTENTS, "send whole numbers of points"),
        ([float("nan"), 3], Reason.WRONG_EXTENTS, "nan"),
        ([float("inf"), 3], Reason.WRONG_EXTENTS, "inf"),
        ([1e300, 3], Reason.TOO_LARGE, "a server rank has room for 10000 bytes: raise buffer.capacity"),
        ([800, 3], Reason.TOO_LARGE, "its static fields 6460"),
    ],
)
def test_sizes_that_cannot_be_are_refused(extents: list[float], reason: Reason, words: str) -> None:
    rank = Rank(most_nbytes=10_000)
    refused(rank.open(extents), reason, words)
    assert rank.open((5, 3)) is None


def test_a_window_needs_room_for_all_its_steps() -> None:
    sample, static = 20 * 8 + 20 * 8 + 4, 20 * 8 + 3 * 16 + 12
    fits = Rank(window=Window(length=3), most_nbytes=3 * sample + static)
    assert fits.open((20, 3)) is None
    too_small = Rank(window=Window(length=3), most_nbytes=3 * sample + static - 1)
    refused(too_small.open((20, 3)), Reason.TOO_LARGE, f"takes {3 * sample} bytes")


def test_client_ranks_open_with_the_same_sizes() -> None:
    rank = Rank()
    assert rank.open((5, 3)) is None
    words = "{'num_points': 6, 'num_edges': 3} and the parameters [1.0, 2.0] and the extents {'num_points': 5"
    refused(rank.open((6, 3), client_rank=1), Reason.CONTRADICTION, words)


def mesh_rank(mesh: Mesh) -> Rank:
    """A rank that has all of a mesh but its static fields, whose points are also those of the lists 0 (even) and 1."""
    rank = Rank()
    assert rank.open(mesh.sizes) is None
    for number in range(2):
        assert rank.index(number, range(number, mesh.sizes[0], 2)) is None
    return rank


def test_lists_and_points_that_contradict_themselves_are_refused() -> None:
    mesh = Mesh(6)
    rank, p, u = mesh_rank(mesh), mesh.fields(0)["p"], mesh.fields(0)["u"]
    refused(rank.index(2, [1, 4, 1]), Reason.WRONG_LIST, "index list 2 names point 1 twice")
    refused(rank.index(2, [1, -4]), Reason.WRONG_LIST, "names point -4, but points are numbered from 0")
    refused(rank.index(1, [1, 3, 4]), Reason.OTHER_VALUES, "index list 1 was sent again with other numbers")
    assert rank.index(1, [1, 3, 5]) is None
    refused(rank.index(2, range(1000)), Reason.WRONG_LIST, "more than 576 numbers, 64 times as many as its extents")
    assert rank.index(2, [2, 6]) is None
    refused(rank.part("p", p[:2], by=2), Reason.WRONG_LIST, "names point 6, but field 'p' has 6 points in this sim")
    refused(
        rank.part("p", p[:2], by=1), Reason.WRONG_LIST, "2 points of field 'p' were sent by index list 1, which has 3"
    )
    refused(rank.part("u", u[:1, :3], by=1), Reason.OUTSIDE, "send all components of a point together")
    refused(rank.part("drag", p[:1].astype("f4"), by=2), Reason.WRONG_LIST, "its shape (1,) is fixed: send boxes")
    refusal = rank.part("p", p[:3], by=9)
    refused(refusal, Reason.NO_LIST, "came before their index list 9")
    assert refusal is not None
    assert refusal.reason.is_loss
    assert rank.part("p", p[::2], by=0) is None
    refused(rank.part("p", p[::2], by=0), Reason.OVERLAP, "point 0 of field 'p' of step 0 was sent twice")
    refused(rank.part("p", p, (0,)), Reason.OVERLAP, "point 0 of field 'p'")
    refused(rank.part("p", p[3:], (3,)), Reason.OVERLAP, "point 4 of field 'p' of step 0 was sent twice")
    assert rank.part("p", p[3:4], (3,)) is None
    refused(rank.part("p", p[1::2], by=1), Reason.OVERLAP, "point 3 of field 'p'")
    for point in (1, 5):
        assert rank.part("p", p[point : point + 1], (point,)) is None
    assert rank.part("u", u, (0, 0)) is None
    assert rank.part("drag", np.zeros(1, np.float32)) is None
    mesh.send_static(rank)
    assert mesh.is_in(rank.samples[0])


def test_a_proven_partition_is_still_compared_with_another_one() -> None:
    mesh = Mesh(6)
    rank = mesh_rank(mesh)
    mesh.send_static(rank)
    for step in range(2):
        for name, values in mesh.fields(step).items():
            for number in range(2) if name != "drag" else ():
                assert rank.part(name, values[..., number::2], by=number, step=step) is None
        assert rank.part("drag", mesh.fields(step)["drag"], step=step) is None
    assert all(map(mesh.is_in, rank.samples))
    p = mesh.fields(2)["p"]
    assert rank.part("p", p[2:4], (2,), step=2) is None
    refused(rank.part("p", p[::2], by=0, step=2), Reason.OVERLAP, "point 2 of field 'p' of step 2")
    assert rank.part("p", p[::2], by=0, step=3) is None
    refused(rank.part("p", p[2:4], (2,), step=3), Reason.OVERLAP, "point 2 of field 'p' of step 3")


def test_static_fields_come_once_with_one_content() -> None:
    mesh = Mesh(5)
    rank = Rank()
    assert rank.open(mesh.sizes) is None
    refused(
        rank.static("edges", mesh.edges + 5), Reason.NO_SUCH_POINT, "names point 9, but this simulation has 5 points"
    )
    refused(rank.static("edges", mesh.edges - 1), Reason.NO_SUCH_POINT, "'edges' names point -1")
    assert rank.static("x", mesh.x[:, :2], (0, 0)) is None
    refused(rank.static("x", mesh.x[:, 1:], (0, 1)), Reason.OVERLAP, "overlaps the one with offset (0, 0)")
    for _ in range(2):
        assert rank.static("x", mesh.x[:, 2:], (0, 2)) is None
    assert rank.static("edges", mesh.edges) is None
    refused(
        rank.static("k", np.array([1, np.nan, np.inf], np.float32)),
        Reason.NOT_FINITE,
        "'k' is nan at 2 of the 3 places that came",
    )
    assert rank.static("k", mesh.k) is None
    assert rank.static("k", mesh.k, client_rank=1) is None, "the same bytes"
    refused(rank.static("k", -mesh.k), Reason.OTHER_VALUES, "'k' was sent again with other values")
    refused(rank.static("x", mesh.x[:, 2:] + 1, (0, 2)), Reason.OTHER_VALUES, "'x' was sent again with other values")
    mesh.send(rank, 0)
    assert rank.samples[0].static is not None
    np.testing.assert_array_equal(rank.samples[0].static.arrays["x"], mesh.x)


def test_a_newer_attempt_sends_everything_again_and_equal_bytes_are_held_once() -> None:
    rank, mesh, other = Rank(), Mesh(5), Mesh(8)
    for attempt, sent in ((1, mesh), (2, mesh), (3, other)):
        assert rank.open(sent.sizes, attempt=attempt) is None
        sent.send(rank, attempt, attempt=attempt)
        assert len(rank.samples) == attempt - 1
        sent.send_static(rank, attempt=attempt)
        assert sent.is_in(rank.samples[-1])
    first, second, third = (sample.static for sample in rank.samples)
    assert first is second
    assert third is not second
    assert [sizes["num_points"] for sizes in rank.memory.sizes[0]] == [5, 5, 8]
    refusal = rank.static("k", mesh.k, attempt=1)
    assert refusal is not None
    assert not refusal.is_fault


@pytest.mark.parametrize("change", ["sizes", "values"])
def test_a_deterministic_solver_sends_the_same_mesh_in_every_attempt(change: str) -> None:
    """Else a window could be made of steps on two meshes."""
    rank, mesh, other = Rank(window=Window(length=2), num_steps=4, mixes=True), Mesh(5), Mesh(5)
    assert rank.open(mesh.sizes) is None
    mesh.send_static(rank)
    mesh.send(rank, 0)
    words = "but solver.deterministic is true: set it to false"
    if change == "sizes":
        refused(rank.open((6, 3), attempt=2), Reason.CONTRADICTION, words)
        return
    assert rank.open(mesh.sizes, attempt=2) is None
    other.k += 1
    assert rank.static("x", other.x, attempt=2) is None
    assert rank.static("edges", other.edges, attempt=2) is None
    refused(rank.static("k", other.k, attempt=2), Reason.CONTRADICTION, words)


def test_sizes_alone_need_nothing_that_is_sent_once() -> None:
    layout = Layout(fields=LAYOUT.fields, parameters=LAYOUT.parameters)
    rank, mesh = Rank(layout=layout), Mesh(4)
    assert rank.open([4]) is None
    mesh.send(rank, 0)
    (sample,) = rank.samples
    assert sample.static is not None
    assert (sample.static.extents, sample.static.arrays, sample.static.nbytes) == ({"num_points": 4}, {}, 0)


def test_a_plain_study_has_nothing_of_a_mesh() -> None:
    layout = Layout(fields=(FieldSpec(name="drag", shape=(1,)),), parameters=("a", "b"))
    rank = Rank(layout=layout)
    assert rank.open([]) is None
    refused(rank.index(0, [0]), Reason.UNDECLARED_FIELD, "neither is declared: declare them under solver.static")
    refused(rank.part("drag", np.zeros(1, np.float32), by=0), Reason.UNDECLARED_FIELD, "but no field has any")
    assert rank.part("drag", np.zeros(1, np.float32)) is None
    assert rank.samples[0].static is None


def test_what_comes_before_the_open_or_after_the_end_is_refused() -> None:
    rank, mesh = Rank(), Mesh(4)
    refusal = rank.static("x", mesh.x)
    refused(refusal, Reason.NOT_OPENED, "send the OPEN message first")
    assert rank.open(mesh.sizes) is None
    refused(rank.static("x", mesh.x, num_client_ranks=3), Reason.CONTRADICTION, "by 3: all ranks")
    rank.assembler.forget(0)
    refusal = rank.static("x", mesh.x)
    assert refusal is not None
    assert (refusal.reason, refusal.is_fault) == (Reason.OVER, False)


def test_parts_without_an_element_change_nothing() -> None:
    rank, mesh = Rank(), Mesh(4)
    assert rank.part("p", np.empty(0), (4,)) is None
    assert rank.open(mesh.sizes) is None
    assert rank.index(0, []) is None
    assert rank.part("p", np.empty(0), by=0) is None
    assert rank.static("x", np.empty((2, 0), np.float32), by=0) is None
    assert rank.static("x", np.empty((2, 0), np.float32), (0, 4)) is None
    mesh.send_static(rank)
    mesh.send(rank, 0)
    assert mesh.is_in(rank.samples[0])
