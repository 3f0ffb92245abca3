"""Runs the command as a user does, in a process of its own, and returns what it said."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "melissa_like.launcher")


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str
    run_dir: Path

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.run_dir / "report.json").read_text())


def environment() -> dict[str, str]:
    """Where the tests' plug-ins are found."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def melissa_like(
    run_dir: Path,
    *overrides: str,
    command: str = "run",
    timeout_s: float = 100.0,
    umask: int = -1,
    way: Sequence[str] = (),
) -> Ran:
    """`melissa-like COMMAND run_dir=... OVERRIDES` in a process of its own; `way` leads to another host."""
    place = [] if command == "check" else [f"run_dir={run_dir}"]
    done = subprocess.run(
        [*way, *COMMAND, command, *place, *overrides],
        cwd=run_dir.parent,
        env={**environment(), "TMPDIR": str(run_dir.parent)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        umask=umask,
    )
    return Ran(done.returncode, done.stdout, done.stderr, run_dir)


@contextmanager
def running(run_dir: Path, *overrides: str, way: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """`melissa-like run` in the background; killed if it has not ended by then. `way` leads to another host."""
    process = subprocess.Popen(
        [*way, *COMMAND, "run", f"run_dir={run_dir}", *overrides],
        cwd=run_dir.parent,
        env={**environment(), "TMPDIR": str(run_dir.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def await_that(what: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Block until something outside of this process has happened."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, f"{what} has not happened within {timeout_s} s"
        time.sleep(0.02)


def processes_of(run_dir: Path) -> set[int]:
    """Every living process that has the run directory in its environment or its command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(run_dir).encode() in said and _lives(int(entry.name)):
            found.add(int(entry.name))
    return found


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def marked(solver: str = "marked", *, ranks: int = 1, simulations: int = 8, **options: Any) -> list[str]:
    """Overrides for a study of one of the tests' solvers: 8 x 4 cells that say where and when they were computed."""
    extra = [f"+solver.solve.{name}={value}" for name, value in options.items()]
    return [
        "solver=empty",
        f"solver.name={solver}",
        f"+solver.solve._target_=tests.plugins.solvers.{solver}",
        *extra,
        "+solver.fields.mark={shape:[8,4],bounds:[-1,1]}",
        "+solver.parameters.number._target_=tests.plugins.sampling.Number",
        "sampling=monte_carlo",
        "sampling.design._target_=tests.plugins.sampling.Counting",
        f"solver.num_ranks={ranks}",
        "solver.num_steps=6",
        f"study.num_simulations={simulations}",
        "study.num_validation_simulations=0",
        "buffer.capacity=16",
        "training.batch_size=4",
        "monitoring.figures=false",
        "monitoring.tensorboard=false",
    ]
