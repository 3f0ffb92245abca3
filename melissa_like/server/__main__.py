"""`python -m melissa_like.server RUN_DIR`: one server rank, its number in RANK; started by the launcher."""

import os
import sys
from contextlib import closing
from pathlib import Path

from melissa_like.config import load_config
from melissa_like.errors import ConfigurationError
from melissa_like.server.rank import run_server_rank
from melissa_like.transport.zmq_transport import ZmqTransport


def main() -> int:
    """The exit code."""
    run_dir = Path(sys.argv[1])
    try:
        told = load_config(run_dir).transport
        with closing(ZmqTransport(host=told.host, shares_memory=told.shared_memory)) as transport:
            return run_server_rank(run_dir, rank=int(os.environ.get("RANK", "0")), transport=transport)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")  # the launcher quotes the last lines of the log
        return 2


if __name__ == "__main__":
    sys.exit(main())
