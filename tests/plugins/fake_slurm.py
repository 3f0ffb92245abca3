"""A Slurm without nodes: sbatch, squeue, scancel, srun and a node that really runs the scripts, as one small program.

`python -I -S fake_slurm.py STATE COMMAND ARGUMENTS...`. STATE is a folder: `ID_INDEX.json` is a job, or an element of
an array, and holds its state in Slurm's words; `faults.json` says what goes wrong:

    {"squeue": "hang" | "fail", "sbatch": "time out after accepting" | a text that refuses,
     "most_jobs": 3, "unlisted_s": 1.5, "pending": "Resources", "node": {"state": "NODE_FAIL", "reason": "NodeDown"}}

Formats and states are those of Slurm 22.05, which lists a job for some minutes after its end (MinJobAge).
"""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

KILL_WAIT_S = 5.0


def say(text):
    sys.stdout.write(f"{text}\n")


def complain(text):
    sys.stderr.write(f"{text}\n")


class State:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self):
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def faults(self):
        try:
            return json.loads((self.folder / "faults.json").read_text())
        except FileNotFoundError:
            return {}

    def path(self, name):
        return self.folder / f"{name}.json"

    def jobs(self):
        found = {path.stem: json.loads(path.read_text()) for path in self.folder.glob("[0-9]*.json")}
        return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split("_")]))

    def write(self, name, job):
        aside = self.folder / f"{name}.{os.getpid()}.new"
        aside.write_text(json.dumps(job))
        aside.rename(self.path(name))

    def change(self, name, **what):
        with self.locked():
            job = json.loads(self.path(name).read_text())
            job.update(what)
            self.write(name, job)
        return job

    def next_id(self):
        counter = self.folder / "next"
        number = int(counter.read_text()) if counter.exists() else 1
        counter.write_text(str(number + 1))
        return number


def options_of(script, arguments):
    words = [w for line in script.splitlines() if line.startswith("#SBATCH ") for w in shlex.split(line[8:])]
    words += arguments
    return {word[2:].partition("=")[0]: word.partition("=")[2] for word in words if word.startswith("--")}


def sbatch(state, arguments):
    script = Path(arguments[-1]).read_text()
    options = options_of(script, arguments[:-1])
    refusal = state.faults().get("sbatch")
    if options.get("partition") == "no-such":
        refusal = "sbatch: error: invalid partition specified: no-such\n"
        refusal += "sbatch: error: Batch job submission failed: Invalid partition name specified"
    if refusal is not None and refusal != "time out after accepting":
        complain(refusal)
        return 1
    first, last = (int(number) for number in options.get("array", "0-0").split("-"))
    with state.locked():
        alive = sum(job["state"] in ("PENDING", "RUNNING", "COMPLETING") for job in state.jobs().values())
        if alive + last - first + 1 > state.faults().get("most_jobs", 10**6):
            complain("sbatch: error: QOSMaxSubmitJobPerUserLimit")
            complain(
                "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)"
            )
            return 1
        number = state.next_id()
        names = [f"{number}_{index}" for index in range(first, last + 1)] if "array" in options else [str(number)]
        for name in names:
            state.write(
                name, {"state": "PENDING", "reason": "None", "at": time.time(), "options": options, "pid": None}
            )
    for name in names:
        command = (sys.executable, "-I", "-S", __file__, str(state.folder), "node", name, arguments[-1])
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    if refusal is not None:
        time.sleep(0.2)
        complain("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
        return 1
    say(number)
    return 0


def node(state, name, path):
    """What a slurmd does: waits until the job may run, runs its script, and sees to its end."""
    while state.faults().get("pending"):
        state.change(name, reason=state.faults()["pending"])
        time.sleep(0.05)
        if json.loads(state.path(name).read_text())["state"] != "PENDING":
            return 0
    with state.locked():
        job = json.loads(state.path(name).read_text())
        if job["state"] != "PENDING":
            return 0
        job["state"], job["pid"], job["reason"] = "RUNNING", os.getpid(), "None"
        state.write(name, job)
    options, (number, _, index) = job["options"], name.partition("_")
    environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_NTASKS": options.get("ntasks", "1")}
    if index:
        environment |= {"SLURM_ARRAY_TASK_ID": index, "SLURM_ARRAY_JOB_ID": number}
    output = options["output"].replace("%%", "%").replace("%a", index)
    with open(output, "ab") as log:
        script = subprocess.Popen(
            ("/bin/bash", path), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=options["chdir"], env=environment
        )
    canceled_at = None
    while (code := script.poll()) is None:
        job = json.loads(state.path(name).read_text())
        fault = state.faults().get("node")
        if fault:
            signal_tree(os.getpid(), signal.SIGKILL)
            script.wait()
            state.change(name, **fault)
            return 0
        if job.get("canceled") and canceled_at is None:
            canceled_at = time.monotonic()
            state.change(name, state="COMPLETING")
            signal_tree(os.getpid(), signal.SIGTERM)
        if canceled_at is not None and time.monotonic() - canceled_at > KILL_WAIT_S:
            signal_tree(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
    signal_tree(os.getpid(), signal.SIGKILL)
    ended = "CANCELLED" if canceled_at is not None else "FAILED" if code else "COMPLETED"
    state.change(name, state=ended, reason="NonZeroExitCode" if ended == "FAILED" else "None", at=time.time())
    return 0


def signal_tree(root, number):
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    reached = [root]
    for pid in reached:
        reached += [child for child, parent in parents.items() if parent == pid]
    for pid in reached[1:]:
        with suppress(OSError):
            os.kill(pid, number)


def squeue(state, arguments):
    faults = state.faults()
    fault = faults.get("squeue")
    if fault == "hang":
        time.sleep(60)
    if fault is not None:
        complain("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
        return 1
    with (state.folder / "calls").open("a") as calls:
        calls.write("squeue\n")
    pattern = next(word.partition("=")[2] for word in arguments if word.startswith("--format="))
    with state.locked():
        jobs = state.jobs()
    for name, job in jobs.items():
        if time.time() - job["at"] < faults.get("unlisted_s", 0.0):
            continue
        where = "" if job["state"] == "PENDING" else "n1"
        fields = {"i": name, "T": job["state"], "r": job["reason"], "N": where, "k": job["options"]["comment"]}
        say(re.sub("%(.)", lambda found, fields=fields: fields[found[1]], pattern))
    return 0


def scancel(state, arguments):
    failed = 0
    for wanted in arguments:
        names = [name for name in state.jobs() if name == wanted or name.startswith(f"{wanted}_")]
        if not names:
            complain(f"scancel: error: Kill job error on job id {wanted}: Invalid job id specified")
            failed = 1
        for name in names:
            with state.locked():
                job = json.loads(state.path(name).read_text())
                if job["state"] == "PENDING":
                    job["state"], job["at"] = "CANCELLED", time.time()
                elif job["state"] == "RUNNING":
                    job["canceled"] = True
                state.write(name, job)
    return failed


def srun(state, arguments):
    """Starts the tasks; one that ends otherwise than with 0 ends all of them."""
    end = next(index for index, word in enumerate(arguments) if not word.startswith("--"))
    options = options_of("", arguments[:end])
    tasks = [
        subprocess.Popen(arguments[end:], env={**os.environ, "SLURM_PROCID": str(rank)})
        for rank in range(int(options["ntasks"]))
    ]
    worst = 0
    while any(task.poll() is None for task in tasks):
        if any(task.returncode for task in tasks) and options.get("kill-on-bad-exit") == "1":
            for task in tasks:
                if task.poll() is None:
                    signal_tree(task.pid, signal.SIGKILL)
                    task.kill()
        time.sleep(0.02)
    for task in tasks:
        worst = worst or task.returncode
    return 128 - worst if worst < 0 else worst


def install(folder):
    """Writes the commands into a folder, and returns it."""
    commands, state = Path(folder) / "bin", Path(folder) / "state"
    commands.mkdir(parents=True)
    for name in ("sbatch", "squeue", "scancel", "srun"):
        line = shlex.join((sys.executable, "-I", "-S", __file__, str(state), name))
        (commands / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (commands / name).chmod(0o755)
    return commands


if __name__ == "__main__":
    COMMANDS = {"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "srun": srun}
    if sys.argv[2] == "node":
        sys.exit(node(State(sys.argv[1]), *sys.argv[3:]))
    sys.exit(COMMANDS[sys.argv[2]](State(sys.argv[1]), sys.argv[3:]))
