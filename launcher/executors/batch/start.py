"""The process above one process of a batch job, `python -I -S start.py SUBMISSION.json PLACE`, on a compute node.

PLACE is a number, or an environment variable by which the scheduler tells each process which one it is. It sets the
job's environment, directory and log, runs the job's command under the same care as a local job has (`guard`), and
writes the end record last, when no process that descends from the command is left on this node. The standard library
only: it starts in 15 ms, and a thousand of them do not read a thousand packages from a shared file system.

It ends as the command did, so that the scheduler says the same of the job. In a gang it exits with 0 once the record is
written: the launcher decides what the end of a server rank means for the others. If it is killed itself, there is no
record, and the scheduler ends the gang.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

__all__: list[str] = []


def _run(told: dict[str, Any], job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The wait status of the job's command, and its record."""
    sys.path.append(str(Path(__file__).parents[1]))
    guard = import_module("guard")  # not by the package: that would load all of the launcher
    os.environ.update(job["environment"])
    log = os.open(job["log"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    os.chdir(job["working_directory"])
    sys.stdout.flush()
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    command, grace_s, limit = job["command"], told["grace_s"], told["log_limit_bytes"]
    status, was_asked = guard.run_guarded(command, grace_s=grace_s, log_limit_bytes=limit)
    killed = os.WIFSIGNALED(status)
    record = {
        "exit_code": None if killed else os.waitstatus_to_exitcode(status),
        "signal": os.WTERMSIG(status) if killed else None,
        "was_asked": was_asked,
        "failure": "",
    }
    return status, record


def _write(record: dict[str, Any], path: str) -> None:
    """Aside first, so that nobody reads half of it; on the disk before anybody sees it."""
    with open(f"{path}.new", "w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.new", path)


def _main(submission: str, place: str) -> None:
    told = json.loads(Path(submission).read_text())
    job = told["jobs"][int(place if place.isdigit() else os.environ[place])]
    try:
        status, record = _run(told, job)
    except OSError as error:
        where = os.uname().nodename
        _write({"exit_code": None, "signal": None, "was_asked": False, "failure": f"on {where}: {error}"}, job["end"])
        raise
    _write(record, job["end"])
    if told["gang"]:
        sys.exit(0)
    import_module("guard").end_like(status)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
