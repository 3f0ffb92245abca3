"""What a job prints reaches its log: all of a little, the beginning and the end of a lot; nothing holds up the job."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from melissa_like.launcher.executors import JobSpec, JobUpdate, LocalExecutor, launch_command, log_tail

DEADLINE_S = 30.0
LIMIT = 64 * 1024


def run(log: Path, command: Sequence[str], *, limit: int = LIMIT) -> JobUpdate:
    changed = threading.Event()
    deadline = time.monotonic() + DEADLINE_S
    with LocalExecutor(on_change=changed.set, grace_s=1.0, log_limit_bytes=limit) as executor:
        executor.submit([JobSpec(name="a", command=tuple(command), log=log, working_directory=log.parent)], "study")
        while True:
            assert changed.wait(deadline - time.monotonic()), "the job did not end"
            changed.clear()
            for update in executor.poll():
                if update.state.is_final:
                    return update


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program, *arguments)


# In one piece each: mpiexec may put something of another rank between two pieces.
LINES = "import sys\nfor n in range(int(sys.argv[1])): sys.stdout.write(f'line {n}\\n')"


@pytest.mark.parametrize("num_lines", [0, 1, 1000, 5000])
def test_a_log_below_the_limit_is_all_that_was_printed(num_lines: int, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("an earlier attempt\n")
    assert run(log, python(LINES, str(num_lines))).exit_code == 0
    printed = [f"line {number}" for number in range(num_lines)]
    assert log.read_text().splitlines() == ["an earlier attempt", *printed]


@pytest.mark.parametrize("num_lines", [10_000, 400_000])
def test_of_a_long_log_the_beginning_and_the_end_are_kept(num_lines: int, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("an earlier attempt\n")
    assert run(log, python(LINES, str(num_lines))).exit_code == 0
    text = log.read_text()
    assert LIMIT / 2 < len(text) <= LIMIT + len("an earlier attempt\n")
    head, number, tail = re.split(r"\n\[(\d+) bytes are left out here: the log may have 65536 .*\]\n", text)
    assert head.startswith("an earlier attempt\nline 0\nline 1\n")
    last = tail.splitlines()
    assert last[-1] == f"line {num_lines - 1}"
    assert last == [f"line {n}" for n in range(num_lines - len(last), num_lines)]
    printed = sum(len(f"line {n}\n") for n in range(num_lines))
    assert len(head) + int(number) + len(tail) == printed + len("an earlier attempt\n")
    assert log_tail(log, 2) == f"line {num_lines - 2}\nline {num_lines - 1}"


def test_one_line_without_an_end_is_cut_as_well(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert run(log, ("sh", "-c", "head -c 5000000 /dev/zero; printf end >&2")).exit_code == 0
    assert log.stat().st_size <= LIMIT
    assert log.read_bytes().endswith(b"\0\0\0end")


def test_what_was_printed_just_before_the_end_is_there(tmp_path: Path) -> None:
    update = run(tmp_path / "a.log", ("sh", "-c", "echo out; echo error >&2; kill -9 $$"))
    assert update.message == "killed by SIGKILL"
    assert (tmp_path / "a.log").read_text() == "out\nerror\n"


def test_a_log_that_cannot_be_written_does_not_hold_up_the_job() -> None:
    assert run(Path("/dev/full"), python(LINES, "400000")).exit_code == 0


@pytest.mark.mpi
def test_what_every_rank_prints_is_there(tmp_path: Path) -> None:
    command = launch_command("mpiexec -n {num_ranks}", 2, python(LINES, "100"))
    assert run(tmp_path / "a.log", command).exit_code == 0
    assert sorted((tmp_path / "a.log").read_text().splitlines()) == sorted(
        f"line {number}" for number in range(100) for _ in range(2)
    )


LAUNCHER = """
import os, sys, threading, time
from pathlib import Path
from melissa_like.launcher.executors import JobSpec, LocalExecutor

executor = LocalExecutor(on_change=lambda: None, grace_s=20.0).__enter__()
job = JobSpec(name="a", command=("sh", "-c", sys.argv[1]), log=Path("a.log"), working_directory=Path.cwd())
executor.submit([job], "study")
sys.stdin.read()
"""


def test_a_job_that_saves_when_the_launcher_has_gone_can_still_print(tmp_path: Path) -> None:
    """More than a pipe holds: somebody must read it."""
    os.mkfifo(tmp_path / "said")
    says = f"{sys.executable} -c \"print('x' * 3_000_000)\"; echo saved; echo over > said; exit 0"
    job = f"trap '{says.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}' TERM; echo started > said; " + (
        "while :; do sleep 0.01; done"
    )
    launcher = subprocess.Popen(python(LAUNCHER, job), cwd=tmp_path, stdin=subprocess.PIPE)
    assert launcher.stdin is not None
    assert (tmp_path / "said").read_text() == "started\n"
    launcher.send_signal(signal.SIGKILL)
    launcher.wait(DEADLINE_S)
    launcher.stdin.close()
    assert (tmp_path / "said").read_text() == "over\n"
    deadline = time.monotonic() + DEADLINE_S
    while (log_tail(tmp_path / "a.log", 1)) != "saved":  # the guard is not our child
        assert time.monotonic() < deadline
