"""Server ranks that are lost go on from their newest checkpoint: what they held is there, the rest is made again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.integration.launched import resume
from tests.integration.studies import Ran, marked, melissa_like
from tests.plugins.audit import trained_in

ALL = {(simulation, step) for simulation in range(8) for step in range(6)}
OFTEN = ["training.checkpoint.interval_s=0.2", "monitoring.interval_s=0.1", "buffer.views_per_sample=null"]


def study(run_dir: Path, *overrides: str, solver: str = "kills_the_server", **options: Any) -> Ran:
    """A study that writes down what its final weights were trained on."""
    return melissa_like(
        run_dir,
        *marked(run_dir=run_dir, **options),
        *OFTEN,
        "solver.launch=''",
        f"solver.solve._target_=tests.plugins.trained.{solver}",
        "training.loop._target_=tests.plugins.audit.train",
        f"+training.loop.folder={run_dir.parent}",
        *overrides,
        timeout_s=90,
    )


def batches_of(ran: Ran) -> list[int]:
    return [json.loads(line)["batches"] for line in (ran.run_dir / "metrics-0.jsonl").read_text().splitlines()]


def complete(ran: Ran) -> list[dict[str, Any]]:
    """What the complete checkpoints say of themselves, the newest last."""
    return [
        json.loads(path.read_text())["checkpoint"]
        for path in sorted((ran.run_dir / "checkpoints").glob("*/manifest.json"))
    ]


def check_books(ran: Ran) -> None:
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]) == (48, 48, 48, 0)
    assert set(trained_in(ran.run_dir.parent)) == ALL


@pytest.mark.parametrize(("ranks", "victim"), [pytest.param(1, 0, marks=pytest.mark.slow), (2, 1)])
def test_killed_server_ranks_go_on_from_the_newest_checkpoint(tmp_path: Path, ranks: int, victim: int) -> None:
    tensorboard = ["monitoring.tensorboard=true", f"launcher.num_server_ranks={ranks}"]
    ran = study(tmp_path / "study", *tensorboard, rank=victim, num_checkpoints=2)
    check_books(ran)
    report = ran.report
    [why] = report["server_losses"]
    assert why.startswith(f"server rank {victim} ended")
    assert 0 < report["simulations"]["restarted"] < 8  # not all had to be made again
    batches = batches_of(ran)
    assert batches == sorted(batches)
    assert batches[-1] == report["training"]["batches"]
    manifests = complete(ran)
    assert [manifest["number"] for manifest in manifests] == [
        report["checkpoints"]["newest"] - 1,
        manifests[-1]["number"],
    ]
    assert manifests[-1]["batches"] == report["training"]["batches"]
    assert len(manifests[-1]["shards"]) == ranks
    steps = [event.step for event in EventAccumulator(str(ran.run_dir / "tensorboard")).Reload().Scalars("batches")]
    assert steps == sorted(steps)
    assert report["problems"] == []


@pytest.mark.parametrize(
    ("ranks", "victim", "recipe"), [(2, 1, "fifo"), pytest.param(1, 0, "firo", marks=pytest.mark.slow)]
)
def test_what_is_drawn_once_is_in_the_history_once(tmp_path: Path, ranks: int, victim: int, recipe: str) -> None:
    """Also what was drawn ahead, or trained on after the checkpoint, when the server ranks were killed."""
    ran = study(
        tmp_path / "study",
        f"buffer={recipe}",
        "launcher.max_jobs=2",
        f"launcher.num_server_ranks={ranks}",
        "+training.consumers.means._target_=tests.plugins.means.Means",
        f"+training.consumers.means.folder={tmp_path}",
        solver="paced_and_kills_the_server",
        simulations=20,
        rank=victim,
    )
    assert ran.code == 0, ran.err
    assert len(ran.report["server_losses"]) == 1
    assert ran.report["samples"]["trained_on"] == 120
    assert ran.report["simulations"]["restarted"] < 20
    history = trained_in(tmp_path)
    assert len(history) == 120
    assert set(history.values()) == {1}
    # What a consumer has seen goes on too: only the ranks that came to their end have written it.
    assert sum(int(np.load(path)["count"]) for path in tmp_path.glob("means-*.npz")) >= 120


@pytest.mark.slow
def test_a_completed_study_goes_on_with_more_simulations_and_fewer_server_ranks(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    options = ["buffer=fifo", "launcher.num_server_ranks=2", "sampling.design._target_=tests.plugins.sampling.Counting"]
    first = study(run_dir, *options, solver="paced_and_kills_the_server", simulations=4)
    assert first.code == 0, first.err
    batches = first.report["training"]["batches"]
    ran = resume(run_dir, "study.num_simulations=10", "launcher.num_server_ranks=1")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == ran.report["samples"]["delivered"] == 60
    assert ran.report["simulations"]["restarted"] == first.report["simulations"]["restarted"]
    history = trained_in(tmp_path)
    assert len(history) == 60
    assert set(history.values()) == {1}
    assert ran.report["training"]["batches"] > batches
    assert ran.report["training"]["samples"] == 60


def test_held_out_samples_and_the_history_of_their_errors_go_on(tmp_path: Path) -> None:
    validation = ["study.num_validation_simulations=2", "training.validation_interval=20"]
    ran = study(tmp_path / "study", *validation, solver="paced_and_kills_the_server", simulations=16, rank=0)
    assert ran.code == 0, ran.err
    report = ran.report
    assert len(report["server_losses"]) == 1
    assert report["samples"]["trained_on"] == 96
    assert report["validation"]["num_samples"] == 12
    batches = [figures["batches"] for figures in report["validation"]["history"]]
    assert batches[:-1] == list(range(20, 20 * len(batches), 20))[: len(batches) - 1]
    assert report["simulations"]["completed"] == 18


def test_draws_go_on_to_be_counted(tmp_path: Path) -> None:
    """The batches and the history are those of a study in which nothing was lost."""
    ran = study(tmp_path / "study", "buffer.views_per_sample=200", num_checkpoints=2)
    check_books(ran)
    assert ran.report["training"]["batches"] == 48 * 200 / 4
    assert trained_in(tmp_path).total() == 48 * 200


def test_a_buffer_that_is_too_large_is_left_out_and_its_unseen_samples_are_made_again(tmp_path: Path) -> None:
    ran = study(tmp_path / "study", "training.checkpoint.buffer_limit=1 KiB", num_checkpoints=2)
    check_books(ran)
    assert sum(path.stat().st_size for path in ran.run_dir.glob("checkpoints/*/rank-0.samples")) == 0


def test_a_damaged_checkpoint_is_skipped_with_a_warning(tmp_path: Path) -> None:
    ran = study(tmp_path / "study", solver="damages_a_checkpoint")
    check_books(ran)
    log = (ran.run_dir / "logs" / "server-0.2.log").read_text()
    assert "is damaged, so the one before it counts" in log
    assert "rank-0.state has" in log
    assert batches_of(ran)[-1] == ran.report["training"]["batches"]
    assert ran.report["simulations"]["restarted"] > 0


def test_where_checkpoints_cannot_be_written_the_training_goes_on_and_says_so(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    loop = ["training.loop._target_=tests.plugins.saved_loops.has_no_room", f"+training.loop.run_dir={run_dir}"]
    ran = melissa_like(run_dir, *marked(), *OFTEN, *loop, "solver.launch=''")
    assert (ran.code, ran.report["outcome"]) == (1, "completed")  # not as it should be, and so says the exit code
    [problem] = ran.report["problems"]
    assert problem.startswith("a checkpoint could not be written in")
    assert ran.report["samples"]["trained_on"] == 48
    assert ran.report["checkpoints"]["newest"] is None
    assert "WARNING: a checkpoint could not be written" in (run_dir / "logs" / "server-0.log").read_text()


def test_a_loop_that_keeps_nothing_begins_anew_and_is_told(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    ran = melissa_like(
        run_dir,
        *marked(run_dir=run_dir, num_checkpoints=1),
        *OFTEN,
        "solver.launch=''",
        "solver.solve._target_=tests.plugins.trained.kills_the_server",
        "training.loop._target_=tests.plugins.saved_loops.keeps_nothing",
        timeout_s=90,
    )
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["trained_on"] == 48
    assert ran.report["simulations"]["restarted"] >= 3
    assert "let the training loop call stream.keep" in (run_dir / "logs" / "server-0.2.log").read_text()
    assert complete(ran)[-1]["kept"] == []


def test_a_resume_of_a_loop_that_kept_nothing_is_refused(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    loop = ["training.loop._target_=tests.plugins.saved_loops.keeps_nothing"]
    first = melissa_like(run_dir, *marked(simulations=2), *OFTEN, *loop, "solver.launch=''")
    assert first.code == 0, first.err
    ran = resume(run_dir, "study.num_simulations=3")
    assert ran.code == 2
    assert "its training loop has kept nothing but the surrogate" in ran.err
    assert "let the loop call stream.keep" in ran.err


def test_a_stopped_study_leaves_a_last_checkpoint(tmp_path: Path) -> None:
    ran = study(tmp_path / "study", "training.checkpoint.interval_s=60", solver="interrupts", ranks=1)
    assert ran.report["outcome"] == "stopped"
    [manifest] = complete(ran)
    assert manifest["batches"] == ran.report["training"]["batches"]
    assert manifest["kept"] == ["history", "optimizer", "learning_rate"]
    assert ran.report["checkpoints"]["bytes"] > 0


def test_without_an_interval_there_are_no_checkpoints(tmp_path: Path) -> None:
    ran = study(tmp_path / "study", "training.checkpoint.interval_s=null", "buffer.views_per_sample=60")
    check_books(ran)
    assert not (ran.run_dir / "checkpoints").exists()
    assert ran.report["checkpoints"] is None
    assert ran.report["simulations"]["restarted"] >= 4  # also those that were complete
