"""Online against offline: the table of cases, finished runs, the verdict; one small case from end to end."""

import itertools
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from melissa_like.client.runner import SolverCall
from melissa_like.config import as_config
from melissa_like.records import FieldSpec, Layout, Window, num_samples
from melissa_like.server.build_training import window_of
from tests.benchmarks import buffers, online_offline
from tests.benchmarks.claim.case_table import CASES, SCALES, case_named
from tests.benchmarks.claim.cases import Case
from tests.benchmarks.claim.feeds import BUFFER_CASES, BufferCase
from tests.benchmarks.claim.pictures import draw_case
from tests.benchmarks.claim.results import Curve, Errors, Folder, Result
from tests.benchmarks.claim.runs import Run, configuration_of, finished
from tests.benchmarks.claim.simulations import Samples, Shuffled, write_simulation
from tests.benchmarks.claim.verdict import cost_rows_of, rows_of, verdict_of
from tests.benchmarks.paced import paced
from tests.benchmarks.streams import composed

HEAT = case_named("heat", "cores")
CONFIGURATION = {"settings": ["a=1"]}


def result_of(arm: str, *, seed: int = 0, size: int = 10, held_out: float = 0.1, training: float = 0.01) -> Result:
    errors = Errors(mean=held_out, median=held_out, p99=2 * held_out, max=3 * held_out, mse=100 * held_out)
    return Result(
        arm=arm,
        seed=seed,
        num_simulations=size,
        num_batches=100,
        held_out=errors,
        training=replace(errors, mean=training),
        curve=Curve([1.0, 2.0], [3.0, 100 * held_out]),
        production_s=0.5,
        seconds=3.0,
        bytes_written=10**6,
        input_wait=0.1,
        load=(1.0, 2.0),
        date="2026-11-28T12:00+00:00",
    )


def results_of(*, offline: float = 0.1, training: float = 0.01, online: float = 0.02) -> dict[str, list[Result]]:
    smallest = HEAT.arms[0]
    return {
        smallest.name: [
            result_of(smallest.name, seed=seed, held_out=offline, training=training, size=12) for seed in range(2)
        ],
        "online": [result_of("online", seed=seed, held_out=online, size=960) for seed in range(2)],
    }


# -- the table of cases ------------------------------------------------------------------------------------------------


def test_each_case_is_there_once_at_every_scale() -> None:
    keys = [(case.name, case.scale) for case in CASES]
    assert sorted(keys) == sorted(set(keys))
    assert {scale for _, scale in keys} == set(SCALES)
    for case in CASES:
        assert case_named(case.name, case.scale) is case


def test_a_case_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="'wind' and the scale 'gpu': there the cases are heat"):
        case_named("wind", "gpu")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.scale}")
def test_the_fresh_simulations_of_a_case_make_its_training_steps(case: Case) -> None:
    """All of them are used, and all are there: draws are views times samples."""
    arms = case.arms
    assert [arm.num_simulations for arm in arms[:3]] == [case.num_offline * m for m in (1, 4, 16)]
    assert arms[-1].is_online
    assert arms[-1].num_simulations >= arms[2].num_simulations
    config = as_config(composed(*case.settings(0)))
    assert config.solver.num_steps is not None
    draws = case.num_online * num_samples(config.solver.num_steps, window_of(config)) * case.views
    assert draws == pytest.approx(case.num_batches * config.training.batch_size, rel=0.01)


def test_a_configuration_says_what_a_group_decides_too() -> None:
    arm = HEAT.arms[0]
    decided = configuration_of(HEAT.run(arm, 0))["composed"]
    assert decided["model"] == {"_target_": "melissa_like.models.MLP", "hidden": [256, 256]}
    assert configuration_of(HEAT.run(arm, 0)) != configuration_of(HEAT.run(arm, 1))


# -- finished runs -----------------------------------------------------------------------------------------------------


def test_a_finished_run_is_found_again(tmp_path: Path) -> None:
    result = result_of("online")
    result = replace(result, held_out=replace(result.held_out, rollout=(0.1, 0.2)))
    Folder(tmp_path / "new", Result).keep("online-seed-0", CONFIGURATION, result)
    assert Folder(tmp_path / "new", Result).find("online-seed-0", CONFIGURATION) == result
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["online-seed-0.json"]


def test_a_run_that_was_configured_otherwise_does_not_count(tmp_path: Path) -> None:
    folder = Folder(tmp_path, Result)
    folder.keep("online-seed-0", CONFIGURATION, result_of("online"))
    assert folder.find("online-seed-0", {"settings": ["a=2"]}) is None
    assert folder.find("online-seed-1", CONFIGURATION) is None


def test_an_interrupted_table_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, int]] = []

    def run(asked: Run) -> Result:
        if len(ran) == 5:
            raise KeyboardInterrupt
        ran.append((asked.arm, asked.seed))
        return result_of(asked.arm, seed=asked.seed, size=asked.num_simulations)

    monkeypatch.setattr(online_offline, "run_offline", run)
    monkeypatch.setattr(online_offline, "run_online", run)
    command = ["--case", "heat", "--seeds", "2", "--results", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        online_offline.main(command)
    first, ran[:] = list(ran), []
    online_offline.main(command)
    assert sorted(first + ran) == sorted((arm.name, seed) for arm in HEAT.arms for seed in range(2))
    assert (tmp_path / "heat-cores" / "heat.png").stat().st_size > 0
    ran.clear()
    online_offline.main([*command, "--show"])
    assert ran == []
    assert "960" in capsys.readouterr().out


def test_only_the_arms_that_are_named_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(online_offline, "run_offline", lambda run: ran.append(run.arm) or result_of(run.arm))
    online_offline.main(["--case", "heat", "--seeds", "1", "--only", "offline-48", "--results", str(tmp_path)])
    assert ran == ["offline-48"]
    with pytest.raises(ValueError, match="--only is offline-7, and the table has offline-12, offline-48"):
        online_offline.main(["--case", "heat", "--only", "offline-7", "--results", str(tmp_path)])


def test_the_buffers_make_the_same_training_steps_and_go_on_where_they_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Run] = []

    def run(asked: Run) -> Result:
        ran.append(asked)
        return result_of(asked.arm, size=asked.num_simulations)

    monkeypatch.setattr(buffers, "run_offline", run)
    monkeypatch.setattr(buffers, "run_online", run)
    command = ["--case", "heat", "--results", str(tmp_path)]
    buffers.main([*command, "--only", "slow-fifo"])
    buffers.main(command)
    buffers.main(command)
    assert [one.arm for one in ran[:2]] == ["slow-fifo", "offline"]
    assert sorted(one.arm for one in ran) == sorted(one.arm for one in BUFFER_CASES[0].runs(0))
    assert len({setting for one in ran for setting in one.settings if "max_batches" in setting}) == 1
    assert (tmp_path / "heat" / "heat.png").stat().st_size > 0


@pytest.mark.parametrize("case", BUFFER_CASES, ids=lambda case: case.name)
def test_what_is_drawn_of_the_samples_of_a_buffer_makes_its_training_steps(case: BufferCase) -> None:
    config = as_config(composed(*case.runs(0)[0].settings))
    assert config.solver.num_steps is not None
    draws = case.num_simulations * num_samples(config.solver.num_steps, window_of(config)) * case.views
    assert draws == case.num_batches * config.training.batch_size


def test_a_paced_solver_yields_what_the_solver_yields() -> None:
    options = {"solve": f"{__name__}.counting", "rate": 1e6}
    steps = [item[0] for item in paced({"a": 1.0}, None, **options)]
    assert steps == list(range(6))


# -- the verdict -------------------------------------------------------------------------------------------------------


def test_a_case_is_decided_where_offline_overfits_in_every_seed() -> None:
    verdict = verdict_of(HEAT, results_of())
    assert verdict.decided
    assert "online errs less by 80 (80 to 80) %" in verdict.text
    assert "the paper 68 %" in verdict.text
    assert "online, online" in verdict.text


def test_a_case_is_undecided_where_offline_does_not_overfit() -> None:
    results = results_of()
    results["offline-12"][1] = result_of("offline-12", seed=1, training=0.06)
    verdict = verdict_of(HEAT, results)
    assert not verdict.decided
    assert "undecided" in verdict.text
    assert "choose N smaller" in verdict.text


def test_nothing_is_decided_before_both_have_finished() -> None:
    verdict = verdict_of(HEAT, {"online": [result_of("online")]})
    assert not verdict.decided
    assert "offline-12 and online must have finished first" in verdict.text


def test_the_loss_at_a_wall_time_is_the_last_one_by_then() -> None:
    curve = Curve([1.0, 2.0], [5.0, 4.0])
    assert [curve.loss_at(s) for s in (0.5, 1.5, 9.0)] == [math.inf, 5.0, 4.0]


def test_the_table_has_a_row_for_each_arm_with_the_spread_of_its_seeds() -> None:
    results = results_of()
    results["offline-12"][1] = result_of("offline-12", seed=1, held_out=0.2, size=12)
    rows = [row.cells for row in rows_of(HEAT, results)]
    assert [cells["arm"] for cells in rows] == ["offline-12", "online"]
    assert rows[0]["one step %"] == "15 (10 to 20)"
    assert rows[0]["online errs less by %"] == "85 (80 to 90)"
    assert "roll-out %" not in rows[0]
    costs = cost_rows_of(results)
    assert [row.cells["MB written"] for row in costs] == ["1 (1 to 1)"] * 2
    assert costs[0].cells["load"] == "1.5 (1 to 2)"


@pytest.mark.parametrize("rollout", [(), (0.1, 0.3)])
def test_a_picture_is_drawn_from_results(tmp_path: Path, rollout: tuple[float, ...]) -> None:
    results = {
        name: [replace(run, held_out=replace(run.held_out, rollout=rollout)) for run in runs]
        for name, runs in results_of().items()
    }
    draw_case(tmp_path / "case.png", "a case", results)
    assert (tmp_path / "case.png").read_bytes().startswith(b"\x89PNG")


# -- simulations on disk -----------------------------------------------------------------------------------------------


def counting(parameters: Mapping[str, float], comm: Any) -> Iterator[Any]:
    """Each value of a step is its number plus the parameter."""
    for step in range(6):
        yield step, {"u": np.full(3, step + parameters["a"])}, 0.5 * step


@pytest.mark.parametrize(
    ("window", "first_steps"),
    [(None, [0, 1, 2, 3, 4, 5]), (Window(length=2, stride=2, hop=3), [0, 3])],
)
def test_samples_on_disk_are_those_of_the_solver(tmp_path: Path, window: Window | None, first_steps: list[int]) -> None:
    layout = Layout(fields=(FieldSpec(name="u", shape=(3,)),), parameters=("a",))
    call = SolverCall(target=f"{__name__}.counting", options={})
    for number in (7, 9):
        write_simulation(tmp_path, call, layout, 6, (number, [10.0 * number]))
    samples = Samples(tmp_path, layout, [7, 9], 6, window)
    assert len(samples) == 2 * len(first_steps)
    batch = samples.__getitems__(range(len(samples)))
    assert batch.simulations.tolist() == [7] * len(first_steps) + [9] * len(first_steps)
    assert batch.steps.tolist() == 2 * first_steps
    steps = batch.steps[:, None] + torch.tensor([0] if window is None else [0, 2])
    assert torch.equal(batch.times.view(steps.shape), 0.5 * steps.double())
    assert torch.equal(batch.fields["u"][..., 0].view(steps.shape), (steps + 10 * batch.simulations[:, None]).float())


def test_passes_are_shuffled_and_cut_into_equal_batches() -> None:
    shuffled = Shuffled(10, batch_size=4, num_batches=5, seed=0)
    batches = list(shuffled)
    assert [len(batch) for batch in batches] == [4] * len(shuffled)
    drawn = list(itertools.chain(*batches))
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


# -- end to end --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["heat", "gray_scott"])
def test_a_case_of_a_minute_from_end_to_end(tmp_path: Path, name: str) -> None:
    command = ["online_offline", "--case", name, "--scale", "minute", "--seeds", "1", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *command], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    case = case_named(name, "minute")
    results = finished(Folder(tmp_path / f"{name}-minute", Result), [case.run(arm, 0) for arm in case.arms])
    assert list(results) == [arm.name for arm in case.arms]
    for (result,) in results.values():
        assert result.num_batches == case.num_batches
        assert result.curve.losses[-1] == pytest.approx(result.held_out.mse, rel=1e-3)
        assert result.held_out.mean < result.held_out.p99 <= result.held_out.max
        assert len(result.held_out.rollout) == (10 if name == "gray_scott" else 0)
    assert results["online"][0].training.mean > results["offline-2"][0].training.mean
    assert (tmp_path / f"{name}-minute" / f"{name}.png").exists()
    assert "decided" in done.stdout
