"""The report and the status of a study: plain dictionaries from the state and from what the server ranks said."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from melissa_like.launcher.shell import Observations
from melissa_like.monitoring import StudySnapshot
from melissa_like.protocol.control import Metrics
from melissa_like.protocol.reports import Summary, TrainingFigures
from melissa_like.study import SimulationState, StudyState

__all__ = ["checkpoint_of", "make_report", "make_snapshot"]

#: A wait that says nothing of either side: in seconds, or as a share of the study's time.
_SHORT_S, _SHORT_SHARE = 0.5, 0.05


def make_report(state: StudyState, seen: Observations, elapsed_s: float) -> dict[str, Any]:
    """The content of `report.json` (DESIGN §5); what no server rank reported is null."""
    ledger = state.ledger
    expected, delivered, given_up = state.samples_expected, ledger.samples.num_delivered, ledger.samples.num_given_up
    ranks = _summaries(seen)
    refused = _refused(ranks)
    num_bytes, seconds = _sum(ranks, lambda rank: rank.ingest_bytes), _most(ranks, lambda rank: rank.ingest_seconds)
    waited_data = _most(ranks, lambda rank: rank.trainer_waited_seconds)
    waited_buffer = _most(ranks, lambda rank: rank.solvers_waited_seconds)
    return {
        "outcome": state.outcome,
        "reason": state.reason,
        "seconds": elapsed_s,
        "simulations": {
            "requested": state.num_simulations + state.num_validation_simulations,
            "completed": ledger.num_complete,
            "failed": ledger.num_given_up,
            "restarted": ledger.num_restarts,
        },
        "samples": {
            "expected": expected,
            "delivered": delivered,
            "duplicates_dropped": _sum(ranks, lambda rank: rank.duplicates_dropped),
            "rejected": sum(refused.values()),
            "given_up": given_up,
            "trained_on": _sum(ranks, lambda rank: rank.trained_on),
            "lost": expected - delivered - given_up,
        },
        "window": _window(state),
        "server_losses": list(state.server_losses),
        "checkpoint": checkpoint_of(state),
        "failed_simulations": _failed_simulations(state),
        "refused": refused,
        "refused_control_messages": dict(seen.refused),
        "surrogate": next((rank.surrogate for rank in ranks if rank.surrogate is not None), None),
        "problems": [problem for rank in ranks for problem in rank.problems],
        "training": _training(ranks),
        "validation": _validation(ranks, seen),
        "checkpoints": _checkpoints(ranks),
        "followed": _followed(seen),
        "ingest": {
            "bytes": num_bytes,
            "seconds": seconds,
            "bytes_per_second": num_bytes / seconds if seconds else None,
        },
        "stalls": {
            "trainer_waited_seconds": waited_data,
            "solvers_waited_seconds": waited_buffer,
            "bottleneck": _bottleneck(waited_data, waited_buffer, elapsed_s),
        },
    }


def _window(state: StudyState) -> dict[str, int] | None:
    """What a sample was, and how many time steps that were computed for training are part of none; null: one step."""
    samples = state.ledger.samples
    if samples.window is None:
        return None
    window = samples.window
    return {
        "length": window.length,
        "stride": window.stride,
        "hop": window.hop,
        "steps_in_no_window": samples.num_steps_in_no_window,
    }


def checkpoint_of(state: StudyState) -> dict[str, int] | None:
    """The newest one that the server ranks have told of."""
    found = state.checkpoint
    return None if found is None else {"number": found.number, "batches": found.batches, "bytes": found.nbytes}


def _summaries(seen: Observations) -> list[Summary]:
    """What each server rank has said of itself, by rank; of one that has ended without a word its last metrics."""
    known = {rank: _summary_of(metrics) for rank, metrics in seen.metrics.items()} | seen.summaries
    return [known[rank] for rank in sorted(known)]


def _summary_of(metrics: Metrics) -> Summary:
    training = None
    if metrics.batches:
        training = TrainingFigures(
            batches=metrics.batches, samples=metrics.samples_trained, final_training_loss=metrics.training_loss
        )
    return Summary(
        trained_on=metrics.samples_received - metrics.unseen,
        training=training,
        ingest_bytes=metrics.bytes_received,
        trainer_waited_seconds=metrics.input_wait_seconds,
    )


def _failed_simulations(state: StudyState) -> list[dict[str, Any]]:
    """The first simulations that were given up, with their parameters by name; `simulations.failed` counts all."""
    ledger, names = state.ledger, state.settings.welcome.parameters
    return [
        {
            "simulation": simulation,
            "purpose": ledger.purpose_of(simulation).name.lower(),
            "attempts": ledger.attempts_of(simulation),
            "parameters": dict(zip(names, ledger.parameters_of(simulation), strict=True)),
            "reason": reason,
            "last_words": ledger.last_words[simulation].splitlines(),
        }
        for simulation, reason in ledger.reasons.items()
    ]


def _training(ranks: Sequence[Summary]) -> dict[str, Any] | None:
    """Figures of rank 0; samples are of all ranks."""
    trained = [rank.training for rank in ranks if rank.training is not None]
    if not trained:
        return None
    return {
        **msgspec.structs.asdict(trained[0]),
        "samples": sum(figures.samples for figures in trained),
        "samples_per_second": sum(figures.samples_per_second or 0.0 for figures in trained) or None,
    }


def _checkpoints(ranks: Sequence[Summary]) -> dict[str, Any] | None:
    """Of the last server ranks: bytes of all ranks, seconds of the slowest; None if none are taken."""
    taken = [rank.checkpoints for rank in ranks if rank.checkpoints is not None]
    if not taken:
        return None
    return {
        "newest": taken[0].number,
        "written": taken[0].written,
        "bytes": sum(figures.nbytes for figures in taken),
        "seconds_paused": max(figures.seconds_paused for figures in taken),
        "seconds_writing": max(figures.seconds_writing for figures in taken),
    }


def _followed(seen: Observations) -> dict[str, Any] | None:
    """Of programs that are followed: the most that the folder of one held, how long all were stopped; null: none."""
    told = seen.followed
    return None if told is None else {"peak_bytes": told.peak_bytes, "stopped_seconds": told.stopped_s}


def _validation(ranks: Sequence[Summary], seen: Observations) -> dict[str, Any] | None:
    last = ranks[0].validation if ranks else None
    if last is None:
        return None
    history = [figures.in_short for figures in seen.history]
    return {**msgspec.to_builtins(last), "history": msgspec.to_builtins(history)}


def _refused(ranks: Sequence[Summary]) -> dict[str, int]:
    """Parts that were not taken, by reason; `samples.rejected` is their sum."""
    total: Counter[str] = Counter()
    for rank in ranks:
        total.update(rank.refused)
    return dict(total)


def _sum(ranks: Sequence[Summary], figure: Callable[[Summary], int]) -> int:
    return sum(figure(rank) for rank in ranks)


def _most(ranks: Sequence[Summary], figure: Callable[[Summary], float]) -> float:
    return max((figure(rank) for rank in ranks), default=0.0)


def _bottleneck(trainer_waited_s: float, solvers_waited_s: float, elapsed_s: float) -> str:
    """Whom the other side waited for, if it waited for long."""
    if max(trainer_waited_s, solvers_waited_s) < max(_SHORT_S, _SHORT_SHARE * elapsed_s):
        return "neither side waited long"
    return "the solvers" if trainer_waited_s > solvers_waited_s else "the training"


def make_snapshot(
    name: str,
    capacity: int,
    state: StudyState,
    seen: Observations,
    *,
    elapsed_s: float,
    capacity_nbytes: int | None = None,
) -> StudySnapshot:
    """What the live view shows now.

    Args:
        name: of the study.
        capacity: of the buffers of all server ranks, in samples.
        state: of the study.
        seen: what the server ranks told.
        elapsed_s: since the start.
        capacity_nbytes: of the buffers, where the sizes of samples differ; None: they do not.
    """
    ledger = state.ledger
    ranks = list(seen.metrics.values())
    first = seen.metrics.get(0)
    total = state.num_simulations + state.num_validation_simulations
    over = ledger.num_complete + ledger.num_given_up
    running = sum(ledger.state_of(number) is SimulationState.RUNNING for number in ledger.in_progress)
    return StudySnapshot(
        name=name,
        elapsed_s=elapsed_s,
        remaining_s=elapsed_s * (total - over) / over if over and not state.reception_over else None,
        num_simulations=total,
        complete=ledger.num_complete,
        running=running,
        given_up=ledger.num_given_up,
        jobs=len(state.jobs.alive),
        samples_expected=state.samples_expected,
        samples_delivered=ledger.samples.num_delivered,
        samples_in_per_s=sum(rank.samples_received for rank in ranks) / elapsed_s if elapsed_s > 0 else 0.0,
        samples_out_per_s=sum(rank.samples_per_second for rank in ranks),
        capacity=capacity,
        buffer_bytes=sum(rank.buffer_bytes or 0 for rank in ranks),
        capacity_nbytes=capacity_nbytes,
        seen=sum(rank.seen for rank in ranks),
        unseen=sum(rank.unseen for rank in ranks),
        batches=first.batches if first else 0,
        training_loss=first.training_loss if first else None,
        validation_relative_l2=first.validation_relative_l2 if first else None,
        rollout_relative_l2=first.more.get("validation_rollout_relative_l2") if first else None,
        phase=_phase(state),
        pending=dict(Counter(why.partition("\n")[0] for why in seen.pending.values()).most_common()),
    )


def _phase(state: StudyState) -> str:
    if state.outcome is not None:
        return state.outcome
    if not state.server_ready:
        if not state.server_losses:
            return "starting"
        why, _, _ = state.server_losses[-1].partition("\n")
        return f"starting again, because {why}"
    return "draining the buffer" if state.reception_over else "streaming"
