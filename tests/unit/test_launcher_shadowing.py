"""A Python program of the user's beside which a file has the name of what a client needs."""

import sys
from pathlib import Path

import pytest

from melissa_like.config import SolverConfig
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.commands import ProcessCommands
from melissa_like.launcher.shadowing import require_unshadowed


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
