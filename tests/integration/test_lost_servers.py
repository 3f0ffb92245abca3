"""A server rank that is lost: all of them are started again, and the study completes as if nothing had been."""

import json
from pathlib import Path

import pytest

from tests.integration.studies import Ran, marked, melissa_like

TRAINS = ["monitoring.interval_s=0.1", "monitoring.tensorboard=true", "buffer.views_per_sample=60"]


def lose(run_dir: Path, *overrides: str, simulations: int = 8, **options: object) -> Ran:
    """A study in which a solver sends a signal to a server rank, once something was trained."""
    solver = [*marked(run_dir=run_dir, simulations=simulations, **options), *TRAINS, "solver.launch=''"]
    target = "solver.solve._target_=tests.plugins.trained.kills_the_server"
    return melissa_like(run_dir, *solver, target, *overrides, timeout_s=90)


@pytest.mark.parametrize(("ranks", "victim"), [(1, 0), (2, 0), (2, 1)])
def test_server_ranks_are_started_again_when_one_is_killed(tmp_path: Path, ranks: int, victim: int) -> None:
    ran = lose(tmp_path / "study", f"launcher.num_server_ranks={ranks}", rank=victim)
    assert ran.code == 0, ran.err
    report = ran.report
    assert (report["outcome"], report["samples"]["lost"]) == ("completed", 0)
    assert report["samples"]["trained_on"] == report["samples"]["delivered"] == 48
    assert report["simulations"] == {"requested": 8, "completed": 8, "failed": 0, "restarted": 8}
    [why] = report["server_losses"]
    assert why.startswith(f"server rank {victim} ended")
    assert "SIGKILL" in why
    assert f"started again: server rank {victim} ended" in ran.out
    assert json.loads((ran.run_dir / "surrogate" / "surrogate.json").read_text())["complete"]


def test_what_a_lost_server_rank_has_measured_is_not_mixed_with_the_training_that_counts(tmp_path: Path) -> None:
    ran = lose(tmp_path / "study")
    lines = [json.loads(line) for line in (ran.run_dir / "metrics-0.jsonl").read_text().splitlines()]
    batches = [line["batches"] for line in lines]
    assert batches == sorted(batches)
    assert batches[-1] == ran.report["training"]["batches"]


def test_a_server_rank_that_stands_still_is_replaced(tmp_path: Path) -> None:
    ran = lose(tmp_path / "study", "launcher.server_timeout_s=1", "launcher.grace_s=0.5", how="SIGSTOP")
    assert ran.code == 0, ran.err
    [why] = ran.report["server_losses"]
    assert why.startswith("server rank 0 is silent")
    assert ran.report["samples"]["trained_on"] == 48


def test_server_ranks_that_always_die_end_the_study(tmp_path: Path) -> None:
    overrides = [*marked(simulations=3), "solver.launch=''", "launcher.max_server_restarts=2"]
    loop = ["training.loop._target_=tests.plugins.loops.dies", "buffer.watermark=1"]
    ran = melissa_like(tmp_path / "study", *overrides, *loop, timeout_s=90)
    assert ran.code == 1
    assert ran.report["reason"].startswith("after 2 restarts of the server ranks without a new checkpoint")
    assert "SIGKILL" in ran.report["reason"]
    assert len(ran.report["server_losses"]) == 2
