"""What `melissa-like resume` refuses, with what to do instead; nothing is started here."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from melissa_like.errors import ConfigurationError, LeaseError
from melissa_like.launcher.lease import newest_lease, take_lease
from melissa_like.launcher.resume import resume_study
from melissa_like.launcher.rundir import renew_run_dir, working_directory_of, write_json
from melissa_like.launcher.sweep_file import SweepRow, read_sweep, write_sweep
from melissa_like.launcher.sweep_plan import keep_plan
from melissa_like.launcher.sweep_resume import note_resumed, resume_sweep
from melissa_like.study import Entry, Journal
from melissa_like.study import events as ev
from melissa_like.study.journal import JOURNAL_FILE
from tests.unit.test_config_changes import saved
from tests.unit.test_study_state import STARTED


def study(folder: Path, *events: ev.Event) -> Path:
    """A run directory in which these have happened."""
    OmegaConf.save(saved(), folder / "config.yaml")
    with Journal(folder) as journal:
        for event in (STARTED, *events):
            journal.append(Entry(at_s=1.0, event=event))
    return folder


def row(number: int, outcome: str) -> SweepRow:
    swept = {"study.seed": str(number)}
    return SweepRow(number=number, swept=swept, outcome=outcome, reason="", figures={}, folder=str(number))


def refusal(run_dir: Path, *overrides: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        resume_study(run_dir, overrides, lambda text: None)
    return str(refused.value)


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    assert "holds no study" in refusal(tmp_path)
    assert "is no folder" in refusal(tmp_path / "nothing")
    assert not list(tmp_path.iterdir())


def test_a_study_of_a_sweep_that_was_resumed_is_in_its_table(tmp_path: Path) -> None:
    write_sweep(tmp_path, [row(0, "completed"), row(1, "stopped")])
    note_resumed(tmp_path / "1", {"outcome": "completed", "reason": "all of it", "seconds": 3.5})
    note_resumed(tmp_path, {"outcome": "failed", "reason": "of no sweep"})
    _, second = read_sweep(tmp_path)
    assert (second.outcome, second.reason, second.figures) == ("completed", "all of it", {"seconds": 3.5})


def test_the_table_of_a_sweep_that_runs_has_one_writer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path, [row(0, "stopped")])
    with take_lease(tmp_path):
        note_resumed(tmp_path / "0", {"outcome": "completed", "reason": "all of it"})
        with pytest.raises(LeaseError):
            resume_sweep(tmp_path, [], lambda text: None)
    assert "the table of the sweep is left to who works on it" in capsys.readouterr().err
    assert [row.outcome for row in read_sweep(tmp_path)] == ["stopped"]


def test_a_sweep_goes_on_only_with_what_a_resume_may_change(tmp_path: Path) -> None:
    write_sweep(tmp_path, [row(0, "completed"), row(1, "waiting")])
    keep_plan(tmp_path, [saved(), saved()])
    with pytest.raises(ConfigurationError, match=r"study\.seed is 0 in this study"):
        resume_sweep(tmp_path, ["study.seed=3"], lambda text: None)
    assert [row.outcome for row in read_sweep(tmp_path)] == ["completed", "waiting"]


def test_a_refusal_keeps_nobody_else_out(tmp_path: Path) -> None:
    study(tmp_path, ev.Interrupted(reason="interrupted by SIGINT"))
    assert "study.seed is 0 in this study" in refusal(tmp_path, "study.seed=1")
    said = newest_lease(tmp_path)[1]
    assert said is not None
    assert said.given_back


def test_a_study_that_runs_is_not_touched(tmp_path: Path) -> None:
    study(tmp_path)
    with take_lease(tmp_path), pytest.raises(LeaseError, match="works on the study"):
        resume_study(tmp_path, [], lambda text: None)


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    path = study(tmp_path, ev.Tick(), ev.Tick()) / JOURNAL_FILE
    path.write_bytes(path.read_bytes().replace(b'"Tick"', b'"Tock"', 1))
    assert f"{path}, line 2, is damaged" in refusal(tmp_path)


def test_what_a_launcher_wrote_is_kept_under_its_number(tmp_path: Path) -> None:
    study(tmp_path)
    write_json(tmp_path / "versions.json", {"working_directory": "/somewhere"})
    write_json(tmp_path / "report.json", {"outcome": "stopped"})
    before, after = saved(), saved()
    after.launcher.max_jobs = 77
    renew_run_dir(after, tmp_path, 1)
    renew_run_dir(before, tmp_path, 1)  # a launcher that wrote it, and came no further
    assert OmegaConf.load(tmp_path / "config-1.yaml").launcher.max_jobs == before.launcher.max_jobs
    assert OmegaConf.load(tmp_path / "config.yaml").launcher.max_jobs == before.launcher.max_jobs
    assert (tmp_path / "report-1.json").exists()
    assert not (tmp_path / "report.json").exists()
    assert working_directory_of(tmp_path) == Path("/somewhere")
