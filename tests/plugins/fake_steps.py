"""An allocation of Slurm without nodes: srun, squeue and scancel, as far as steps need them, as one small program.

`python -I -S fake_steps.py STATE COMMAND ARGUMENTS...`. STATE is a folder: a file there is a step that runs, called by
its id, and holds its name and the process group of its one task. Words and exit codes are those of Slurm 22.05.
"""

import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_ROOM = 8


def srun(state, arguments):
    """Runs a task in a process group of its own; SIGTERM kills it, and so does nothing else of this program."""
    options = [word for word in arguments if word.startswith("--")]
    program = arguments[len(options) :]
    told = dict(option[2:].partition("=")[::2] for option in options)
    if int(told["ntasks"]) > _ROOM:
        sys.stderr.write("srun: error: Unable to create step for job 7: More processors requested than permitted\n")
        return 1
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    task = subprocess.Popen(program, process_group=0, preexec_fn=let_in)
    file = make_step(state, told["job-name"], task.pid)

    def end(*_):
        sys.stderr.write("srun: forcing job termination\n")
        os.killpg(task.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    let_in()
    code = task.wait()
    with suppress(ProcessLookupError):
        os.killpg(task.pid, signal.SIGKILL)
    file.unlink()
    if code:
        how = signal.strsignal(-code) if code < 0 else f"Exited with exit code {code}"
        sys.stderr.write(f"srun: error: n1: task 0: {how}\n")
    return 128 - code if code < 0 else code


def let_in():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def make_step(state, name, group):
    file = state / f"7.{os.getpid()}"
    new = state / f"new.{os.getpid()}"
    new.write_text(f"{group} {name}")
    new.rename(file)  # nobody reads half of it
    return file


def squeue(state, arguments):
    assert "--steps" in arguments
    for file in sorted(state.glob("7.*")):
        with suppress(FileNotFoundError, ProcessLookupError):
            group, _, name = file.read_text().partition(" ")
            os.killpg(int(group), 0)
            sys.stdout.write(f"{file.name} {name}\n")


def scancel(state, arguments):
    number = signal.Signals[f"SIG{arguments[0].partition('=')[2]}"]
    for step in arguments[1:]:
        with suppress(FileNotFoundError, ProcessLookupError):
            os.killpg(int((state / step).read_text().split()[0]), number)


def install(folder):
    """Writes the commands into a folder, and returns it."""
    commands, state = Path(folder) / "bin", Path(folder) / "state"
    commands.mkdir(parents=True)
    state.mkdir()
    for name in ("srun", "squeue", "scancel"):
        line = shlex.join((sys.executable, "-I", "-S", __file__, str(state), name))
        (commands / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (commands / name).chmod(0o755)
    return commands


if __name__ == "__main__":
    sys.exit({"srun": srun, "squeue": squeue, "scancel": scancel}[sys.argv[2]](Path(sys.argv[1]), sys.argv[3:]))
