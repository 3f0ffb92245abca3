"""What a message must be before a rule looks at it: it comes from another program, perhaps from a foreign client."""

from melissa_like.protocol import control as say
from melissa_like.records import Address, ClientRank
from melissa_like.study.ledger import Ledger

__all__ = ["fault_of"]

_MOST_STEPS = 2**31

_OF_RANK_0 = frozenset({say.Hello, say.Request, say.Goodbye})
_OF_A_CLIENT = _OF_RANK_0 | {say.Failure, say.Blocked, say.Acknowledge}
_OF_A_SERVER = frozenset(
    {
        say.ServerHello,
        say.Progress,
        say.RejectedPart,
        say.Pressure,
        say.ServerFinished,
        say.ServerFailed,
        say.Metrics,
        say.Losses,
        say.Checked,
        say.Acknowledge,
    }
)


def fault_of(address: Address, message: say.ControlMessage, ledger: Ledger, num_server_ranks: int) -> str | None:
    """How a message breaks the protocol (protocol/README.md), or None for a sound one."""
    what = _breach(address, message, ledger, num_server_ranks)
    return None if what is None else f"{address} said {type(message).__name__}{what}"


def _breach(address: Address, message: say.ControlMessage, ledger: Ledger, num_server_ranks: int) -> str | None:
    kind = type(message)
    if isinstance(address, ClientRank):
        if kind not in _OF_A_CLIENT:
            return ", which no solver rank says"
        if kind in _OF_RANK_0 and address.rank != 0:
            return ", which only rank 0 of a job says"
    elif kind not in _OF_A_SERVER:
        return ", which no server rank says"
    elif address.rank >= num_server_ranks:
        return f", but the study has the server ranks 0 to {num_server_ranks - 1}"
    for simulation, attempt in _attempts(message):
        if not 0 <= simulation < len(ledger):
            return f" for simulation {simulation}, but only {len(ledger)} were listed: send that of the Assignment"
        if not 1 <= attempt <= ledger.attempts_of(simulation):
            return (
                f" for attempt {attempt} of simulation {simulation}, of which {ledger.attempts_of(simulation)} were "
                "begun: send the attempt that Assignment gave"
            )
    match message:
        case say.Goodbye():
            return _breach_of_goodbye(message, num_server_ranks)
        case say.Progress(deliveries=deliveries):
            return next((what for item in deliveries if (what := _breach_of_delivery(item))), None)
    return None


def _attempts(message: say.ControlMessage) -> tuple[tuple[int, int], ...]:
    match message:
        case say.Goodbye() | say.Failure():
            return ((message.simulation, message.attempt),)
        case say.Progress(deliveries=deliveries):
            return tuple((item.simulation, item.attempt) for item in deliveries)
    return ()


def _breach_of_goodbye(message: say.Goodbye, num_server_ranks: int) -> str | None:
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


def _breach_of_delivery(item: say.Delivery) -> str | None:
    if item.num_parts < 0 or min(item.steps, default=0) < 0:
        return f" of {item.num_parts} parts and the steps {item.steps}: count from 0"
    return None
