"""The report and the status of a study: plain dictionaries from the state and from what the server ranks said."""

from collections import Counter
from typing import Any

from melissa_like.config import Config, capacity_per_rank
from melissa_like.launcher.shell import Observations
from melissa_like.monitoring import StudySnapshot
from melissa_like.study import StudyState
from melissa_like.study.simulations import SimulationState

__all__ = ["make_report", "make_snapshot"]


def make_report(config: Config, state: StudyState, seen: Observations, elapsed_s: float) -> dict[str, Any]:
    """The content of `report.json` (DESIGN §5); what no server rank reported is null."""
    ledger = state.simulations
    expected = ledger.samples_expected(config.solver.num_steps)
    delivered, given_up = ledger.samples_delivered, ledger.samples_given_up
    ranks = [seen.summaries[rank] for rank in sorted(seen.summaries)]
    first = ranks[0] if ranks else {}
    seconds = _largest(ranks, "ingest", "seconds")
    num_bytes = _sum(ranks, "ingest", "bytes")
    training = dict(first.get("training", {}))
    if training:
        training["samples"] = _sum(ranks, "training", "samples")
        training["samples_per_second"] = _sum(ranks, "training", "samples_per_second")
    waited_data = _largest(ranks, "stalls", "trainer_waited_seconds")
    waited_buffer = _largest(ranks, "stalls", "solvers_waited_seconds")
    return {
        "outcome": state.outcome,
        "reason": state.reason,
        "seconds": elapsed_s,
        "simulations": {
            "requested": len(ledger),
            "completed": ledger.num_complete,
            "failed": ledger.num_given_up,
            "restarted": ledger.num_restarts,
        },
        "samples": {
            "expected": expected,
            "delivered": delivered,
            "duplicates_dropped": _sum(ranks, "samples", "duplicates_dropped"),
            "rejected": _sum(ranks, "samples", "rejected"),
            "given_up": given_up,
            "trained_on": _sum(ranks, "samples", "trained_on"),
            "lost": expected - delivered - given_up,
        },
        "refused": _refused(ranks),
        "refused_control_messages": dict(seen.refused),
        "training": training or None,
        "validation": {**first["validation"], "history": list(seen.history)} if first.get("validation") else None,
        "ingest": {
            "bytes": num_bytes,
            "seconds": seconds,
            "bytes_per_second": num_bytes / seconds if seconds else None,
        },
        "stalls": {
            "trainer_waited_seconds": waited_data,
            "solvers_waited_seconds": waited_buffer,
            "bottleneck": _bottleneck(waited_data, waited_buffer),
        },
    }


def _refused(ranks: list[dict[str, dict[str, Any]]]) -> dict[str, int]:
    """Parts that were not taken, by reason; `samples.rejected` is their sum."""
    total: Counter[str] = Counter()
    for rank in ranks:
        total.update(rank.get("refused", {}))
    return dict(total)


def _sum(ranks: list[dict[str, dict[str, Any]]], group: str, name: str) -> int | float:
    return sum(rank.get(group, {}).get(name) or 0 for rank in ranks)


def _largest(ranks: list[dict[str, dict[str, Any]]], group: str, name: str) -> float:
    return max((rank.get(group, {}).get(name) or 0.0 for rank in ranks), default=0.0)


def _bottleneck(trainer_waited_s: float, solvers_waited_s: float) -> str:
    if max(trainer_waited_s, solvers_waited_s) < 0.5:
        return "neither side waited"
    return "the solvers" if trainer_waited_s > solvers_waited_s else "the training"


def make_snapshot(
    config: Config, state: StudyState, seen: Observations, *, jobs_alive: int, elapsed_s: float
) -> StudySnapshot:
    """What the live view shows now."""
    ledger = state.simulations
    ranks = list(seen.metrics.values())
    first = seen.metrics.get(0, {})
    expected = ledger.samples_expected(config.solver.num_steps)
    arrived = sum(rank.get("samples_received", 0.0) for rank in ranks)
    rate = arrived / elapsed_s if elapsed_s > 0 else 0.0
    over = ledger.num_complete + ledger.num_given_up
    running = sum(s.state is SimulationState.RUNNING for s in ledger.in_progress.values())
    return StudySnapshot(
        name=config.study.name,
        elapsed_s=elapsed_s,
        remaining_s=elapsed_s * (len(ledger) - over) / over if over and not state.reception_over else None,
        num_simulations=len(ledger),
        complete=ledger.num_complete,
        running=running,
        given_up=ledger.num_given_up,
        jobs=jobs_alive,
        samples_expected=expected,
        samples_delivered=ledger.samples_delivered,
        samples_in_per_s=rate,
        samples_out_per_s=sum(rank.get("samples_per_second", 0.0) for rank in ranks),
        capacity=capacity_per_rank(config) * config.launcher.num_server_ranks,
        seen=int(sum(rank.get("seen", 0) for rank in ranks)),
        unseen=int(sum(rank.get("unseen", 0) for rank in ranks)),
        batches=int(first.get("batches", 0)),
        training_loss=first.get("training_loss"),
        validation_relative_l2=first.get("validation_relative_l2"),
        phase=_phase(state),
    )


def _phase(state: StudyState) -> str:
    if state.outcome is not None:
        return state.outcome
    if not state.server_ready:
        return "starting"
    return "draining the buffer" if state.reception_over else "streaming"
