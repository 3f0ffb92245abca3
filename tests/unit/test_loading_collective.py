"""Collectives within one process share one contract."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from melissa_like.errors import DeadlineExceededError
from melissa_like.loading import Collective, SoloCollective, ThreadCollective
from melissa_like.records import FloatArray


def _rounds(collective: Collective) -> list[FloatArray]:
    return [collective.all_gather(np.array([collective.rank, step], dtype=np.float64)) for step in range(50)]


@pytest.mark.parametrize(
    "make", [lambda: [SoloCollective()], lambda: ThreadCollective.ranks(1), lambda: ThreadCollective.ranks(3)]
)
def test_every_rank_gets_every_vector_of_the_same_round(make: Callable[[], list[Collective]]) -> None:
    collectives = make()
    with ThreadPoolExecutor(len(collectives)) as pool:
        tables = list(pool.map(_rounds, collectives))
    for rounds in tables:
        for step, table in enumerate(rounds):
            assert table.tolist() == [[rank, step] for rank in range(len(collectives))]


def test_what_was_gathered_does_not_change_with_what_was_given() -> None:
    values = np.ones(2)
    gathered = SoloCollective().all_gather(values)
    values[:] = 5
    assert gathered.tolist() == [[1.0, 1.0]]


def test_a_rank_that_does_not_come_is_a_deadline_exceeded() -> None:
    first, _ = ThreadCollective.ranks(2, deadline_s=0.05)
    with pytest.raises(DeadlineExceededError, match="rank 0 of 2"):
        first.all_gather(np.zeros(1))
