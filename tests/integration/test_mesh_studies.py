"""Studies whose simulations have meshes of their own: nothing is lost, nothing is mixed, and a restart keeps it all."""

import json
from pathlib import Path

import pytest

from tests.integration.launched import launched, resume
from tests.integration.studies import Ran, melissa_like
from tests.plugins.audit import trained_in

FIFO = ["buffer=fifo", "buffer.capacity='8 KiB'"]
#: The first two simulations are held out.
EVERY_SAMPLE = {(number, step) for number in range(2, 10) for step in range(6)}


def on_meshes(folder: Path, *, ranks: int = 1) -> list[str]:
    """Overrides of a small study."""
    return [
        "solver=empty",
        "solver.name=meshes",
        "+solver.solve._target_=tests.plugins.meshes.solve",
        "+solver.fields.u={shape:[2,num_points],components:2}",
        "+solver.static.coordinates={shape:[2,num_points],components:2}",
        "+solver.static.edges={shape:[2,num_edges],components:2,dtype:int32,indexes:num_points}",
        "+solver.parameters.number._target_=tests.plugins.sampling.Number",
        "sampling=monte_carlo",
        "sampling.design._target_=tests.plugins.sampling.Counting",
        f"solver.num_ranks={ranks}",
        *(["solver.launch=''"] if ranks == 1 else []),
        "solver.num_steps=6",
        "study.num_simulations=8",
        "study.num_validation_simulations=2",
        "model=mesh_message_passing",
        "model.hidden=4",
        "model.layers=1",
        "training.batch_size=4",
        "training.loop._target_=tests.plugins.meshes.train",
        f"+training.loop.folder={folder}",
        "monitoring.figures=false",
        "monitoring.tensorboard=false",
    ]


def assert_complete(ran: Ran, folder: Path) -> None:
    """Whatever happened, each sample is there once, was trained on as it was sent, and so are the held-out ones."""
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]) == (48, 48, 48, 0)
    assert trained_in(folder).keys() == EVERY_SAMPLE
    assert ran.report["validation"]["num_samples"] == 12


@pytest.mark.parametrize(
    ("client_ranks", "server_ranks", "buffer"),
    [
        (1, 1, ["buffer=reservoir", "buffer.capacity='8 KiB'", "buffer.views_per_sample=null", "launcher=inline"]),
        pytest.param(3, 2, FIFO, marks=[pytest.mark.slow, pytest.mark.mpi]),
        pytest.param(3, 2, [*FIFO, "+solver.solve.scattered=true"], marks=[pytest.mark.slow, pytest.mark.mpi]),
    ],
)
def test_every_sample_of_every_mesh_is_trained_on_as_it_was_sent(
    tmp_path: Path, client_ranks: int, server_ranks: int, buffer: list[str]
) -> None:
    study = [*on_meshes(tmp_path, ranks=client_ranks), *buffer, f"launcher.num_server_ranks={server_ranks}"]
    ran = melissa_like(tmp_path / "study", *study, "monitoring.interval_s=0.05")
    assert_complete(ran, tmp_path)
    lines = [json.loads(line) for path in ran.run_dir.glob("metrics-*.jsonl") for line in path.read_text().splitlines()]
    assert 0 < max(line["buffer_bytes"] for line in lines) <= 8 * 1024 // server_ranks


@pytest.mark.slow
@pytest.mark.mpi
def test_another_attempt_sends_what_is_sent_once_again(tmp_path: Path) -> None:
    study = [*on_meshes(tmp_path, ranks=2), "buffer.capacity='64 KiB'", "buffer.views_per_sample=10"]
    study += ["launcher.num_server_ranks=2", "+solver.solve.scattered=true"]
    ran = melissa_like(tmp_path / "study", *study, f"+solver.solve.fails_once={tmp_path / 'failed'}")
    assert_complete(ran, tmp_path)
    assert ran.report["simulations"]["restarted"] == 1


@pytest.mark.slow
def test_a_study_on_meshes_outlives_a_server_rank(tmp_path: Path) -> None:
    study = [*on_meshes(tmp_path), "buffer.capacity='64 KiB'", "buffer.views_per_sample=10", "launcher.max_jobs=2"]
    study += ["launcher.num_server_ranks=2", "training.checkpoint.interval_s=0.2"]
    ran = melissa_like(tmp_path / "study", *study, "+training.loop.killed=server", "+training.loop.after=25")
    assert_complete(ran, tmp_path)
    [why] = ran.report["server_losses"]
    assert "SIGKILL" in why
    assert trained_in(tmp_path).total() == 10 * 48


@pytest.mark.slow
def test_a_study_on_meshes_goes_on_with_more_server_ranks_and_less_memory(tmp_path: Path) -> None:
    study = [*on_meshes(tmp_path), "buffer.capacity='64 KiB'", "buffer.views_per_sample=10", "launcher.max_jobs=2"]
    study += ["+training.loop.killed=launcher", "+training.loop.after=25", "training.checkpoint.interval_s=0.2"]
    with launched(tmp_path / "study", *study, "launcher.num_server_ranks=1") as first:
        ran = first.wait()
    assert ran.code == 130, ran.err
    assert ran.report["checkpoint"]["number"] >= 1
    ran = resume(tmp_path / "study", "launcher.num_server_ranks=2", "buffer.capacity='24 KiB'")
    assert_complete(ran, tmp_path)
    assert trained_in(tmp_path).total() == 10 * 48


@pytest.mark.slow
def test_windows_of_meshes_outlive_a_server_rank(tmp_path: Path) -> None:
    study = [*on_meshes(tmp_path), "buffer.capacity='64 KiB'", "buffer.views_per_sample=10", "launcher.max_jobs=2"]
    study += ["training.task._target_=melissa_like.training.Autoregressive", "+training.task.horizon=2"]
    study += ["launcher.num_server_ranks=2", "training.checkpoint.interval_s=0.2", "+training.loop.killed=server"]
    ran = melissa_like(tmp_path / "study", *study, "+training.loop.after=8")
    assert ran.code == 0, ran.err
    assert "SIGKILL" in ran.report["server_losses"][0]
    assert ran.report["samples"]["trained_on"] == ran.report["samples"]["delivered"] == 16
    trained = trained_in(tmp_path)
    assert trained.keys() == {(number, first) for number in range(2, 10) for first in (0, 2)}
    assert trained.total() == 10 * 16
