"""The table of a sweep: what was swept, what became of each study, mean and spread over the seeds, the figure."""

import csv
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.sweep import Sweep, is_missing, new_sweep
from melissa_like.launcher.sweep_file import FIGURES, SweepRow, figures_of, over_seeds, read_sweep
from melissa_like.launcher.sweep_plan import (
    keep_plan,
    plan_of,
    planned_config,
    resolved,
    started_in,
    studies_at_a_time,
)
from melissa_like.launcher.sweep_study import ended_of
from melissa_like.launcher.sweep_table import draw_rows, print_rows
from melissa_like.launcher.sweep_words import PassedOn


def report(error: float | None, *, batches: int = 10) -> dict[str, Any]:
    validation = None if error is None else {"loss": 2 * error, "relative_l2": error}
    return {"samples": {"lost": 0}, "training": {"batches": batches}, "validation": validation, "seconds": 1.5}


def row(number: int, error: float | None, outcome: str = "completed", **swept: str) -> SweepRow:
    named = {name.replace("__", "."): value for name, value in swept.items()}
    return SweepRow(number=number, swept=named, outcome=outcome, figures=figures_of(report(error)))


@pytest.mark.parametrize(
    ("overrides", "plan"),
    [
        (["buffer=fifo,firo", "study.seed=3"], [{"buffer": "fifo"}, {"buffer": "firo"}]),
        (
            ["training.optimizer.lr=choice(0.1,0.2)"],
            [{"training.optimizer.lr": "0.1"}, {"training.optimizer.lr": "0.2"}],
        ),
        (["+model.width=1,2", "~model.hidden"], [{"model.width": "1"}, {"model.width": "2"}]),
        (["study.seed=range(0,3)"], [{"study.seed": str(seed)} for seed in range(3)]),
        (["model.hidden=[8],[8,8]"], [{"model.hidden": "[8]"}, {"model.hidden": "[8,8]"}]),
        (["buffer=fifo"], [{}]),
        (
            ["study.seed=1,2", "buffer=fifo,firo"],
            [{"study.seed": seed, "buffer": buffer} for seed in "12" for buffer in ("fifo", "firo")],
        ),
    ],
)
def test_the_plan_holds_what_is_swept_and_nothing_else(overrides: list[str], plan: list[dict[str, str]]) -> None:
    assert plan_of(overrides) == plan


def sweep_of(folder: Path, *values: str, key: str = "a") -> Sweep:
    return new_sweep(folder, [({key: value}, str(number)) for number, value in enumerate(values)])


def test_the_file_is_whole_after_every_change(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "1", "[2, 'x']", "3", key="a, b")
    assert [row.outcome for row in read_sweep(tmp_path)] == ["waiting"] * 3
    sweep.begin(0)
    assert read_sweep(tmp_path)[0].outcome == "running"
    sweep.end(0, "completed", "every sample was delivered", figures_of(report(0.25)))
    sweep.begin(1)
    sweep.end(1, "refused", 'a "reason"\nof two lines', {})
    sweep.close()
    assert read_sweep(tmp_path) == sweep.rows
    assert [row.outcome for row in sweep.rows] == ["completed", "refused", "not run"]
    assert [row.folder for row in sweep.rows] == ["0", "1", "2"]
    assert sweep.rows[0].figures == {
        "lost": 0,
        "batches": 10,
        "validation_loss": 0.5,
        "relative_l2": 0.25,
        "seconds": 1.5,
    }
    assert sweep.rows[1].swept == {"a, b": "[2, 'x']"}
    with (tmp_path / "sweep.csv").open(newline="") as stream:
        assert next(csv.reader(stream)) == ["study", "a, b", "outcome", "reason", *FIGURES, "folder"]
    assert not (tmp_path / "sweep_seeds.csv").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.csv"]


def test_a_folder_that_holds_a_sweep_or_cannot_be_written_is_refused(tmp_path: Path) -> None:
    sweep_of(tmp_path, "1")
    with pytest.raises(
        ConfigurationError, match=r"already holds a sweep.*go on with that sweep by `melissa-like resume"
    ):
        sweep_of(tmp_path, "1")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        sweep_of(tmp_path / "nowhere", "1")
    (tmp_path / "sweep.csv").write_text("something else\n1\n")
    with pytest.raises(ConfigurationError, match="no table of a sweep"):
        read_sweep(tmp_path)


def test_rows_are_known_where_the_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    sweep = sweep_of(folder, "1", "2")
    (folder / "sweep.csv").unlink()
    folder.rmdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        sweep.close()
    assert [row.outcome for row in sweep.rows] == ["not run"] * 2


@pytest.mark.parametrize(
    ("outcome", "reason", "missing"),
    [
        ("completed", "every sample was delivered", False),
        ("failed", "the solver seems to fail always", False),
        ("stopped", "training.max_batches was reached before all simulations had run", False),
        ("stopped", "interrupted by SIGINT", True),
        ("stopped", "launcher.walltime = 60 s is near", True),
        ("waiting", "", True),
        ("running", "", True),
        ("not run", "the sweep was ended before", True),
        ("killed", "its launcher was killed by SIGKILL, without a verdict", True),
        ("refused", "training.batch_size is 500", True),
    ],
)
def test_what_is_missing_of_a_sweep(outcome: str, reason: str, missing: bool) -> None:
    assert is_missing(SweepRow(number=0, swept={}, outcome=outcome, reason=reason, figures={})) is missing


def test_the_configurations_of_the_studies_are_kept_as_they_were_composed(tmp_path: Path) -> None:
    configs = [OmegaConf.create({"a": number, "b": "${a}", "launcher": {"max_studies": 3}}) for number in range(2)]
    keep_plan(tmp_path, [resolved(config) for config in configs])
    assert planned_config(tmp_path, 1) == {"a": 1, "b": 1, "launcher": {"max_studies": 3}}
    assert studies_at_a_time(planned_config(tmp_path, 0)) == 3
    assert studies_at_a_time(OmegaConf.create({"launcher": {"max_studies": 0}})) == 1
    assert started_in(tmp_path) == Path.cwd()
    assert (tmp_path / "planned").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigurationError, match=r"2\.yaml cannot be read"):
        planned_config(tmp_path, 2)
    with pytest.raises(ConfigurationError, match="nothing"):
        resolved(OmegaConf.create({"a": "${nothing}"}))


@pytest.mark.parametrize(
    ("said", "code", "ended"),
    [
        (b'{"code":0,"outcome":"completed","reason":"all of it","figures":{"lost":0.0}}', 0, "completed"),
        (b"", -9, "its launcher was killed by SIGKILL, without a verdict"),
        (b'{"code":0,"outc', -15, "its launcher was killed by SIGTERM, without a verdict"),
        (b"", 1, "its launcher ended with exit code 1, without a verdict"),
    ],
)
def test_how_a_study_has_ended(said: bytes, code: int, ended: str) -> None:
    known = ended_of(said, code)
    assert ended in (known.outcome, known.reason)
    assert known.code == (0 if ended == "completed" else 1)
    assert known.outcome in ("completed", "killed")


def test_lines_are_passed_on_whole(capsys: pytest.CaptureFixture[str]) -> None:
    source, sink = os.pipe()
    stream = PassedOn(source, sys.stdout, "study 3: ")
    assert stream.read()
    os.write(sink, b"one\ntw")
    assert stream.read()
    assert capsys.readouterr().out == "study 3: one\n"
    os.write(sink, b"o\nthree")
    os.close(sink)
    assert not stream.read()
    stream.close()
    assert capsys.readouterr().out == "study 3: two\nstudy 3: three\n"
    os.close(source)


def test_mean_and_spread_are_of_studies_that_differ_in_their_seed_only() -> None:
    rows = [
        row(0, 0.1, buffer="fifo", study__seed="1"),
        row(1, 0.3, buffer="fifo", study__seed="2"),
        row(2, 9.9, outcome="failed", buffer="fifo", study__seed="3"),
        row(3, 0.5, buffer="firo", study__seed="1"),
        row(4, None, outcome="refused", buffer="list", study__seed="1"),
    ]
    fifo, firo, refused = over_seeds(rows)
    assert (fifo.swept, fifo.num_studies, fifo.num_completed) == ({"buffer": "fifo"}, 3, 2)
    assert fifo.means["relative_l2"] == pytest.approx(0.2)
    assert fifo.deviations["relative_l2"] == pytest.approx(0.1 * 2**0.5)
    assert (firo.means["relative_l2"], firo.deviations) == (0.5, {})
    assert (refused.means, refused.num_completed) == ({}, 0)
    assert over_seeds([row(0, 0.1, buffer="fifo")]) == []
    (only,) = over_seeds([row(0, 0.1, study__seed="1"), row(1, 0.3, study__seed="2")])
    assert only.swept == {}


def test_the_table_shows_the_swept_keys_and_why_a_study_was_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    refused = SweepRow(
        number=1, swept={"training.batch_size": "500"}, outcome="refused", reason="too [red]many[/red]", figures={}
    )
    print_rows([row(0, 0.0123, training__batch_size="8"), refused])
    shown = capsys.readouterr().out
    assert "training.batch_size" in shown
    assert "1.23%" in shown
    assert "study 1, refused: too [red]many[/red]" in shown


@pytest.mark.parametrize(
    "rows",
    [
        [row(i, e, training__optimizer__lr=v) for i, (v, e) in enumerate([("1e-4", 0.5), ("1e-2", 0.01)])],
        [
            row(i, 0.1 * i, buffer=b, study__seed=s)
            for i, (b, s) in enumerate([("fifo", "1"), ("fifo", "2"), ("a", "1")])
        ],
        [
            row(i, 0.1 + i, model__hidden=h, x=x)
            for i, (h, x) in enumerate([("[8]", "1"), ("[8,8]", "1"), ("[8]", "2")])
        ],
        [row(0, 0.1, study__seed="1"), row(1, 0.2, study__seed="2"), row(2, None, "failed", study__seed="3")],
        [row(0, 0.1, x="1"), row(1, 0.1, x="nan")],
    ],
    ids=["numbers", "words and seeds", "two keys", "seeds only", "not finite"],
)
def test_the_figure_is_drawn(tmp_path: Path, rows: list[SweepRow]) -> None:
    draw_rows(tmp_path, rows)
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_no_figure_without_an_error_to_show(tmp_path: Path) -> None:
    draw_rows(tmp_path, [row(0, None, x="1")])
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_roll_outs_is_shown_where_a_study_has_some(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([row(0, 0.5)])
    assert "roll-out" not in capsys.readouterr().out
    rollout = {"relative_l2": {"mean": 0.75, "p99": None}, "correlation_time": 3.5}
    figures = figures_of({"validation": {"relative_l2": 0.5, "rollout": rollout}})
    assert figures == {"relative_l2": 0.5, "rollout_relative_l2": 0.75, "correlation_time": 3.5}
    print_rows([SweepRow(number=0, swept={}, outcome="completed", figures=figures)])
    shown = capsys.readouterr().out
    assert "roll-out" in shown
    assert "75.00%" in shown
