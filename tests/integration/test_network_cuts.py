"""A network that is cut between the host of the solvers and that of launcher and server: for a while, and for good."""

import time
from pathlib import Path

import pytest

from melissa_like.errors import ConfigurationError
from melissa_like.study import events as ev
from tests.integration.networks import network
from tests.integration.studies import Ran, await_that, running
from tests.integration.told import happened, told, trained


def far_away(folder: Path, namespace: str, address: str, **options: object) -> list[str]:
    """A study whose solvers run in another network; simulation 1 tells when it is at step 3."""
    study = [*told(folder, simulations=3, pause_s=0.1, simulation=1, step=3, how="SIGCONT", **options), "buffer=fifo"]
    study = [override for override in study if not override.startswith("solver.launch")]
    wire = [f"solver.launch='ip netns exec {namespace}'", f"transport.host={address}", "transport.shared_memory=false"]
    return [*study, *wire, "transport.heartbeat_s=0.5", "launcher.grace_s=1"]


def has_ended(run_dir: Path) -> bool:
    try:
        return bool(happened(run_dir, ev.JobEnded))
    except ConfigurationError:  # no journal yet
        return False


def assert_complete(run_dir: Path, folder: Path) -> Ran:
    ran = Ran(0, "", "", run_dir)
    samples = ran.report["samples"]
    assert (samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]) == (18, 18, 18, 0)
    seen = [key for key, _ in trained(folder)]
    assert sorted(seen) == [(number, step) for number in range(3) for step in range(6)]
    return ran


@pytest.mark.parametrize(
    ("seconds", "budget_bytes"),
    [(4.0, 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(4.0, 32 * 2**20), (10.0, 1)])],
)
def test_a_short_cut_costs_nothing(tmp_path: Path, seconds: float, budget_bytes: int) -> None:
    """With room for one part alone, the solver is blocked by the cut and asks the launcher in vain meanwhile."""
    run_dir = tmp_path / "study"
    with network() as wire:
        study = far_away(tmp_path, wire.namespace, wire.address)
        with running(run_dir, *study, f"transport.budget_bytes={budget_bytes}") as launcher:
            await_that((tmp_path / "hit-1-1").exists)
            wire.cut()
            time.sleep(seconds)
            wire.mend()
            assert launcher.wait(60.0) == 0, launcher.stderr and launcher.stderr.read()
    ran = assert_complete(run_dir, tmp_path)
    assert ran.report["simulations"]["restarted"] == 0


def test_a_cut_for_good_is_a_dead_attempt(tmp_path: Path) -> None:
    """Until the launcher has ended the attempt; the next one finds the network as it should be."""
    run_dir = tmp_path / "study"
    with network() as wire:
        study = far_away(tmp_path, wire.namespace, wire.address)
        limits = ["launcher.step_timeout_s=3", "launcher.delivery_timeout_s=3"]
        with running(run_dir, *study, *limits) as launcher:
            await_that((tmp_path / "hit-1-1").exists)
            wire.cut()
            await_that(lambda: has_ended(run_dir))
            wire.mend()
            assert launcher.wait(60.0) == 0, launcher.stderr and launcher.stderr.read()
    ran = assert_complete(run_dir, tmp_path)
    assert ran.report["simulations"]["restarted"] == 1
    assert "nothing arrived of it for 3 s" not in ran.report["reason"]
