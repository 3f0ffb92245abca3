"""The script of `--write-script`: what it asks for, and how it begins or goes on with its study."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from melissa_like.config import Config
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.batch_script import batch_script, parts_of
from melissa_like.launcher.write_script import inside_allocation


def config(**executor: Any) -> Config:
    made = Config()
    made.study.name = "heat of the night"
    made.launcher.max_jobs, made.launcher.num_server_ranks, made.solver.num_ranks = 4, 2, 3
    made.launcher.executor = executor
    return made


def script(made: Config, run_dir: Path = Path("/runs/my study")) -> str:
    return batch_script(
        made,
        parts_of(made),
        command=["/venv/bin/melissa-like"],
        run=["run", "launcher=slurm_steps", "solver.launch=''"],
        run_dir=run_dir,
        folder=Path("/home/me"),
    )


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_one_allocation_holds_all_at_once() -> None:
    asked = directives(script(config()))
    assert "--ntasks=14" in asked
    assert {"--job-name=heat-of-the-night", "--no-requeue", "--open-mode=append", "--no-kill"} < set(asked)
    assert "--signal=B:USR1@65" in asked  # save_timeout_s + grace_s, and for Slurm to be late
    assert not [line for line in asked if line.startswith("--time")]


def test_settings_of_the_site_are_asked_for() -> None:
    made = config(server={"gpus": 1, "time": "1:30:00", "partition": "gpu"}, solver={"account": "me"})
    made.launcher.requeue = True
    asked = directives(script(made))
    assert {"--gpus=2", "--time=1:30:00", "--partition=gpu", "--account=me", "--requeue", "--ntasks=14"} < set(asked)


def test_roles_with_different_numbers_of_cores_are_counted_in_cores() -> None:
    asked = directives(script(config(server={"cpus_per_task": 4})))
    assert "--ntasks=20" in asked
    assert not [line for line in asked if line.startswith("--cpus")]
    both = directives(script(config(server={"cpus_per_task": 2}, solver={"cpus_per_task": 2})))
    assert {"--ntasks=14", "--cpus-per-task=2"} < set(both)


def test_a_heterogeneous_allocation_has_a_part_for_each() -> None:
    made = config(server={"partition": "gpu", "gpus": 1}, solver={"partition": "cpu"}, solver_group=1)
    servers, solvers = (directives(part) for part in script(made).split("#SBATCH hetjob\n"))
    assert {"--partition=gpu", "--ntasks=2", "--gpus=2", "--no-kill"} < set(servers)
    assert {"--partition=cpu", "--ntasks=12", "--no-kill"} == set(solvers)
    swapped = config(server={"partition": "gpu"}, solver={"partition": "cpu"}, server_group=1)
    assert [part.site.partition for part in parts_of(swapped)] == ["cpu", "gpu"]
    assert parts_of(swapped)[1].is_spread  # without GPUs, a node for each server rank


def test_what_cannot_be_one_allocation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"want partition '\w+' and '\w+'"):
        parts_of(config(server={"partition": "gpu"}, solver={"partition": "cpu"}))
    with pytest.raises(ConfigurationError, match="has 0 and 1"):
        parts_of(config(solver_group=2))


def test_run_again_it_goes_on() -> None:
    lines = script(config()).splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("if "))
    assert lines[at] == "if [ -e '/runs/my study/config.yaml' ]; then"
    assert shlex.split(lines[at + 1]) == ["exec", "/venv/bin/melissa-like", "resume", "/runs/my study"]
    assert shlex.split(lines[-1]) == [
        *("exec", "/venv/bin/melissa-like", "run"),
        *("launcher=slurm_steps", "solver.launch=''"),
    ]


def test_whatever_the_launcher_was_it_runs_inside() -> None:
    assert inside_allocation(["launcher=local", "launcher.max_jobs=2", "buffer=fifo"]) == [
        *("launcher=slurm_steps", "launcher.max_jobs=2", "buffer=fifo")
    ]
