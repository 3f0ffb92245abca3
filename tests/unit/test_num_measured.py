"""From how many samples the statistics for the normalization are taken."""

import pytest

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
    ],
)
def test_long_windows_are_measured_on_several_as_far_as_memory_allows(
    length: int | None, step_nbytes: int, expected: int
) -> None:
    window = None if length is None else Window(length=length)
    assert num_measured_of(step_nbytes, window) == expected
