"""From how many samples the statistics for the normalization are taken."""

import pytest

from melissa_like.buffer import Population
from melissa_like.loading import Measurement
from melissa_like.records import Window
from melissa_like.server.build_training import num_measured_of

KIB, MIB = 2**10, 2**20


@pytest.mark.parametrize(
    ("length", "step_nbytes", "expected"),
    [
        (None, KIB, 256),
        (None, 100 * MIB, 256),
        (2, KIB, 128),
        (8, KIB, 32),
        (100, KIB, 32),
        (1000, KIB, 32),
        (100, MIB, 10),
        (100, 100 * MIB, 3),
        (1000, 100 * MIB, 1),
        (None, None, 256),
        (2, None, 128),
        (100, None, 32),
    ],
)
def test_long_windows_are_measured_on_several_as_far_as_memory_allows(
    length: int | None, step_nbytes: int | None, expected: int
) -> None:
    window = None if length is None else Window(length=length)
    assert num_measured_of(step_nbytes, window) == expected


@pytest.mark.parametrize(("nbytes", "expected"), [(0, 32), (10 * KIB, 32), (10 * 100 * MIB, 10), (10 * 2000 * MIB, 1)])
def test_of_samples_of_different_sizes_as_many_are_taken_as_memory_allows(nbytes: int, expected: int) -> None:
    wanted = Measurement(quantities={}, measure=lambda batch: {}, num_samples=32, most_nbytes=1024 * MIB)
    held = Population(capacity=50, size=10, seen=4, unseen=6, puts=10, draws=4, evicted=0, removed=0, nbytes=nbytes)
    assert wanted.num_of(held) == expected
