"""Control messages are numbered, acknowledged, repeated and taken once."""

import pytest

from melissa_like.errors import ProtocolError
from melissa_like.protocol.control import Goodbye, Hello, Request
from melissa_like.protocol.link import REPEAT_AFTER_S, Link
from melissa_like.records import StudyIdentity

IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"k" * 16)
HELLO = Hello(num_ranks=2, host="here", pid=1)
REQUEST = Request()


def test_a_message_is_taken_once_and_acknowledged() -> None:
    ours, theirs = Link(IDENTITY), Link(IDENTITY)
    encoded = ours.post(HELLO, now=0.0)
    assert theirs.receive(encoded) == HELLO
    assert theirs.receive(encoded) is None
    assert not ours.settled
    (acknowledgement,) = theirs.due(now=0.0)
    assert ours.receive(acknowledgement) is None
    assert ours.settled
    assert theirs.due(now=0.0) == []


def test_a_lost_message_is_repeated_and_order_is_kept() -> None:
    ours, theirs = Link(IDENTITY), Link(IDENTITY)
    ours.post(HELLO, now=0.0)  # lost on the way
    second = ours.post(REQUEST, now=0.1)
    assert theirs.receive(second) is None  # a gap: not yet
    assert ours.due(now=0.5) == []
    repeated = ours.due(now=REPEAT_AFTER_S)
    assert [theirs.receive(encoded) for encoded in repeated] == [HELLO, REQUEST]


def test_a_peer_that_stands_still_is_not_flooded() -> None:
    ours, theirs = Link(IDENTITY), Link(IDENTITY)
    for _ in range(1000):
        ours.post(REQUEST, now=0.0)
    times, repeated = [], []
    for tenth in range(600):
        if encoded := ours.due(now=tenth / 10):
            times.append(tenth / 10)
            repeated += encoded
    assert times[:3] == [1.0, 3.0, 7.0]
    assert len(repeated) < 500
    taken = 0
    for tenth in range(600, 1000):
        for encoded in ours.due(now=tenth / 10):
            taken += theirs.receive(encoded) is not None
        for encoded in theirs.due(now=tenth / 10):
            ours.receive(encoded)
    assert taken == 1000
    assert ours.settled


def test_an_answer_carries_the_acknowledgement() -> None:
    ours, theirs = Link(IDENTITY), Link(IDENTITY)
    theirs.receive(ours.post(HELLO, now=0.0))
    ours.receive(theirs.post(REQUEST, now=0.0))
    assert ours.settled
    assert theirs.due(now=0.0) == []


def test_an_unnumbered_message_is_neither_kept_nor_repeated() -> None:
    ours, theirs = Link(IDENTITY), Link(IDENTITY)
    assert theirs.receive(ours.post_unnumbered(REQUEST)) == REQUEST
    assert ours.settled
    assert theirs.due(now=0.0) == []


@pytest.mark.parametrize(
    "other",
    [
        StudyIdentity(study=b"o" * 16, secret=b"k" * 16),
        StudyIdentity(study=b"s" * 16, secret=b"w" * 16),
        StudyIdentity(study=b"s" * 16, secret=b"k" * 16, launcher_incarnation=2),
    ],
)
def test_another_identity_is_refused(other: StudyIdentity) -> None:
    with pytest.raises(ProtocolError):
        Link(IDENTITY).receive(Link(other).post(HELLO, now=0.0))


def test_garbage_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not a control message"):
        Link(IDENTITY).receive(b"\x00garbage")


def test_numbers_survive_the_journey() -> None:
    ours, theirs = Link(IDENTITY), Link(IDENTITY)
    goodbye = Goodbye(simulation=3, attempt=2, num_steps=100, parts_sent=(50, 2**40))
    assert theirs.receive(ours.post(goodbye, now=0.0)) == goodbye
