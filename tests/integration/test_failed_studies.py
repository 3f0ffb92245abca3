"""A study that fails keeps what it has trained: true counts, the surrogate as it is, figures, an exit code."""

import json
import subprocess
from pathlib import Path

import pytest

from melissa_like.training import load_surrogate
from tests.integration.studies import COMMAND, Ran, environment, marked, melissa_like

TRAINS = ["monitoring.figures=true", "monitoring.interval_s=0.1", "buffer.views_per_sample=100"]


def kept(run_dir: Path, *, outcome: str = "failed") -> Ran:
    """What every study that ended early must have left."""
    ran = Ran(0, "", "", run_dir)
    report = ran.report
    assert report["outcome"] == outcome
    assert report["training"]["batches"] > 0
    assert report["training"]["samples"] > 0
    assert 0 < report["samples"]["trained_on"] <= report["samples"]["delivered"]
    assert report["surrogate"] == "incomplete"
    assert report["problems"] == []
    assert {path.name for path in (run_dir / "figures").iterdir()} >= {"losses.png", "population.png"}
    description = json.loads((run_dir / "surrogate" / "surrogate.json").read_text())
    assert not description["complete"]
    with pytest.warns(UserWarning, match="before its training had come to its end"):
        surrogate = load_surrogate(run_dir / "surrogate")
    assert surrogate.predict({"number": 1.0}, step=3)["mark"].shape == (8, 4)
    return ran


def loop(rank: int) -> list[str]:
    return ["training.loop._target_=tests.plugins.loops.fails", f"+training.loop.rank={rank}"]


def once_trained(what: str, run_dir: Path) -> list[str]:
    """Of a solver in `tests.plugins.trained`."""
    return [*marked(run_dir=run_dir), f"solver.solve._target_=tests.plugins.trained.{what}"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["solver.solve._target_=tests.plugins.trained.raises", "launcher.max_attempts=1"],
            "Newton iteration diverged",
        ),
        (loop(0), "RuntimeError: the loop has lost its way"),
        (
            ["training.loop._target_=tests.plugins.loops.diverges"],
            "the training has diverged: its loss is nan at training step 20, with the learning rate",
        ),
        (
            ["training.loop._target_=tests.plugins.unfit.returns_nothing_later"],
            "server rank 0 ended: the training loop returns_nothing_later returned a NoneType: return stream.surrogate",
        ),
        (
            ["training.loop._target_=tests.plugins.unfit.loses_its_weights", "+training.loop.at_once=false"],
            "server rank 0 ended: the training loop loses_its_weights returned weights that are not finite",
        ),
    ],
)
def test_what_was_trained_is_kept_whatever_the_verdict(tmp_path: Path, overrides: list[str], words: str) -> None:
    run_dir = tmp_path / "study"
    options = {"run_dir": run_dir} if "trained" in overrides[0] else {}
    ran = melissa_like(run_dir, *marked(**options), *TRAINS, *overrides, "launcher=inline", timeout_s=60)
    assert ran.code == 1
    assert words in kept(run_dir).report["reason"]
    assert "melissa-like check" not in ran.report["reason"]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_was_trained_is_kept_when_one_of_two_server_ranks_fails(tmp_path: Path, rank: int) -> None:
    run_dir = tmp_path / "study"
    overrides = [*marked(simulations=12), *TRAINS, *loop(rank), "solver.launch=''", "launcher.num_server_ranks=2"]
    ran = melissa_like(run_dir, *overrides, timeout_s=100)
    assert ran.code == 1
    reason = kept(run_dir).report["reason"]
    assert reason.startswith(f"server rank {rank} ended")
    assert "the loop has lost its way" in reason


def test_what_was_trained_is_kept_after_an_interruption(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    ran = melissa_like(run_dir, *once_trained("interrupts", run_dir), *TRAINS, "solver.launch=''")
    assert ran.code == 130, ran.err
    assert "SIGINT" in kept(run_dir, outcome="stopped").report["reason"]


def test_of_a_server_rank_that_is_killed_the_last_counts_are_kept(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    killed = once_trained("kills_the_server", run_dir)
    ran = melissa_like(run_dir, *killed, *TRAINS, "solver.launch=''", "launcher.max_server_restarts=0")
    assert ran.code == 1
    assert "SIGKILL" in ran.report["reason"]
    assert ran.report["training"]["batches"] > 0
    assert ran.report["samples"]["trained_on"] > 0
    assert ran.report["surrogate"] is None
    assert "training: " in ran.err


def test_a_surrogate_that_cannot_be_saved_has_failed_the_study(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    run_dir.mkdir()
    (run_dir / "surrogate").symlink_to("nowhere")
    overrides = [*marked(simulations=2), "launcher=inline", "buffer.views_per_sample=4"]
    ran = melissa_like(run_dir, *overrides, timeout_s=60)
    assert ran.code == 1
    assert f"what was trained cannot be saved in {run_dir}" in ran.report["reason"]
    assert "make room" in ran.report["reason"]
    assert "Traceback" not in ran.err
    assert ran.report["samples"]["trained_on"] == ran.report["samples"]["delivered"] == 12
    assert ran.report["training"]["batches"] == 12


@pytest.mark.parametrize("redirection", ["> /dev/full", "2> /dev/full"])
def test_a_study_whose_output_leads_nowhere_comes_to_its_end_and_says_so(tmp_path: Path, redirection: str) -> None:
    run_dir = tmp_path / "study"
    run = [*COMMAND, "run", f"run_dir={run_dir}", *marked(simulations=2), "launcher=inline"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *run],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report = Ran(0, "", "", run_dir).report
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert report["outcome"] == "completed"
    if redirection.startswith("2"):
        assert "problem: the state of the study could not be shown any more (No space left on device)" in done.stdout
    else:
        assert "the output could not be written (No space left on device)" in done.stderr
