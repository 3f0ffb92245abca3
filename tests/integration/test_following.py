"""A program that nobody edits, followed in a real study: its files become samples, whatever happens to it."""

import sys
from pathlib import Path

import pytest

from tests.integration.followed import followed
from tests.integration.studies import melissa_like, processes_of


@pytest.mark.mpi
def test_a_study_of_a_program_of_two_processes(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "study", *followed(tmp_path, "solver.num_processes=2", "solver.keep_files=always"))
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 24
    assert ran.report["followed"]["peak_bytes"] > 6 * 20000
    kept = sorted(path.name for path in (ran.run_dir / "work").iterdir())
    assert kept == [f"simulation-{number:06d}.1" for number in range(4)]
    first = (ran.run_dir / "work" / kept[1] / "2.txt").read_text().split()
    assert float(first[0]) == pytest.approx(0.001 + 0.2 + 0.02)
    assert not processes_of(ran.run_dir)


@pytest.mark.slow
def test_a_program_that_fails_or_hangs_or_whose_follower_is_killed_is_run_again(tmp_path: Path) -> None:
    limits = ["launcher.step_timeout_s=4", "launcher.grace_s=0.5", "solver.launch="]
    ran = melissa_like(tmp_path / "study", *followed(tmp_path, *limits, arguments=",fails"), timeout_s=100)
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 24
    assert ran.report["simulations"]["restarted"] == 3
    assert {path.name for path in (ran.run_dir / "work").iterdir()} <= {
        f"simulation-{number:06d}.1" for number in (1, 2, 3)
    }
    assert (ran.run_dir / "work" / "simulation-000001.1" / "1.txt").exists()
    assert not processes_of(ran.run_dir)


@pytest.mark.slow
def test_a_program_is_stopped_while_the_training_is_slow(tmp_path: Path) -> None:
    slow = ["training.loop._target_=tests.plugins.loops.rests", "+training.loop.seconds=1.0"]
    small = ["buffer=fifo", "buffer.capacity=2", "training.batch_size=1", "study.num_simulations=2"]
    limit = ["solver.max_pending_bytes=25000", "solver.launch=", "solver.keep_files=never", "launcher.max_jobs=1"]
    ran = melissa_like(tmp_path / "study", *followed(tmp_path, *slow, *small, *limit))
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 12
    assert not (ran.run_dir / "work").exists()


@pytest.mark.slow
def test_check_and_dry_run_say_what_they_see(tmp_path: Path) -> None:
    told = followed(tmp_path, "solver.launch=")
    ran = melissa_like(tmp_path / "study", *told, command="check")
    assert ran.code == 0, ran.err
    assert "one simulation on 1 process" in ran.out
    assert "the program left 6 files in its folder, which held" in ran.out
    shown = melissa_like(tmp_path / "study", *told, "--dry-run")
    assert f"each simulation, in a folder of its own: {sys.executable}" in shown.out
    assert f"input.txt in it: {tmp_path}/input.template with {{number:.1f}}, {{simulation}}, {{attempt}}" in shown.out
    (tmp_path / "input.template").write_text("number={numbr}")
    refused = melissa_like(tmp_path / "study", *told, command="check")
    assert refused.code == 2
    assert f"{tmp_path}/input.template, line 1: {{numbr}} stands for nothing (the nearest: number)" in refused.err
