"""What is looked at in the launcher's own process."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import zmq

from melissa_like.config import Config, capacity_nbytes, log_limit_bytes, saves_buffer
from melissa_like.errors import TransportError
from melissa_like.launcher.doctor.findings import Finding, bad, good, skipped
from melissa_like.launcher.executors import Traits
from melissa_like.transport.own_host import OwnHost, host_of_launcher
from melissa_like.transport.zmq_sockets import bind, tcp_address

__all__ = ["existing", "needed_bytes", "own_host", "ports"]


def own_host(config: Config, traits: Traits) -> tuple[OwnHost | None, Finding]:
    """Where the launcher would be reached."""
    check, told = "where the launcher is reached", config.transport
    try:
        own = host_of_launcher(told.host, told.interface, elsewhere=not traits.on_this_host)
    except TransportError as error:
        return None, bad(check, str(error), "set transport.interface or transport.host")
    return own, good(check, f"{own.address} on {own.interface or 'an interface that is not known'}")


def ports(config: Config, own: OwnHost | None) -> Finding:
    """Whether the ports that are fixed can be opened."""
    check, port = "the launcher's ports", config.transport.port
    if not port:
        return skipped(check, "transport.port is 0, so it takes free ones")
    if own is None:
        return skipped(check, "it has no address")
    with zmq.Context() as context, ExitStack() as stack:
        for number in (port, port + 1):
            socket = stack.enter_context(context.socket(zmq.ROUTER))
            try:
                bind(socket, tcp_address(own.address, number))
            except TransportError as error:
                return bad(check, str(error), "choose another transport.port, or 0")
    return good(check, f"{port} and {port + 1} are free on {own.address}")


def needed_bytes(config: Config) -> int:
    """What checkpoints and logs may take, besides the weights."""
    kept = config.training.checkpoint.num_kept + 1
    samples = capacity_nbytes(config) if saves_buffer(config) else 0
    num_logs = config.launcher.max_jobs + config.launcher.num_server_ranks
    return kept * samples + num_logs * log_limit_bytes(config.launcher)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(_each(folder.absolute()))


def _each(folder: Path) -> Iterator[Path]:
    return (above for above in (folder, *folder.parents) if above.is_dir())
