"""The connection file: how a job that has just started finds the launcher.

Jobs read it when they start, not when they are submitted, so a job that waited in a queue finds the present launcher.
Only the study's user can read it: it holds the secret that every message carries. Each line is a key, a space and a
value without spaces, so that a C program reads it with `fscanf(file, "%63s %1023s", key, value)`.
"""

import os
import re
from pathlib import Path

import msgspec

from melissa_like.errors import ConfigurationError
from melissa_like.records import StudyIdentity

__all__ = ["CONNECTION_FILE", "Connection", "read_connection", "write_connection"]

CONNECTION_FILE = "connection.txt"

_ID = re.compile(r"[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_WORD = re.compile(r"\S+")


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
    assert _WORD.fullmatch(connection.endpoint), f"the endpoint {connection.endpoint!r} has a space"
    target = run_dir / CONNECTION_FILE
    temporary = target.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(
            f"endpoint {connection.endpoint}\n"
            f"study {connection.study.hex()}\n"
            f"secret {connection.secret.hex()}\n"
            f"launcher_incarnation {connection.launcher_incarnation}\n"
        )
    temporary.replace(target)


def read_connection(run_dir: Path) -> Connection:
    """Read the file of a study; keys that are not known are skipped.

    Raises:
        ConfigurationError: no study runs there, or the file lacks a key or has a value that is none.
    """
    path = run_dir / CONNECTION_FILE
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}): a solver that connects must be started by `melissa-like run`, or get "
            "MELISSA_LIKE_RUN_DIR of a running study"
        ) from None
    values = {key: " ".join(value) for key, *value in (line.split() for line in lines if line.strip())}

    def value_of(key: str, form: re.Pattern[str], expected: str) -> str:
        if key not in values:
            raise ConfigurationError(
                f"{path} has no line `{key} ...`, only {', '.join(values) or 'none at all'}: install the same release "
                "of melissa-like for the launcher and the solver"
            )
        if not form.fullmatch(values[key]):
            # The value is not quoted: it may be a part of the secret.
            raise ConfigurationError(f"{path}: the value of {key} is not {expected}: the file was changed or damaged")
        return values[key]

    return Connection(
        endpoint=value_of("endpoint", _WORD, "a ZeroMQ address"),
        study=bytes.fromhex(value_of("study", _ID, "of 32 hexadecimal digits")),
        secret=bytes.fromhex(value_of("secret", _ID, "of 32 hexadecimal digits")),
        launcher_incarnation=int(value_of("launcher_incarnation", _NUMBER, "a number")),
    )
