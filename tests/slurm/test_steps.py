"""Steps of Slurm inside an allocation: what they share, when they wait, and that nothing of them is left."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.studies import marked
from tests.slurm.cluster import Cluster, why_no_cluster
from tests.slurm.studies import STEPS, assert_balanced, on_cluster

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]
_DEADLINE_S = 60.0


def in_allocation(cluster: Cluster, *command: str, options: tuple[str, ...], timeout_s: float = _DEADLINE_S) -> str:
    """What a command prints that `salloc` runs on the login node."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return cluster.login.run(*("salloc", "--quiet", *options, *command), timeout_s=timeout_s, cwd=ROOT, env=environment)


#: Runs jobs until all have written what they find, and prints what was told of them: [name, state, message].
_JOBS = """
import json, sys, threading, time, uuid
from pathlib import Path
from melissa_like.launcher.executors import JobSpec, Role, StepsExecutor

jobs, go, folder = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
news, told = threading.Event(), []
def spec(name, program, role="solver", num_processes=1, gang=""):
    return JobSpec(
        name=name, role=Role(role), gang=gang, program=("sh", "-c", program), log=folder / f"{name}.log",
        working_directory=folder, num_processes=num_processes,
    )
with StepsExecutor(on_change=news.set, grace_s=1.0) as executor:
    waiting = {job["name"] for job in jobs}
    for role in ("server", "solver"):
        executor.submit([spec(**job) for job in jobs if job.get("role", "solver") == role], "study")
    deadline = time.monotonic() + 40.0
    while waiting:
        assert news.wait(deadline - time.monotonic()), f"{waiting} did not end: {told}"
        news.clear()
        for update in executor.poll():
            told.append([update.name, str(update.state), update.message])
            if update.state.is_final:
                waiting.discard(update.name)
            elif update.state == "queued":
                go.touch()
print(json.dumps(told))
"""


def told_of(
    cluster: Cluster,
    folder: Path,
    jobs: list[dict[str, Any]],
    *options: str,
    touch_when_queued: Path = Path("/dev/null"),
) -> list[list[str]]:
    """What a `StepsExecutor` inside an allocation tells of jobs, each a line of shell, until all have ended."""
    words = (json.dumps(jobs), str(touch_when_queued), str(folder))
    return json.loads(in_allocation(cluster, sys.executable, "-c", _JOBS, *words, options=options))  # type: ignore[no-any-return]


def test_steps_keep_the_contract_of_executors(cluster: Cluster) -> None:
    """On a compute node, so that the tests and the steps see the same processes."""
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    tests += ["tests/contract/test_executors.py", "-k", "steps"]
    node = cluster.nodes["n1"]
    allocated = ["salloc", "--quiet", "--nodelist=n1", "--ntasks=4", *tests]
    with node.start(allocated, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as ran:
        out, _ = ran.communicate(timeout=100.0)
    assert ran.returncode == 0, out
    assert " passed" in out


def test_small_simulations_share_a_node_without_sharing_cores(tmp_path: Path) -> None:
    if reason := why_no_cluster():
        pytest.skip(reason)
    meet = f"touch {tmp_path}/$0; until [ -e {tmp_path}/a ] && [ -e {tmp_path}/b ]; do sleep 0.05; done"
    program = f"set -- $0; echo $SLURMD_NODENAME; grep Cpus_allowed_list /proc/self/status; {meet}"
    jobs = [{"name": name, "program": program.replace("$0", name)} for name in "ab"]
    with Cluster(2, num_cpus=2, binds=True) as two:
        told = told_of(two, tmp_path, jobs, "--nodes=1", "--ntasks=2")
    assert {message for _, state, message in told if state == "completed"} == {"exit code 0"}
    said = [(tmp_path / f"{name}.log").read_text().split() for name in "ab"]
    assert said[0][0] == said[1][0]  # on one node, at one time
    assert {said[0][-1], said[1][-1]} == {"0", "1"}  # each on a processor of its own


def test_a_step_for_which_there_is_no_room_waits_and_one_that_is_too_large_is_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    jobs = [
        {"name": "a", "program": f"until [ -e {go} ]; do sleep 0.05; done", "num_processes": 2, "role": "server"},
        {"name": "b", "program": "true"},
        {"name": "c", "program": "true", "num_processes": 9},
    ]
    told = told_of(cluster, tmp_path, jobs, "--nodes=1", "--ntasks=2", touch_when_queued=go)
    words = [message for name, state, message in told if (name, state) == ("b", "queued")]
    assert words[0] == "waits for room in the allocation"  # `srun` says so itself a while later
    assert [state for name, state, _ in told if name == "b"][-2:] == ["active", "completed"]
    assert [state for name, state, _ in told if name == "c"] == ["failed"]
    (refused,) = [message for name, _, message in told if name == "c"]
    assert "More processors requested than permitted" in refused


def test_server_ranks_start_together_a_node_each_and_before_solver_jobs(cluster: Cluster, tmp_path: Path) -> None:
    jobs = [
        {"name": f"server-{rank}", "program": "echo $SLURMD_NODENAME", "role": "server", "gang": "server.1"}
        for rank in range(3)
    ]
    jobs.append({"name": "job", "program": "echo $SLURMD_NODENAME"})
    told = told_of(cluster, tmp_path, jobs, "--nodes=3", "--ntasks=3")
    assert [state for _, state, _ in told].count("completed") == 4
    nodes = [(tmp_path / f"server-{rank}.log").read_text().split()[-1] for rank in range(3)]
    assert sorted(nodes) == ["n1", "n2", "n3"]
    started = [name for name, state, _ in told if state == "active"]
    assert started.index("job") == 3


def test_server_ranks_for_which_there_is_no_room_are_refused_together(cluster: Cluster, tmp_path: Path) -> None:
    jobs = [{"name": f"server-{rank}", "program": "true", "role": "server", "gang": "g"} for rank in range(3)]
    told = told_of(cluster, tmp_path, jobs, "--nodes=1", "--ntasks=2")
    assert [(name, state) for name, state, _ in told] == [(f"server-{rank}", "failed") for rank in range(3)]
    assert all("More processors requested than permitted" in message for _, _, message in told)


#: Runs a job, kills what the first argument says by SIGKILL, and prints what becomes of the job, and the steps left.
_KILLED = """
import json, os, signal, subprocess, sys, threading
from pathlib import Path
from melissa_like.launcher.executors import JobSpec, StepsExecutor

def begin(executor, news):
    log = Path(sys.argv[0]).with_name("a.log")
    job = JobSpec(name="a", program=("sleep", "600"), log=log, working_directory=log.parent)
    executor.submit([job], "study")
    return until(executor, news, "active")
def until(executor, news, state):
    told = []
    while not any(update.state == state or update.state.is_final for update in told):
        assert news.wait(40.0), told
        news.clear()
        told += executor.poll()
    return told[-1]
def kill(*programs):
    for process in Path("/proc").glob("[0-9]*"):
        words = (process / "cmdline").read_bytes().split(b"\\0") if process.exists() else []
        if any(word.endswith(name) for word in words[:5] for name in programs) and int(process.name) != os.getpid():
            os.kill(int(process.name), signal.SIGKILL)

news, what = threading.Event(), sys.argv[1]
if what == "launcher":
    with subprocess.Popen([sys.executable, sys.argv[0], "begins"], stdout=subprocess.PIPE, text=True) as launcher:
        launcher.stdout.readline()
        kill(b"guard.py")
        kill(b"srun", b"begins")
    with StepsExecutor(on_change=news.set, grace_s=1.0) as executor:
        (found,) = executor.find("study")
        executor.cancel(found.handle)
        last = until(executor, news, "canceled")
elif what == "begins":
    with StepsExecutor(on_change=news.set, grace_s=1.0) as executor:
        print(begin(executor, news).state, flush=True)
        threading.Event().wait(60.0)
else:
    with StepsExecutor(on_change=news.set, grace_s=1.0) as executor:
        begin(executor, news)
        kill(b"srun")
        last = until(executor, news, "failed")
steps = subprocess.run(["squeue", "--steps", "--noheader"], capture_output=True, text=True, check=True).stdout
print(json.dumps([last.state, last.message, steps]))
"""


@pytest.mark.parametrize(
    ("what", "state", "message"),
    [("srun", "failed", "its srun was killed by SIGKILL"), ("launcher", "canceled", "canceled")],
)
def test_no_step_outlives_a_killed_srun_or_launcher(
    cluster: Cluster, tmp_path: Path, what: str, state: str, message: str
) -> None:
    (tmp_path / "killed.py").write_text(_KILLED)
    said = in_allocation(cluster, sys.executable, str(tmp_path / "killed.py"), what, options=("--ntasks=2",))
    assert json.loads(said) == [state, message, ""]


@pytest.mark.slow
def test_lost_server_ranks_come_before_the_jobs_that_wait_for_room(cluster: Cluster, tmp_path: Path) -> None:
    """There is room for one server rank and two of the six jobs; the others wait, and must not take its place."""
    study = [*marked("slow", pause_s=0.2, simulations=12), *STEPS, "monitoring.interval_s=0.1", "launcher.max_jobs=6"]
    with on_cluster(cluster, tmp_path / "study", *study, allocation=("--nodes=1", "--ntasks=3")) as launcher:
        launcher.read_until("streaming")
        steps = cluster.login.run("squeue", "--steps", "--noheader", "--format=%i %j").splitlines()
        (server,) = [line.split()[0] for line in steps if line.endswith("server-0")]
        assert len(steps) <= 3 + 1  # with that of the allocation itself
        cluster.login.run("scancel", "--signal=KILL", server)
        ran = launcher.wait()
    report = assert_balanced(ran, expected=72)
    assert len(report["server_losses"]) == 1
