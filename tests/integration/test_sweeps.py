"""Sweeps whose studies are processes of their own: two at a time, interrupted, killed, and what goes on after that."""

import os
import signal
from pathlib import Path

import pytest

from melissa_like.launcher.sweep_file import read_sweep
from melissa_like.study import read_journal
from tests.integration.launched import launched, resume
from tests.integration.studies import Ran, await_that, marked, processes_of

QUICK = ["launcher.grace_s=1", "monitoring.interval_s=0.1", "training.checkpoint.interval_s=0.5", "solver.launch=''"]
NUM_SIMULATIONS = 5


def sweep_of(folder: Path, *, at_a_time: int = 2) -> list[str]:
    """Three studies that differ in their seed, and do not end before there is a file `open` beside their folder."""
    study = [*marked("gated", simulations=NUM_SIMULATIONS, gate=folder.parent / "open"), *QUICK]
    return ["-m", *study, "study.seed=1,2,3", f"launcher.max_studies={at_a_time}"]


def open_gate(folder: Path) -> None:
    (folder.parent / "open").touch()


def outcomes(folder: Path) -> list[str]:
    return [row.outcome for row in read_sweep(folder)]


def seconds_of(run_dir: Path) -> tuple[float, float]:
    """When the first and the last event of a study were, since 1970."""
    times = [entry.at_s for entry in read_journal(run_dir)]
    return times[0], times[-1]


def status(folder: Path) -> str:
    with launched(folder, command="status") as command:
        return command.wait().out


def await_samples(folder: Path, *numbers: int) -> None:
    """Block until the first samples of these studies have arrived."""
    for number in numbers:
        journal = folder / str(number) / "journal.jsonl"
        await_that(lambda journal=journal: journal.exists() and '"Progress"' in journal.read_text())  # type: ignore[misc]


def launcher_of(folder: Path, number: int) -> int:
    """The process of a study of a sweep."""
    (pid,) = (
        pid
        for pid in processes_of(folder / str(number))
        if b"melissa_like.launcher.sweep_study" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return pid


def assert_balanced(folder: Path) -> None:
    """Of every study what was expected was delivered and trained on."""
    for row in read_sweep(folder):
        report = Ran(0, "", "", folder / row.folder).report
        samples = report["samples"]
        assert report["outcome"] == row.outcome == "completed", report["reason"]
        assert samples["expected"] == samples["delivered"] == samples["trained_on"] == 6 * NUM_SIMULATIONS
        assert samples["lost"] == samples["given_up"] == 0


@pytest.mark.slow
def test_two_studies_at_a_time_do_not_garble_what_they_say(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with launched(folder, *sweep_of(folder)) as sweep:
        await_samples(folder, 0, 1)
        assert outcomes(folder) == ["running", "running", "waiting"]
        open_gate(folder)
        ran = sweep.wait()
    assert ran.code == 0, ran.err
    assert_balanced(folder)
    lasted = sorted(seconds_of(folder / str(number)) for number in range(3))
    assert lasted[1][0] < lasted[0][1], "the first two do not run together"
    assert lasted[2][0] > min(lasted[0][1], lasted[1][1]), "three run together"
    begun = [line for line in ran.err.splitlines() if " of 3: " in line]
    assert begun == [f"study {n} of 3: study.seed={n + 1} ({folder / str(n)})" for n in range(3)]
    shown = [line for line in ran.err.splitlines() if line not in begun]
    assert {line.partition(": ")[0] for line in shown} == {"study 0", "study 1", "study 2"}
    for number in range(3):
        assert f"study {number}: outcome: completed" in ran.out
        assert f"study {number}: lost: 0" in ran.out
    assert ran.out.count("studies of this sweep") == 1
    assert ran.out.endswith(f"written to: {folder}\n")


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with launched(folder, *sweep_of(folder)) as sweep:
        await_samples(folder, 0, 1)
        sweep.send(signal.SIGKILL)
        sweep.wait()
    await_that(lambda: not processes_of(folder))  # nobody has told them
    assert outcomes(folder) == ["running", "running", "waiting"]
    assert status(folder).endswith(f"go on with: melissa-like resume {folder}\n")
    open_gate(folder)
    ran = resume(folder)
    assert ran.code == 0, ran.err
    assert f"{folder}: 0 of 3 studies stay as they are, 3 go on" in ran.err
    assert_balanced(folder)
    assert [Ran(0, "", "", folder / str(number)).report["resumed"] for number in range(3)] == [1, 1, 0]
    again = resume(folder)
    assert again.code == 0
    assert f"{folder}: 3 of 3 studies stay as they are, 0 go on" in again.err
    assert "studies of this sweep" in again.out


@pytest.mark.slow
def test_a_sweep_goes_on_while_what_it_had_started_still_ends(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with launched(folder, *sweep_of(folder)) as sweep:
        await_samples(folder, 0, 1)
        sweep.send(signal.SIGKILL)
        sweep.wait()
    open_gate(folder)
    ran = resume(folder, "launcher.max_studies=3")
    assert ran.code == 0, ran.err
    assert_balanced(folder)


@pytest.mark.slow
def test_ctrl_c_ends_all_studies_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with launched(folder, *sweep_of(folder)) as sweep:
        await_samples(folder, 0, 1)
        sweep.send(signal.SIGINT)
        ran = sweep.wait()
    assert ran.code == 130
    rows = read_sweep(folder)
    assert [(row.outcome, row.reason) for row in rows] == [
        ("stopped", "interrupted by SIGINT"),
        ("stopped", "interrupted by SIGINT"),
        ("not run", "the sweep was ended before"),
    ]
    assert processes_of(folder) == set()
    open_gate(folder)
    assert resume(folder).code == 0
    assert_balanced(folder)


def test_the_death_of_one_launcher_is_not_that_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with launched(folder, *sweep_of(folder)) as sweep:
        await_samples(folder, 0, 1)
        os.kill(launcher_of(folder, 1), signal.SIGKILL)
        open_gate(folder)
        ran = sweep.wait()
    assert ran.code == 1
    killed = read_sweep(folder)[1]
    assert (killed.outcome, killed.reason) == ("killed", "its launcher was killed by SIGKILL, without a verdict")
    assert outcomes(folder) == ["completed", "killed", "completed"]
    assert resume(folder / "1").code == 0  # by itself, which the table of its sweep notes
    assert_balanced(folder)


def test_two_processes_do_not_work_on_one_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with launched(folder, *sweep_of(folder, at_a_time=1)) as sweep:
        await_samples(folder, 0)
        other = resume(folder)
        assert other.code == 2
        assert f"works on the study in {folder}" in other.err
        assert "running" in status(folder)
        assert "go on with" not in status(folder)
        sweep.send(signal.SIGTERM)
        assert sweep.wait().code == 130
    assert outcomes(folder)[-1] == "not run"
