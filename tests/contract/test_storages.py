"""One suite over all storages: what is written is read, gathered and restored, wherever the rows lie.

The storage of a device runs on the cpu too, without streams and pinned memory: the rest of it is tested anywhere.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from melissa_like.buffer import BatchMemory, DeviceStorage, HostStorage, SampleBuffer, Storage
from melissa_like.buffer.batch_memory import allocate
from melissa_like.buffer.policies import AlwaysOpen, FillTo, Never, Oldest, Uniform, UniformSeen
from melissa_like.loading import AgreementTerms, Loader, LocalState, Measurement, SoloCollective
from melissa_like.records import FieldSpec, Layout, SampleKey
from tests.contract.consumers import assembled

LAYOUT = Layout(
    fields=(
        FieldSpec(name="u", shape=(3, 2)),
        FieldSpec(name="half", shape=(5,), dtype="float16"),
        FieldSpec(name="flag", shape=(1,), dtype="uint8"),
    ),
    parameters=("a", "b"),
)
Make = Callable[..., Storage]


def on(device: str) -> Make:
    return partial(DeviceStorage, device=torch.device(device))


@pytest.fixture(
    params=[
        pytest.param(HostStorage, id="host"),
        pytest.param(on("cpu"), id="device-cpu"),
        pytest.param(
            on("cuda"),
            id="device-cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
        ),
    ]
)
def make(request: pytest.FixtureRequest) -> Make:
    result: Make = request.param
    return result


def values_of(number: int) -> tuple[np.ndarray, ...]:
    return (
        np.full((3, 2), number, np.float32) + np.arange(6, dtype=np.float32).reshape(3, 2),
        np.full(5, number, np.float16),
        np.full(1, number, np.uint8),
    )


def write(storage: Storage, slot: int, number: int, *, opened: bool = True) -> None:
    fields = storage.open(slot if opened else None)
    for target, source in zip(fields, values_of(number), strict=True):
        target[...] = source
    parameters = np.array([np.nan, -number / 2])
    storage.write(slot, fields, SampleKey(number, number - 5), number / 10, parameters, opened=opened)


def written(make: Make, num_slots: int = 6) -> Storage:
    """Sample 10 + i in slot i; every other one assembled in memory of its own."""
    storage = make(LAYOUT, num_slots)
    for slot in range(num_slots):
        write(storage, slot, 10 + slot, opened=slot % 2 == 0)
    return storage


def read(storage: Storage, slots: list[int]) -> BatchMemory:
    out = allocate(storage.layout, len(slots), device=torch.device("cpu"))
    storage.read(np.array(slots, np.int64), out)
    return out


def check(memory: object, numbers: list[int]) -> None:
    n = len(numbers)
    assert memory.simulations[:n].tolist() == numbers
    assert memory.steps[:n].tolist() == [number - 5 for number in numbers]
    assert memory.times[:n].tolist() == [number / 10 for number in numbers]
    assert memory.parameters[:n, 1].tolist() == [-number / 2 for number in numbers]
    assert memory.parameters[:n, 0].isnan().all()
    for name, values in zip(memory.fields, zip(*map(values_of, numbers), strict=True), strict=True):
        torch.testing.assert_close(memory.fields[name][:n].cpu(), torch.from_numpy(np.stack(values)))


def test_rows_are_gathered_to_the_beginning_of_reused_memory(make: Make) -> None:
    storage = written(make)
    memory = storage.batch_memory(5, pinned=False)
    assert memory.labels.device == storage.device
    for slots in ([0, 1, 2, 3, 4], [5, 5, 0], [3]):
        storage.gather(np.array(slots), memory)
        check(memory, [10 + slot for slot in slots])
    assert [values.dtype for values in memory.fields.values()] == [torch.float32, torch.float16, torch.uint8]


def test_gathering_fewer_rows_leaves_the_rest_alone(make: Make) -> None:
    storage = written(make)
    memory = storage.batch_memory(3, pinned=False)
    storage.gather(np.array([0, 1, 2]), memory)
    storage.gather(np.array([5]), memory)
    assert memory.simulations.tolist() == [15, 11, 12]
    assert memory.fields["flag"].flatten().tolist() == [15, 11, 12]


def test_a_row_can_be_written_again(make: Make) -> None:
    storage = written(make)
    write(storage, 2, 77)
    write(storage, 3, 78, opened=False)
    check(read(storage, [2, 3, 4]), [77, 78, 14])


def test_what_is_read_lies_on_the_host_and_is_a_copy(make: Make) -> None:
    storage = written(make)
    copied = read(storage, [1, 1, 4])
    write(storage, 1, 99)
    check(copied, [11, 11, 14])
    assert len(read(storage, []).simulations) == 0


def test_the_keys_of_rows_are_their_simulations_and_steps(make: Make) -> None:
    assert written(make).keys(np.array([3, 1])).tolist() == [[13, 8], [11, 6]]
    assert make(LAYOUT, 2).keys(np.empty(0, np.int64)).shape == (0, 2)


def test_read_rows_are_restored_piece_by_piece(make: Make) -> None:
    source, storage = written(make), make(LAYOUT, 4)
    storage.restore(0, read(source, [4, 2]))
    storage.restore(2, read(source, [5]))
    check(read(storage, [0, 1, 2]), [14, 12, 15])


def test_a_layout_without_parameters_has_labels_too(make: Make) -> None:
    storage = make(Layout(fields=(FieldSpec(name="u", shape=(2,)),), parameters=()), 2)
    fields = storage.open(0)
    fields[0][:] = 1.5
    storage.write(0, fields, SampleKey(3, 4), 0.25, np.empty(0), opened=True)
    copied = read(storage, [0])
    assert (copied.simulations.item(), copied.steps.item(), copied.times.item()) == (3, 4, 0.25)
    assert copied.parameters.shape == (1, 0)


def test_a_row_of_windows_has_an_axis_of_steps_and_a_time_for_each(make: Make) -> None:
    storage = make(LAYOUT, 4, window_length=3)
    for slot, opened in ((0, True), (1, False), (3, True)):
        fields = storage.open(slot if opened else None)
        assert [values.shape for values in fields] == [(3, 3, 2), (3, 5), (3, 1)]
        for step in range(3):
            for target, source in zip(fields, values_of(slot + step), strict=True):
                target[step] = source
        times, parameters = np.array([slot, np.nan, slot + 2.0]), np.array([1.5, slot])
        storage.write(slot, fields, SampleKey(10 + slot, 4 * slot), times, parameters, opened=opened)
    gathered = storage.batch_memory(2, pinned=False)
    storage.gather(np.array([3, 1]), gathered)
    copied = allocate(LAYOUT, 3, device=torch.device("cpu"), window_length=3)
    storage.read(np.array([3, 1]), copied)
    restored = make(LAYOUT, 2, window_length=3)
    restored.restore(0, copied.first(2))
    again = allocate(LAYOUT, 2, device=torch.device("cpu"), window_length=3)
    restored.read(np.array([0, 1]), again)
    for memory in (gathered, copied.first(2), again):
        assert memory.window_length == 3
        assert memory.simulations.tolist() == [13, 11]
        assert memory.steps.tolist() == [12, 4]
        assert memory.times[:, ::2].tolist() == [[3.0, 5.0], [1.0, 3.0]]
        assert memory.times[:, 1].isnan().all()
        assert memory.parameters.tolist() == [[1.5, 3.0], [1.5, 1.0]]
        for number, values in enumerate(memory.fields.values()):
            expected = [np.stack([values_of(slot + step)[number] for step in range(3)]) for slot in (3, 1)]
            torch.testing.assert_close(values.cpu(), torch.from_numpy(np.stack(expected)))


def test_a_window_of_one_step_has_the_axis_too(make: Make) -> None:
    memory = make(LAYOUT, 2, window_length=1).batch_memory(2, pinned=False)
    assert [values.shape for values in memory.fields.values()] == [(2, 1, 3, 2), (2, 1, 5), (2, 1, 1)]
    assert memory.times.shape == (2, 1)


def queue_of_one(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> tuple[SampleBuffer, list[int]]:
    """A buffer with room for one sample, and the simulations that are written to its storage."""
    buffer = SampleBuffer(
        storage, capacity=1, selector=Oldest(), evictor=Never(), gate=AlwaysOpen(), draws_until_removed=1
    )
    written: list[int] = []
    write = storage.write

    def noting(slot: int, fields: object, key: SampleKey, *args: object, **kwargs: object) -> None:
        written.append(key.simulation)
        write(slot, fields, key, *args, **kwargs)

    monkeypatch.setattr(storage, "write", noting)
    return buffer, written


def next_one(buffer: SampleBuffer) -> torch.Tensor:
    """The field u of the oldest sample, which makes room."""
    draw, memory = buffer.draw(1), buffer.batch_memory(1, pinned=False)
    buffer.gather(draw, memory)
    buffer.settle(draw)
    return memory.fields["u"][0].cpu()


@pytest.mark.parametrize("num_spare", [0, 1])
def test_a_sample_that_waits_for_room_is_written_once(
    make: Make, monkeypatch: pytest.MonkeyPatch, num_spare: int
) -> None:
    buffer, written = queue_of_one(make(LAYOUT, 1 + num_spare), monkeypatch)
    for number in (3, 4):
        sample = assembled(buffer, SampleKey(number, 0), values_of(number), parameters=[0, 0])
        if number == 3:
            assert buffer.take(sample, 0.0) == (sample.key,)
    for _ in range(3):
        assert buffer.take(sample, 0.0) is None
    assert torch.equal(next_one(buffer), torch.from_numpy(values_of(3)[0]))
    assert buffer.take(sample, 0.0) == (sample.key,)
    assert written == [3, 4]
    assert torch.equal(next_one(buffer), torch.from_numpy(values_of(4)[0]))


@pytest.mark.parametrize("num_spare", [0, 1])
def test_a_newer_attempt_of_a_sample_that_waited_is_written_too(
    make: Make, monkeypatch: pytest.MonkeyPatch, num_spare: int
) -> None:
    buffer, _ = queue_of_one(make(LAYOUT, 1 + num_spare), monkeypatch)
    key = SampleKey(4, 0)
    other = assembled(buffer, SampleKey(3, 0), values_of(3), parameters=[0, 0])
    assert buffer.take(other, 0.0) == (other.key,)
    older = assembled(buffer, key, values_of(4), parameters=[0, 0])
    assert buffer.take(older, 0.0) is None
    newer = assembled(buffer, key, values_of(5), attempt=2, parameters=[0, 0])
    assert newer.fields[0] is older.fields[0]
    next_one(buffer)
    assert buffer.take(newer, 0.0) == (key,)
    assert torch.equal(next_one(buffer), torch.from_numpy(values_of(5)[0]))


def test_a_loader_trains_on_the_stream_from_any_storage(make: Make) -> None:
    """Small and full all the time: slots are evicted and written again while batches are gathered and trained on."""
    buffer = SampleBuffer(
        make(LAYOUT, 10),
        capacity=8,
        selector=Uniform(),
        evictor=UniformSeen(),
        gate=FillTo(2),
        draws_until_removed=None,
    )
    for number in range(8):
        buffer.put(SampleKey(number, 0), values_of(number), time=0.0, parameters=np.zeros(2), timeout_s=1.0)
    loader = Loader(
        buffer,
        AgreementTerms(batch_size=4, expected_samples=100),
        state=lambda: LocalState(delivered=0),
        collective=SoloCollective(),
        device=buffer.device,
        measurement=Measurement(
            quantities={"half": 1}, measure=lambda batch: {"half": batch.fields["half"].unsqueeze(1)}
        ),
    )
    number, trained = 8, set()
    with loader:
        for turn in loader:
            assert turn.batch is not None
            numbers = turn.batch.simulations.tolist()
            trained.update(numbers)
            assert turn.batch.fields["half"].device == buffer.device
            for name, values in zip(turn.batch.fields, zip(*map(values_of, numbers), strict=True), strict=True):
                torch.testing.assert_close(turn.batch.fields[name].cpu(), torch.from_numpy(np.stack(values)))
            while number < 100 and buffer.put(
                SampleKey(number, 0), values_of(number), time=0.0, parameters=np.zeros(2), timeout_s=0.0
            ):
                number += 1
            if number == 100:
                buffer.end_reception()
    assert trained == set(range(100))
