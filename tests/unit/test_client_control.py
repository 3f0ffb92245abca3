"""A job that computes looks now and then for what its launcher has said, and whether it is still there."""

import time
from collections.abc import Iterator

import pytest

from melissa_like.client.control import ControlLine
from melissa_like.errors import StudyStoppedError
from melissa_like.launcher.peers import Peers
from melissa_like.protocol.control import Request, Stop, Welcome
from melissa_like.records import ClientRank, StudyIdentity
from melissa_like.transport.in_memory import MemoryTransport

IDENTITY = StudyIdentity(study=b"s" * 16, secret=b"x" * 16)
ADDRESS = ClientRank("job-0001")
DEADLINE_S = 10.0


class Launcher:
    """The other end, which answers when it is told to."""

    def __init__(self) -> None:
        self.transport = MemoryTransport()
        self._socket = self.transport.control_server()
        self._peers = Peers(self._socket, IDENTITY)
        self.line = ControlLine(self.transport, self._socket.endpoint, IDENTITY, ADDRESS)

    def answer(self) -> None:
        """Read and acknowledge all that waits."""
        while self._peers.receive(0.0) is not None:
            pass
        self._peers.acknowledge()

    def stop(self) -> None:
        self._peers.tell(ADDRESS, Stop(reason="the study is over"))


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    made.line.post(Request())
    made.answer()
    yield made
    made.line.close()


def heed_again_and_again(launcher: Launcher) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        launcher.line.heed()
        time.sleep(0.005)


def test_a_stop_is_heeded_though_nobody_waits_for_it(launcher: Launcher) -> None:
    launcher.line.heed()
    launcher.stop()
    with pytest.raises(StudyStoppedError, match="the study is over"):
        launcher.line.heed()


def test_a_launcher_that_does_not_answer_is_gone(launcher: Launcher) -> None:
    launcher.line.be_patient(0.5)
    launcher.line.heed()  # takes the answer to the request
    began = time.monotonic()
    with pytest.raises(StudyStoppedError, match=r"the launcher has not answered for 0\.5 s: it is gone"):
        heed_again_and_again(launcher)
    assert time.monotonic() - began >= 0.5


def test_a_launcher_that_answers_is_there_however_long_nobody_looks(launcher: Launcher) -> None:
    launcher.line.be_patient(0.2)
    began = time.monotonic()
    while time.monotonic() < began + 0.6:
        launcher.line.heed()
        launcher.answer()
        time.sleep(0.03)


def test_an_answer_that_is_expected_of_a_launcher_that_is_gone_never_comes(launcher: Launcher) -> None:
    launcher.line.be_patient(0.5)
    began = time.monotonic()
    with pytest.raises(StudyStoppedError, match="it is gone, or was started again"):
        launcher.line.expect(Welcome)
    assert 0.5 <= time.monotonic() - began < DEADLINE_S
