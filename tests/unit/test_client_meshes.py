"""From the arrays of client ranks to complete samples: any partition of a mesh gives the same fields."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like import protocol
from melissa_like.assembly import Assembler, Refusal
from melissa_like.client import Beginning, Part, Scattered
from melissa_like.client.beginning import LocalBeginning
from melissa_like.client.streaming import PartStream, layout_from
from melissa_like.client.team import SoloTeam
from melissa_like.protocol.control import Assignment, Welcome, WireField
from melissa_like.protocol.wire import Header, Kind, decode
from melissa_like.records import FieldSpec, Layout, Purpose, Routing, Sample, SampleKey, StudyIdentity
from melissa_like.transport.interface import copy_payload
from tests.unit.test_assembly_meshes import LAYOUT, Memory

GOLDEN = Path(protocol.__file__).parent / "golden"
STUDY = {"study": bytes(range(16)), "secret": bytes(range(0xF0, 0x100))}


class OneOf(SoloTeam):
    """A rank whose collectives somebody else plays."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


class Recorder:
    """A sender that keeps what it is given, by destination."""

    def __init__(self, num_server_ranks: int) -> None:
        self.messages: list[list[tuple[bytes, bytes]]] = [[] for _ in range(num_server_ranks)]

    def send(
        self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None], timeout_s: float
    ) -> bool:
        payload = bytearray(nbytes)
        fill(memoryview(payload))
        self.messages[destination].append((header, bytes(payload)))
        return True

    def push(self) -> None:
        """Nothing is held."""

    def flush(self, timeout_s: float) -> bool:
        return True

    def close(self, linger_s: float) -> None:
        """There is nothing to close."""


def golden_welcome() -> Welcome:
    said = json.loads((GOLDEN / "control_welcome_mesh.json").read_text())["message"]
    return msgspec.convert({"type": "Welcome", **said}, Welcome)


def stream_of(team: OneOf, welcome: Welcome, sender: Recorder, assignment: Assignment, incarnation: int) -> PartStream:
    return PartStream(
        welcome=welcome,
        layout=layout_from(welcome),
        assignment=assignment,
        identity=StudyIdentity(**STUDY, launcher_incarnation=1, server_incarnation=incarnation),
        sender=sender,
        team=team,
        ask=lambda server_rank: None,
    )


def test_the_golden_messages_are_sent() -> None:
    """Byte by byte, as the C client sends them too."""
    welcome, sender, team = golden_welcome(), Recorder(2), OneOf(4, 5)
    assignment = Assignment(simulation=258, attempt=3, purpose=0, parameters=(1.0, 2.0), delivered_steps=())
    stream = stream_of(team, welcome, sender, assignment, 2)
    points = np.arange(0, 2 * 406, 2)
    static = {
        "coordinates": Scattered(np.ones((2, 406)), points),
        "edges": Part(np.zeros((2, 711), int), (0, 2000)),
    }
    beginning = LocalBeginning(
        stream.layout, Beginning(extents={"num_points": 812, "num_edges": 4711}, static=static), team
    )
    beginning.lists.find("pressure", [3])  # the list 0
    beginning.check()
    beginning.settle(np.array([beginning.told] * 5))
    beginning.take()
    stream.begin(beginning)
    stream.settle(np.zeros((5, 3), np.int64))
    fields = {"displacement": Scattered(np.ones((2, 406)), points), "pressure": Scattered(np.ones(406), points.copy())}
    stream.send(99, stream.prepare(fields), 0.99)
    sent = [header for header, _ in sender.messages[(258 + 99) % 2]]
    names = ("open_mesh", "index", "static_scatter", "static", "scatter", "scatter_1d")
    assert sent == [(GOLDEN / f"data_{name}.bin").read_bytes() for name in names]
    assert stream.parts_sent == [0, 5]
    _, numbers = sender.messages[1][0]
    assert np.frombuffer(numbers, np.float64).tolist() == [1.0, 2.0, 812.0, 4711.0]


class ServerRank:
    """What a server rank makes of the messages of all client ranks.

    Attributes:
        samples: that are complete.
    """

    def __init__(self, number: int = 0, num_server_ranks: int = 1, layout: Layout = LAYOUT) -> None:
        self.assembler = Assembler(
            layout=layout,
            identity=StudyIdentity(**STUDY, launcher_incarnation=1, server_incarnation=1),
            server_rank=number,
            num_server_ranks=num_server_ranks,
            routing=Routing.SAMPLE,
            consumers=dict.fromkeys(Purpose, Memory(layout)),
        )
        self.samples: list[Sample] = []

    def take(self, encoded: bytes, payload: bytes) -> None:
        header = decode(encoded)
        if header.kind is Kind.OPEN:
            assert self.assembler.open(header, np.frombuffer(payload, np.float64)) is None
        elif header.kind.is_sent_once:
            self._take_once(header, payload)
        else:
            placed = self.assembler.place_again(encoded) or self.assembler.place(header)
            assert not isinstance(placed, Refusal), placed.message
            assert copy_payload(memoryview(payload), placed.target) is None
            sample = self.assembler.add(placed)
            self.samples += [] if sample is None else [sample]

    def _take_once(self, header: Header, payload: bytes) -> None:
        placed = self.assembler.place_once(header)
        assert not isinstance(placed, Refusal), placed.message
        assert copy_payload(memoryview(payload), placed.target) is None
        assert self.assembler.add_once(placed) is None
        while (sample := self.assembler.next_waiting(header.simulation)) is not None:
            self.samples.append(sample)


def welcome_of(num_server_ranks: int, layout: Layout = LAYOUT) -> Welcome:
    def wired(specs: Any) -> tuple[WireField, ...]:
        names = ("name", "shape", "dtype", "components", "extent", "indexes")
        return tuple(WireField(**{name: getattr(spec, name) for name in names}) for spec in specs)

    return Welcome(
        server_endpoints=("inproc://server",) * num_server_ranks,
        server_incarnation=1,
        launcher_incarnation=1,
        routing=0,
        layout_id=layout.layout_id,
        fields=wired(layout.fields),
        parameters=layout.parameters,
        num_steps=None,
        budget_bytes=2**20,
        heartbeat_s=1.0,
        orphan_timeout_s=300.0,
        extents=layout.extents,
        static=wired(layout.static),
    )


def values_of(specs: Any, seed: int, num_points: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.integers(0, num_points, spec.shape)
        if spec.indexes
        else (1000 * seed + rng.random(spec.shape)).astype(spec.dtype)
        for spec in specs
    }


def partition(
    data: st.DataObject, values: Mapping[str, np.ndarray], specs: Any, num_ranks: int
) -> list[dict[str, Any]]:
    """What each rank gives of some fields: its points in any order, or a box, or all by one rank."""
    given: list[dict[str, Any]] = [{} for _ in range(num_ranks)]
    for spec in specs:
        whole, num_points = values[spec.name], spec.shape[-1]
        if spec.extent is None:
            given[data.draw(st.integers(0, num_ranks - 1))][spec.name] = Part(whole, (0,) * whole.ndim)
        elif data.draw(st.booleans()):
            owner = np.array(
                data.draw(st.lists(st.integers(0, num_ranks - 1), min_size=num_points, max_size=num_points))
            )
            for rank in range(num_ranks):
                points = np.array(data.draw(st.permutations(np.flatnonzero(owner == rank).tolist())), int)
                given[rank][spec.name] = Scattered(whole[..., points], points)
        else:
            cuts = sorted(
                data.draw(st.lists(st.integers(0, num_points), min_size=num_ranks - 1, max_size=num_ranks - 1))
            )
            for rank, (first, behind) in enumerate(zip([0, *cuts], [*cuts, num_points], strict=True)):
                given[rank][spec.name] = Part(whole[..., first:behind], (0,) * (whole.ndim - 1) + (first,))
    return given


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_partition_of_any_ranks_assembles_to_the_same_fields(data: st.DataObject) -> None:
    num_ranks, num_servers = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2))
    sizes = {"num_points": data.draw(st.integers(1, 12)), "num_edges": data.draw(st.integers(1, 5))}
    layout, num_steps = LAYOUT.sized(sizes), 3
    static = values_of(layout.static, 1, sizes["num_points"])
    steps = [values_of(layout.fields, 2 + step) for step in range(num_steps)]
    teams = [OneOf(rank, num_ranks) for rank in range(num_ranks)]
    senders = [Recorder(num_servers) for _ in teams]
    assignment = Assignment(simulation=0, attempt=1, purpose=0, parameters=(1.0, 2.0), delivered_steps=())
    streams = [
        stream_of(team, welcome_of(num_servers), sender, assignment, 1)
        for team, sender in zip(teams, senders, strict=True)
    ]
    given = partition(data, static, layout.static, num_ranks)
    begun = [
        LocalBeginning(LAYOUT, Beginning(extents=sizes, static=mine), team)
        for mine, team in zip(given, teams, strict=True)
    ]
    for one in begun:
        one.check()
    told = np.array([one.told for one in begun])
    for one, stream in zip(begun, streams, strict=True):
        one.settle(told)
        one.take()
        stream.begin(one)
        stream.settle(np.zeros((num_ranks, len(layout.fields)), np.int64))
    sent = np.sum([one.sent for one in begun], axis=0).tolist()
    assert sent[: len(layout.static)] == [spec.size for spec in layout.static]
    assert begun[0].first_gap(sent) is None
    for step, values in enumerate(steps):
        for stream, mine in zip(streams, partition(data, values, layout.fields, num_ranks), strict=True):
            stream.send(step, stream.prepare(mine), 0.5 * step)
    samples: list[Sample] = []
    parts = [[len(queue) - 1 for queue in sender.messages if queue] for sender in senders]
    assert [[number for number in stream.parts_sent if number] for stream in streams] == [
        [number for number in some if number] for some in parts
    ]
    for number in range(num_servers):
        server = ServerRank(number, num_servers)
        queues = [sender.messages[number] for sender in senders]
        while any(queues):  # the connections of the ranks mix as they like
            server.take(*queues[data.draw(st.sampled_from([i for i, queue in enumerate(queues) if queue]))].pop(0))
        samples += server.samples
    assert sorted(sample.key for sample in samples) == [SampleKey(0, step) for step in range(num_steps)]
    for sample in samples:
        assert sample.static is not None
        for name, array in sample.static.arrays.items():
            np.testing.assert_array_equal(array, static[name])
        for spec, array in zip(layout.fields, sample.fields, strict=True):
            np.testing.assert_array_equal(array, steps[sample.key.step][spec.name])


@pytest.mark.parametrize("num_points", [65_536, 65_537, 200_000])
def test_a_long_list_travels_in_pieces(num_points: int) -> None:
    sender, team = Recorder(1), OneOf(0, 1)
    assignment = Assignment(simulation=0, attempt=1, purpose=0, parameters=(1.0, 2.0), delivered_steps=())
    stream = stream_of(team, welcome_of(1), sender, assignment, 1)
    points = np.random.default_rng(0).permutation(num_points)
    mesh = np.arange(2.0 * num_points).reshape(2, -1)
    static = {"x": Scattered(mesh[:, points], points), "edges": np.zeros((2, 1), int), "k": np.zeros(3)}
    begun = LocalBeginning(LAYOUT, Beginning(extents={"num_points": num_points, "num_edges": 1}, static=static), team)
    begun.check()
    begun.settle(np.array([begun.told]))
    begun.take()
    stream.begin(begun)
    fields = {"p": Scattered(mesh[0, points], points), "u": Scattered(mesh[:, points], points), "drag": np.zeros(1)}
    stream.send(0, stream.prepare(fields), 0.0)
    pieces = -(-num_points // 65_536)
    kinds = [decode(header).kind for header, _ in sender.messages[0]]
    assert [kinds.count(kind) for kind in (Kind.INDEX, Kind.STATIC_SCATTER, Kind.SCATTER)] == [
        pieces,
        pieces,
        2 * pieces,
    ]
    assert max(len(payload) for _, payload in sender.messages[0]) <= 2**20
    server = ServerRank()
    for message in sender.messages[0]:
        server.take(*message)
    (sample,) = server.samples
    assert sample.static is not None
    np.testing.assert_array_equal(sample.static.arrays["x"], mesh)
    np.testing.assert_array_equal(sample.fields[1], mesh)


@pytest.mark.parametrize("group", ["fields", "static"])
def test_many_components_make_shorter_pieces(group: str) -> None:
    """Of 512 points here, whichever field has the most bytes per point: the lists are the same for all."""
    pressure = FieldSpec(name="pressure", shape=(0,), dtype="float64", extent="num_points")
    modes = FieldSpec(name="modes", shape=(1024, 0), components=1024, extent="num_points")
    fields, static = ((pressure, modes), ()) if group == "fields" else ((pressure,), (modes,))
    layout = Layout(fields=fields, parameters=("a", "b"), static=static)
    sender, team = Recorder(1), OneOf(0, 1)
    assignment = Assignment(simulation=0, attempt=1, purpose=0, parameters=(1.0, 2.0), delivered_steps=())
    stream = stream_of(team, welcome_of(1, layout), sender, assignment, 1)
    points = np.random.default_rng(0).permutation(600)
    whole = {"pressure": np.arange(600.0), "modes": np.arange(1024 * 600, dtype=np.float32).reshape(1024, 600)}
    given = {name: Scattered(values[..., points], points) for name, values in whole.items()}
    beginning = Beginning(extents={"num_points": 600}, static={spec.name: given[spec.name] for spec in static})
    begun = LocalBeginning(layout, beginning, team)
    begun.check()
    begun.settle(np.array([begun.told]))
    begun.take()
    stream.begin(begun)
    stream.send(0, stream.prepare({spec.name: given[spec.name] for spec in fields}), 0.0)
    assert [decode(header).kind for header, _ in sender.messages[0]].count(Kind.INDEX) == 2
    assert max(len(payload) for _, payload in sender.messages[0]) == 2 * 2**20
    server = ServerRank(layout=layout)
    for message in sender.messages[0]:
        server.take(*message)
    (sample,) = server.samples
    arrived = dict(zip((spec.name for spec in fields), sample.fields, strict=True))
    arrived |= {} if sample.static is None else sample.static.arrays
    for name, values in whole.items():
        np.testing.assert_array_equal(arrived[name], values)
