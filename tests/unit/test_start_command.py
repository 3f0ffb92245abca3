"""The start command of a solver job, and the end of a log that is quoted."""

import os
import sys

import pytest

from melissa_like.config import SolverConfig
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.commands import ProcessCommands, check_commands
from melissa_like.launcher.executors import Traits, launch_command, log_tail


def test_mpiexec_beside_the_running_python_comes_first(tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
        (folder / "mpiexec").touch(0o755)
    monkeypatch.setenv("PATH", str(elsewhere))
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    expected = ("-n", "4", "solver", "--fast")
    assert launch_command("mpiexec -n {num_ranks}", 4, ["solver", "--fast"]) == (str(here / "mpiexec"), *expected)
    (here / "mpiexec").unlink()
    assert launch_command("mpiexec -n {num_ranks}", 4, ["solver", "--fast"]) == (str(elsewhere / "mpiexec"), *expected)
    (elsewhere / "mpiexec").unlink()
    assert launch_command("mpiexec -n {num_ranks}", 4, ["solver", "--fast"]) == ("mpiexec", *expected)


def test_mpiexec_beside_the_python_of_the_solver_comes_before_all(tmp_path, monkeypatch):
    for folder in (tmp_path / "solver" / "bin", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        (folder / "mpiexec").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    solver = SolverConfig(name="own", solve={"_target_": "mine.solve"}, python="solver/bin/python")
    spec = ProcessCommands(run_dir=tmp_path, solver=solver, num_threads=1).solver_spec("job")
    mine = str(tmp_path / "solver" / "bin")
    assert spec.command == (f"{mine}/mpiexec", "-n", "2", *spec.program)
    assert spec.program == ("solver/bin/python", "-P", "-m", "mpi4py", "-m", "melissa_like.client", "--mpi")
    assert spec.environment["PATH"].split(os.pathsep) == [mine, str(tmp_path / "elsewhere")]


def test_a_python_of_the_solver_that_is_not_there_is_refused_before_the_start(tmp_path):
    python = str(tmp_path / "bin" / "python")
    solver = SolverConfig(name="own", solve={"_target_": "mine.solve"}, python=python, launch="", num_ranks=1)
    with pytest.raises(ConfigurationError, match=r"solver\.python starts .*/bin/python'"):
        check_commands(solver, 1, Traits())
    with pytest.raises(ConfigurationError, match=r"solver\.python=null \(received .*/bin/python\)"):
        check_commands(solver, 1, Traits(in_process=True))


def test_a_site_writes_its_own_start_command():
    template = "/opt/mpi/mpirun -n {num_ranks} --map-by 'slot:PE={num_ranks}'"
    assert launch_command(template, 2, ("./solver",)) == (
        *("/opt/mpi/mpirun", "-n", "2", "--map-by", "slot:PE=2"),
        "./solver",
    )


def test_an_empty_start_command_runs_one_rank_directly():
    assert launch_command("", 1, ["./solver", "{as} is"]) == ("./solver", "{as} is")
    with pytest.raises(ConfigurationError, match=r"empty but solver\.num_ranks is 2"):
        launch_command("", 2, ["./solver"])


@pytest.mark.parametrize("template", ["srun -n {ranks}", "srun -n {}", "srun -n {num_ranks", "srun -n {num_ranks}}"])
def test_a_wrong_placeholder_is_answered_with_the_valid_ones(template):
    with pytest.raises(ConfigurationError, match=r"valid placeholders are \{num_ranks\}"):
        launch_command(template, 2, ["./solver"])


def test_broken_quotes_are_named():
    with pytest.raises(ConfigurationError, match="close the quotes"):
        launch_command("srun -n '{num_ranks}", 2, ["./solver"])


def test_the_tail_of_a_log_is_bounded_and_survives_binary(tmp_path):
    log = tmp_path / "a.log"
    assert log_tail(log) == ""
    log.write_bytes(b"x" * 1_000_000 + b"\nfirst\n\xff second\n")
    assert log_tail(log, 2) == "first\n\N{REPLACEMENT CHARACTER} second"
    assert len(log_tail(log)) < 100_000
