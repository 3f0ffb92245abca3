"""Scripted launcher and server ranks, over ZeroMQ and with a run directory: what a compiled solver speaks to."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from melissa_like.launcher.peers import Peers
from melissa_like.launcher.study_keys import make_study_keys
from melissa_like.protocol import Connection, write_connection
from melissa_like.protocol import control as say
from melissa_like.protocol.wire import Header, decode
from melissa_like.records import STORAGE_DTYPES
from melissa_like.transport.zmq_transport import ZmqTransport

MARK = (say.WireField(name="mark", shape=(8, 4), dtype="float32"),)


class ScriptedStudy:
    """Answers every request by the next of its answers, and keeps what it was told and sent.

    Args:
        run_dir: where a job reads its files.
        answers: to requests, in order; then Finish.
        welcome: keys of `Welcome` that differ.
        encryption: as in `transport.encryption`.
        num_server_ranks: receiving ends.
        shares_memory: whether they take rings.
        receives: whether they read from the beginning, or when `receive_now` is called.
        answers_blocked: what is said to Blocked; None: nothing.
        silent_after: a message after which the launcher is gone.
        refuses: the reason why it lets no job in; empty: it lets them in.
        host: on which all ends listen.
    """

    def __init__(
        self,
        run_dir: Path,
        *answers: say.ControlMessage,
        welcome: dict[str, Any] | None = None,
        encryption: str = "none",
        num_server_ranks: int = 1,
        shares_memory: bool = True,
        receives: bool = True,
        answers_blocked: Callable[[say.Welcome], say.ControlMessage | None] = lambda welcome: welcome,
        silent_after: type[say.ControlMessage] | None = None,
        refuses: str = "",
        host: str = "127.0.0.1",
    ) -> None:
        keys = make_study_keys(encryption)
        keys.write(run_dir)
        self._run_dir = run_dir
        self._launcher = ZmqTransport(host=host, credentials=keys.credentials("launcher"))
        self._servers = ZmqTransport(host=host, shares_memory=shares_memory, credentials=keys.credentials("server"))
        self._control = self._launcher.control_server()
        self._receivers = [self._servers.part_receiver(queue_length=1) for _ in range(num_server_ranks)]
        self.connection = Connection(
            endpoint=self._control.endpoint,
            server_endpoint=self._control.server_endpoint,
            study=keys.study,
            secret=keys.secret,
            launcher_incarnation=1,
            keys=keys.keys("launcher"),
        )
        write_connection(run_dir, self.connection)
        self._welcome = self._make_welcome(welcome or {})
        self._answers = [*answers, say.Finish(reason="no simulation is left")]
        self._answers_blocked = answers_blocked
        self._silent_after = silent_after
        self._refuses = refuses
        self._reads = threading.Event()
        if receives:
            self._reads.set()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._answer)]
        self._threads += [threading.Thread(target=self._take, args=[rank]) for rank in range(num_server_ranks)]
        self.heard: list[tuple[str, say.ControlMessage]] = []
        self.parts: list[tuple[int, Header, np.ndarray]] = []
        self.faults: list[str] = []

    def __enter__(self) -> "ScriptedStudy":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10.0)
        for receiver in self._receivers:
            receiver.close()
        self._control.close(0.0)
        self._servers.close()
        self._launcher.close()

    def start(self, command: Sequence[str | Path]) -> "subprocess.Popen[str]":
        """A job in the background."""
        environment = {
            **os.environ,
            "MELISSA_LIKE_RUN_DIR": str(self._run_dir),
            "MELISSA_LIKE_JOB": "job-0001",
            # MPI keeps what it has; the threads of a child that was forked are those of its parent.
            "ASAN_OPTIONS": "detect_leaks=0" if len(command) > 2 or "forks" in command else "",
        }
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, command: Sequence[str | Path], *, timeout_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """A job to its end."""
        with self.start(command) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            finally:
                process.kill()
        self.settle()
        return subprocess.CompletedProcess(list(map(str, command)), process.returncode, out, err)

    def receive_now(self) -> None:
        """The server ranks read from now on."""
        self._reads.set()

    def settle(self) -> None:
        """Wait until nothing more comes."""
        before = -1
        while before != len(self.parts):
            before = len(self.parts)
            time.sleep(0.1)

    def of(self, kind: type[say.ControlMessage]) -> list[Any]:
        """The messages of a kind that were heard."""
        return [message for _, message in self.heard if isinstance(message, kind)]

    def await_heard(self, kind: type[say.ControlMessage], timeout_s: float = 60.0) -> None:
        """Wait until a message of a kind was heard."""
        deadline = time.monotonic() + timeout_s
        while not self.of(kind):
            assert time.monotonic() < deadline, f"no {kind.__name__} came"
            time.sleep(0.02)

    def assembled(self, shape: tuple[int, ...]) -> dict[tuple[int, int, int], np.ndarray]:
        """Boxes put together, by simulation, step and field; what nothing came for is NaN."""
        whole: dict[tuple[int, int, int], np.ndarray] = {}
        for _, header, values in self.parts:
            if header.kind.name == "PART":
                key = (header.simulation, header.step, header.field_id)
                whole.setdefault(key, np.full(shape, np.nan))[header.box.slices] = values
        return whole

    def _make_welcome(self, changed: dict[str, Any]) -> say.Welcome:
        known: dict[str, Any] = {
            "server_endpoints": tuple(receiver.endpoint for receiver in self._receivers),
            "server_incarnation": 1,
            "launcher_incarnation": 1,
            "routing": 0,
            "layout_id": 7,
            "fields": MARK,
            "parameters": ("number",),
            "num_steps": None,
            "budget_bytes": 32 * 2**20,
            "heartbeat_s": 1.0,
            "orphan_timeout_s": 60.0,
        }
        return say.Welcome(**{**known, **changed})

    def _answer(self) -> None:
        peers = Peers(self._control, self.connection.identity())
        while not self._over.is_set():
            received = peers.receive(0.02)
            if self._silent_after is not None and self.of(self._silent_after):
                continue
            if received is not None and received[1] is not None:
                peer, message = received
                self.heard.append((str(peer), message))
                answer = self._answer_to(message)
                if answer is not None:
                    peers.tell(peer, answer)
            peers.repeat()

    def _answer_to(self, message: say.ControlMessage) -> say.ControlMessage | None:
        if isinstance(message, say.Hello):
            return say.Refused(reason=self._refuses) if self._refuses else self._welcome
        if isinstance(message, say.Blocked):
            return self._answers_blocked(self._welcome)
        return self._answers.pop(0) if isinstance(message, say.Request) else None

    def _take(self, rank: int) -> None:
        arrived = _Arrived()
        while not self._over.is_set():
            if not self._reads.wait(0.05):
                continue
            received = self._receivers[rank].receive(arrived.place, 0.05)
            if received is None:
                continue
            if received.fault is not None:
                self.faults.append(received.fault)
            self.parts.append((rank, *arrived.last))


class _Arrived:
    """The place of a payload: an array of its own."""

    last: tuple[Header, np.ndarray]

    def place(self, encoded: bytes) -> memoryview:
        header = decode(encoded)
        values = np.empty(header.box.shape, STORAGE_DTYPES[header.dtype_code])
        self.last = (header, values)
        return memoryview(values.reshape(-1).view(np.uint8))
