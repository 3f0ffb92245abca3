"""When a launcher must have ended, and what it reads of the job in which it runs."""

import pytest

from melissa_like.config import Config
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.own_job import is_batch_job, own_job, seconds_left
from melissa_like.launcher.wall import WALLTIME_IS_NEAR, told_by_signal, wall_of

IN_JOB = {"SLURM_JOB_ID": "7", "ENVIRONMENT": "BATCH"}


def asked_in_vain(job: str) -> float | None:
    raise AssertionError(f"nobody should ask about job {job}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1-00:00:01\n", 86401.0),
        ("1:30:00", 5400.0),
        ("4:59", 299.0),
        ("0:00", 0.0),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_the_time_that_is_left_is_read(text: str, seconds: float | None) -> None:
    assert seconds_left(text) == seconds


def test_what_is_configured_counts_before_the_end_of_the_job() -> None:
    launcher = Config().launcher
    launcher.walltime = "1:00:00"
    wall = wall_of(launcher, IN_JOB, asked_in_vain)
    assert wall is not None
    assert (wall.seconds, wall.text) == (3600.0, "launcher.walltime = 3600 s is near")


def test_without_it_the_job_in_which_the_launcher_runs_has_an_end() -> None:
    launcher = Config().launcher
    assert wall_of(launcher, {}, asked_in_vain) is None
    assert wall_of(launcher, IN_JOB, lambda job: None) is None
    wall = wall_of(launcher, IN_JOB, lambda job: 600.0 + int(job))
    assert wall is not None
    assert wall.seconds == 607.0
    assert wall.text.startswith(WALLTIME_IS_NEAR)
    assert "Slurm job 7" in wall.text


def test_a_job_that_ends_too_soon_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Slurm job 7 ends in 30 s, but the last"):
        wall_of(Config().launcher, IN_JOB, lambda job: 30.0)


def test_only_the_script_of_a_batch_job_can_be_run_again() -> None:
    assert is_batch_job(IN_JOB)
    assert not is_batch_job({"SLURM_JOB_ID": "7"})
    assert own_job({"SLURM_JOB_ID": ""}) is None
    assert told_by_signal("SIGUSR1").startswith(WALLTIME_IS_NEAR)
