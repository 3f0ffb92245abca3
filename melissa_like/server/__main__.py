"""`python -m melissa_like.server RUN_DIR ADDRESS [--check] [--tried]`: one server rank; started by the launcher.

With `--tried` the training was tried already, by rank 0 of an earlier incarnation for the same launcher.

`python -m melissa_like.server FOLDER --trial` tries the training that the configuration in a folder stands for.
"""

import os
import sys
from contextlib import closing
from pathlib import Path

from melissa_like.errors import ConfigurationError, TransportError
from melissa_like.extras import missing_package
from melissa_like.plugins import look_in
from melissa_like.protocol import read_connection
from melissa_like.protocol.seen import await_connection, await_seen
from melissa_like.records import ServerRank, parse_address
from melissa_like.server.end_notice import EndNotice
from melissa_like.server.nodes import torch_network
from melissa_like.transport.own_host import host_towards
from melissa_like.transport.zmq_transport import ZmqTransport

_CHECK, _TRIED, _TRIAL = "--check", "--tried", "--trial"


def main() -> int:
    """The exit code."""
    end_notice = EndNotice()
    end_notice.listen()
    look_in(Path.cwd())
    arguments = sys.argv[1:]
    if _TRIAL in arguments:
        from melissa_like.server.trial import run_trial

        return run_trial(Path(arguments[0]))
    run_dir, address = Path(arguments[0]), parse_address(arguments[1])
    assert isinstance(address, ServerRank), f"{arguments[1]} is no address of a server rank"
    try:
        return _serve(run_dir, address, checks=_CHECK in arguments, tried=_TRIED in arguments, end_notice=end_notice)
    except (ConfigurationError, TransportError) as error:
        sys.stderr.write(f"{error}\n")  # the launcher quotes the last lines of the log
    except ModuleNotFoundError as error:
        told = missing_package(error, "a server rank")
        if told is None:
            raise
        sys.stderr.write(f"{told}\n")
    return 2


def _serve(run_dir: Path, address: ServerRank, *, checks: bool, tried: bool, end_notice: EndNotice) -> int:
    from melissa_like.config import CONFIG_FILE, load_config

    await_connection(run_dir, os.environ)
    await_seen(run_dir / CONFIG_FILE)
    config, connection = load_config(run_dir), read_connection(run_dir, "server")
    try:
        own = host_towards(connection.server_endpoint, config.transport.interface)
    except TransportError as error:  # told, so that the ranks are not started again in vain
        from melissa_like.server.reception import place_of, tell_failure

        with closing(ZmqTransport(credentials=connection.credentials)) as transport:
            tell_failure(place_of(config, run_dir, address), transport, str(error))
        raise
    transport = ZmqTransport(
        host=own.address, shares_memory=config.transport.shared_memory, credentials=connection.credentials
    )
    with closing(transport):
        if checks:
            from melissa_like.server.checking import run_checking_rank

            return run_checking_rank(run_dir, address, transport)
        os.environ.update(torch_network(own, os.environ))
        from melissa_like.server.rank import run_server_rank  # torch

        return run_server_rank(run_dir, address, transport, host=own.address, tried=tried, end_notice=end_notice)


if __name__ == "__main__":
    sys.exit(main())
