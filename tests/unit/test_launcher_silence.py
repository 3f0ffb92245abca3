"""Silent server ranks, by a clock that is told."""

from melissa_like.launcher.silence import Silence
from melissa_like.records import ServerRank

FIRST, SECOND = ServerRank(0), ServerRank(1)


def test_a_rank_of_which_nothing_is_heard_is_told_once() -> None:
    silence = Silence(10.0)
    for rank in (FIRST, SECOND):
        silence.hear(rank, 100.0)
    for now in (100.0, 104.0, 108.0):
        assert silence.take(now) == []
    silence.hear(SECOND, 109.0)
    assert silence.take(110.5) == [FIRST]
    assert silence.take(112.0) == []
    assert silence.awaited(lambda rank: True) == [SECOND]


def test_a_rank_that_has_ended_is_not_silent() -> None:
    silence = Silence(10.0)
    silence.take(100.0)
    silence.hear(FIRST, 100.0)
    silence.forget(FIRST)
    for now in (104.0, 108.0, 112.0):
        assert silence.take(now) == []


def test_a_launcher_that_stood_still_itself_blames_nobody() -> None:
    silence = Silence(10.0)
    silence.take(100.0)
    silence.hear(FIRST, 100.0)
    assert silence.take(3700.0) == []
    for now in (3704.0, 3708.0):
        assert silence.take(now) == []
    assert silence.take(3711.0) == [FIRST]
