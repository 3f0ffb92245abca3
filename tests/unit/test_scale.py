"""What `melissa-like scale` refuses, before it speaks to anybody; and what it tells."""

from pathlib import Path

import pytest

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.cli import main
from melissa_like.launcher.lease import take_lease
from melissa_like.launcher.rundir import write_json
from melissa_like.launcher.scale import read_max_jobs, scale_study, told
from melissa_like.launcher.study_keys import make_study_keys
from melissa_like.launcher.sweep_file import write_sweep
from melissa_like.protocol import Connection, write_connection
from melissa_like.protocol.control import Scaled
from tests.unit.test_launcher_resume import row, study


def refusal(run_dir: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        scale_study(run_dir, 8, timeout_s=0.2)
    return str(refused.value)


def connected(run_dir: Path, endpoint: str) -> None:
    """A launcher of the study, as far as files tell; nobody listens at its endpoint."""
    keys = make_study_keys("control")
    keys.write(run_dir)
    connection = Connection(
        endpoint=endpoint,
        server_endpoint=endpoint,
        study=keys.study,
        secret=keys.secret,
        launcher_incarnation=1,
        keys=keys.keys("launcher"),
    )
    write_connection(run_dir, connection)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["max_job=4"], "max_job cannot be changed while a study runs: did you mean max_jobs?"),
        (["launcher.max_jobs=4"], "did you mean max_jobs?"),
        (["study.seed=4"], "study.seed cannot be changed while a study runs: write max_jobs=N"),
        (["max_jobs"], "max_jobs cannot be '': write a whole number, 1 to 1000000"),
        (["max_jobs=0"], "max_jobs cannot be '0': write a whole number"),
        (["max_jobs=-2"], "cannot be '-2'"),
        (["max_jobs=4.0"], "cannot be '4.0'"),
        (["max_jobs=1,2"], "cannot be '1,2'"),
        (["max_jobs=99999999999999999999"], "1 to 1000000"),
        (["max_jobs=1", "max_jobs=2"], "received max_jobs=1 max_jobs=2: give one setting, max_jobs=N"),
    ],
)
def test_a_setting_that_is_none_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_max_jobs(settings)
    assert words in str(refused.value)


def test_the_number_is_read() -> None:
    assert read_max_jobs(["max_jobs=64"]) == 64


def test_where_no_study_runs_it_is_said_how_it_goes_on(tmp_path: Path) -> None:
    assert "is no folder" in refusal(tmp_path / "nowhere")
    assert "holds no study" in refusal(tmp_path)
    study(tmp_path)
    words = f"does not run: go on with it by `melissa-like resume {tmp_path} launcher.max_jobs=8`"
    assert words in refusal(tmp_path)
    with take_lease(tmp_path):
        assert "is only being started: try again" in refusal(tmp_path)
    assert words in refusal(tmp_path)
    write_json(tmp_path / "report.json", {"outcome": "completed"})
    assert "has completed: there is nothing to run any more" in refusal(tmp_path)


def test_of_a_sweep_a_study_that_runs_is_named(tmp_path: Path) -> None:
    write_sweep(tmp_path, [row(0, "completed"), row(1, "running")])
    assert f"is a sweep: give one of its studies, such as {tmp_path / '1'}" in refusal(tmp_path)


def test_a_launcher_that_nobody_can_reach(tmp_path: Path) -> None:
    study(tmp_path)
    with take_lease(tmp_path):
        connected(tmp_path, "memory://control-0")
        assert "runs within one process (launcher=inline)" in refusal(tmp_path)
        connected(tmp_path, "tcp://127.0.0.1:9")
        said = refusal(tmp_path)
    assert "has not answered at tcp://127.0.0.1:9 within 0.2 s" in said


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            Scaled(before=2, max_jobs=8, num_jobs=2, num_canceled=0, num_leaving=0),
            "launcher.max_jobs: 2 -> 8 (2 jobs were alive, others are submitted as far as simulations wait)",
        ),
        (
            Scaled(before=8, max_jobs=1, num_jobs=3, num_canceled=5, num_leaving=2),
            "launcher.max_jobs: 8 -> 1 (8 jobs were alive, 5 without a simulation are canceled, 2 end after their "
            "simulation)",
        ),
    ],
)
def test_what_has_changed_is_told(changed: Scaled, words: str) -> None:
    assert told(changed) == words


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["scale"], 2, "usage: melissa-like scale RUN_DIR max_jobs=N"),
        (["scale", "max_jobs=4", "runs/x"], 2, "usage: melissa-like scale"),
        (["scale", "--help"], 0, "usage: melissa-like scale RUN_DIR max_jobs=N"),
        (["scale", "nowhere", "max_jobs=4"], 2, "nowhere is no folder"),
        (["scal"], 2, "did you mean scale?"),
    ],
)
def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.setattr("sys.argv", ["melissa-like", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    written = capsys.readouterr()
    assert words in written.out + written.err
