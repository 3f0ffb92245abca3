"""Buffers of samples whose sizes differ: what is drawn, what gives way, what a checkpoint keeps, in how many bytes."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.buffer import Draw, RaggedMemory, RaggedStorage, SampleBuffer, fifo, firo, reservoir
from melissa_like.buffer.free_space import UNIT, whole_units
from melissa_like.buffer.packing import packed
from melissa_like.buffer.policies import AlwaysOpen, Uniform, UniformSeen
from melissa_like.buffer.ragged_rows import RaggedRows, RowsToRead
from melissa_like.errors import ConfigurationError
from melissa_like.records import SampleKey, StaticFields
from tests.unit.ragged import LAYOUT, Sizes, expected_batch, fields_of, mesh_of, sized

SIZES: tuple[Sizes, ...] = ((5, 9), (60, 150), (1, 1), (200, 3), (31, 64), (9, 400))


def sizes_of(simulation: int) -> Sizes:
    return SIZES[simulation % len(SIZES)]


def put(buffer: SampleBuffer, simulation: int, step: int = 0) -> bool:
    key, sizes = SampleKey(simulation, step), sizes_of(simulation)
    return buffer.put(
        key,
        fields_of(key, sizes),
        time=step / 10,
        parameters=np.array([simulation + 0.5]),
        timeout_s=0.0,
        static=mesh_of(simulation, sizes),
    )


def nbytes_of(simulation: int) -> tuple[int, int]:
    """Of a sample and of the static fields."""
    layout = sized(sizes_of(simulation))
    extents = layout.sizes
    return whole_units(packed(LAYOUT.fields, extents).nbytes), whole_units(packed(LAYOUT.static, extents).nbytes)


def check(memory: RaggedMemory, keys: list[SampleKey]) -> None:
    meshes = {key: mesh_of(key.simulation, sizes_of(key.simulation)) for key in keys}
    fields, offsets, static = expected_batch(
        keys, meshes, {key: fields_of(key, sizes_of(key.simulation)) for key in keys}
    )
    assert [SampleKey(*key) for key in memory.labels[:, :2].tolist()] == keys
    assert memory.rows.times.tolist() == [key.step / 10 for key in keys]
    assert memory.rows.parameters.flatten().tolist() == [key.simulation + 0.5 for key in keys]
    for expected, found in ((fields, memory.fields), (offsets, memory.offsets), (static, memory.static)):
        assert [*expected] == [*found]
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name].cpu().numpy(), values, strict=True)


def gathered(buffer: SampleBuffer, draw: Draw, memory: RaggedMemory | None = None) -> list[SampleKey]:
    memory = memory or buffer.batch_memory(1, pinned=False)
    buffer.gather(draw, memory)
    keys = [SampleKey(*key) for key in memory.labels[:, :2].tolist()]
    check(memory, keys)
    return keys


def drawn(buffer: SampleBuffer, n: int, *, gate_lifted: bool = False) -> list[SampleKey]:
    draw = buffer.draw(n, gate_lifted=gate_lifted)
    keys = gathered(buffer, draw)
    buffer.settle(draw)
    return keys


def read_back(pieces: list[RaggedRows]) -> list[RaggedRows]:
    """Through bytes, as a file has them."""
    form = pieces[0]._form if pieces else None
    read = []
    for piece in pieces:
        (memory,) = piece.rows
        again = RowsToRead(form).for_piece(0, len(memory))
        again.rows[0][:] = memory
        read.append(again)
    return read


def test_a_batch_is_the_samples_one_after_the_other() -> None:
    buffer = fifo(LAYOUT, 20, capacity_nbytes=10**6)
    for number in range(8):
        assert put(buffer, number, step=number // 3)
    memory = buffer.batch_memory(1, pinned=False)
    for n in (1, 5, 2):  # the memory grows, and is used again
        draw = buffer.draw(n)
        assert len(gathered(buffer, draw, memory)) == n
        buffer.settle(draw)


def test_the_same_sample_may_be_drawn_twice() -> None:
    buffer = reservoir(LAYOUT, 4, capacity_nbytes=10**6, watermark=0)
    put(buffer, 4)
    assert drawn(buffer, 3) == [SampleKey(4, 0)] * 3


def test_static_fields_lie_there_once_and_go_with_their_last_sample() -> None:
    buffer = fifo(LAYOUT, 20, capacity_nbytes=10**6)
    sample, static = nbytes_of(1)
    for step in range(3):
        put(buffer, 1, step)
    put(buffer, 7)  # as large, with other values
    assert buffer.population().nbytes == 4 * sample + 2 * static
    assert buffer.population().static_nbytes == 2 * static
    drawn(buffer, 2)
    assert buffer.population().nbytes == 2 * sample + 2 * static
    drawn(buffer, 1)
    assert buffer.population().nbytes == sample + static
    drawn(buffer, 1)
    assert buffer.population().nbytes == 0


def test_another_attempt_may_have_other_sizes_beside_the_older() -> None:
    buffer = fifo(LAYOUT, 4, capacity_nbytes=10**6)
    buffer.begin(3, 1, sized((4, 2)))
    assert buffer.reserve(3, 1, 0)[0].shape == (2, 4)
    kept = buffer.reserve(3, 1, 0)
    buffer.begin(3, 2, sized((4, 2)))
    assert buffer.reserve(3, 2, 0)[0] is kept[0]
    buffer.begin(3, 3, sized((6, 2)))
    assert buffer.reserve(3, 3, 0)[0].shape == (2, 6)


def test_a_put_waits_for_bytes_until_seen_samples_can_give_way() -> None:
    large, static = nbytes_of(3)
    small = sum(nbytes_of(2))
    buffer = reservoir(LAYOUT, 100, capacity_nbytes=large + static + 2 * small, watermark=0)
    for number in (2, 8, 14):
        assert put(buffer, number)
    assert not put(buffer, 3)  # nothing was seen yet
    assert buffer.offer().put_waits
    while buffer.population().unseen:
        drawn(buffer, 4)
    assert put(buffer, 3)
    assert buffer.population().nbytes <= buffer.population().capacity_nbytes
    assert not buffer.offer().put_waits
    assert set(drawn(buffer, 50)) >= {SampleKey(3, 0)}


def test_one_sample_may_take_the_place_of_all_others() -> None:
    buffer = reservoir(LAYOUT, 100, capacity_nbytes=sum(nbytes_of(3)), watermark=0)
    for number in (2, 8, 14):
        assert put(buffer, number)
    while buffer.population().unseen:
        drawn(buffer, 4)
    assert put(buffer, 3)
    assert drawn(buffer, 3) == [SampleKey(3, 0)] * 3
    assert buffer.population().evicted == 3


def test_a_sample_that_can_never_fit_is_refused() -> None:
    buffer = reservoir(LAYOUT, 100, capacity_nbytes=sum(nbytes_of(3)) - UNIT, watermark=0)
    with pytest.raises(ConfigurationError, match=r"raise buffer\.capacity"):
        put(buffer, 3)


def test_without_a_number_the_watermark_is_a_fifth_of_the_bytes() -> None:
    one = sum(nbytes_of(1))
    buffer = reservoir(LAYOUT, 1000, capacity_nbytes=10 * one)
    put(buffer, 1)
    assert not buffer.offer().available
    put(buffer, 7)
    assert buffer.offer().available
    shuffled = firo(LAYOUT, 1000, capacity_nbytes=10 * one)
    for number in (1, 7, 13, 19):
        put(shuffled, number)
    assert shuffled.offer().available == 2  # two stay behind


def test_capacity_is_told_in_samples_of_the_sizes_so_far() -> None:
    buffer = fifo(LAYOUT, 1000, capacity_nbytes=10 * sum(nbytes_of(1)))
    put(buffer, 1)
    assert buffer.population().capacity == 10


def test_draws_that_were_offered_stand_when_several_samples_give_way_for_one() -> None:
    small = sum(nbytes_of(2))
    buffer = reservoir(LAYOUT, 100, capacity_nbytes=sum(nbytes_of(3)) + 2 * small, watermark=4)
    for number in (2, 8, 14, 20):
        assert put(buffer, number)
    while buffer.population().unseen:
        drawn(buffer, 4)
    offered = buffer.offer().available
    assert put(buffer, 3)
    assert buffer.offer().available >= offered
    drawn(buffer, 4)


def test_windows_have_an_axis_of_steps_behind_the_points() -> None:
    buffer = fifo(LAYOUT, 4, capacity_nbytes=10**6, window_length=3)
    meshes = [mesh_of(number, sizes_of(number)) for number in (0, 1)]
    windows = [
        [np.stack(steps) for steps in zip(*(fields_of(SampleKey(n, s), sizes_of(n)) for s in range(3)), strict=True)]
        for n in (0, 1)
    ]
    for number in (0, 1):
        buffer.put(
            SampleKey(number, 0),
            windows[number],
            time=np.arange(3.0),
            parameters=np.zeros(1),
            timeout_s=0.0,
            static=meshes[number],
        )
    memory = buffer.batch_memory(2, pinned=False)
    buffer.gather(buffer.draw(2), memory)
    assert memory.fields["displacement"].shape == (65, 3, 2)
    assert memory.fields["stress"].shape == (159, 3, 1)
    assert memory.fields["peak"].shape == (2, 3, 1)
    assert memory.rows.times.tolist() == [[0.0, 1.0, 2.0]] * 2
    np.testing.assert_array_equal(memory.fields["displacement"][5:].permute(1, 2, 0).numpy(), windows[1][0])
    np.testing.assert_array_equal(memory.fields["stress"][:9, :, 0].T.numpy(), windows[0][1])
    assert memory.static["coordinates"].shape == (65, 2)


def any_eviction(nbytes: int, num_slots: int) -> SampleBuffer:
    return SampleBuffer(
        RaggedStorage(LAYOUT, num_slots, nbytes),
        capacity=num_slots,
        selector=Uniform(),
        evictor=UniformSeen(),
        gate=AlwaysOpen(),
        draws_until_removed=None,
    )


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(st.tuples(st.sampled_from(["put", "draw", "settle", "keep"]), st.integers(0, 11)), max_size=40),
    num_small=st.integers(1, 6),
)
def test_random_moves_keep_every_sample_whole_and_every_byte_counted(
    moves: list[tuple[str, int]], num_small: int
) -> None:
    """A model of which samples are held: the batches are theirs, and the bytes are the sum of what they take."""
    nbytes = max(sum(nbytes_of(number)) for number in range(6)) + num_small * 1024
    buffer, steps = any_eviction(nbytes, 12), Counter[int]()
    unsettled: list[tuple[Draw, list[SampleKey]]] = []
    for move, number in moves:
        if move == "put":
            steps[number] += put(buffer, number, steps[number])
        elif move == "draw" and buffer.offer().held:
            draw = buffer.draw(number + 1)
            unsettled.append((draw, gathered(buffer, draw)))
        elif move == "settle" and unsettled:
            draw, keys = unsettled.pop(0)
            assert gathered(buffer, draw) == keys  # nothing was written where it lies
            buffer.settle(draw)
        elif move == "keep":
            kept = buffer.keep()
            held = [SampleKey(*key) for key in kept.state.keys.tolist()]
            kept.let_go()
            samples = sum(nbytes_of(key.simulation)[0] for key in held)
            static = sum(nbytes_of(simulation)[1] for simulation in {key.simulation for key in held})
            assert buffer.population().nbytes == samples + static <= buffer.population().capacity_nbytes
            assert len(held) == len(set(held)) == buffer.population().size
    population = buffer.population()
    assert population.puts == population.size + population.evicted == steps.total()


@pytest.mark.parametrize("most_nbytes", [1, 5000, 10**6])
def test_a_checkpoint_holds_all_samples_and_each_mesh_once(most_nbytes: int) -> None:
    buffer = fifo(LAYOUT, 30, capacity_nbytes=10**6)
    for number in range(9):
        put(buffer, number % 4, number)
    kept = buffer.keep()
    pieces = read_back([*kept.pieces(most_nbytes)])
    assert sum(len(piece.meshes) for piece in pieces) == 4
    again = fifo(LAYOUT, 30, capacity_nbytes=10**6)
    again.restore(kept.state, iter(pieces))
    assert again.population() == buffer.population()
    assert drawn(again, 9) == drawn(buffer, 9)
    assert again.population().nbytes == 0


def test_some_rows_of_a_checkpoint_bring_the_meshes_that_they_need_and_no_others() -> None:
    buffer = fifo(LAYOUT, 30, capacity_nbytes=10**6)
    for number in range(8):
        put(buffer, number % 4, number)
    kept = buffer.keep()
    pieces = read_back([*kept.pieces(1)])
    wanted = [1, 5, 6]
    chosen = [piece.choose(np.array([0] if at in wanted else [], np.int64)) for at, piece in enumerate(pieces)]
    state = kept.state
    some = type(state)(
        keys=state.keys[wanted],
        seen=state.seen[wanted],
        num_draws=state.num_draws[wanted],
        puts=3,
        draws=0,
        evicted=0,
        removed=0,
    )
    again = fifo(LAYOUT, 30, capacity_nbytes=10**6)
    again.restore(some, iter(chosen))
    expected = 2 * nbytes_of(1)[0] + nbytes_of(1)[1] + sum(nbytes_of(2))
    assert again.population().nbytes == expected
    assert drawn(again, 3) == [SampleKey(1, 1), SampleKey(1, 5), SampleKey(2, 6)]


def test_samples_of_a_checkpoint_that_do_not_fit_are_refused() -> None:
    buffer = fifo(LAYOUT, 30, capacity_nbytes=10**6)
    for number in range(4):
        put(buffer, number)
    kept = buffer.keep()
    again = fifo(LAYOUT, 30, capacity_nbytes=2 * UNIT)
    with pytest.raises(ConfigurationError, match=r"do not fit .* raise buffer\.capacity"):
        again.restore(kept.state, iter(read_back([*kept.pieces(10**6)])))


def test_statistics_are_of_copies_on_the_host() -> None:
    buffer = fifo(LAYOUT, 30, capacity_nbytes=10**6)
    for number in range(6):
        put(buffer, number)
    held = buffer.peek(3)
    check(held, [SampleKey(*key) for key in held.labels[:, :2].tolist()])
    assert len(held.labels) == 3


def test_fixed_shapes_with_static_fields_of_each_simulation_are_stacked() -> None:
    layout = type(LAYOUT)(fields=LAYOUT.fields[2:], parameters=("load",), static=LAYOUT.static[3:])
    buffer = fifo(layout, 4, capacity_nbytes=10**5)
    for number in (3, 4):
        static = StaticFields(
            extents={},
            arrays={"material": np.full((3, 2), number, np.uint8)},
            nbytes=6,
            digest=bytes([number]) * 16,
        )
        values = [np.array([number / 2], np.float32)]
        key = SampleKey(number, 0)
        assert buffer.put(key, values, time=0.0, parameters=np.zeros(1), timeout_s=0.0, static=static)
    memory = buffer.batch_memory(2, pinned=False)
    buffer.gather(buffer.draw(2), memory)
    assert memory.offsets == {}
    assert memory.fields["peak"].tolist() == [[1.5], [2.0]]
    assert memory.static["material"].shape == (2, 3, 2)
    assert memory.static["material"][:, 0, 0].tolist() == [3, 4]


def test_a_recipe_wants_bytes_where_sizes_differ_and_only_there() -> None:
    with pytest.raises(ValueError, match="give a number of bytes"):
        fifo(LAYOUT, 4)
    grid = type(LAYOUT)(fields=LAYOUT.fields[2:], parameters=())
    with pytest.raises(ValueError, match="give none"):
        fifo(grid, 4, capacity_nbytes=100)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_batches_come_from_the_memory_of_a_device() -> None:
    buffer = reservoir(LAYOUT, 20, capacity_nbytes=50_000, watermark=0, device="cuda")
    for number in range(40):
        while not put(buffer, number):
            drawn(buffer, 7)
    assert len(drawn(buffer, 20)) == 20
    held = buffer.peek(3)
    assert held.labels.device.type == "cpu"
    check(held, [SampleKey(*key) for key in held.labels[:, :2].tolist()])
    kept = buffer.keep()
    again = reservoir(LAYOUT, 20, capacity_nbytes=50_000, watermark=0, device="cuda")
    again.restore(kept.state, iter(read_back([*kept.pieces(4000)])))
    assert again.population().nbytes == buffer.population().nbytes
    assert len(drawn(again, 20)) == 20


@pytest.mark.parametrize("length", [None, 3, 5])
def test_what_is_packed_is_read_as_it_was_sent(length: int | None) -> None:
    """A few numbers per point are copied in another way than many."""
    form = packed(LAYOUT.fields, {"num_points": 7, "num_edges": 4}, length)
    rng, memory = np.random.default_rng(0), np.empty(form.nbytes, np.uint8)
    shapes = [spec.shape if length is None else (length, *spec.shape) for spec in form.specs]
    sent = [rng.random(shape).astype(spec.dtype) for shape, spec in zip(shapes, form.specs, strict=True)]
    form.write(sent, memory)
    for values, found in zip(sent, form.read(memory), strict=True):
        np.testing.assert_array_equal(found, values)
