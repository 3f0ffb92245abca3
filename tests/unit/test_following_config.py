"""A program that is followed, as it is configured: what is started, what is told, what is refused."""

import sys
from pathlib import Path
from typing import Any

import pytest

from melissa_like.config import Config, as_config, check
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.commands import ProcessCommands, check_commands
from melissa_like.launcher.executors import Traits
from melissa_like.launcher.following import follow_call_of, tidy
from tests.unit.test_config import composed

FOLLOWED = (
    "solver=empty",
    "solver.name=plate",
    f"solver.command=[{sys.executable},'{{load}}']",
    "+solver.reader._target_=tests.plugins.readers.numbered",
    "+solver.fields.v={shape:[4]}",
    "+solver.parameters.load._target_=tests.plugins.sampling.Number",
    "solver.num_ranks=1",
    "solver.num_steps=6",
)


def followed(*overrides: str) -> Config:
    return as_config(composed(*FOLLOWED, *overrides))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["solver.command=[]"], "needs exactly one of solver.solve .* and solver.command"),
        (["solver.num_ranks=4"], "solver.num_ranks is 4 .* solver.num_ranks=1, and solver.num_processes=4"),
        (["solver.command=[]", "+solver.solve._target_=a.b"], "solver.solve and solver.reader are both set"),
        (["solver.max_pending_bytes=much"], "solver.max_pending_bytes is 'much': write a number of bytes"),
        (["solver.keep_files=sometimes"], "solver.keep_files is 'sometimes': write one of never, failed, always"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check(followed(*overrides))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+solver.files.a=b", "solver.files is {'a': 'b'} but there is no solver.reader"),
        ("solver.remove_sent_files=true", "solver.remove_sent_files is True but there is no solver.reader"),
        ("solver.work_dir=/tmp", "solver.work_dir is '/tmp' but there is no solver.reader"),
    ],
)
def test_without_a_reader_there_is_no_folder(override: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check(as_config(composed(*(one for one in FOLLOWED if "reader" not in one), override)))


def test_each_process_of_a_generator_is_a_client_rank() -> None:
    with pytest.raises(ConfigurationError, match=r"solver.num_processes is 3 but solver.num_ranks is 2"):
        check(as_config(composed("solver.num_processes=3")))


def test_a_job_reserves_the_processes_of_the_program_and_is_one_client_rank(tmp_path: Path) -> None:
    config = followed("solver.num_processes=4")
    check(config)
    spec = ProcessCommands(run_dir=tmp_path, solver=config.solver, num_threads=1).solver_spec("job-0001")
    assert spec.command == spec.program == (sys.executable, "-P", "-m", "melissa_like.client.following")
    assert (spec.num_ranks, spec.num_processes, spec.starts_others) == (1, 4, True)
    told = follow_call_of(config)
    assert told is not None
    assert [Path(told.launch[0]).name, *told.launch[1:]] == ["mpiexec", "-n", "4"]
    assert told.command == (sys.executable, "{load}")
    assert told.shapes == {"v": (4,)}


def test_without_a_start_command_the_program_is_started_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = follow_call_of(followed("solver.launch=", "solver.num_processes=4", "solver.command=[./plate,'{load}']"))
    assert told is not None
    assert (told.launch, told.command[0]) == ((), str(tmp_path / "plate"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("[./nothing,'{load}']", "solver.command starts '.*/nothing', which is neither on PATH nor an executable file"),
        ("[./plain,'{load}']", r"make it executable \(chmod \+x\)"),
        ("['./{load}']", "the program is the same for all simulations"),
    ],
)
def test_a_program_that_is_not_there_is_refused(
    command: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").touch()
    with pytest.raises(ConfigurationError, match=words):
        check_commands(followed("solver.launch=", f"solver.command={command}").solver, 1, Traits())


def test_a_thread_of_the_launcher_follows_nothing() -> None:
    with pytest.raises(ConfigurationError, match="launcher=inline runs everything in one process"):
        check_commands(followed().solver, 1, Traits(in_process=True))


@pytest.mark.parametrize(("keep", "left"), [("never", []), ("failed", ["work"])])
def test_what_followers_that_were_killed_have_left_stays_if_it_is_to_be_kept(
    keep: str, left: list[str], tmp_path: Path
) -> None:
    solver: Any = followed(f"solver.keep_files={keep}").solver
    (tmp_path / "work" / "simulation-000000.1").mkdir(parents=True)
    tidy(solver, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == left
