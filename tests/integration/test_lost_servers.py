"""A server rank that is lost: all of them are started again, and the study completes as if nothing had been."""

import json
from pathlib import Path

import pytest

from tests.integration.studies import Ran, marked, melissa_like
from tests.integration.told import told, trained

TRAINS = ["monitoring.interval_s=0.1", "monitoring.tensorboard=true", "buffer.views_per_sample=60"]


def lose(run_dir: Path, *overrides: str, simulations: int = 8, **options: object) -> Ran:
    """A study in which a solver sends a signal to a server rank, once something was trained."""
    solver = [*marked(run_dir=run_dir, simulations=simulations, **options), *TRAINS, "solver.launch=''"]
    target = "solver.solve._target_=tests.plugins.trained.kills_the_server"
    return melissa_like(run_dir, *solver, target, *overrides, timeout_s=90)


@pytest.mark.parametrize(("ranks", "victim"), [(1, 0), pytest.param(2, 0, marks=pytest.mark.slow), (2, 1)])
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


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_server_ranks_whose_scheduler_tells_that_their_job_ends_save_and_are_started_again(
    tmp_path: Path, ranks: int
) -> None:
    """It costs none of the restarts that are allowed, and nothing that was trained."""
    several = [f"launcher.num_server_ranks={ranks}", "launcher.max_server_restarts=0"]
    ran = lose(tmp_path / "study", *several, "training.checkpoint.interval_s=1000", how="SIGUSR1")
    assert ran.code == 0, ran.err
    [why] = ran.report["server_losses"]
    assert why == "server rank 0 was to end: its scheduler has sent SIGUSR1, its job ends soon"
    samples = ran.report["samples"]
    assert samples["expected"] == samples["delivered"] == samples["trained_on"] == 48
    assert ran.report["training"]["batches"] == 60 * 48 // 4 // ranks
    assert ran.report["checkpoint"]["number"] >= 1  # the one with which they ended


def test_server_ranks_that_always_die_end_the_study(tmp_path: Path) -> None:
    overrides = [*marked(simulations=3), "solver.launch=''", "launcher.max_server_restarts=2"]
    loop = ["training.loop._target_=tests.plugins.loops.dies", "buffer.watermark=1"]
    ran = melissa_like(tmp_path / "study", *overrides, *loop, timeout_s=90)
    assert ran.code == 1
    assert ran.report["reason"].startswith("after 2 restarts of the server ranks without a checkpoint of more")
    assert "SIGKILL" in ran.report["reason"]
    assert len(ran.report["server_losses"]) == 2


@pytest.mark.parametrize(
    ("moment", "ranks"),
    [
        pytest.param("start", [1], marks=pytest.mark.slow),
        ("start", [0, 1]),
        ("training", [0]),
        pytest.param("training", [0, 1], marks=pytest.mark.slow),
        pytest.param("validation", [0], marks=pytest.mark.slow),
        ("validation", [1]),
        ("draining", [0]),
        pytest.param("draining", [0, 1], marks=pytest.mark.slow),
        ("end", [1]),
    ],
)
def test_server_ranks_may_be_killed_at_any_moment(tmp_path: Path, moment: str, ranks: list[int]) -> None:
    study = [*told(tmp_path, simulations=5), "study.num_validation_simulations=1", "launcher.num_server_ranks=2"]
    killed = [f"+training.loop.{name}={value}" for name, value in {"moment": moment, "ranks": ranks}.items()]
    killed += ["training.loop._target_=tests.plugins.loops.killed_once", f"+training.loop.folder={tmp_path}"]
    killed.append("training.steps_per_agreement=1")  # so that progress is told for each step
    more = ["buffer=reservoir", "buffer.views_per_sample=4", "training.validation_interval=10", "buffer.watermark=4"]
    ran = melissa_like(tmp_path / "study", *study, *killed, *more, timeout_s=90)
    assert ran.code == 0, ran.err
    report = ran.report
    assert (report["outcome"], report["samples"]["lost"]) == ("completed", 0)
    assert report["samples"]["trained_on"] == report["samples"]["delivered"] == 30
    losses = report["server_losses"]
    assert 1 <= len(losses) <= len(ranks)  # the second of two may be ended with the first, and killed when it is back
    assert all("SIGKILL" in why for why in losses)
    assert {key for key, _ in trained(tmp_path)} == {(number, step) for number in range(5) for step in range(6)}
    assert report["validation"]["num_samples"] == 6
    if len(ranks) == 1:
        assert losses[0].startswith(f"server rank {ranks[0]} ended")
    assert len(list(tmp_path.glob("tried-*"))) == 1  # not by those that replaced them


def test_server_ranks_killed_while_they_start_are_started_again(tmp_path: Path) -> None:
    """The trial, before any hello: nobody else is there yet."""
    loop = ["training.loop._target_=tests.plugins.loops.killed_in_its_trial", f"+training.loop.folder={tmp_path}"]
    ran = melissa_like(tmp_path / "study", *told(tmp_path, simulations=3), *loop, "launcher.num_server_ranks=2")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 18
    [why] = ran.report["server_losses"]
    assert why.startswith("server rank 0 ended")


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_two_incarnations_never_train_at_once(tmp_path: Path, ranks: int) -> None:
    """One that is stopped might be continued at any time: it is gone before the next one begins."""
    loop = ["training.loop._target_=tests.plugins.loops.stopped_once", f"+training.loop.folder={tmp_path}"]
    limits = ["launcher.server_timeout_s=3", "launcher.grace_s=0.5", f"launcher.num_server_ranks={ranks}"]
    limits.append("monitoring.interval_s=0.1")
    ran = melissa_like(tmp_path / "study", *told(tmp_path, simulations=4), *loop, *limits, timeout_s=60)
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 24
    [why] = ran.report["server_losses"]
    assert why.startswith("server rank 0 is silent")
    turns = {path.name: [float(line) for line in path.read_text().split()] for path in tmp_path.glob("turns-*")}
    spans = sorted((min(times), max(times)) for times in turns.values())
    assert len(spans) == 2 * ranks
    assert max(last for _, last in spans[:ranks]) < min(first for first, _ in spans[ranks:])


@pytest.mark.parametrize(
    ("ranks", "victim"), [*(pytest.param(*case, marks=pytest.mark.slow) for case in [(1, 0), (2, 0)]), (2, 1)]
)
def test_a_loss_that_blocks_is_found_and_named(tmp_path: Path, ranks: int, victim: int) -> None:
    study = told(tmp_path, simulations=6)
    loss = ["training.loss._target_=tests.plugins.losses.blocks_once", f"+training.loss.rank={victim}"]
    limits = ["launcher.training_timeout_s=2", "launcher.grace_s=0.5", f"launcher.num_server_ranks={ranks}"]
    ran = melissa_like(tmp_path / "study", *study, *loss, *limits, "buffer.views_per_sample=10", timeout_s=60)
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 36
    [why] = ran.report["server_losses"]
    assert why.startswith(f"server rank {victim} hangs: its training step ")
    assert "has taken more than 2 s (launcher.training_timeout_s); it is here:" in why
    assert "in blocks_once" in why
    assert "the stacks of all threads:" in (ran.run_dir / "logs" / f"server-{victim}.log").read_text()


def test_a_loss_that_lets_no_other_thread_run_leaves_its_stacks_before_the_rank_is_missed(tmp_path: Path) -> None:
    loss = ["training.loss._target_=tests.plugins.losses.holds_the_interpreter_once", "monitoring.interval_s=0.2"]
    loss.append("+training.loss.after=60")  # behind the calls of the trial
    limits = ["launcher.server_timeout_s=3", "launcher.grace_s=0.5", "buffer.views_per_sample=10"]
    ran = melissa_like(tmp_path / "study", *told(tmp_path, simulations=6), *loss, *limits, timeout_s=60)
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 36
    [why] = ran.report["server_losses"]
    assert why.startswith("server rank 0 is silent")
    assert "in holds_the_interpreter_once" in (ran.run_dir / "logs" / "server-0.log").read_text()
