"""A short sample of the chaos: what `python -m tests.chaos` does, with a fixed seed and few seconds of it."""

from pathlib import Path

import pytest

from melissa_like.records import Window
from tests.chaos.plan import Kind
from tests.chaos.seed import run_seed

QUICK = frozenset({Kind.KILL_SOLVER, Kind.KILL_SERVER, Kind.KILL_GUARD, Kind.STOP_SOLVER, Kind.STOP_SERVER})


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seed", "window"), [(4, None), (1, None), (2, Window(length=4, hop=2))])
def test_the_books_of_a_disturbed_study_balance(tmp_path: Path, seed: int, window: Window | None) -> None:
    verdict = run_seed(seed, 0.3, QUICK, tmp_path, window)
    assert verdict.faults == ()
    assert verdict.hits
