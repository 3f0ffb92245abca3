"""What a study that was disturbed has left: whether its books balance, and how fast it noticed and went on."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melissa_like.errors import ConfigurationError
from melissa_like.records import Window, num_samples
from melissa_like.study import Entry, read_journal
from melissa_like.study import events as ev
from tests.chaos.disturb import Hit
from tests.chaos.plan import Kind

__all__ = ["Verdict", "judge"]

_KILLS = (Kind.KILL_SOLVER, Kind.KILL_SERVER, Kind.KILL_ALL_SERVERS, Kind.KILL_GUARD, Kind.KILL_LAUNCHER)
_SERVER_KILLS = (Kind.KILL_SERVER, Kind.KILL_ALL_SERVERS)
_LEAST_KILLS = 3
#: What may cost server ranks their life.
_HIT_SERVERS = (*_SERVER_KILLS, Kind.KILL_GUARD, Kind.STOP_SERVER, Kind.STOP_LAUNCHER, Kind.FULL_DISK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a seed went.

    Attributes:
        faults: what must not be; none: it was clean.
        hits: by kind.
        counts: enough kills hit processes while it trained, solvers and servers among them.
        restarts: of the server ranks, of simulations, and of the launcher.
        notice_s: from a kill until the journal tells of the end, the longest.
        train_s: from the kill of a server rank until the next training step, the longest.
    """

    faults: tuple[str, ...]
    hits: dict[str, int]
    counts: bool
    restarts: tuple[int, int, int]
    notice_s: float | None
    train_s: float | None


def judge(
    run_dir: Path,
    folder: Path,
    hits: Sequence[Hit],
    *,
    num_simulations: int,
    num_steps: int,
    resumes: int,
    window: Window | None = None,
) -> Verdict:
    """Read what a study has left.

    Args:
        run_dir: of the study.
        folder: of the audit.
        hits: whom it was hit at.
        num_simulations: to train on.
        num_steps: of each.
        resumes: of the launcher.
        window: of time steps, that a sample is; None: one step.
    """
    num_each, apart = num_samples(num_steps, window), 1 if window is None else window.hop
    path = run_dir / "report.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    faults = _faults_of_books(report, num_simulations * num_each) if report else ["there is no report"]
    faults += _faults_of_losses(report.get("server_losses", ()), sum(hit.kind in _HIT_SERVERS for hit in hits))
    if report.get("outcome") == "completed":
        wanted = {(number, apart * sample) for number in range(num_simulations) for sample in range(num_each)}
        faults += _faults_of_audit(report, folder / "seen.json", wanted)
    journal = _journal(run_dir, faults)
    kills = [hit for hit in hits if hit.kind in _KILLS and hit.training]
    return Verdict(
        faults=tuple(faults),
        hits=dict(Counter(hit.kind.value for hit in hits)),
        counts=len(kills) >= _LEAST_KILLS
        and any(hit.kind is Kind.KILL_SOLVER for hit in kills)
        and any(hit.kind in _SERVER_KILLS for hit in kills),
        restarts=(len(report.get("server_losses", ())), report.get("simulations", {}).get("restarted", 0), resumes),
        notice_s=max((after for hit in hits if (after := _noticed_after(hit, journal)) is not None), default=None),
        train_s=max((after for hit in hits if (after := _trained_after(hit, folder)) is not None), default=None),
    )


def _faults_of_books(report: dict[str, Any], expected: int) -> list[str]:
    samples, faults = report["samples"], []
    if report["outcome"] != "completed":
        return [f"the study has {report['outcome']}: {report['reason']}"]
    if samples["expected"] != expected:
        faults.append(f"{samples['expected']} samples were expected instead of {expected}")
    if samples["lost"] or samples["delivered"] + samples["given_up"] != samples["expected"]:
        faults.append(f"the books do not balance: {samples}")
    if samples["trained_on"] != samples["delivered"]:
        faults.append(f"not every delivered sample was trained on: {samples}")
    return faults


def _faults_of_losses(losses: Sequence[str], num_hits: int) -> list[str]:
    if len(losses) <= num_hits:
        return []
    return [f"{num_hits} hits may have cost server ranks, but {len(losses)} were lost; the last time: {losses[-1]}"]


def _faults_of_audit(report: dict[str, Any], audit: Path, wanted: set[tuple[int, int]]) -> list[str]:
    there = {(simulation, step) for simulation, step, _ in json.loads(audit.read_text())}
    missing, delivered = wanted - there, report["samples"]["delivered"]
    faults = [f"samples that nobody asked for: {sorted(there - wanted)[:5]}"] if there - wanted else []
    if len(there) != delivered or len(missing) != report["samples"]["given_up"]:
        faults.append(
            f"the history of the weights has {len(there)} samples, {delivered} were delivered; it lacks "
            f"{len(missing)}, as {sorted(missing)[:5]}"
        )
    return faults


def _journal(run_dir: Path, faults: list[str]) -> list[Entry]:
    try:
        return list(read_journal(run_dir))
    except ConfigurationError as error:
        faults.append(f"the journal cannot be read: {error}")
        return []


def _noticed_after(hit: Hit, journal: Sequence[Entry]) -> float | None:
    """Seconds from a kill of a job or server rank to the event that tells of it."""
    if hit.kind not in _KILLS or hit.kind is Kind.KILL_LAUNCHER:
        return None
    for entry in journal:
        event = entry.event
        name = event.job if isinstance(event, ev.JobEnded) else ""
        name = str(event.address) if isinstance(event, ev.ServerEnded) else name
        if name in hit.victims and entry.at_s >= hit.at:
            return entry.at_s - hit.at
    return None


def _trained_after(hit: Hit, folder: Path) -> float | None:
    """Seconds from a kill of a server rank to the first training step of the next one that trains."""
    if hit.kind not in _SERVER_KILLS or not hit.training:
        return None
    began = [json.loads(path.read_text())["at"] for path in folder.glob("began-0-*")]
    return min((at - hit.at for at in began if at > hit.at), default=None)
