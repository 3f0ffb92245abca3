"""The script of `--write-script`: a study inside one allocation, which goes on when the script is run again."""

from datetime import datetime
from pathlib import Path

import pytest

from melissa_like.protocol import control as say
from melissa_like.study import events as ev
from melissa_like.study import read_journal
from tests.integration.studies import COMMAND, Ran, environment, marked
from tests.slurm.cluster import Cluster
from tests.slurm.studies import assert_balanced

pytestmark = pytest.mark.slurm

_SIMULATIONS = 12
#: A job that is run again in the same second is refused by its node.
_SOON_S = 3
_QUICK = ["monitoring.interval_s=0.1", "training.checkpoint.interval_s=1", "launcher.grace_s=2", "launcher.max_jobs=3"]


def slow() -> list[str]:
    return [*marked("slow", pause_s=0.3, simulations=_SIMULATIONS), *_QUICK, "launcher.save_timeout_s=5"]


class Script:
    """A written script, and the job that runs it.

    Args:
        cluster: where it is submitted.
        run_dir: of the study; the script and the output of its job lie beside it.
        overrides: of the study.
    """

    def __init__(self, cluster: Cluster, run_dir: Path, *overrides: str) -> None:
        self._cluster = cluster
        self.run_dir = run_dir
        self.file, self.output = run_dir.with_name("study.sbatch"), run_dir.with_name("job.out")
        words = [*COMMAND, "run", f"run_dir={run_dir}", *overrides, "--write-script", str(self.file)]
        self._on_login(*words)
        self.job = ""

    def submit(self, *options: str) -> None:
        """By `sbatch`, as a user does."""
        words = ("sbatch", "--parsable", f"--output={self.output}", *options, str(self.file))
        self.job = self._on_login(*words).strip()

    def state(self) -> str:
        """What Slurm says of the job."""
        return self._told("JobState")

    def number_of_restarts(self) -> int:
        """How often Slurm has run the script again."""
        return int(self._told("Restarts"))

    def _told(self, name: str) -> str:
        told = self._cluster.login.run("scontrol", "--oneliner", "show", "job", self.job)
        return next(word.partition("=")[2] for word in told.split() if word.startswith(f"{name}="))

    def await_in_output(self, words: str, *, times: int = 1) -> None:
        """Block until the job has printed something."""
        self._cluster.await_that(lambda: self._printed().count(words) >= times, f"the job prints {words!r}", 60.0)

    def end(self, timeout_s: float = 100.0) -> Ran:
        """Block until the job is over; one that is to run again starts at once."""
        self._cluster.await_that(self._is_over, f"the job is over: {self._printed()}", timeout_s)
        return Ran(0 if self.state() == "COMPLETED" else 1, self._printed(), "", self.run_dir)

    def _is_over(self) -> bool:
        queue = self._cluster.queue()
        if self._waits_s(queue) > _SOON_S:
            self._cluster.login.run("scontrol", "update", f"JobId={self.job}", f"StartTime=now+{_SOON_S}")
        goes_on = self._printed().count("is run again") > self.number_of_restarts()
        return not goes_on and not queue and self.state() not in ("PENDING", "RUNNING", "COMPLETING")

    def _waits_s(self, queue: list[str]) -> float:
        """How long Slurm will not start the job that it is to run again: two minutes, unless told otherwise."""
        if not any("PENDING" in line and "BeginTime" in line for line in queue):
            return 0.0
        begin = self._told("StartTime")
        return (datetime.fromisoformat(begin) - datetime.now()).total_seconds() if begin[0].isdigit() else 0.0

    def _printed(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def _on_login(self, *command: str) -> str:
        return self._cluster.login.run(*command, cwd=self.run_dir.parent, env=environment(), timeout_s=60.0)


def test_a_written_script_runs_its_study_as_it_is(cluster: Cluster, tmp_path: Path) -> None:
    """On three nodes, because the study asks for more than one has."""
    overrides = [*marked(ranks=2, simulations=4), *_QUICK, "launcher.num_server_ranks=2"]
    script = Script(cluster, tmp_path / "study", *overrides)
    script.submit()
    ran = script.end()
    report = assert_balanced(ran, expected=6 * 4)
    assert report["simulations"]["restarted"] == 0
    script.submit()  # once more: there is nothing left to do
    assert "the study has completed" in script.end().out


@pytest.mark.slow
def test_the_signal_ahead_of_the_end_of_its_job_has_a_study_go_on_in_the_next(cluster: Cluster, tmp_path: Path) -> None:
    """Slurm sends it to the script alone; the launcher saves, and has its job run again."""
    script = Script(cluster, tmp_path / "study", *slow(), "launcher.requeue=true")
    script.submit()
    script.await_in_output("streaming")
    cluster.login.run("scancel", "--batch", "--signal=USR1", script.job)
    script.await_in_output("is run again, to go on with the study")
    ran = script.end()
    report = assert_balanced(ran, expected=6 * _SIMULATIONS)
    assert report["resumed"] == 1
    assert script.number_of_restarts() == 1
    stopped = (script.run_dir / "report-1.json").read_text()
    assert "launcher.walltime: SIGUSR1 has told" in stopped


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_study_that_takes_longer_than_its_job_may_goes_on_until_it_is_complete(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The limit is a minute; Slurm sends its signal when it looks, at most half a minute after the start."""
    num = 90  # three at a time take 72 s, however fast the machine
    study = [*marked("slow", pause_s=0.4, simulations=num), *_QUICK, "launcher.save_timeout_s=5"]
    script = Script(cluster, tmp_path / "study", *study, "launcher.requeue=true", "+launcher.executor.solver.time=60")
    script.submit()
    ran = script.end(250.0)
    report = assert_balanced(ran, expected=6 * num)
    assert report["resumed"] == script.number_of_restarts() >= 1


def test_a_heterogeneous_allocation_has_server_ranks_and_solvers_on_nodes_of_their_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The launcher runs on the first node of the first component, beside the server ranks."""
    site = ["launcher.executor.solver_group=1", "+launcher.executor.server.partition=gpu"]
    site += ["+launcher.executor.server.gpus=1", "+launcher.executor.solver.partition=main"]
    script = Script(cluster, tmp_path / "study", *marked(ranks=2, simulations=4), *_QUICK, *site)
    script.submit()
    assert_balanced(script.end(), expected=6 * 4)
    said = [entry.event for entry in read_journal(script.run_dir) if isinstance(entry.event, ev.Said)]
    servers = {event.message.host for event in said if isinstance(event.message, say.ServerHello)}
    solvers = {event.message.host for event in said if isinstance(event.message, say.Hello)}
    assert servers == {"n3"}
    assert solvers
    assert solvers <= {"n1", "n2"}


@pytest.mark.slow
def test_a_job_that_slurm_runs_again_goes_on_with_its_study(cluster: Cluster, tmp_path: Path) -> None:
    """As after a preemption: nobody had told the launcher."""
    script = Script(cluster, tmp_path / "study", *slow(), "launcher.requeue=true")
    script.submit()
    script.await_in_output("streaming")
    cluster.login.run("scontrol", "requeue", script.job)
    ran = script.end()
    report = assert_balanced(ran, expected=6 * _SIMULATIONS)
    assert (report["resumed"], script.number_of_restarts()) == (1, 1)


@pytest.mark.slow
def test_a_follow_up_job_goes_on_with_a_study_whose_job_was_canceled(cluster: Cluster, tmp_path: Path) -> None:
    script = Script(cluster, tmp_path / "study", *slow())
    script.submit()
    script.await_in_output("streaming")
    cluster.login.run("scancel", script.job)
    cluster.await_that(lambda: not cluster.queue(), "the job is over")
    script.submit()
    report = assert_balanced(script.end(), expected=6 * _SIMULATIONS)
    assert report["resumed"] == 1
