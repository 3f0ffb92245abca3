"""A peer is gone when a question stays without an answer, and not when nobody asked or listened."""

from melissa_like.protocol.liveness import Liveness


def test_a_peer_that_is_silent_is_asked_once_and_then_gone() -> None:
    peer = Liveness(100.0, now=0.0)
    assert not peer.asks(9.0)
    assert peer.asks(10.0)
    assert not peer.asks(50.0)
    assert not peer.is_gone(109.0)
    assert peer.is_gone(110.0)


def test_a_peer_that_answers_is_there() -> None:
    peer = Liveness(100.0, now=0.0)
    assert peer.asks(10.0)
    peer.hear(11.0)
    assert not peer.is_gone(1000.0)
    assert not peer.asks(20.0)
    assert peer.asks(21.0)


def test_who_did_not_look_for_long_asks_before_it_believes_anything() -> None:
    peer = Liveness(100.0, now=0.0)
    assert not peer.is_gone(5000.0)
    assert peer.asks(5000.0)
    assert not peer.is_gone(5001.0)
