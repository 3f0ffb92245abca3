"""What `--dry-run` prints for a scheduler: its scripts and commands, and no secret in any of them."""

from pathlib import Path

import pytest

from melissa_like.config import as_config
from melissa_like.launcher.preview import plan_study
from tests.unit.test_config import composed

SECRET = "open-sesame"


def plan(run_dir: Path, *overrides: str) -> list[str]:
    config = as_config(composed(f"+solver.environment.TOKEN={SECRET}", *overrides))
    return "\n".join(plan_study(config, run_dir)).splitlines()


def test_every_script_of_batch_jobs_is_shown(tmp_path: Path) -> None:
    lines = plan(
        tmp_path / "study",
        "launcher=slurm",
        "launcher.num_server_ranks=2",
        "launcher.max_jobs=3",
        "launcher.executor.server.partition=gpu",
        f"launcher.executor.solver.environment={{PASSWORD:{SECRET}}}",
        "launcher.executor.solver.setup=[module load solver]",
    )
    assert [line.partition(":")[0] for line in lines[:5]] == [
        "server-0",
        "server-1",
        "job-0001",
        "job-0002",
        "job-0003",
    ]
    of_servers, of_jobs = (
        lines.index("server-0 to server-1: the scheduler gets"),
        lines.index("job-0001 to job-0003: the scheduler gets"),
    )
    servers, jobs = lines[of_servers + 1 : of_jobs], lines[of_jobs + 1 :]
    assert servers[0] == jobs[0] == "#!/bin/bash"
    assert "#SBATCH --partition=gpu" in servers
    assert any(line.startswith("exec srun ") for line in servers)
    assert {"#SBATCH --array=0-2", "module load solver"} < set(jobs)
    assert not any(SECRET in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_every_step_of_an_allocation_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    lines = plan(tmp_path / "study", "launcher=slurm_steps", "launcher.max_jobs=2")
    steps = [line for line in lines if line.startswith("srun ")]
    assert [
        f"--job-name={name}" in step for name, step in zip(("server-0", "job-0001", "job-0002"), steps, strict=True)
    ]
    assert not any(SECRET in line for line in lines)


def test_without_a_scheduler_there_are_only_commands(tmp_path: Path) -> None:
    lines = plan(tmp_path / "study", "launcher.max_jobs=2")
    assert [line.partition(":")[0] for line in lines] == ["server-0", "job-0001", "job-0002"]
