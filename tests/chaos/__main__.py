"""`python -m tests.chaos --seed S [--seeds N] [--minutes M] [--kinds ...] [--window L S H]`: see the package's page."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from melissa_like.records import Window
from tests.chaos.plan import Kind, setting_of
from tests.chaos.seed import DISK, run_seed
from tests.chaos.verdict import Verdict

_DISK = "96m"
_WINDOW = ("length", "stride", "hop")


def main() -> int:
    """A line per seed; 1 if one was not clean."""
    told = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # in the background a shell lets SIGINT be ignored
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    window = None if told.window is None else Window(**dict(zip(_WINDOW, told.window, strict=True)))
    kinds = frozenset(Kind(kind) for kind in told.kinds)
    if os.getuid() != 0 and Kind.FULL_DISK in kinds:
        _say("no disk is filled: only root can mount a small one")
        kinds -= {Kind.FULL_DISK}
    clean = True
    for seed in range(told.seed, told.seed + told.seeds):
        with (
            TemporaryDirectory(prefix="melissa-like-chaos-") as name,
            _small_disk(Path(name) / DISK, wanted=Kind.FULL_DISK in kinds),
        ):
            began = time.monotonic()
            verdict = run_seed(seed, told.minutes, kinds, Path(name), window)
            _say(_line(seed, verdict, time.monotonic() - began))
            for fault in verdict.faults:
                _say(f"    {fault}")
            if verdict.faults and told.keep is not None:
                shutil.copytree(name, told.keep / f"seed-{seed}", dirs_exist_ok=True)
        clean = clean and not verdict.faults
    return 0 if clean else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Disturb a study, and audit its books.")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after another")
    parser.add_argument("--minutes", type=float, default=1.0, help="that each is disturbed and streams, about")
    parser.add_argument("--kinds", nargs="+", default=[*Kind], choices=[*Kind], help="of failures")
    parser.add_argument("--keep", type=Path, help="folder for what seeds that were not clean have left")
    parser.add_argument("--window", nargs=3, type=int, metavar=_WINDOW, help="of time steps, that a sample shall be")
    return parser.parse_args()


def _line(seed: int, verdict: Verdict, seconds: float) -> str:
    setting = setting_of(seed)
    servers, simulations, launchers = verdict.restarts
    hits = ", ".join(f"{kind} {num}" for kind, num in sorted(verdict.hits.items())) or "none"
    parts = [
        f"seed {seed} ({setting.num_server_ranks} server, {setting.num_solver_ranks} solver ranks, "
        f"views {setting.views_per_sample}, buffer {'saved' if setting.saves_buffer else 'left out'}): "
        f"{'NOT CLEAN' if verdict.faults else 'clean'}"
        f"{'' if verdict.counts else ', does not count'}",
        f"hits: {hits}",
        f"restarts: servers {servers}, simulations {simulations}, launcher {launchers}",
        f"noticed within {_seconds(verdict.notice_s)}, training again within {_seconds(verdict.train_s)}",
        f"{seconds:.0f} s",
    ]
    return " | ".join(parts)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


@contextmanager
def _small_disk(place: Path, *, wanted: bool) -> Iterator[None]:
    """A file system of its own, small enough to be filled."""
    if not wanted:
        yield
        return
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


if __name__ == "__main__":
    sys.exit(main())
