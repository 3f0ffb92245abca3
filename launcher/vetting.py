"""What a message must be before it becomes an event: it comes from another program, perhaps from a foreign client."""

from melissa_like.protocol import control as say

__all__ = ["fault_of"]

_OF_A_JOB = say.Hello | say.Request | say.Goodbye | say.Failure | say.Blocked
_OF_A_SERVER = (
    say.ServerHello
    | say.Progress
    | say.RejectedPart
    | say.Pressure
    | say.Metrics
    | say.ServerFinished
    | say.ServerFailed
)


def fault_of(peer: str, message: say.ControlMessage, *, num_simulations: int, num_server_ranks: int) -> str | None:
    """How a message breaks the protocol (protocol/README.md), or None for a sound one.

    Args:
        peer: who sent it, by its name on the control socket: `job-0001/0`, `server-0`.
        message: what it said.
        num_simulations: of the study.
        num_server_ranks: of the study.
    """
    name = type(message).__name__
    if isinstance(message, say.Acknowledge):
        return None
    if isinstance(message, _OF_A_JOB):
        if peer.partition("/")[0] != message.job:
            return f"{peer} said {name} for {message.job}: say MELISSA_LIKE_JOB, and connect as JOB/RANK"
    elif not isinstance(message, _OF_A_SERVER):
        return f"{peer} said {name}, which only the launcher says"
    elif not 0 <= message.rank < num_server_ranks or peer != f"server-{message.rank}":
        return f"{peer} said {name} of server rank {message.rank}, which only that server rank says"
    for simulation in _simulations(message):
        if not 0 <= simulation < num_simulations:
            return (
                f"{peer} said {name} for simulation {simulation}, but the study has the simulations 0 to "
                f"{num_simulations - 1}: send the number that Assignment gave"
            )
    if isinstance(message, say.Goodbye):
        return _fault_of_goodbye(peer, message, num_server_ranks)
    return None


def _simulations(message: say.ControlMessage) -> tuple[int, ...]:
    match message:
        case say.Goodbye(simulation=simulation) | say.Failure(simulation=simulation):
            return (simulation,)
        case say.Progress(deliveries=deliveries):
            return tuple(item.simulation for item in deliveries)
    return ()


def _fault_of_goodbye(peer: str, message: say.Goodbye, num_server_ranks: int) -> str | None:
    if len(message.parts_sent) != num_server_ranks:
        return (
            f"{peer} said Goodbye with {len(message.parts_sent)} numbers in parts_sent, but there are "
            f"{num_server_ranks} server ranks: send one number for each, also where no part went"
        )
    if message.num_steps < 0 or min(message.parts_sent) < 0:
        return f"{peer} said Goodbye after {message.num_steps} time steps and {message.parts_sent} parts: count from 0"
    return None
