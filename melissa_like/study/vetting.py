"""What a message must be before a rule looks at it: it comes from another program, perhaps from a foreign client."""

from collections.abc import Callable, Sequence
from typing import Any

from melissa_like.protocol import control as say
from melissa_like.records import ClientRank, ServerRank
from melissa_like.study.ledger import Ledger

__all__ = ["fault_of"]

_MOST_STEPS = 2**31
_MOST_SHOWN = 5
_RANGES = "send half-open ranges in order and apart, from 0 to below"

_OF_RANK_0 = frozenset({say.Hello, say.Request, say.Recomputes, say.Goodbye})
_OF_A_CLIENT = _OF_RANK_0 | {say.Failure, say.Blocked, say.Acknowledge}
_OF_A_SERVER = frozenset(
    {
        say.ServerHello,
        say.Restored,
        say.Checkpointed,
        say.Progress,
        say.RejectedPart,
        say.UnfitSample,
        say.Pressure,
        say.ServerFinished,
        say.ServerFailed,
        say.TrainingBlocked,
        say.EndIsNear,
        say.Metrics,
        say.Losses,
        say.Checked,
        say.Acknowledge,
    }
)


def fault_of(
    address: ClientRank | ServerRank, message: say.ControlMessage, ledger: Ledger, num_server_ranks: int
) -> str | None:
    """How a message breaks the protocol (protocol/README.md), or None for a sound one."""
    kind, what = type(message), None
    if isinstance(address, ClientRank):
        if kind not in _OF_A_CLIENT:
            what = ", which no solver rank says"
        elif address.rank != 0 and kind in _OF_RANK_0:
            what = ", which only rank 0 of a job says"
    elif kind not in _OF_A_SERVER:
        what = ", which no server rank says"
    elif address.rank >= num_server_ranks:
        what = f", but the study has the server ranks 0 to {num_server_ranks - 1}"
    elif kind is say.Restored and address.incarnation == 1:
        what = ", which the first incarnation does not say: there was nothing before it"
    if what is None and kind in _VETTING:
        what = _VETTING[kind](message, ledger, num_server_ranks)
    return None if what is None else f"{address} said {kind.__name__}{what}"


def _breach_of_attempt(
    said: say.Goodbye | say.Failure | say.Recomputes | say.UnfitSample | say.Delivery, ledger: Ledger
) -> str | None:
    simulation, attempt = said.simulation, said.attempt
    if ledger.has_begun(simulation, attempt):
        return None
    if not 0 <= simulation < len(ledger):
        return f" for simulation {simulation}, but only {len(ledger)} were listed: send that of the Assignment"
    return (
        f" for attempt {attempt} of simulation {simulation}, of which {ledger.attempts_of(simulation)} were begun: "
        "send the attempt that Assignment gave"
    )


def _vet_attempt(
    message: say.Failure | say.Recomputes | say.UnfitSample, ledger: Ledger, num_server_ranks: int
) -> str | None:
    return _breach_of_attempt(message, ledger)


def _vet_goodbye(message: say.Goodbye, ledger: Ledger, num_server_ranks: int) -> str | None:
    if (what := _breach_of_attempt(message, ledger)) is not None:
        return what
    if len(message.parts_sent) != num_server_ranks:
        return (
            f" with {len(message.parts_sent)} numbers in parts_sent, but there are {num_server_ranks} server "
            "ranks: send one number for each, also where no part went"
        )
    if not 0 <= message.num_steps < _MOST_STEPS or min(message.parts_sent) < 0:
        return (
            f" after {message.num_steps} time steps and {message.parts_sent} parts: count from 0, to less than "
            f"{_MOST_STEPS} steps"
        )
    return None


def _vet_progress(message: say.Progress, ledger: Ledger, num_server_ranks: int) -> str | None:
    for item in message.deliveries:
        if (what := _breach_of_attempt(item, ledger)) is not None:
            return what
        if item.num_parts < 0 or any(steps and min(steps) < 0 for steps in (item.steps, item.dropped, item.held)):
            return f" of {item.num_parts} parts and the steps {item.steps + item.dropped + item.held}: count from 0"
    return None


def _vet_restored(message: say.Restored, ledger: Ledger, num_server_ranks: int) -> str | None:
    if message.checkpoint is None and (message.over or message.delivered):
        return " of no checkpoint, but with samples"
    if message.checkpoint is not None and message.checkpoint < 0:
        return f" of checkpoint {message.checkpoint}: count from 0"
    if not _are_sorted(message.over, len(ledger)):
        return f" with simulations that are over, {_shown(message.over)}: {_RANGES} {len(ledger)}"
    simulations = [held.simulation for held in message.delivered]
    if len(set(simulations)) < len(simulations) or not all(0 <= number < len(ledger) for number in simulations):
        return f" of the simulations {_shown(simulations)}: name each once, of 0 to {len(ledger) - 1}"
    for held in message.delivered:
        if not _are_sorted(held.steps, _MOST_STEPS):
            return f" of simulation {held.simulation}, the samples {_shown(held.steps)}: {_RANGES} {_MOST_STEPS}"
    return None


def _are_sorted(ranges: Sequence[tuple[int, int]], most: int) -> bool:
    """Whether ranges are half-open, none empty, in order, apart, and between 0 and `most`."""
    after = 0
    for start, end in ranges:
        if not after <= start < end <= most:
            return False
        after = end
    return True


def _shown(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:_MOST_SHOWN])) + (", ..." if len(items) > _MOST_SHOWN else "")


def _vet_checkpointed(message: say.Checkpointed, ledger: Ledger, num_server_ranks: int) -> str | None:
    if min(message.number, message.batches, message.nbytes) < 0:
        return f" number {message.number} of {message.batches} batches and {message.nbytes} bytes: count from 0"
    return None


#: What else is looked at, by kind: nearly every message of a study passes here, so there is no chain of cases.
_VETTING: dict[type, Callable[[Any, Ledger, int], str | None]] = {
    say.Checkpointed: _vet_checkpointed,
    say.Failure: _vet_attempt,
    say.Goodbye: _vet_goodbye,
    say.Progress: _vet_progress,
    say.Recomputes: _vet_attempt,
    say.Restored: _vet_restored,
    say.UnfitSample: _vet_attempt,
}
