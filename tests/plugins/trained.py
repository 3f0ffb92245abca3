"""Solvers that do something once the training has begun, or was saved: the fourth simulation waits for it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.plugins.solvers import marked

_DEADLINE_S = 60.0


def _once_trained(
    parameters: Mapping[str, float], comm: Any, run_dir: str, what: Callable[[], None], *, num_checkpoints: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    metrics, checkpoints = Path(run_dir) / "metrics-0.jsonl", Path(run_dir) / "checkpoints"

    def is_time() -> bool:
        manifests = [*checkpoints.glob("*/manifest.json")]
        return len(manifests) >= num_checkpoints if num_checkpoints else _has_trained(metrics)

    for step, fields in marked(parameters, comm):
        if parameters["number"] == 3 and step == 2:
            deadline = time.monotonic() + _DEADLINE_S
            while not is_time() and time.monotonic() < deadline:
                time.sleep(0.02)
            what()
        yield step, fields


def _has_trained(metrics: Path) -> bool:
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return any(json.loads(line)["batches"] > 20 for line in lines[-1:])


def raises(parameters: Mapping[str, float], comm: Any, *, run_dir: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Diverges."""

    def diverge() -> None:
        raise ArithmeticError("the Newton iteration diverged")

    return _once_trained(parameters, comm, run_dir, diverge)


def interrupts(parameters: Mapping[str, float], comm: Any, *, run_dir: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Presses Ctrl-C."""

    def interrupt() -> None:
        os.kill(json.loads((Path(run_dir) / "status.json").read_text())["pid"], signal.SIGINT)

    return _once_trained(parameters, comm, run_dir, interrupt)


def kills_the_launcher(
    parameters: Mapping[str, float], comm: Any, *, run_dir: str, how: str = "SIGKILL"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sends a signal to the first launcher."""

    def kill() -> None:
        if not (Path(run_dir) / "config-1.yaml").exists():
            os.kill(json.loads((Path(run_dir) / "status.json").read_text())["pid"], signal.Signals[how])

    return _once_trained(parameters, comm, run_dir, kill)


def damages_a_checkpoint(
    parameters: Mapping[str, float], comm: Any, *, run_dir: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Flips a bit of the newest of two checkpoints, and kills the server."""

    def damage() -> None:
        newest = max((Path(run_dir) / "checkpoints").glob("*/manifest.json")).parent / "rank-0.state"
        spoiled = bytearray(newest.read_bytes())
        spoiled[len(spoiled) // 2] ^= 1
        newest.write_bytes(spoiled)
        kill_server(run_dir, 0, "SIGKILL")

    return _once_trained(parameters, comm, run_dir, damage, num_checkpoints=2)


def kills_the_server(
    parameters: Mapping[str, float],
    comm: Any,
    *,
    run_dir: str,
    rank: int = 0,
    how: str = "SIGKILL",
    num_checkpoints: int = 0,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sends a signal to a server rank of the first incarnation, once there are so many complete checkpoints."""

    def kill() -> None:
        kill_server(run_dir, rank, how)

    return _once_trained(parameters, comm, run_dir, kill, num_checkpoints=num_checkpoints)


def paced_and_kills_the_server(
    parameters: Mapping[str, float], comm: Any, *, run_dir: str, rank: int = 0, pause_s: float = 0.05
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Computes slowly, waits for nothing, and kills a server rank once: when there are two complete checkpoints."""
    mark = Path(run_dir) / "killed"
    for step, fields in marked(parameters, comm):
        time.sleep(pause_s)  # the time that a step takes
        if not mark.exists() and len([*(Path(run_dir) / "checkpoints").glob("*/manifest.json")]) >= 2:
            mark.touch()
            kill_server(run_dir, rank, "SIGKILL")
        yield step, fields


def kill_server(run_dir: str, rank: int, how: str) -> None:
    """Send a signal to a server rank of the first incarnation, if it is there."""
    address = f"server-{rank}".encode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        command = entry.read_bytes().split(b"\0")
        guarded = any(b"guard" in argument for argument in command)
        if not guarded and {b"melissa_like.server", run_dir.encode(), address} <= set(command):
            os.kill(int(entry.parent.name), signal.Signals[how])
