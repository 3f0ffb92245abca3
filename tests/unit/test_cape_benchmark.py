"""The table of conditionings: what is outside, and a table that goes on where it stopped."""

from pathlib import Path

import pytest

from tests.benchmarks import cape


def test_outside_is_in_the_whole_range_and_beyond_the_half_that_is_trained_on() -> None:
    rows = cape.beyond(seed=3, count=50)
    whole, halves = cape.RANGES.values(), cape.middle_halves().values()
    for _, *coefficients in rows:
        assert all(low <= value <= high for value, (low, high) in zip(coefficients, whole, strict=True))
        assert not all(low <= value <= high for value, (low, high) in zip(coefficients, halves, strict=True))
    assert rows == cape.beyond(seed=3, count=50)


@pytest.mark.slow
def test_a_table_is_filled_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--scale", "minute", "--seeds", "1", "--network", "fno", "--results", str(tmp_path)]
    cape.main(asked)
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.endswith("-seed-0")] == [
        "fno-not-told-seed-0",
        "fno-constant-channels-seed-0",
        "fno-scale-and-shift-seed-0",
        "fno-CAPE-seed-0",
    ]
    cape.main(asked)
    again = capsys.readouterr().out
    assert "seed-0" not in again
    assert "outside" in again
