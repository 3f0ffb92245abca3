"""A launcher that ended, however it did: another one goes on, and the books balance."""

import json
import signal
import time
from pathlib import Path

import msgspec
import pytest

from melissa_like.launcher.holder import Holder
from melissa_like.launcher.lease import LeaseFile
from melissa_like.records import Purpose
from melissa_like.study import events as ev
from melissa_like.study import read_journal
from tests.integration.launched import launched, resume
from tests.integration.studies import ROOT, Ran, marked

CONFIGS = ("--config-dir", str(ROOT / "tests/plugins/configs"))
ALONE = "solver.launch=''"
QUICK = ["monitoring.interval_s=0.1", "training.checkpoint.interval_s=0.5", "launcher.grace_s=1", ALONE]
#: The buffer is drained for several seconds.
LONG_DRAIN = "buffer.views_per_sample=400"


def slow(simulations: int = 8) -> list[str]:
    return [*marked("slow", pause_s=0.1, simulations=simulations), *QUICK, "launcher.max_jobs=2"]


def drawn(run_dir: Path) -> list[float]:
    """The parameter of each training simulation, in order."""
    return [
        row[0]
        for entry in read_journal(run_dir)
        if isinstance(entry.event, ev.ParametersDrawn) and entry.event.purpose is Purpose.TRAINING
        for row in entry.event.parameters
    ]


def status(run_dir: Path) -> str:
    """What `melissa-like status` says."""
    with launched(run_dir, command="status") as command:
        return command.wait().out


def assert_complete(ran: Ran, simulations: int = 8) -> None:
    """Expected is delivered, all of it was trained on, and the journal of all launchers says the same."""
    assert ran.code == 0, ran.err
    report, samples = ran.report, ran.report["samples"]
    assert report["outcome"] == "completed"
    assert report["simulations"]["completed"] == simulations
    assert samples["expected"] == samples["delivered"] == samples["trained_on"] == 6 * simulations
    assert samples["lost"] == samples["given_up"] == 0


@pytest.mark.parametrize("phase", ["starting", "streaming", pytest.param("draining", marks=pytest.mark.slow)])
def test_after_a_killed_launcher_another_one_completes_the_study(tmp_path: Path, phase: str) -> None:
    """At once: what it had started is ending by itself, or is ended. A crash may have torn its last line."""
    run_dir = tmp_path / "study"
    options = [*marked(), *QUICK, LONG_DRAIN] if phase == "draining" else slow()
    with launched(run_dir, *options) as first:
        first.read_until(phase)
        first.send(signal.SIGKILL)
        assert first.wait().code == -signal.SIGKILL
    with (run_dir / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"at_s":17')
    ran = resume(run_dir)
    assert_complete(ran)
    assert ran.report["resumed"] == 1
    assert "resumed: 1 time\n" in ran.out
    assert resume(run_dir).out.startswith(f"{run_dir}: the study has completed")
    # Killed between the verdict and its report: the journal has all of it.
    report = ran.report
    (run_dir / "report.json").unlink()
    assert_complete(resume(run_dir))
    for name in ("samples", "simulations", "training", "validation", "ingest", "resumed"):
        assert ran.report[name] == report[name]


def test_a_launcher_that_is_killed_in_mid_training_with_a_sampler_that_learns(tmp_path: Path) -> None:
    """It goes on drawing where it was: no point of the design is drawn twice, none is left out."""
    run_dir = tmp_path / "study"
    options = [*marked(run_dir=run_dir), *QUICK, "buffer.views_per_sample=60", "launcher.max_jobs=2"]
    options += ["solver.solve._target_=tests.plugins.trained.kills_the_launcher"]
    options += [*CONFIGS, "experiment=steered"]
    with launched(run_dir, *options) as first:
        assert first.wait().code == -signal.SIGKILL
    assert_complete(resume(run_dir))
    of_the_design = [value for value in drawn(run_dir) if value == int(value)]
    assert of_the_design == [float(number) for number in range(len(of_the_design))]


def test_jobs_and_server_ranks_that_survive_their_launcher_are_ended_first(tmp_path: Path) -> None:
    """As those of a batch scheduler do: two incarnations of the server ranks must never train at once."""
    run_dir, spool = tmp_path / "study", tmp_path / "spool"
    options = [*CONFIGS, "launcher=spool", f"launcher.executor.spool={spool}"]
    with launched(run_dir, *options, *marked("slow", pause_s=0.4), *QUICK) as first:
        first.read_until("streaming")
        first.send(signal.SIGKILL)
        first.wait()
    left = {path.stem for path in spool.glob("*.job")} - {path.stem for path in spool.glob("*.end")}
    assert any(json.loads((spool / f"{one}.job").read_text())["name"] == "server-0" for one in left)
    with launched(run_dir, command="resume") as second:
        second.read_until("starting")
        assert left <= {path.stem for path in spool.glob("*.end")}
        assert_complete(second.wait())


@pytest.mark.parametrize("num_ranks", [pytest.param((1, 1), marks=pytest.mark.slow), (2, 1)])
def test_an_interrupted_training_goes_on_from_the_checkpoint_that_it_has_ended_with(
    tmp_path: Path, num_ranks: tuple[int, int]
) -> None:
    run_dir = tmp_path / "study"
    options = [*marked(run_dir=run_dir, how="SIGTERM"), *QUICK, "buffer.views_per_sample=60", "launcher.max_jobs=2"]
    options += ["solver.solve._target_=tests.plugins.trained.kills_the_launcher"]
    with launched(run_dir, *options, f"launcher.num_server_ranks={num_ranks[0]}") as first:
        ran = first.wait()
    assert ran.code == 130, ran.err
    trained, saved = ran.report["training"]["batches"], ran.report["checkpoint"]
    assert saved["batches"] == trained > 20
    assert f"from checkpoint {saved['number']}, {trained} batches)" in ran.out
    ran = resume(run_dir, f"launcher.num_server_ranks={num_ranks[1]}")
    assert_complete(ran)
    assert f"the study goes on, from checkpoint {saved['number']} ({trained} batches)" in ran.err
    if num_ranks == (1, 1):
        assert ran.report["training"]["batches"] == 60 * 48 // 4


def test_an_interrupted_study_goes_on_with_more_simulations_and_server_ranks(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    design = "sampling.design._target_=melissa_like.sampling.LatinHypercube"
    parameter = ["solver.parameters.number._target_=melissa_like.sampling.Uniform", "+solver.parameters.number.low=0"]
    parameter += ["+solver.parameters.number.high=100"]
    with launched(run_dir, *slow(), design, *parameter) as first:
        first.read_until("streaming")
        first.send(signal.SIGTERM)
        ran = first.wait()
    assert ran.code == 130
    assert ran.report["outcome"] == "stopped"
    assert f"go on with: melissa-like resume {run_dir} (" in ran.out
    before = drawn(run_dir)
    ran = resume(run_dir, "study.num_simulations=12", "launcher.num_server_ranks=2")
    assert_complete(ran, 12)
    after = drawn(run_dir)
    assert (after[: len(before)], len(set(after))) == (before, 12)
    assert sorted(int(value * 8 / 100) for value in after[:8]) == list(range(8))  # the first hypercube is whole
    assert (run_dir / "config-1.yaml").exists()
    assert msgspec.json.decode((run_dir / "report-1.json").read_bytes())["outcome"] == "stopped"


@pytest.mark.slow
def test_a_training_that_was_long_enough_goes_on_when_it_may(tmp_path: Path) -> None:
    """All in one process; resumed as it is it has nothing to do, which is no divergence."""
    run_dir = tmp_path / "study"
    options = [*marked(), "launcher=inline", "buffer.views_per_sample=20", "training.max_batches=40"]
    with launched(run_dir, *options) as first:
        assert first.wait().report["training"]["batches"] == 40
    ran = resume(run_dir)
    assert ran.code == 0, ran.err
    assert ran.report["reason"].startswith("training.max_batches was reached")
    assert ran.report["training"]["batches"] == 40
    ran = resume(run_dir, "training.max_batches=null")
    assert_complete(ran)
    assert (ran.report["training"]["batches"], ran.report["resumed"]) == (20 * 48 // 4, 2)


@pytest.mark.slow
def test_of_two_that_resume_at_once_one_is_refused(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    with launched(run_dir, *slow(40)) as first:
        first.read_until("streaming")
        assert "works on the study" in resume(run_dir).err
        assert "on this machine" in status(run_dir)
        first.send(signal.SIGKILL)
        first.wait()
    assert f"go on with: melissa-like resume {run_dir} (from" in status(run_dir)
    with launched(run_dir, "launcher.max_jobs=6", command="resume") as second:
        second.read_until("the study goes on")
        refused = resume(run_dir)
        assert refused.code == 2
        assert "works on the study" in refused.err
        assert_complete(second.wait(), 40)


def test_a_launcher_that_stood_still_fails_nothing(tmp_path: Path) -> None:
    """For longer than a server rank may be silent, a job may take to start, and a simulation to deliver."""
    limits = ["launcher.server_timeout_s=3", "launcher.step_timeout_s=3", "launcher.delivery_timeout_s=3"]
    with launched(tmp_path / "study", *slow(), *limits) as running:
        running.read_until("streaming")
        running.send(signal.SIGSTOP)
        time.sleep(5.0)  # not for anything: it is the time that it stands still
        running.send(signal.SIGCONT)
        ran = running.wait()
    assert_complete(ran)
    assert ran.report["server_losses"] == []
    assert ran.report["simulations"]["restarted"] == 0


def test_a_launcher_that_was_taken_for_dead_ends_and_writes_nothing_more(tmp_path: Path) -> None:
    """It stood still for so long that another one, on another host, has taken over."""
    run_dir = tmp_path / "study"
    with launched(run_dir, *slow(100)) as late:
        late.read_until("streaming")
        late.send(signal.SIGSTOP)
        elsewhere = Holder(host="node17", boot="another", namespace="pid:[1]", pid=4711, started=5)
        (run_dir / "lease.2").write_bytes(msgspec.json.encode(LeaseFile(holder=elsewhere)))
        journal = (run_dir / "journal.jsonl").read_bytes()
        time.sleep(6.0)  # not for anything: it looks at its lease every five seconds
        late.send(signal.SIGCONT)
        ran = late.wait()
    assert ran.code == 2
    assert "the launcher process 4711 on node17 has taken over" in ran.err
    assert (run_dir / "journal.jsonl").read_bytes() == journal
    assert not (run_dir / "report.json").exists()


@pytest.mark.slow
def test_a_study_stops_in_time_and_goes_on(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    times = ["launcher.walltime=0:00:12", "launcher.save_timeout_s=3"]
    options = [*marked("slow", pause_s=0.3, simulations=10), *QUICK, "launcher.max_jobs=1", *times]
    with launched(run_dir, *options) as first:
        ran = first.wait()
    assert ran.code == 75, ran.err
    assert ran.report["reason"] == "launcher.walltime = 12 s is near"
    seconds = ran.report["seconds"]
    assert seconds < 12
    again = resume(run_dir, "launcher.walltime=null", "launcher.max_jobs=4")
    assert_complete(again, 10)
    assert again.report["seconds"] > seconds


def test_the_signal_of_a_scheduler_ahead_of_the_end_stops_a_study_in_time(tmp_path: Path) -> None:
    """However often it comes: what is saved then is not cut short."""
    run_dir = tmp_path / "study"
    with launched(run_dir, *slow()) as first:
        first.read_until("streaming")
        first.send(signal.SIGUSR1)
        first.read_until("stopped")
        first.send(signal.SIGUSR1)
        ran = first.wait()
    assert ran.code == 75, ran.err
    assert ran.report["reason"].startswith("launcher.walltime: SIGUSR1")
    assert_complete(resume(run_dir))
