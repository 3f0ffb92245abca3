"""Settings of a site: what is taken, what is refused, and what becomes of a job's command."""

from pathlib import Path
from typing import Any

import pytest

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.executors import JobSpec
from melissa_like.launcher.executors.batch import Flux, Oar, Pbs, Scheduler, SiteSettings, Slurm
from melissa_like.launcher.executors.batch.site import site_settings

SLURM = Slurm()
PYTHON = "/env/bin/python"


def read(given: Any, scheduler: Scheduler = SLURM) -> SiteSettings:
    return site_settings(given, "launcher.executor.solver", accepts=scheduler.accepts, name=scheduler.name)


def test_nothing_is_said_by_none_and_by_null() -> None:
    assert read(None) == read({}) == read(dict.fromkeys(SLURM.accepts)) == SiteSettings()


def test_a_usual_site() -> None:
    site = read(
        {
            "partition": "cpu",
            "account": "abc",
            "time": "1-12:00:30",
            "nodes": 2,
            "exclusive": True,
            "setup": "module load mpi\n\nexport A=1\n",
            "environment": {"OMP_PLACES": "cores", "N": 3},
            "container": "apptainer exec --bind '/my data' image.sif",
            "options": ["--reservation=tests"],
        }
    )
    assert (site.partition, site.time_s, site.nodes, site.exclusive) == ("cpu", 129630, 2, True)
    assert site.setup == ("module load mpi", "export A=1")
    assert site.environment == {"OMP_PLACES": "cores", "N": "3"}
    assert site.container == ("apptainer", "exec", "--bind", "/my data", "image.sif")
    assert site.options == ("--reservation=tests",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"partitoin": "x"}, r"has 'partitoin', which is no setting of a site.*nearest: partition"),
        ({"time": "90 minutes"}, r"solver\.time is '90 minutes': write seconds"),
        ({"time": 0}, "write seconds"),
        ({"nodes": 0}, "write a whole number, 1 or more"),
        ({"gpus": True}, "write a whole number"),
        ({"exclusive": "yes"}, "write true or false"),
        ({"partition": ["a"]}, "write a text on one line"),
        ({"account": "a\n#SBATCH --x"}, "write a text on one line"),
        ({"setup": [1]}, "write a list of lines"),
        ({"environment": "A=1"}, "write variables below it"),
        ("cpu", "write settings of the site below it"),
    ],
)
def test_a_mistake_is_named(given: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read(given)


@pytest.mark.parametrize(
    ("scheduler", "name"), [(Pbs(), "qos"), (Oar(), "gpus"), (Flux(), "mem")], ids=["PBS", "OAR", "Flux"]
)
def test_a_setting_of_another_scheduler_is_refused_with_those_that_there_are(scheduler: Scheduler, name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"'{name}', which {scheduler.name} does not have: write one of account"
    ):
        read({name: "x"}, scheduler)


def spec(*program: str, launch: tuple[str, ...] = (), gang: str = "") -> JobSpec:
    here = Path("/nowhere")
    return JobSpec(name="a", gang=gang, command=(*launch, *program), program=program, log=here, working_directory=here)


def test_a_container_holds_the_program_and_not_the_start_command() -> None:
    site = SiteSettings(container=("apptainer", "exec", "image.sif"), python="python3")
    command = site.command_of(spec(PYTHON, "-m", "solver", launch=("mpiexec", "-n", "2")), launcher_python=PYTHON)
    assert command == ("mpiexec", "-n", "2", "apptainer", "exec", "image.sif", "python3", "-m", "solver")


def test_a_rank_of_a_gang_is_its_program() -> None:
    assert SiteSettings().command_of(spec(PYTHON, "-m", "server", gang="g"), launcher_python=PYTHON)[0] == PYTHON


def test_a_command_whose_program_is_not_known_is_taken_as_a_whole() -> None:
    here = Path("/nowhere")
    job = JobSpec(name="a", command=("./solver", "x"), log=here, working_directory=here)
    assert SiteSettings(container=("c",)).command_of(job, launcher_python=PYTHON) == ("c", "./solver", "x")
