"""`melissa-like scale`: more or fewer solver jobs of a study that runs.

The launcher is found by the run directory: its lease says whether it lives, the connection file where. Whoever may read
the keys there is the study's user, and speaks to the launcher as it is spoken to by a server rank.
"""

import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from melissa_like.config import CONFIG_FILE
from melissa_like.config.mistakes import did_you_mean
from melissa_like.errors import ConfigurationError, MelissaLikeError
from melissa_like.launcher.lease import LeaseFile, newest_lease
from melissa_like.launcher.rundir import REPORT_FILE, resume_command
from melissa_like.launcher.summary import holds_nothing, read_report
from melissa_like.launcher.sweep_file import read_sweep
from melissa_like.protocol import Connection, read_connection
from melissa_like.protocol.connection import CONNECTION_FILE
from melissa_like.protocol.control import Refused, Scale, Scaled
from melissa_like.protocol.link import Link
from melissa_like.records import Operator
from melissa_like.transport.zmq_transport import ZmqTransport

__all__ = ["SCALE_USAGE", "read_max_jobs", "scale", "scale_study", "told"]

SCALE_USAGE = """usage: melissa-like scale RUN_DIR max_jobs=N

More or fewer solver jobs of the study that runs in RUN_DIR, from now on and after a resume. With more, jobs are
submitted at once, as far as simulations wait. With fewer, jobs that wait in the queue or have no simulation yet are
canceled, and the others end when their simulation has: none is lost.

  melissa-like scale runs/heat max_jobs=64
"""
_KEY = "max_jobs"
_MOST_JOBS = 1_000_000
_ANSWER_S = 20.0
_LISTEN_S = 0.25


def scale(arguments: Sequence[str]) -> int:
    """The command, with what follows its name; gives its exit code."""
    if len(arguments) < 2 or "=" in arguments[0]:
        sys.stderr.write(SCALE_USAGE)
        return 2
    try:
        changed = scale_study(Path(arguments[0]).resolve(), read_max_jobs(arguments[1:]))
    except MelissaLikeError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        return 2
    sys.stdout.write(f"{told(changed)}\n")
    return 0


def read_max_jobs(settings: Sequence[str]) -> int:
    """The number in `max_jobs=N`.

    Raises:
        ConfigurationError: another key, no number, or two of them.
    """
    if len(settings) != 1:
        raise ConfigurationError(f"received {' '.join(settings)}: give one setting, {_KEY}=N")
    key, _, value = settings[0].partition("=")
    if key != _KEY:
        near = did_you_mean(key, [_KEY]) or f": write {_KEY}=N"
        raise ConfigurationError(f"{key} cannot be changed while a study runs{near}")
    if not value.isdecimal() or not value.isascii() or not 1 <= int(value) <= _MOST_JOBS:
        raise ConfigurationError(f"{_KEY} cannot be {value!r}: write a whole number, 1 to {_MOST_JOBS}")
    return int(value)


def scale_study(run_dir: Path, max_jobs: int, *, timeout_s: float = _ANSWER_S) -> Scaled:
    """Let so many solver jobs of a running study be alive; blocks until its launcher answers.

    Raises:
        ConfigurationError: no study runs there, or its launcher does not answer or refuses.
    """
    said = _launcher_of(run_dir, max_jobs)
    connection = _connection_of(run_dir)
    answer = _ask(connection, Scale(max_jobs=max_jobs), timeout_s)
    if answer is None:
        raise ConfigurationError(
            f"the launcher of {run_dir}, {said.holder}, has not answered at {connection.server_endpoint} within "
            f"{timeout_s:g} s: look whether it stands still, or type the command on the host where it runs"
        )
    if isinstance(answer, Refused):
        raise ConfigurationError(f"the launcher of {run_dir} has changed nothing: {answer.reason}")
    return answer


def told(changed: Scaled) -> str:
    """What has changed, in a sentence."""
    parts = [f"{changed.num_jobs + changed.num_canceled} jobs were alive"]
    if changed.num_canceled:
        parts.append(f"{changed.num_canceled} without a simulation are canceled")
    if changed.num_leaving:
        parts.append(f"{changed.num_leaving} end after their simulation")
    if changed.num_jobs < changed.max_jobs:
        parts.append("others are submitted as far as simulations wait")
    return f"launcher.max_jobs: {changed.before} -> {changed.max_jobs} ({', '.join(parts)})"


def _launcher_of(run_dir: Path, max_jobs: int) -> LeaseFile:
    """Who works on the study, as far as can be seen from here."""
    if not (run_dir / CONFIG_FILE).exists():
        running = [run_dir / row.folder for row in read_sweep(run_dir) if row.outcome == "running"]
        if running:
            raise ConfigurationError(f"{run_dir} is a sweep: give one of its studies, such as {running[0]}")
        raise ConfigurationError(holds_nothing(run_dir))
    said = newest_lease(run_dir)[1]
    if said is not None and not said.given_back and said.holder.lives() is not False:
        return said
    if (run_dir / REPORT_FILE).exists() and read_report(run_dir)["outcome"] == "completed":
        raise ConfigurationError(f"the study in {run_dir} has completed: there is nothing to run any more")
    go_on = f"{resume_command(run_dir)} launcher.max_jobs={max_jobs}"
    raise ConfigurationError(f"the study in {run_dir} does not run: go on with it by `{go_on}`")


def _connection_of(run_dir: Path) -> Connection:
    """Where the launcher is."""
    if not (run_dir / CONNECTION_FILE).exists():
        raise ConfigurationError(f"the study in {run_dir} is only being started: try again in a moment")
    connection = read_connection(run_dir, "server")
    if connection.server_endpoint.startswith("memory:"):
        raise ConfigurationError(
            f"the study in {run_dir} runs within one process (launcher=inline), which nobody can speak to: stop it by "
            f"Ctrl-C, and go on by `{resume_command(run_dir)} launcher.max_jobs=N`"
        )
    return connection


def _ask(connection: Connection, question: Scale, timeout_s: float) -> Scaled | Refused | None:
    """The launcher's answer; None if there is none in time."""
    address, link = Operator(secrets.token_hex(4)), Link(connection.identity())
    deadline = time.monotonic() + timeout_s
    with closing(ZmqTransport(credentials=connection.credentials)) as transport:
        socket = transport.control_client(connection.server_endpoint, str(address).encode())
        try:
            socket.send(link.post(question, time.monotonic()))
            while (left := deadline - time.monotonic()) > 0:
                received = socket.receive(min(left, _LISTEN_S))
                answer = None if received is None else link.receive(received)
                if isinstance(answer, Scaled | Refused):
                    return answer
                for encoded in link.due(time.monotonic()):
                    socket.send(encoded)
        finally:
            socket.close(0.0)
    return None
