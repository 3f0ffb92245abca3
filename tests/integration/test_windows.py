"""Windows of time steps, whatever is killed: none is lost, none doubled, none of two attempts."""

import json
from pathlib import Path

import pytest

from tests.integration.studies import Ran, melissa_like
from tests.integration.told import told

WINDOWS = ["training.task._target_=melissa_like.training.Autoregressive", "+training.task.horizon=2"]


def audited(folder: Path, *overrides: str, simulations: int = 4, mixes: bool = False, **options: object) -> Ran:
    """A study of windows of three of ten time steps, each of which is looked at when it is trained on."""
    study = told(folder, simulations=simulations, num_steps=10, **options)
    study = [override for override in study if "training.loss" not in override]
    loop = ["training.loop._target_=tests.plugins.audited.audited", f"+training.loop.folder={folder}"]
    loop += [f"+training.loop.mixes={mixes}", "training.loss._target_=tests.plugins.losses.scaled_mse"]
    steps = ["solver.num_steps=10", "+training.loss.scale=100.0", *WINDOWS]
    return melissa_like(folder / "study", *study, *loop, *steps, *overrides, timeout_s=90)


def seen(folder: Path) -> dict[tuple[int, int], int]:
    """How often each window was trained on, by its simulation and first step."""
    rows = json.loads((folder / "seen.json").read_text())
    return {(simulation, first): times for simulation, first, times in rows}


@pytest.mark.parametrize(
    ("hop", "ranks"), [(1, 2), pytest.param(3, 1, marks=pytest.mark.slow), pytest.param(2, 2, marks=pytest.mark.slow)]
)
def test_a_solver_that_is_killed_in_the_middle_costs_no_window(tmp_path: Path, hop: int, ranks: int) -> None:
    several = [f"launcher.num_server_ranks={ranks}", "launcher.max_jobs=2", f"buffer.window.hop={hop}", "buffer=fifo"]
    ran = audited(tmp_path, *several, simulation=1, step=5)
    assert ran.code == 0, ran.err
    expected = {(simulation, first): 1 for simulation in range(4) for first in range(0, 8, hop)}
    assert seen(tmp_path) == expected
    samples = ran.report["samples"]
    assert samples["expected"] == samples["delivered"] == samples["trained_on"] == len(expected)
    assert (samples["lost"], samples["given_up"]) == (0, 0)
    assert ran.report["simulations"]["restarted"] == 1


@pytest.mark.slow
def test_a_deterministic_solver_completes_windows_of_another_attempt(tmp_path: Path) -> None:
    more = ["solver.deterministic=true", "buffer=fifo", "launcher.max_jobs=1"]
    ran = audited(tmp_path, *more, mixes=True, simulation=1, step=5, pause_s=0.1)
    assert ran.code == 0, ran.err
    assert seen(tmp_path) == {(simulation, first): 1 for simulation in range(4) for first in range(0, 8, 2)}
    assert (tmp_path / "mixed").exists()
    assert ran.report["samples"]["duplicates_dropped"] == 0  # what half-formed windows hold is not sent again


@pytest.mark.slow
@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize(("hop", "victim"), [(1, 0), (3, 1)])
def test_server_ranks_that_go_back_to_a_checkpoint_lose_and_double_no_window(
    tmp_path: Path, hop: int, victim: int, saved: bool
) -> None:
    """A rank is killed while it writes a checkpoint; in the history of the weights each window is there once."""
    often = ["training.checkpoint.interval_s=0.3", "launcher.num_server_ranks=2", "launcher.max_jobs=2"]
    often += [] if saved else ["training.checkpoint.buffer_limit=0"]
    kills = ["+training.loop.killed_at=5", f"+training.loop.victim={victim}", "+training.loop.pause_s=0.1"]
    few = ["buffer=fifo", "training.batch_size=1", f"buffer.window.hop={hop}", "study.num_validation_simulations=1"]
    kills.append("+training.loop.held_out=1")
    ran = audited(tmp_path, *often, *kills, *few, simulations=6, pause_s=0.1)
    assert ran.code == 0, ran.err
    [why] = ran.report["server_losses"]
    assert f"server rank {victim} ended" in why
    assert seen(tmp_path) == {(simulation, first): 1 for simulation in range(6) for first in range(0, 8, hop)}
    samples = ran.report["samples"]
    assert samples["delivered"] == samples["trained_on"] == 6 * len(range(0, 8, hop))
    assert ran.report["validation"]["num_samples"] == len(range(0, 8, hop))


@pytest.mark.slow
def test_an_adaptive_solver_has_the_windows_that_its_steps_make(tmp_path: Path) -> None:
    several = ["launcher.num_server_ranks=2", "solver.end_time=9", "buffer=fifo", "solver.num_steps=null"]
    ran = audited(tmp_path, *several, simulation=1, step=5)
    assert ran.code == 0, ran.err
    assert seen(tmp_path) == {(simulation, first): 1 for simulation in range(4) for first in range(0, 8, 2)}
    assert ran.report["samples"]["lost"] == 0


@pytest.mark.slow
def test_simulations_that_are_shorter_than_a_window_fail_and_say_so(tmp_path: Path) -> None:
    long = ["solver.num_steps=null", "solver.end_time=9", "buffer.window.length=12", "training.task.horizon=null"]
    ran = audited(tmp_path, *long)
    assert ran.code == 1
    assert "after 10 time steps, but a sample needs 12" in ran.report["reason"]
