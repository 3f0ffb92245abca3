"""More and fewer jobs of a study that runs; the number holds for the launcher that goes on."""

import signal
from pathlib import Path

from melissa_like.protocol.control import Scale
from melissa_like.study import events as ev
from melissa_like.study import read_journal
from tests.integration.launched import launched, resume
from tests.integration.studies import Ran, await_that
from tests.integration.test_resume import assert_complete, slow


def scale(run_dir: Path, *settings: str) -> Ran:
    with launched(run_dir, *settings, command="scale") as command:
        return command.wait()


def jobs_of(run_dir: Path) -> tuple[int, int]:
    """How many solver jobs were submitted by the launcher that began last, and how many of these are alive."""
    alive: set[str] = set()
    num_submitted = 0
    for entry in read_journal(run_dir):
        match entry.event:
            case ev.Resumed():
                alive, num_submitted = set(), 0
            case ev.JobsSubmitted(handles=handles):
                new = {name for name in handles if name.startswith("job-")}
                alive |= new
                num_submitted += len(new)
            case ev.JobEnded(job=job):
                alive.discard(job)
    return num_submitted, len(alive)


def test_a_running_study_gets_more_jobs_then_fewer_and_loses_nothing(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    with launched(run_dir, *slow(16), "launcher.max_jobs=1") as study:
        study.read_until("streaming")
        assert jobs_of(run_dir)[1] == 1
        more = scale(run_dir, "max_jobs=3")
        assert (more.code, more.err) == (0, "")
        assert more.out.startswith("launcher.max_jobs: 1 -> 3 (1 jobs were alive")
        await_that(lambda: jobs_of(run_dir)[1] == 3)
        fewer = scale(run_dir, "max_jobs=1")
        assert fewer.out.startswith("launcher.max_jobs: 3 -> 1 (3 jobs were alive, ")
        await_that(lambda: jobs_of(run_dir)[1] == 1)
        ran = study.wait()
    assert_complete(ran, 16)
    assert ran.report["simulations"]["restarted"] == 0
    assert ran.report["refused_control_messages"] == {}
    said = [e.event.message for e in read_journal(run_dir) if isinstance(e.event, ev.Said)]
    assert [message.max_jobs for message in said if isinstance(message, Scale)] == [3, 1]
    after = scale(run_dir, "max_jobs=2")
    assert after.code == 2
    assert "has completed: there is nothing to run any more" in after.err


def test_the_number_holds_after_a_resume_unless_that_gives_another(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    with launched(run_dir, *slow(20), "launcher.max_jobs=1") as study:
        study.read_until("streaming")
        assert scale(run_dir, "max_jobs=3").code == 0
        await_that(lambda: jobs_of(run_dir)[1] == 3)
        study.send(signal.SIGKILL)
        study.wait()
    refused = scale(run_dir, "max_jobs=5")
    assert refused.code == 2
    assert f"does not run: go on with it by `melissa-like resume {run_dir} launcher.max_jobs=5`" in refused.err
    with launched(run_dir, command="resume") as second:
        await_that(lambda: jobs_of(run_dir)[1] == 3)
        second.send(signal.SIGKILL)
        second.wait()
    ran = resume(run_dir, "launcher.max_jobs=2")
    assert_complete(ran, 20)
    assert jobs_of(run_dir)[0] == 2
