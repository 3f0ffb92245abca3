"""Jobs whose server ranks are replaced, or whose study ends, while a rank is blocked and the others wait for it."""

from pathlib import Path

import pytest

from melissa_like.study import events as ev
from tests.integration.studies import Ran, melissa_like
from tests.integration.told import happened, told

#: A buffer of two samples, so that a solver is held back nearly always.
TIGHT = ["buffer=fifo", "buffer.capacity=2", "training.batch_size=1", "transport.heartbeat_s=0.3", "launcher.grace_s=3"]


def logs_of_jobs(ran: Ran) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((ran.run_dir / "logs").glob("job-*"))}


@pytest.mark.mpi
def test_jobs_of_lost_server_ranks_end_at_once_and_in_peace(tmp_path: Path) -> None:
    study = told(tmp_path, ranks=2, simulations=5)
    loop = ["training.loop._target_=tests.plugins.loops.killed_once", f"+training.loop.folder={tmp_path}"]
    loop += ["+training.loop.moment=training", "+training.loop.ranks=[0]"]
    ran = melissa_like(tmp_path / "study", *study, *loop, *TIGHT, "launcher.max_jobs=2", timeout_s=60)
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 30
    (lost,) = [entry for entry in happened(ran.run_dir, ev.ServerEnded) if "SIGKILL" in entry.event.message]  # type: ignore[union-attr]
    ends = [entry.at_s - lost.at_s for entry in happened(ran.run_dir, ev.JobEnded) if entry.at_s >= lost.at_s]
    assert ends[0] < 2.0
    assert not [name for name, log in logs_of_jobs(ran).items() if "Traceback" in log]


@pytest.mark.mpi
def test_a_job_that_is_held_back_when_its_study_ends_is_told_so(tmp_path: Path) -> None:
    study = told(tmp_path, ranks=2, simulations=50)
    ran = melissa_like(tmp_path / "study", *study, *TIGHT, "training.max_batches=10", "launcher.grace_s=20")
    assert ran.code == 0, ran.err
    assert ran.report["outcome"] == "stopped"
    (log,) = logs_of_jobs(ran).values()
    assert "StudyStoppedError: training.max_batches was reached" in log
    assert "Traceback" not in log
    assert ran.report["seconds"] < 20.0
