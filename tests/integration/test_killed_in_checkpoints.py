"""A server rank that is killed while it writes a checkpoint, at one of its fsyncs: half a one is never loaded."""

import json
from pathlib import Path

import pytest

from tests.integration.studies import melissa_like
from tests.integration.told import told

OFTEN = ["training.checkpoint.interval_s=0.3", "buffer.views_per_sample=null", "launcher.num_server_ranks=2"]


@pytest.mark.parametrize(
    ("killed_at", "victim"),
    [(2, 0), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(1, 1), (4, 0), (4, 1), (5, 0)])],
)
def test_a_rank_that_is_killed_in_the_middle_of_a_checkpoint_costs_nothing_but_time(
    tmp_path: Path, killed_at: int, victim: int
) -> None:
    study = [override for override in told(tmp_path, simulations=6, pause_s=0.2) if "training.loss" not in override]
    loss = ["training.loss._target_=tests.plugins.losses.scaled_mse", "+training.loss.scale=100.0"]
    loop = ["training.loop._target_=tests.plugins.audited.audited", f"+training.loop.folder={tmp_path}"]
    loop += [f"+training.loop.killed_at={killed_at}", f"+training.loop.victim={victim}", "launcher.max_jobs=2"]
    ran = melissa_like(tmp_path / "study", *study, *loss, *loop, *OFTEN, timeout_s=90)
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["delivered"], samples["trained_on"], samples["lost"]) == (36, 36, 0)
    [why] = ran.report["server_losses"]
    assert why.startswith(f"server rank {victim} ended")
    assert "SIGKILL" in why
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert [(number, step) for number, step, _ in seen] == [(number, step) for number in range(6) for step in range(6)]
