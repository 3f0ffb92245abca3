"""The connection file: how a job that has just started finds the launcher.

Jobs read it when they start, not when they are submitted, so a job that waited in a queue finds the present launcher.
Only the study's user can read it: it holds the secret that every message carries.
"""

import os
from pathlib import Path

import msgspec

from melissa_like.errors import ConfigurationError
from melissa_like.records import StudyIdentity

__all__ = ["CONNECTION_FILE", "Connection", "read_connection", "write_connection"]

CONNECTION_FILE = "connection.json"


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What a process needs to speak to the launcher.

    Attributes:
        endpoint: of the launcher's control socket.
    """

    endpoint: str
    study: bytes
    secret: bytes
    launcher_incarnation: int

    def identity(self, server_incarnation: int = 1) -> StudyIdentity:
        """The identity that messages carry."""
        return StudyIdentity(
            study=self.study,
            secret=self.secret,
            launcher_incarnation=self.launcher_incarnation,
            server_incarnation=server_incarnation,
        )


def write_connection(run_dir: Path, connection: Connection) -> None:
    """Write the file, readable by its user alone, in one rename."""
    target = run_dir / CONNECTION_FILE
    temporary = target.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.json.encode(connection))
    temporary.replace(target)


def read_connection(run_dir: Path) -> Connection:
    """Read the file of a study.

    Raises:
        ConfigurationError: no study runs there.
    """
    try:
        return msgspec.json.decode((run_dir / CONNECTION_FILE).read_bytes(), type=Connection)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(
            f"{run_dir / CONNECTION_FILE} cannot be read ({error}): a solver that connects must be started by "
            "`melissa-like run`, or get MELISSA_LIKE_RUN_DIR of a running study"
        ) from None
