"""Server ranks save samples of meshes that differ, and others, of the same number or not, go on with all bits."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from melissa_like.assembly import Assembler
from melissa_like.buffer import reservoir
from melissa_like.errors import ConfigurationError
from melissa_like.loading import SoloCollective, batch_from_samples
from melissa_like.records import Purpose, Routing, Sample, SampleKey, StudyIdentity
from melissa_like.server.cut import take_cut
from melissa_like.server.receiver import Receiver
from melissa_like.server.restoring import Found, find_checkpoint, restore_rank
from melissa_like.training import ValidationSet
from melissa_like.training.checkpoint import CheckpointFolder, ShardContent, write_shard
from melissa_like.transport.in_memory import MemoryTransport
from tests.unit import ragged

DEADLINE_S = 20.0
IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
NUM_SIMULATIONS, NUM_STEPS, CAPACITY = 6, 5, 100


def sample_of(key: SampleKey, purpose: Purpose = Purpose.TRAINING) -> Sample:
    sizes = (4 + 3 * key.simulation, 2 + key.simulation)
    return Sample(
        key=key,
        attempt=1,
        purpose=purpose,
        time=key.step / 8,
        parameters=np.array([float(key.simulation)]),
        fields=ragged.fields_of(key, sizes),
        static=ragged.mesh_of(key.simulation, sizes),
    )


class Rank:
    """What a server rank is made of, as far as samples are concerned."""

    def __init__(self, rank: int, num_ranks: int, nbytes: int) -> None:
        self.rank, self.num_ranks, self.nbytes = rank, num_ranks, nbytes
        self.buffer = reservoir(ragged.LAYOUT, CAPACITY, watermark=0, capacity_nbytes=nbytes)
        self.held_out = ValidationSet(ragged.LAYOUT)
        consumers = {Purpose.TRAINING: self.buffer, Purpose.VALIDATION: self.held_out}
        self.assembler = Assembler(
            layout=ragged.LAYOUT,
            identity=IDENTITY,
            server_rank=rank,
            num_server_ranks=num_ranks,
            routing=Routing.SAMPLE,
            consumers=consumers,
        )
        parts = MemoryTransport().part_receiver(queue_length=9)
        self.receiver = Receiver(
            socket=parts, assembler=self.assembler, consumers=consumers, tell=print, on_error=print
        )
        self.receiver.start()

    def save(self, folder: CheckpointFolder, number: int) -> None:
        look = partial(
            take_cut,
            assembler=self.assembler,
            receiver=self.receiver,
            buffer=self.buffer,
            held_out=self.held_out,
            consumers={},
            window=None,
            saves_buffer=True,
            num_trained=0,
        )
        cut = self.receiver.between_samples(look, DEADLINE_S)
        content = ShardContent(
            state={"training": {"samples": 0}, "consumers": {}},
            index=cut.index.as_dict(),
            samples=cut.samples.pieces(2000),
            held_out=cut.held_out.pieces(500),
        )
        write_shard(folder.place_of(number), self.rank, content)

    def restore(self, found: Found) -> None:
        restore_rank(
            found,
            rank=self.rank,
            num_ranks=self.num_ranks,
            routing=Routing.SAMPLE,
            layout=ragged.LAYOUT,
            window=None,
            assembler=self.assembler,
            receiver=self.receiver,
            buffer=self.buffer,
            capacity=CAPACITY,
            capacity_nbytes=self.nbytes,
            views_per_sample=None,
            held_out=self.held_out,
            consumers={},
        )

    def held(self) -> list[SampleKey]:
        """The samples in the buffer, each as it was put."""
        memory = self.buffer.peek(CAPACITY)
        keys = [SampleKey(*key) for key in memory.labels[:, :2].tolist()]
        if keys:
            samples = [[sample_of(key)] for key in keys]
            expected = batch_from_samples(samples, ragged.LAYOUT, has_windows=False, device=torch.device("cpu"))
            for name in ("fields", "offsets", "static"):
                found, wanted = getattr(memory, name), getattr(expected, name)
                assert all(torch.equal(found[one], wanted[one]) for one in wanted)
        return keys


@contextmanager
def ranks(num: int, *, nbytes: int = 10**6) -> Iterator[Sequence[Rank]]:
    with ExitStack() as stack:
        made = [Rank(rank, num, nbytes) for rank in range(num)]
        for one in made:
            stack.callback(one.receiver.close, DEADLINE_S)
        yield made


def saved(folder: Path, num: int, *, num_seen: int = 0) -> tuple[Found, set[SampleKey]]:
    """A checkpoint of so many ranks, which hold every sample, the first ones of them seen."""
    checkpoints = CheckpointFolder(folder)
    keys = [SampleKey(number, step) for step in range(NUM_STEPS) for number in range(NUM_SIMULATIONS)]
    with ranks(num) as made:
        for key in keys:
            sample = sample_of(key)
            given = {"time": sample.time, "parameters": sample.parameters, "static": sample.static}
            owner = made[(key.simulation + key.step) % num]
            assert owner.buffer.put(key, sample.fields, timeout_s=1.0, **given)
            while owner.buffer.population().seen < num_seen // num and owner.buffer.population().unseen:
                owner.buffer.settle(owner.buffer.draw(1))
            owner.held_out.take(sample_of(key, Purpose.VALIDATION), 0.0)
        for one in made:
            one.save(checkpoints, 1)
    checkpoints.finish(1, batches=1, layout_id=ragged.LAYOUT.layout_id, kept=("network",), num_ranks=num)
    found, _ = find_checkpoint(checkpoints, SoloCollective())
    assert found is not None
    return found, set(keys)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2)])
def test_every_sample_is_there_again_with_its_mesh(tmp_path: Path, before: int, after: int) -> None:
    found, keys = saved(tmp_path, before)
    with ranks(after) as made:
        for one in made:
            one.restore(found)
        held = [key for one in made for key in one.held()]
        assert len(held) == len(keys)
        assert {*held} == keys
        assert sum(one.held_out.num_samples for one in made) == len(keys)
        for batch in (batch for one in made for batch in one.held_out.batches(99, torch.device("cpu"))):
            numbers = zip(batch.simulations.tolist(), batch.steps.tolist(), strict=True)
            samples = [[sample_of(SampleKey(*key))] for key in numbers]
            expected = batch_from_samples(samples, ragged.LAYOUT, has_windows=False, device=torch.device("cpu"))
            assert all(torch.equal(batch.static[name], expected.static[name]) for name in expected.static)
            assert all(torch.equal(batch.fields[name], expected.fields[name]) for name in expected.fields)


def test_seen_samples_give_way_where_the_buffers_have_fewer_bytes_now(tmp_path: Path) -> None:
    found, keys = saved(tmp_path, 1, num_seen=12)
    [index] = found.indexes
    unseen = {SampleKey(*key) for key in index.buffer.unseen_keys.tolist()}
    assert 0 < len(unseen) < len(keys)
    nbytes = index.buffer.nbytes - 6 * 512
    with ranks(1, nbytes=nbytes) as [one]:
        one.restore(found)
        held = {*one.held()}
        assert unseen <= held < keys
        assert one.buffer.population().nbytes <= nbytes
    with (
        ranks(1, nbytes=2000) as [one],
        pytest.raises(ConfigurationError, match=r"buffer has 2000: raise buffer\.capacity"),
    ):
        one.restore(found)
