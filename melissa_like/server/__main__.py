"""`python -m melissa_like.server RUN_DIR ADDRESS [--check] [--tried]`: one server rank; started by the launcher.

With `--tried` the training was tried already, by rank 0 of an earlier incarnation for the same launcher.

`python -m melissa_like.server FOLDER --trial` tries the training that the configuration in a folder stands for.
"""

import sys
from contextlib import closing
from pathlib import Path

from melissa_like.errors import ConfigurationError
from melissa_like.extras import missing_package
from melissa_like.plugins import look_in
from melissa_like.protocol import read_connection
from melissa_like.records import ServerRank, parse_address
from melissa_like.transport.zmq_transport import ZmqTransport

_CHECK, _TRIED, _TRIAL = "--check", "--tried", "--trial"


def main() -> int:
    """The exit code."""
    look_in(Path.cwd())
    arguments = sys.argv[1:]
    if _TRIAL in arguments:
        from melissa_like.server.trial import run_trial

        return run_trial(Path(arguments[0]))
    run_dir, address = Path(arguments[0]), parse_address(arguments[1])
    assert isinstance(address, ServerRank), f"{arguments[1]} is no address of a server rank"
    try:
        return _serve(run_dir, address, checks=_CHECK in arguments, tried=_TRIED in arguments)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")  # the launcher quotes the last lines of the log
    except ModuleNotFoundError as error:
        told = missing_package(error, "a server rank")
        if told is None:
            raise
        sys.stderr.write(f"{told}\n")
    return 2


def _serve(run_dir: Path, address: ServerRank, *, checks: bool, tried: bool) -> int:
    from melissa_like.config import load_config

    told = load_config(run_dir).transport
    credentials = read_connection(run_dir, "server").credentials
    with closing(ZmqTransport(host=told.host, shares_memory=told.shared_memory, credentials=credentials)) as transport:
        if checks:
            from melissa_like.server.checking import run_checking_rank

            return run_checking_rank(run_dir, address, transport)
        from melissa_like.server.rank import run_server_rank  # torch

        return run_server_rank(run_dir, address, transport, tried=tried)


if __name__ == "__main__":
    sys.exit(main())
