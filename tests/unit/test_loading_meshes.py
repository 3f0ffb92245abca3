"""Batches of samples whose sizes differ: what the trainer gets is what was put, point by point."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from melissa_like.buffer import SampleBuffer, reservoir
from melissa_like.loading import (
    AgreementTerms,
    Batch,
    Loader,
    LocalState,
    Measurement,
    SoloCollective,
    batch_from_samples,
)
from melissa_like.records import FieldSpec, Purpose, Sample, SampleKey, StudyWideField
from tests.unit.ragged import LAYOUT, Sizes, fields_of, mesh_of

INLET = StudyWideField(spec=FieldSpec(name="inlet", shape=(3,)), values=np.arange(3, dtype=np.float32))
STUDY = replace(LAYOUT, study_wide=(INLET,))
NUM_SIMULATIONS, NUM_STEPS, BATCH = 9, 4, 5

on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def sizes_of(simulation: int) -> Sizes:
    return 3 + 5 * simulation, 2 + (7 * simulation) % 11


def sample_of(key: SampleKey) -> Sample:
    sizes = sizes_of(key.simulation)
    return Sample(
        key=key,
        attempt=1,
        purpose=Purpose.TRAINING,
        time=key.step / 8,
        parameters=np.array([float(key.simulation)]),
        fields=fields_of(key, sizes),
        static=mesh_of(key.simulation, sizes),
    )


def filled(device: str) -> SampleBuffer:
    buffer = reservoir(STUDY, 100, capacity_nbytes=10**6, watermark=0, views_per_sample=3, device=device)
    for simulation in range(NUM_SIMULATIONS):
        for step in range(NUM_STEPS):
            sample = sample_of(SampleKey(simulation, step))
            given = {"time": sample.time, "parameters": sample.parameters, "static": sample.static}
            assert buffer.put(sample.key, sample.fields, timeout_s=1.0, **given)
    buffer.end_reception()
    return buffer


def loader_of(buffer: SampleBuffer, device: str, measured: list[Batch]) -> Loader:
    def measure(batch: Batch) -> dict[str, torch.Tensor]:
        measured.append(batch)
        return {"displacement": batch.fields["displacement"]}

    return Loader(
        buffer,
        AgreementTerms(batch_size=BATCH, expected_samples=NUM_SIMULATIONS * NUM_STEPS),
        state=lambda: LocalState(delivered=NUM_SIMULATIONS * NUM_STEPS),
        collective=SoloCollective(),
        device=device,
        measurement=Measurement(quantities={"displacement": 2}, measure=measure, num_samples=7),
    )


def check(batch: Batch) -> list[SampleKey]:
    """A batch is the one that its samples make one by one."""
    numbers = zip(batch.simulations.tolist(), batch.steps.tolist(), strict=True)
    keys = [SampleKey(simulation, step) for simulation, step in numbers]
    device = batch.simulations.device
    expected = batch_from_samples([[sample_of(key)] for key in keys], STUDY, has_windows=False, device=device)
    for name in ("times", "parameters"):
        assert torch.equal(getattr(batch, name), getattr(expected, name))
    for name in ("fields", "offsets", "static"):
        found, wanted = getattr(batch, name), getattr(expected, name)
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert found[key].dtype == wanted[key].dtype, key
            assert torch.equal(found[key], wanted[key]), key
    assert batch.axes == expected.axes
    return keys


@pytest.mark.parametrize(
    ("home", "device"),
    [
        ("cpu", "cpu"),
        pytest.param("cpu", "cuda", marks=on_gpu),
        pytest.param("cuda", "cuda", marks=on_gpu),
    ],
)
def test_a_turn_has_the_points_of_its_samples_one_after_the_other(home: str, device: str) -> None:
    measured: list[Batch] = []
    seen: Counter[SampleKey] = Counter()
    shared = set()
    with loader_of(filled(home), device, measured) as loader:
        for turn in loader:
            assert turn.batch is not None
            assert turn.batch.size <= BATCH
            assert turn.batch.fields["displacement"].device.type == device
            seen.update(check(turn.batch))
            shared.add(turn.batch.static["inlet"].data_ptr())
    assert len(seen) == NUM_SIMULATIONS * NUM_STEPS
    assert seen.total() == 3 * NUM_SIMULATIONS * NUM_STEPS
    assert len(shared) == 1  # what all simulations share lies there once
    (held,) = measured
    assert (held.simulations.device.type, held.size) == ("cpu", 7)
    check(held)


def test_the_memory_of_a_batch_is_copied_whole_and_grows() -> None:
    """What a slot does between pinned memory and a device, with both on the host."""
    buffer = filled("cpu")
    memory = buffer.batch_memory(BATCH, pinned=False)
    elsewhere = memory.like_on(torch.device("cpu"))
    for size in (1, BATCH, 2):
        draw = buffer.draw(size)
        buffer.gather(draw, memory)
        elsewhere.copy_from(memory, size)
        assert torch.equal(elsewhere.labels, memory.labels)
        for name in ("fields", "offsets", "static"):
            found, wanted = getattr(elsewhere, name), getattr(memory, name)
            assert all(torch.equal(found[key], wanted[key]) for key in wanted)
            assert all(found[key].data_ptr() != wanted[key].data_ptr() for key in wanted)
        buffer.settle(draw)
