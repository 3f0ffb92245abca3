"""Steps of Slurm: what is asked for, and how the words of its commands are read. All words are of Slurm 22.05."""

from pathlib import Path
from typing import Any

import pytest

from melissa_like.launcher.executors import JobSpec, JobState, JobUpdate, StepsExecutor
from melissa_like.launcher.executors.allocation import Allocation, Component, allocation_of
from melissa_like.launcher.executors.batch.site import SiteSettings
from melissa_like.launcher.executors.srun import Srun
from melissa_like.launcher.executors.step_ends import end_of
from melissa_like.launcher.executors.step_words import StepName, nodes_of_ranks, refusal, steps_listed, waiting

TWO_NODES = Component(job_id="7", cpus=(4, 4))
REFUSED = "srun: error: Unable to create step for job 7: More processors requested than permitted\n"
WAITS = "srun: Job 7 step creation temporarily disabled, retrying (Requested nodes are busy)\n"


def spec(**what: Any) -> JobSpec:
    return JobSpec(name="job-0001", program=("solver", "--fast"), log=Path("a.log"), working_directory=Path(), **what)


# --- the allocation -------------------------------------------------------------------------------------------------


def test_outside_of_a_job_there_is_no_allocation() -> None:
    assert allocation_of({}) is None


def test_an_allocation_is_read_from_the_environment() -> None:
    told = {"SLURM_JOB_ID": "7", "SLURM_JOB_CPUS_PER_NODE": "16(x2),8"}
    assert allocation_of(told) == Allocation(job_id="7", components=(Component(job_id="7", cpus=(16, 16, 8)),))


def test_the_components_of_a_heterogeneous_allocation_are_told_apart() -> None:
    told = {"SLURM_JOB_ID": "7", "SLURM_HET_SIZE": "2", "SLURM_JOB_CPUS_PER_NODE": "1"}
    told |= {"SLURM_JOB_ID_HET_GROUP_0": "7", "SLURM_JOB_CPUS_PER_NODE_HET_GROUP_0": "1"}
    told |= {"SLURM_JOB_ID_HET_GROUP_1": "8", "SLURM_JOB_CPUS_PER_NODE_HET_GROUP_1": "4(x2)"}
    allocation = allocation_of(told)
    assert allocation is not None
    assert allocation.components == (Component(job_id="7", cpus=(1,)), Component(job_id="8", cpus=(4, 4)))


@pytest.mark.parametrize(("num_cpus", "nodes"), [(1, 1), (16, 1), (17, 2), (40, 3), (41, 3)])
def test_a_step_is_given_as_few_nodes_as_can_hold_it(num_cpus: int, nodes: int) -> None:
    assert Component(job_id="7", cpus=(8, 16, 16)).nodes_for(num_cpus) == nodes
    assert Component(job_id="7").nodes_for(num_cpus) == 1


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_a_solver_job_is_a_step_of_its_ranks() -> None:
    srun = Srun(site=SiteSettings(cpus_per_task=2), component=TWO_NODES, mpi="pmi2")
    command = srun.command(spec(num_processes=3), name="the-step")
    assert command[0] == "srun"
    assert {"--exact", "--mpi=pmi2", "--job-name=the-step", "--ntasks=3", "--cpus-per-task=2"} < set(command)
    assert "--nodes=2" in command
    assert "--gres=none" in command  # or it would get those of all
    assert command[-2:] == ("solver", "--fast")


def test_a_process_that_starts_the_others_gets_the_room_of_all() -> None:
    srun = Srun(site=SiteSettings(cpus_per_task=2, nodes=2), component=TWO_NODES)
    command = srun.command(spec(num_processes=2, starts_others=True), name="s")
    assert {"--ntasks=1", "--cpus-per-task=4", "--nodes=1"} < set(command)
    assert command[-8:-2] == ("-u", "SLURM_JOBID", "-u", "SLURM_NODELIST", "-u", "SLURM_JOB_NODELIST")


def test_the_options_of_the_site_come_last_and_its_lines_of_shell_before_the_program() -> None:
    site = SiteSettings(options=("--nodes=1", "--cpu-bind=cores"), setup=("module load mpi",), container=("box", "run"))
    command = Srun(site=site, component=TWO_NODES).command(spec(), name="s")
    shell = command.index("bash")
    assert command[shell - 2 : shell] == ("--nodes=1", "--cpu-bind=cores")
    assert command[shell:] == ("bash", "-c", 'module load mpi\nexec "$@"', "bash", "box", "run", "solver", "--fast")


def test_a_gang_asks_for_a_node_each_or_a_gpu_each() -> None:
    spread = Srun(site=SiteSettings(), component=TWO_NODES, group=1).command_together(2, ("true",), name="s")
    assert {"--nodes=2", "--ntasks-per-node=1", "--het-group=1"} < set(spread)
    gpus = Srun(site=SiteSettings(gpus=1), component=TWO_NODES).command_together(2, ("true",), name="s")
    assert {"--nodes=1-2", "--gpus-per-task=1"} < set(gpus)
    crowded = Srun(site=SiteSettings(), component=TWO_NODES).command_together(3, ("true",), name="s")
    assert {"--nodes=1-2", "--ntasks=3"} < set(crowded)


def test_outside_of_an_allocation_the_user_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    refusal = StepsExecutor(on_change=lambda: None).traits.refusal
    assert "salloc" in refusal
    assert "--write-script" in refusal
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not StepsExecutor(on_change=lambda: None).traits.refusal


# --- the words of Slurm ---------------------------------------------------------------------------------------------


def test_a_step_is_known_by_its_name() -> None:
    name = StepName(study="another study: 2", mark="0f", job="job-0001")
    assert StepName.parse(str(name)) == name
    assert StepName.parse("bash") is None


def test_steps_of_others_in_the_list_are_passed_over() -> None:
    name = str(StepName(study="s", mark="0f", job="server-0.1"))
    listed = f"7.batch batch\n7.0 {name}\n7.1 my own step\n9+1.4 {name}x\n"
    assert steps_listed(listed) == {name: "7.0", f"{name}x": "9+1.4"}


def test_a_step_that_waits_says_why() -> None:
    assert waiting(WAITS) == "Job 7 step creation temporarily disabled, retrying (Requested nodes are busy)"
    assert waiting(f"{WAITS}srun: Step created for StepId=7.3\n") == ""
    assert waiting(f"the solver says\n{WAITS}") == ""
    assert waiting("") == ""


@pytest.mark.parametrize(
    ("words", "may_pass"),
    [
        (REFUSED, False),
        ("srun: error: Unable to create step for job 7: Requested node configuration is not available\n", False),
        (f"{WAITS}srun: error: Unable to create step for job 7: Socket timed out on send/recv operation\n", True),
    ],
)
def test_a_refusal_is_quoted(words: str, may_pass: bool) -> None:
    said = refusal(words)
    assert said is not None
    assert said[0] == words.strip().splitlines()[-1].removeprefix("srun: error: ")
    assert said[1] is may_pass


@pytest.mark.parametrize(
    "output",
    [
        "",
        "Unable to create step: says the solver\n",
        f"{REFUSED}a solver\n",
        "srun: error: n1: task 0: Exited with exit code 1\n",
    ],
)
def test_the_end_of_a_job_is_no_refusal(output: str) -> None:
    assert refusal(output) is None


def test_an_option_that_srun_does_not_know_is_a_refusal() -> None:
    words = "srun: unrecognized option '--nonsense'\nTry \"srun --help\" for more information\n"
    assert refusal(words) == ("unrecognized option '--nonsense'", False)


def test_the_nodes_of_ranks_are_in_their_order() -> None:
    assert nodes_of_ranks(f"{WAITS}rank 1 on n2\nrank 0 on n1\n", 2) == ("n1", "n2")
    assert nodes_of_ranks("rank 1 on n2\n", 2) is None


# --- how jobs end ---------------------------------------------------------------------------------------------------


def ended(exit_code: int | None, message: str = "", *, output: str = "", **how: bool) -> JobUpdate:
    srun = JobUpdate(name="the step", state=JobState.FAILED, exit_code=exit_code, message=message)
    flags = {"canceled": False, "was_active": True, **how}
    return end_of("a", srun, first_words=output, last_words=output, **flags)


@pytest.mark.parametrize(
    ("exit_code", "update"),
    [
        (0, JobUpdate(name="a", state=JobState.COMPLETED, exit_code=0, message="exit code 0")),
        (3, JobUpdate(name="a", state=JobState.FAILED, exit_code=3, message="exit code 3")),
        (137, JobUpdate(name="a", state=JobState.FAILED, message="killed by SIGKILL")),
        (139, JobUpdate(name="a", state=JobState.FAILED, message="killed by SIGSEGV")),
        (255, JobUpdate(name="a", state=JobState.FAILED, exit_code=255, message="exit code 255")),
    ],
)
def test_the_exit_code_of_srun_tells_how_a_job_ended(exit_code: int, update: JobUpdate) -> None:
    assert ended(exit_code) == update


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ("task 1: Exited with exit code 3\nsrun: error: n1: task 0: Terminated", 3, "exit code 3"),
        ("tasks 0-2: Segmentation fault (core dumped)\nsrun: error: n1: task 3: Killed", None, "killed by SIGSEGV"),
    ],
)
def test_the_rank_that_failed_first_is_the_cause(words: str, exit_code: int | None, message: str) -> None:
    update = ended(143, output=f"step 3\nsrun: error: n1: {words}\nsrun: Force Terminated StepId=1.4\n")
    assert (update.exit_code, update.message) == (exit_code, message)


def test_a_canceled_job_is_canceled_however_srun_ended() -> None:
    canceled = JobUpdate(name="a", state=JobState.CANCELED, message="canceled")
    assert ended(143, canceled=True) == canceled
    assert ended(None, "killed by SIGKILL", canceled=True) == canceled


def test_a_job_whose_srun_was_killed_says_so() -> None:
    assert ended(None, "killed by SIGKILL").message == "its srun was killed by SIGKILL"


def test_a_step_that_was_refused_never_ran() -> None:
    update = ended(1, output=REFUSED, was_active=False)
    assert (update.state, update.exit_code, update.retry) == (JobState.FAILED, None, False)
    assert "More processors requested than permitted" in update.message


@pytest.mark.parametrize("code", [0, 1])
def test_a_lost_node_is_told_apart_from_a_crash(code: int) -> None:
    """Slurm 22.05 lets `srun` exit with 0 when all of the step was on that node."""
    update = ended(code, output="srun: error: Node failure on n2\nsrun: error: n1: task 0: Killed\n")
    assert (update.message, update.by_machine) == ("node failure: srun: error: Node failure on n2", True)
