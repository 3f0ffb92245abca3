"""Studies as users run them: failures, solvers of every kind, and what a study leaves behind."""

import json
import math
import socket
from pathlib import Path

import pytest

from melissa_like.training import load_surrogate
from tests.integration.studies import ROOT, Ran, marked, melissa_like


def counts(ran: Ran) -> tuple[int, int, int, int]:
    samples = ran.report["samples"]
    return samples["expected"], samples["delivered"], samples["trained_on"], samples["lost"]


@pytest.mark.mpi
@pytest.mark.parametrize("client_ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_simulation_that_dies_is_run_again_and_nothing_is_lost(tmp_path: Path, client_ranks: int) -> None:
    overrides = marked("dies_once", ranks=client_ranks, folder=tmp_path)
    ran = melissa_like(tmp_path / "study", *overrides, "launcher.max_jobs=2")
    assert ran.code == 0, ran.err
    assert counts(ran) == (48, 48, 48, 0)
    # The three that die, and those before them whose last parts were still in the killed process.
    assert ran.report["simulations"]["restarted"] >= 3


@pytest.mark.mpi
def test_a_study_over_ipv6_alone(tmp_path: Path) -> None:
    """Launcher, client ranks, and two server ranks that meet."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    hosts = ["transport.host='::1'", "transport.shared_memory=false", "launcher.num_server_ranks=2"]
    ran = melissa_like(tmp_path / "study", *marked(ranks=2), *hosts)
    assert ran.code == 0, ran.err
    assert counts(ran) == (48, 48, 48, 0)
    assert "endpoint tcp://[::1]:" in (tmp_path / "study" / "connection.txt").read_text()


@pytest.mark.mpi
def test_too_many_failures_end_the_study_with_the_last_ones_story(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "study", *marked("raises", ranks=2), "launcher.max_attempts=2")
    assert ran.code == 1
    assert "launcher.max_failed_fraction" in ran.err
    assert "attempt 2" in ran.err
    assert "the Newton iteration diverged" in ran.err


def test_a_few_failures_are_given_up_and_the_rest_is_trained_on(tmp_path: Path) -> None:
    overrides = [*marked("sometimes_raises"), "launcher.max_attempts=1", "launcher.max_failed_fraction=0.3"]
    ran = melissa_like(tmp_path / "study", *overrides, "launcher=inline")
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert ran.report["simulations"]["failed"] == 1
    assert samples["lost"] == 0
    assert samples["delivered"] + samples["given_up"] == samples["expected"] == 48
    assert samples["given_up"] > 0


@pytest.mark.mpi
@pytest.mark.parametrize("server_ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_an_adaptive_solver_says_at_goodbye_how_many_steps_there_were(tmp_path: Path, server_ranks: int) -> None:
    overrides = [*marked("adaptive"), "solver.num_steps=null", f"launcher.num_server_ranks={server_ranks}"]
    ran = melissa_like(tmp_path / "study", *overrides)
    assert ran.code == 0, ran.err
    expected = sum(2 + number % 3 for number in range(8))
    assert counts(ran) == (expected, expected, expected, 0)
    assert ran.report["training"]["collectives"] >= 1
    assert 0 < ran.report["training"]["collective_seconds"] < ran.report["seconds"]


@pytest.mark.parametrize(
    ("what", "failed", "given_up", "reason"),
    [
        ("fail_simulation", 1, range(1, 5), "1 of 8 simulations were given up"),
        ("drop", 0, range(1, 2), "1 samples that were not finite were left out"),
    ],
)
def test_a_sample_that_is_not_finite_is_trained_on_by_nobody(
    tmp_path: Path, what: str, failed: int, given_up: range, reason: str
) -> None:
    overrides = [*marked("sometimes_not_finite", value="-inf"), "launcher=inline", f"solver.not_finite={what}"]
    ran = melissa_like(tmp_path / "study", *overrides, "launcher.max_failed_fraction=0.2", "launcher.max_attempts=2")
    assert ran.code == 0, ran.err
    expected, delivered, trained_on, lost = counts(ran)
    assert (expected, lost) == (48, 0)
    assert trained_on == delivered == 48 - ran.report["samples"]["given_up"]
    assert ran.report["samples"]["given_up"] in given_up
    assert ran.report["reason"] == f"every delivered sample was trained on; {reason}"
    assert len(ran.report["failed_simulations"]) == failed
    assert ("failed simulation 3: number = 3: time step 2 of simulation 3 is not finite" in ran.out) == bool(failed)
    assert math.isfinite(ran.report["training"]["final_training_loss"])


@pytest.mark.parametrize(
    ("first", "stride", "overrides"),
    [
        (10**6, 10**6, []),
        (10**9, 1, ["solver.num_steps=null", "launcher=local", "launcher.num_server_ranks=2", "solver.launch=''"]),
        (0, 500, ["solver.num_steps=null", "solver.end_time=2500"]),
    ],
)
def test_steps_may_have_any_numbers(tmp_path: Path, first: int, stride: int, overrides: list[str]) -> None:
    study = [*marked("numbered", first=first, stride=stride), "launcher=inline", *overrides]
    study += ["buffer.views_per_sample=100", "buffer.capacity=64", "study.num_validation_simulations=1"]
    ran = melissa_like(tmp_path / "study", *study)
    assert ran.code == 0, ran.err
    assert counts(ran) == (48, 48, 48, 0)
    assert ran.report["validation"]["relative_l2"] < 0.4  # unscaled it is in the thousands
    surrogate = load_surrogate(tmp_path / "study" / "surrogate")
    last = surrogate.predict({"number": 4.0}, step=first + 5 * stride)["mark"]
    assert abs(last - 0.54).max() < 0.4


@pytest.mark.slow
def test_a_buffer_that_is_full_before_the_steps_are_known_is_told(tmp_path: Path) -> None:
    study = [*marked("numbered", num_steps=50, simulations=2), "solver.num_steps=null", "launcher=inline"]
    ran = melissa_like(tmp_path / "study", *study, timeout_s=60)
    assert ran.code == 1
    assert "the buffer is full before any simulation has ended" in ran.report["reason"]
    assert "solver.end_time" in ran.report["reason"]
    assert "Traceback" not in ran.err


def test_a_network_that_is_not_given_the_time_needs_no_end_of_a_simulation(tmp_path: Path) -> None:
    """The buffer is full long before the first one ends."""
    study = [*marked("numbered", num_steps=50, simulations=2), "solver.num_steps=null", "launcher=inline"]
    task = "training.task._target_=melissa_like.training.Autoregressive"
    ran = melissa_like(tmp_path / "study", *study, task, timeout_s=60)
    assert ran.code == 0, ran.err
    _, delivered, trained_on, lost = counts(ran)
    assert (delivered, lost) == (trained_on, 0)
    assert delivered > 16


@pytest.mark.mpi
@pytest.mark.parametrize("client_ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_solver_with_its_own_main(tmp_path: Path, client_ranks: int) -> None:
    program = tmp_path / "main.py"
    program.write_text((ROOT / "tests" / "plugins" / "own_main.py").read_text())
    overrides = [override for override in marked(ranks=client_ranks, simulations=3) if "solver.solve" not in override]
    ran = melissa_like(tmp_path / "study", *overrides, f"solver.command=[python,{program}]")
    assert ran.code == 0, ran.err
    assert counts(ran) == (18, 18, 18, 0)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("session.close(num_steps=7)", "goodbye after 7 time steps but send was called 6 times"),
        ("session.send(3, {})", "time step 3 after time step 5"),
    ],
)
def test_a_mistake_in_a_main_of_ones_own_ends_the_study_at_once(tmp_path: Path, mistake: str, words: str) -> None:
    program = tmp_path / "main.py"
    program.write_text((ROOT / "tests" / "plugins" / "own_main.py").read_text().replace("session.close()", mistake))
    overrides = [override for override in marked(ranks=2) if "solver.solve" not in override]
    ran = melissa_like(tmp_path / "study", *overrides, f"solver.command=[python,{program}]", timeout_s=60)
    assert ran.code == 1
    assert words in ran.err
    assert ran.report["simulations"]["restarted"] == 0


@pytest.mark.mpi
def test_a_main_of_ones_own_that_connects_again_is_told_so_and_does_not_hang(tmp_path: Path) -> None:
    program = tmp_path / "main.py"
    program.write_text((ROOT / "tests" / "plugins" / "own_main.py").read_text() + "connect(MPI.COMM_WORLD)\n")
    overrides = [override for override in marked(ranks=2, simulations=2) if "solver.solve" not in override]
    ran = melissa_like(tmp_path / "study", *overrides, f"solver.command=[python,{program}]", timeout_s=60)
    assert ran.code == 0, ran.err
    assert counts(ran) == (12, 12, 12, 0)
    assert "connect was called a second time in job-0001" in (ran.run_dir / "logs" / "job-0001.log").read_text()


@pytest.mark.mpi
def test_a_main_of_ones_own_that_hangs_gives_its_place_to_the_next_job(tmp_path: Path) -> None:
    program = tmp_path / "main.py"
    hangs = "import time\nwhile MPI.COMM_WORLD.rank == 0:\n    time.sleep(60)\n"
    program.write_text((ROOT / "tests" / "plugins" / "own_main.py").read_text() + hangs)
    overrides = [override for override in marked(ranks=2, simulations=2) if "solver.solve" not in override]
    overrides += [f"solver.command=[python,{program}]", "launcher.step_timeout_s=2", "launcher.grace_s=1"]
    ran = melissa_like(tmp_path / "study", *overrides, timeout_s=60)
    assert ran.code == 0, ran.err
    assert counts(ran) == (12, 12, 12, 0)


def test_a_loop_that_has_had_enough_is_named(tmp_path: Path) -> None:
    loop = "training.loop._target_=tests.plugins.loops.first_three"
    ran = melissa_like(tmp_path / "study", *marked(simulations=40), "launcher=inline", loop)
    assert ran.code == 0, ran.err
    assert ran.report["reason"] == "training.loop returned before all simulations had run"
    assert ran.report["surrogate"] == "complete"


@pytest.mark.parametrize(("views", "batches"), [(2, 24), (5, 60)])
def test_views_per_sample_fix_the_number_of_batches(tmp_path: Path, views: int, batches: int) -> None:
    ran = melissa_like(tmp_path / "study", *marked(), "launcher=inline", f"buffer.views_per_sample={views}")
    assert ran.code == 0, ran.err
    assert ran.report["training"]["batches"] == batches
    assert ran.report["training"]["samples"] == views * 48


def test_max_batches_end_the_study_early(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "study", *marked(simulations=40), "launcher=inline", "training.max_batches=3")
    assert ran.code == 0, ran.err
    assert ran.report["outcome"] == "stopped"
    assert "training.max_batches was reached before" in ran.report["reason"]
    assert ran.report["training"]["batches"] == 3


def test_max_batches_reached_while_the_buffer_drains_do_not_complete_the_study(tmp_path: Path) -> None:
    """All 12 samples fit into the buffer and the watermark holds the training until nearly all of them are there."""
    overrides = [*marked(simulations=2), "launcher=inline", "buffer.watermark=12", "training.max_batches=1"]
    ran = melissa_like(tmp_path / "study", *overrides)
    assert ran.code == 0, ran.err
    assert ran.report["outcome"] == "stopped"
    assert ran.report["samples"]["trained_on"] < ran.report["samples"]["expected"] == 12


def test_a_solver_in_a_thread_ends_between_two_steps_once_the_study_has_ended(tmp_path: Path) -> None:
    overrides = [*marked("endless"), "solver.num_steps=null", "solver.end_time=11", "launcher=inline"]
    overrides.append("training.max_batches=3")
    ran = melissa_like(tmp_path / "study", *overrides)
    assert ran.code == 0, ran.err
    assert ran.report["outcome"] == "stopped"


def test_what_cannot_be_ended_does_not_take_the_report_with_it(tmp_path: Path) -> None:
    overrides = [*marked(), "launcher=inline", "launcher.executor._target_=tests.plugins.executors.StubbornExecutor"]
    ran = melissa_like(tmp_path / "study", *overrides)
    assert ran.code == 2
    assert "the thread job-stubborn still runs" in ran.err
    assert ran.report["outcome"] == "completed"
    assert counts(ran) == (48, 48, 48, 0)


@pytest.mark.mpi
def test_what_a_study_leaves_behind(tmp_path: Path) -> None:
    """The default study made small: surrogate, figures, events, logs, report; and only its user may read the secret."""
    run_dir = tmp_path / "study"
    small = ["study.num_simulations=6", "study.num_validation_simulations=2", "solver.solve.grid_size=12"]
    ran = melissa_like(run_dir, *small, "solver.num_steps=10", "buffer.capacity=30", "training.batch_size=8")
    assert ran.code == 0, ran.err
    report = ran.report
    assert report["outcome"] == "completed"
    assert counts(ran) == (60, 60, 60, 0)
    assert report["validation"]["num_samples"] == 20
    assert math.isfinite(report["validation"]["relative_l2"])
    assert report["ingest"]["bytes"] >= (60 + 20) * 12 * 12 * 4
    assert {path.name for path in (run_dir / "figures").iterdir()} == {
        "losses.png",
        "population.png",
        "temperature.png",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (run_dir / "figures").iterdir())
    assert list((run_dir / "tensorboard").iterdir())
    assert {path.name for path in (run_dir / "logs").iterdir()} == {"server-0.log", "job-0001.log"}
    assert (run_dir / "connection.txt").stat().st_mode & 0o077 == 0
    assert "torch" in json.loads((run_dir / "versions.json").read_text())
    surrogate = load_surrogate(run_dir / "surrogate")
    parameters = dict.fromkeys(surrogate.layout.parameters, 300.0)
    assert surrogate.predict(parameters, step=3)["temperature"].shape == (12, 12)


def test_a_figure_that_cannot_be_drawn_costs_no_study_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "figures").write_text("in the way")
    ran = melissa_like(tmp_path / "study", *marked(simulations=2), "launcher=inline", "monitoring.figures=true")
    assert ran.code == 1
    assert (ran.report["outcome"], ran.report["surrogate"]) == ("completed", "complete")
    (problem,) = ran.report["problems"]
    assert problem.startswith(f"not all figures could be drawn in {tmp_path}/study/figures: FileExistsError")
    assert f"problem: {problem}" in ran.out
