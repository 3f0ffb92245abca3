"""A program that nobody edits, followed in a real study: its files become samples, whatever happens to it."""

import sys
from pathlib import Path

import pytest

from tests.integration.studies import melissa_like, processes_of

#: Prints nothing of a study, and knows nothing of one: numbers from its input file, a file per time step.
PROGRAM = """
import os, signal, subprocess, sys, time

told = dict(line.split("=") for line in open("input.txt"))
number, simulation, attempt = float(told["number"]), int(told["simulation"]), int(told["attempt"])
rank, size = int(os.environ.get("PMI_RANK", 0)), int(os.environ.get("PMI_SIZE", 1))
for step in range(6):
    if step == 3 and attempt == 1 and len(sys.argv) > 1:
        if simulation == 1:
            print("the residual is NaN")
            sys.exit(3)
        if simulation == 2:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(1000)
        if simulation == 3:
            subprocess.run([sys.executable, "-c", "import time; time.sleep(1000)"])
    if rank == 0:
        with open(f"{step}.new", "w") as file:
            file.write(" ".join(str(number / 1000 + step / 10 + size / 100) for _ in range(32)) + " " * 20000)
        os.rename(f"{step}.new", f"{step}.txt")
"""


def study(folder: Path, *overrides: str, arguments: str = "") -> list[str]:
    """Overrides for a study of the program: 32 numbers per time step."""
    (folder / "program.py").write_text(PROGRAM)
    (folder / "input.template").write_text("number={number:.1f}\nsimulation={simulation}\nattempt={attempt}\n")
    return [
        "solver=empty",
        "solver.name=program",
        f"solver.command=[{sys.executable},'{{started_in}}/program.py'{arguments}]",
        "+solver.files={input.txt:input.template}",
        "+solver.reader._target_=tests.plugins.readers.numbered",
        "+solver.reader.field=mark",
        "+solver.fields.mark={shape:[32],bounds:[-1,1]}",
        "+solver.parameters.number._target_=tests.plugins.sampling.Number",
        "sampling=monte_carlo",
        "sampling.design._target_=tests.plugins.sampling.Counting",
        "solver.num_ranks=1",
        "solver.num_steps=6",
        "study.num_simulations=4",
        "study.num_validation_simulations=0",
        "buffer.capacity=16",
        "training.batch_size=4",
        "launcher.max_jobs=2",
        "monitoring.figures=false",
        "monitoring.tensorboard=false",
        *overrides,
    ]


@pytest.mark.mpi
def test_a_study_of_a_program_of_two_processes(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "study", *study(tmp_path, "solver.num_processes=2", "solver.keep_files=always"))
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
    ran = melissa_like(tmp_path / "study", *study(tmp_path, *limits, arguments=",fails"), timeout_s=100)
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
    ran = melissa_like(tmp_path / "study", *study(tmp_path, *slow, *small, *limit))
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 12
    assert not (ran.run_dir / "work").exists()


@pytest.mark.slow
def test_check_and_dry_run_say_what_they_see(tmp_path: Path) -> None:
    told = study(tmp_path, "solver.launch=")
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
