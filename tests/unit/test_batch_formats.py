"""Scripts that are submitted, and answers of schedulers: of Slurm 22.05 as recorded, of the others after their manuals.

Where the answers of the others are from: PBS Professional 2021.1 User's Guide (qsub, qstat -f, job states, Exit_status)
and Reference Guide; OAR 2.5 documentation (oarsub, oarstat -J, job states); flux-core manual pages flux-batch(1),
flux-jobs(1), flux-cancel(1). None of these three was run on a real one.
"""

import subprocess
from pathlib import Path

import pytest

from melissa_like.errors import SchedulerError
from melissa_like.launcher.executors import JobSpec, Role
from melissa_like.launcher.executors.batch import (
    Fate,
    Flux,
    Listed,
    Oar,
    Pbs,
    Phase,
    Scheduler,
    SiteSettings,
    Slurm,
    Start,
    Submission,
)

START = Start(words=("/env/python", "/l/start.py", "/r/jobs/a.1.json"))
ALL = [Slurm(), Pbs(), Oar(), Flux()]


def submission(
    *names: str, gang: str = "", num_processes: int = 1, role: Role = Role.SOLVER, **site: object
) -> Submission:
    specs = tuple(
        JobSpec(
            name=name,
            role=role,
            gang=gang,
            command=("solver",),
            log=Path("/r/logs/a"),
            working_directory=Path("/home/me"),
            num_processes=num_processes,
        )
        for name in names
    )
    settings = SiteSettings(**site)  # type: ignore[arg-type]
    array_from = 0 if len(names) > 1 and not gang else None
    return Submission(
        key="a.1", study="5f", specs=specs, site=settings, array_from=array_from, output="/r/jobs/a.1.{index}.out"
    )


@pytest.mark.parametrize("scheduler", ALL, ids=lambda one: one.name)
def test_a_script_is_bash_and_becomes_the_process_above_the_job(scheduler: Scheduler):
    script = scheduler.script(submission("a", setup=("module load mpi",)), START)
    subprocess.run(("bash", "-n"), input=script, text=True, check=True, timeout=10)
    assert script.startswith("#!/bin/bash\n")
    assert "melissa-like:5f:a.1" in script
    assert "\nmodule load mpi\nexec /env/python /l/start.py /r/jobs/a.1.json 0\n" in script


@pytest.mark.parametrize("scheduler", ALL, ids=lambda one: one.name)
def test_a_script_of_a_gang_is_bash(scheduler: Scheduler):
    script = scheduler.script(submission("a", "b", "c", gang="server"), START)
    subprocess.run(("bash", "-n"), input=script, text=True, check=True, timeout=10)


# --- Slurm ------------------------------------------------------------------------------------------------------------


def test_the_whole_script_of_a_slurm_job():
    made = submission(
        "job-0001",
        num_processes=8,
        partition="cpu",
        account="abc",
        time_s=90061,
        nodes=2,
        cpus_per_task=3,
        mem="16G",
        constraint="a&b",
        exclusive=True,
        options=("--reservation=tests",),
    )
    assert Slurm().script(made, START) == (
        "#!/bin/bash\n"
        "#SBATCH --job-name=job-0001\n"
        "#SBATCH --comment=melissa-like:5f:a.1\n"
        "#SBATCH --chdir=/home/me\n"
        "#SBATCH --output=/r/jobs/a.1.0.out\n"
        "#SBATCH --open-mode=append\n"
        "#SBATCH --no-requeue\n"
        "#SBATCH --ntasks=8\n"
        "#SBATCH --nodes=2\n"
        "#SBATCH --ntasks-per-node=4\n"
        "#SBATCH --cpus-per-task=3\n"
        "#SBATCH --partition=cpu\n"
        "#SBATCH --account=abc\n"
        "#SBATCH --constraint='a&b'\n"
        "#SBATCH --mem=16G\n"
        "#SBATCH --time=1-01:01:01\n"
        "#SBATCH --exclusive\n"
        "#SBATCH --reservation=tests\n"
        "\n"
        "exec /env/python /l/start.py /r/jobs/a.1.json 0\n"
    )


def test_an_array_and_a_gang_of_slurm_find_their_place_in_the_environment():
    array = Slurm().script(submission("a", "b", "c"), START)
    assert "#SBATCH --array=0-2\n" in array
    assert "#SBATCH --output=/r/jobs/a.1.%a.out\n" in array
    assert array.endswith("a.1.json SLURM_ARRAY_TASK_ID\n")
    gang = Slurm().script(submission("a", "b", gang="server", gpus=1), START)
    assert "#SBATCH --ntasks=2\n" in gang
    assert "exec srun --mpi=none --kill-on-bad-exit=1 --wait=0 --ntasks=2 --gpus-per-task=1 /env/python" in gang
    assert gang.endswith("a.1.json SLURM_PROCID\n")


def test_server_ranks_are_told_of_the_end_of_their_job():
    """By `srun` all its processes are, else the script, which has become the only one; solvers are not."""
    gang = Slurm(notice_s=90).script(submission("a", "b", gang="server", role=Role.SERVER), START)
    assert "#SBATCH --signal=USR1@90\n" in gang
    alone = Slurm().script(submission("a", gang="server", role=Role.SERVER), START)
    assert "#SBATCH --signal=B:USR1@120\n" in alone
    assert "--signal" not in Slurm().script(submission("a"), START)


@pytest.mark.parametrize(
    ("words", "fate"),
    [
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", Fate.REFUSED),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", Fate.REFUSED),
        ("sbatch: error: Batch job submission failed: Invalid feature specification", Fate.REFUSED),
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates",
            Fate.LATER,
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            Fate.LATER,
        ),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", Fate.UNKNOWN),
    ],
)
def test_what_sbatch_refuses(words: str, fate: Fate):
    answer = Slurm().read_submitted(1, "", words)
    assert (answer.fate, answer.words) == (fate, words)


@pytest.mark.parametrize("stdout", ["1234\n", "1234;cluster\n", "sbatch: lua: default account used\n1234\n"])
def test_what_sbatch_accepts(stdout: str):
    assert Slurm().read_submitted(0, stdout, "").job_id == "1234"


#: As Slurm 22.05 printed it.
SQUEUE = """\
6|CANCELLED|None|n1|melissa-like:3f84:b.c525
2_0|COMPLETED|None|n1|melissa-like:3f84:j0.9cf0
1|FAILED|NonZeroExitCode|n1|melissa-like:3f84:a.c8ab
18|TIMEOUT|TimeLimit|n1|melissa-like:3f84:k.1
19|NODE_FAIL|NodeDown|n3|(null)
7|PENDING|PartitionConfig||(null)
14|PENDING|Resources||(null)
15_1|PENDING|Priority||melissa-like:3f84:k.1
9|RUNNING|None|n[1-2]|(null)
21|COMPLETING|None|n1|a|b
"""


def test_what_squeue_lists():
    read = {f"{one.job_id}_{one.index}": one for one in Slurm().read_listed(0, SQUEUE, "")}
    assert len(read) == 10
    assert [name for name, one in read.items() if one.phase is Phase.PENDING] == ["7_None", "14_None", "15_1"]
    assert [name for name, one in read.items() if one.by_machine] == ["6_None", "19_None"]
    assert [name for name, one in read.items() if one.out_of_time] == ["18_None"]
    assert [name for name, one in read.items() if one.never_runs] == ["7_None"]
    assert (read["9_None"].phase, read["21_None"].phase) == (Phase.RUNNING, Phase.ENDING)
    assert (read["2_0"].exit_code, read["2_0"].says_more) == (0, False)
    assert (read["19_None"].words, read["18_None"].words) == ("NODE_FAIL (NodeDown) on n3", "TIMEOUT (TimeLimit) on n1")
    assert read["15_1"] == Listed(
        job_id="15", index=1, tag="melissa-like:3f84:k.1", phase=Phase.PENDING, words="Priority"
    )


def test_a_squeue_that_fails_says_nothing_of_jobs():
    with pytest.raises(SchedulerError, match="Unable to contact slurm controller"):
        Slurm().read_listed(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")


def test_commands_of_slurm():
    slurm = Slurm(commands="/opt/slurm/bin")
    assert slurm.submit(Path("/r/a.sh")) == ("/opt/slurm/bin/sbatch", "--parsable", "/r/a.sh")
    jobs = (Listed(job_id="7", phase=Phase.RUNNING), Listed(job_id="8", index=3, phase=Phase.PENDING))
    assert slurm.cancel(jobs) == ("/opt/slurm/bin/scancel", "7", "8_3")
    assert slurm.poll(("7", "8")) == slurm.poll(())  # one question for all


# --- PBS --------------------------------------------------------------------------------------------------------------

QSTAT = """\
Job Id: 1.pbs01
    Job_Name = job-0001
    Job_Owner = me@login1
    job_state = Q
    queue = workq
    comment = Not Running: Insufficient amount of resource: ncpus
    Resource_List.select = 2:ncpus=4:mpiprocs=4
    Variable_List = PBS_O_HOME=/home/me,PBS_O_LANG=en_US.UTF-8,PBS_O_LOGNAME=me,
\tMELISSA_LIKE_TAG=melissa-like:5f:a.1,PBS_O_QUEUE=workq

Job Id: 2.pbs01
    Job_Name = job-0002
    job_state = R
    exec_host = n1/0*4+n2/0*4
    comment = Job run at Fri Jul 01 at 14:43 on (n1:ncpus=4)+(n2:ncpus=4)

Job Id: 3.pbs01
    Job_Name = job-0003
    job_state = F
    Exit_status = 271
    comment = Job run at Fri Jul 01 at 14:43 on (n1:ncpus=4) and terminated
"""


def test_the_script_of_a_pbs_job():
    made = submission(
        "a-job-with-a-long-name", num_processes=8, nodes=2, cpus_per_task=2, mem="8gb", time_s=5400, partition="q"
    )
    lines = Pbs().script(made, START).splitlines()
    assert {
        "#PBS -N a-job-with-a-lo",
        "#PBS -r n",
        "#PBS -v MELISSA_LIKE_TAG=melissa-like:5f:a.1",
        "#PBS -l select=2:ncpus=8:mpiprocs=4:mem=8gb",
        "#PBS -l place=scatter",
        "#PBS -l walltime=1:30:00",
        "#PBS -q q",
        "cd /home/me",
    } <= set(lines)


def test_what_qstat_lists():
    waits, runs, ended = Pbs().read_listed(153, QSTAT, "qstat: Unknown Job Id 4.pbs01\n")
    assert (waits.job_id, waits.tag.split(",")[3]) == ("1.pbs01", "MELISSA_LIKE_TAG=melissa-like:5f:a.1")
    assert (waits.phase, waits.words) == (Phase.PENDING, "Not Running: Insufficient amount of resource: ncpus")
    assert (runs.phase, ended.phase, ended.exit_code) == (Phase.RUNNING, Phase.ENDED, None)
    assert ended.words.startswith("exit status 271 (Job run at")
    with pytest.raises(SchedulerError, match="cannot connect to server"):
        Pbs().read_listed(255, "", "qstat: cannot connect to server pbs01 (errno=111)")


@pytest.mark.parametrize(
    ("words", "fate"),
    [
        ("qsub: Unknown queue", Fate.REFUSED),
        ("qsub: Job exceeds queue and/or server resource limits", Fate.REFUSED),
        ("qsub: would exceed queue workq's per-user limit", Fate.LATER),
        ("qsub: cannot connect to server pbs01 (errno=111)", Fate.LATER),
    ],
)
def test_what_qsub_answers(words: str, fate: Fate):
    assert Pbs().read_submitted(1, "", words).fate is fate
    assert Pbs().read_submitted(0, "1234.pbs01\n", "").job_id == "1234.pbs01"


def test_pbs_is_asked_for_its_jobs_by_their_ids():
    assert Pbs().poll(("1.pbs01", "2.pbs01")) == ("qstat", "-f", "1.pbs01", "2.pbs01")
    assert Pbs(history=True).poll(()) == ("qstat", "-f", "-x")


# --- OAR --------------------------------------------------------------------------------------------------------------

OARSTAT = """\
{"42": {"Job_Id": 42, "name": "melissa-like:5f:a.1", "state": "Waiting", "message": "R=4,W=1:0:0,J=B (Karma=0.1)"},
 "43": {"Job_Id": 43, "name": null, "state": "Running", "message": "R=4,W=1:0:0,J=B"},
 "44": {"Job_Id": 44, "name": "other", "state": "Finishing", "message": ""}}
"""
OARSUB = (
    "[ADMISSION RULE] Set default walltime to 7200.\n[ADMISSION RULE] Modify resource description\nOAR_JOB_ID=4924\n"
)


def test_the_script_of_an_oar_job():
    made = submission("a", num_processes=8, nodes=2, cpus_per_task=2, time_s=5400, constraint="switch = 'sw1'")
    lines = Oar().script(made, START).splitlines()
    assert "#OAR -l /nodes=2/core=8,walltime=1:30:00" in lines
    assert "#OAR --name=melissa-like:5f:a.1" in lines


def test_what_oar_answers():
    oar = Oar()
    assert oar.read_submitted(0, OARSUB, "").job_id == "4924"
    assert oar.read_submitted(6, "# ADMISSION RULE> no such queue\n", "").fate is Fate.REFUSED
    waits, runs, ends = oar.read_listed(0, OARSTAT, "")
    assert (waits.job_id, waits.tag, waits.words) == ("42", "melissa-like:5f:a.1", "R=4,W=1:0:0,J=B (Karma=0.1)")
    assert [one.phase for one in (waits, runs, ends)] == [Phase.PENDING, Phase.RUNNING, Phase.ENDING]
    assert oar.read_listed(0, "", "") == ()
    with pytest.raises(SchedulerError, match="no list of jobs"):
        oar.read_listed(0, "ERROR: no database", "")


# --- Flux -------------------------------------------------------------------------------------------------------------

FLUX_JOBS = """\
ƒM7Zq9AKHno|SCHED||||||insufficient resources
ƒM7ZqAAKHno|RUN|||melissa-like:5f:a.1|||
ƒM7ZqBAKHno|INACTIVE|COMPLETED|0|x|||
ƒM7ZqCAKHno|INACTIVE|CANCELED|143|x|cancel|canceled by operator|
ƒM7ZqDAKHno|INACTIVE|TIMEOUT|142|x|timeout|resource allocation expired|
"""


def test_the_script_of_a_flux_job():
    made = submission("a", "b", gang="server", nodes=2, gpus=1, cpus_per_task=8, time_s=3600, partition="gpu")
    script = Flux().script(made, START)
    assert "# flux: --nslots=2\n# flux: --nodes=2\n# flux: --cores-per-slot=8\n# flux: --gpus-per-slot=1\n" in script
    assert "# flux: --time-limit=3600s\n" in script
    assert (
        "exec flux run --ntasks=2 --cores-per-task=8 --gpus-per-task=1 -o exit-on-error -o exit-timeout=none" in script
    )
    assert script.endswith("a.1.json FLUX_TASK_RANK\n")


def test_what_flux_answers():
    flux = Flux()
    assert flux.read_submitted(0, "ƒM7Zq9AKHno\n", "").job_id == "ƒM7Zq9AKHno"
    waits, runs, completed, canceled, late = flux.read_listed(0, FLUX_JOBS, "")
    assert (waits.phase, waits.words) == (Phase.PENDING, "insufficient resources")
    assert (runs.phase, runs.tag) == (Phase.RUNNING, "melissa-like:5f:a.1")
    assert (completed.exit_code, completed.says_more) == (0, False)
    assert (canceled.by_machine, canceled.words) == (True, "CANCELED (cancel: canceled by operator)")
    assert (late.by_machine, late.out_of_time, late.says_more) == (False, True, True)
