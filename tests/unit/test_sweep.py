"""The table of a sweep: what was swept, what became of each study, mean and spread over the seeds, the figure."""

import csv
from pathlib import Path
from typing import Any

import pytest

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.sweep import Sweep, plan_of
from melissa_like.launcher.sweep_file import FIGURES, SweepRow, figures_of, over_seeds, read_sweep
from melissa_like.launcher.sweep_table import draw_rows, print_rows


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


def test_the_file_is_whole_after_every_change(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, [{"a, b": "1"}, {"a, b": "[2, 'x']"}, {"a, b": "3"}])
    assert [row.outcome for row in read_sweep(tmp_path)] == ["waiting"] * 3
    sweep.begin(0, tmp_path / "0")
    assert read_sweep(tmp_path)[0].outcome == "running"
    sweep.end(0, "completed", "every sample was delivered", report(0.25))
    sweep.begin(1, tmp_path / "1")
    sweep.end(1, "refused", 'a "reason"\nof two lines', None)
    sweep.close()
    assert read_sweep(tmp_path) == sweep.rows
    assert [row.outcome for row in sweep.rows] == ["completed", "refused", "not run"]
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
    Sweep(tmp_path, [{"a": "1"}])
    with pytest.raises(ConfigurationError, match="already holds a sweep"):
        Sweep(tmp_path, [{"a": "1"}])
    with pytest.raises(ConfigurationError, match="cannot be written"):
        Sweep(tmp_path / "nowhere", [{"a": "1"}])
    (tmp_path / "sweep.csv").write_text("something else\n1\n")
    with pytest.raises(ConfigurationError, match="no table of a sweep"):
        read_sweep(tmp_path)


def test_rows_are_known_where_the_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    sweep = Sweep(folder, [{"a": "1"}, {"a": "2"}])
    (folder / "sweep.csv").unlink()
    folder.rmdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        sweep.close()
    assert [row.outcome for row in sweep.rows] == ["not run"] * 2


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
