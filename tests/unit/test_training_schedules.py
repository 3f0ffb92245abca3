"""Schedules as functions of progress."""

import pytest

from melissa_like.training import Constant, Cosine, Linear, Warmup


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), [1.0, 1.0, 1.0]),
        (Linear(floor=0.2), [1.0, 0.6, 0.2]),
        (Cosine(), [1.0, 0.505, 0.01]),
        (Cosine(floor=0.0), [1.0, 0.5, 0.0]),
    ],
)
def test_values_at_the_start_in_the_middle_and_at_the_end(schedule: Cosine, expected: list[float]) -> None:
    assert [schedule(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx(expected)


def test_a_warmup_rises_and_then_runs_the_whole_schedule() -> None:
    schedule = Warmup(then=Linear(floor=0.0), share=0.2, start=0.0)
    assert [schedule(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])


def test_numbers_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"floor is 1\.5"):
        Cosine(floor=1.5)
    with pytest.raises(ValueError, match="floor is -1"):
        Linear(floor=-1)
    with pytest.raises(ValueError, match="share is 0"):
        Warmup(then=Constant(), share=0)
