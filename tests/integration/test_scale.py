"""More and fewer jobs of a study that runs; the number holds for the launcher that goes on."""

import signal
from pathlib import Path

from melissa_like.protocol.control import Request, Scale
from melissa_like.study import events as ev
from melissa_like.study import read_journal
from tests.integration.launched import launched, resume
from tests.integration.studies import Ran, await_that, marked
from tests.integration.test_resume import QUICK, assert_complete


def gated(run_dir: Path, num_simulations: int = 8) -> list[str]:
    """A study whose simulations do not end before there is a file `open` beside its folder."""
    return [*marked("gated", simulations=num_simulations, gate=run_dir.parent / "open"), *QUICK]


def scale(run_dir: Path, *settings: str) -> Ran:
    with launched(run_dir, *settings, command="scale") as command:
        return command.wait()


def of_the_last_launcher(run_dir: Path) -> list[ev.Event]:
    """What has happened since the last launcher began."""
    events: list[ev.Event] = []
    for entry in read_journal(run_dir):
        if isinstance(entry.event, ev.Resumed):
            events.clear()
        events.append(entry.event)
    return events


def num_submitted(run_dir: Path) -> int:
    """Solver jobs that the last launcher has submitted."""
    handles = [event.handles for event in of_the_last_launcher(run_dir) if isinstance(event, ev.JobsSubmitted)]
    return sum(name.startswith("job-") for some in handles for name in some)


def num_asking(run_dir: Path) -> int:
    """Jobs that have asked for a simulation."""
    said = [event for event in of_the_last_launcher(run_dir) if isinstance(event, ev.Said)]
    return len({event.address for event in said if isinstance(event.message, Request)})


def test_a_running_study_gets_more_jobs_then_fewer_and_loses_nothing(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    with launched(run_dir, *gated(run_dir), "launcher.max_jobs=1") as study:
        study.read_until("streaming")
        await_that(lambda: num_asking(run_dir) == 1)
        more = scale(run_dir, "max_jobs=3")
        assert (more.code, more.err) == (0, "")
        assert more.out.startswith("launcher.max_jobs: 1 -> 3 (1 jobs were alive, others are submitted")
        await_that(lambda: num_asking(run_dir) == 3)
        fewer = scale(run_dir, "max_jobs=1")
        assert fewer.out == "launcher.max_jobs: 3 -> 1 (3 jobs were alive, 2 end after their simulation)\n"
        (tmp_path / "open").touch()
        ran = study.wait()
    assert_complete(ran)
    assert ran.report["simulations"]["restarted"] == 0
    assert ran.report["refused_control_messages"] == {}
    assert num_submitted(run_dir) == 3
    said = [event.message for event in of_the_last_launcher(run_dir) if isinstance(event, ev.Said)]
    assert [message.max_jobs for message in said if isinstance(message, Scale)] == [3, 1]
    after = scale(run_dir, "max_jobs=2")
    assert after.code == 2
    assert "has completed: there is nothing to run any more" in after.err


def test_the_number_holds_after_a_resume_unless_that_gives_another(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    with launched(run_dir, *gated(run_dir), "launcher.max_jobs=1") as study:
        study.read_until("streaming")
        assert scale(run_dir, "max_jobs=3").code == 0
        await_that(lambda: num_submitted(run_dir) == 3)
        study.send(signal.SIGKILL)
        study.wait()
    refused = scale(run_dir, "max_jobs=5")
    assert refused.code == 2
    assert f"does not run: go on with it by `melissa-like resume {run_dir} launcher.max_jobs=5`" in refused.err
    with launched(run_dir, command="resume") as second:
        await_that(lambda: num_submitted(run_dir) == 3)
        second.send(signal.SIGKILL)
        second.wait()
    (tmp_path / "open").touch()
    assert_complete(resume(run_dir, "launcher.max_jobs=2"))
    assert num_submitted(run_dir) == 2
