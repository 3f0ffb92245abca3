"""A job that says hello to a launcher that is gone goes on with the one that follows."""

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from melissa_like.client import Client, control
from melissa_like.client.environment import JOB_VARIABLE, RUN_DIR_VARIABLE
from melissa_like.errors import StudyStoppedError
from melissa_like.protocol import control as say
from melissa_like.protocol import write_connection
from tests.unit.scripted_study import Study

FINISH = say.Finish(reason="no simulation is left")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(RUN_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setenv(JOB_VARIABLE, "job-0001")
    monkeypatch.setattr(control, "_SILENCE_S", 1.0)
    return tmp_path


def test_a_job_that_has_read_where_the_last_launcher_was_reads_again(run_dir: Path) -> None:
    launcher = Study(FINISH)
    silent = launcher.transport.control_server()
    write_connection(run_dir, replace(launcher.connection, endpoint=silent.endpoint))
    launcher.connection = replace(launcher.connection, launcher_incarnation=2)
    with launcher:
        later = threading.Timer(0.3, write_connection, (run_dir, launcher.connection))
        later.start()
        with Client(transport=launcher.transport) as client:
            assert client.next_session() is None
        later.join(10.0)
    (hello,) = launcher.of(say.Hello)
    assert hello == say.Hello(num_ranks=1, host=hello.host, pid=hello.pid)  # type: ignore[attr-defined]


def test_a_launcher_that_is_gone_for_good_is_told(run_dir: Path) -> None:
    with Study() as launcher:
        silent = launcher.transport.control_server()
        write_connection(run_dir, replace(launcher.connection, endpoint=silent.endpoint))
        with pytest.raises(StudyStoppedError, match="it is gone"), Client(transport=launcher.transport):
            pass
