"""A Python program of the user's beside which a file has the name of what a client needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from melissa_like.config import SolverConfig
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.commands import ProcessCommands
from melissa_like.launcher.shadowing import require_unshadowed
from melissa_like.records import ServerRank

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["random.py", "copy.py", "numpy.py", "zmq/__init__.py"])
@pytest.mark.parametrize("command", [("main.py",), ("-m", "mpi4py", "main.py"), ("-m", "main")])
def test_a_file_that_hides_what_a_client_needs_is_named(
    name: str, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise RuntimeError")
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/{Path(name).parts[0]} has the name .* rename it"):
        require_unshadowed((sys.executable, *command))


@pytest.mark.parametrize("name", ["wave.py", "test.py", "mine.py", "code.py"])
def test_a_file_that_hides_nothing_a_client_needs_stays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("raise RuntimeError")
    require_unshadowed((sys.executable, "main.py"))


def test_a_file_beside_another_program_is_nobodys_business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random.py").write_text("raise RuntimeError")
    require_unshadowed(("./solver", "input.py"))
    (tmp_path / "elsewhere").mkdir()
    require_unshadowed((sys.executable, "elsewhere/main.py"))


def test_a_program_in_another_folder_is_not_given_what_might_hide_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "mine")
    solver = SolverConfig(name="own", command=["./run.sh"], launch="", num_ranks=1)
    commands = ProcessCommands(run_dir=tmp_path, solver=solver, num_threads=1)
    assert commands.solver_spec("job").environment["PYTHONPATH"] == f"{tmp_path}:mine"
    (tmp_path / "random.py").write_text("raise RuntimeError")
    assert "PYTHONPATH" not in commands.solver_spec("job").environment


def test_our_own_processes_do_not_find_it_by_pythonpath_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f".:mine:{tmp_path}")
    solver = SolverConfig(name="own", solve={"_target_": "mine.solve"}, launch="", num_ranks=1)
    commands = ProcessCommands(run_dir=tmp_path, solver=solver, num_threads=1)
    specs = (commands.solver_spec("job"), commands.server_spec(ServerRank(0)))
    assert not any("PYTHONPATH" in spec.environment for spec in specs)
    (tmp_path / "random.py").write_text("raise RuntimeError")
    specs = (commands.solver_spec("job"), commands.server_spec(ServerRank(0)))
    assert [spec.environment["PYTHONPATH"] for spec in specs] == ["mine", "mine"]


def test_the_launcher_itself_does_not(tmp_path: Path) -> None:
    for name in ("signal", "random", "queue", "secrets", "yaml", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "melissa_like.launcher", "run", "training.batch_size=10000"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stderr.startswith("melissa-like: training.batch_size is 10000 but"), ran.stderr
