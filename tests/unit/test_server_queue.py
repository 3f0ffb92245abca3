"""How much of each client rank may wait at a server rank: together they have a bound."""

import pytest

from melissa_like.server.reception import queue_length

MIB = 2**20


@pytest.mark.parametrize(
    ("max_jobs", "num_ranks", "field_nbytes", "expected"),
    [
        (1, 1, MIB, 8),
        (4, 64, MIB, 8),
        (16, 64, MIB, 2),
        (2000, 1, MIB, 1),
        (10_000, 16, MIB, 1),  # there is no less
        (1, 64, 640 * MIB, 3),  # each rank's part of a field is 10 MiB
        (1, 1, 4096 * MIB, 1),
    ],
)
def test_thousands_of_client_ranks_have_fewer_messages_waiting(
    max_jobs: int, num_ranks: int, field_nbytes: int, expected: int
) -> None:
    length = queue_length(max_jobs, num_ranks, field_nbytes)
    assert length == expected
    assert length == 1 or length * max_jobs * num_ranks * max(MIB, field_nbytes // num_ranks) <= 2048 * MIB
