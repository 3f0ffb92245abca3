"""The connection file: how a process that has just started finds the launcher.

Jobs read it when they start, not when they are submitted, so a job that waited in a queue finds the present launcher.
Only the study's user can read it: it holds the secret that every message carries. Each line is a key, a space and a
value without spaces, so that a C program reads it with `fscanf(file, "%63s %1023s", key, value)`.
"""

import re
from pathlib import Path

import msgspec

from melissa_like.errors import ConfigurationError
from melissa_like.protocol.control import CONTROL_VERSION
from melissa_like.protocol.keys import Credentials, Keys, Member, is_key, read_key_pair, write_private
from melissa_like.records import StudyIdentity

__all__ = ["CONNECTION_FILE", "Connection", "read_connection", "write_connection"]

CONNECTION_FILE = "connection.txt"

_ID = re.compile(r"[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_WORD = re.compile(r"\S+")
_ENCRYPTION = re.compile("none|control|all")


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What a process needs to speak to the launcher.

    Attributes:
        endpoint: of the launcher's control socket, for solver jobs.
        server_endpoint: the same for server ranks.
        keys: None: the study does not encrypt.
    """

    endpoint: str
    server_endpoint: str
    study: bytes
    secret: bytes
    launcher_incarnation: int
    keys: Keys | None = None

    def __repr__(self) -> str:
        return f"Connection(endpoint={self.endpoint!r}, study={self.study.hex()})"

    @property
    def credentials(self) -> Credentials:
        """What opens the doors of the other processes."""
        return Credentials(study=self.study, secret=self.secret, keys=self.keys)

    def identity(self, server_incarnation: int = 1) -> StudyIdentity:
        """The identity that messages carry."""
        return StudyIdentity(
            study=self.study,
            secret=self.secret,
            launcher_incarnation=self.launcher_incarnation,
            server_incarnation=server_incarnation,
        )


def write_connection(run_dir: Path, connection: Connection) -> None:
    """Write the file, readable by its user alone, in one rename.

    Raises:
        ConfigurationError: the file system does not keep files private.
    """
    keys = connection.keys
    values = {
        "version": str(CONTROL_VERSION),
        "endpoint": connection.endpoint,
        "server_endpoint": connection.server_endpoint,
        "study": connection.study.hex(),
        "secret": connection.secret.hex(),
        "launcher_incarnation": str(connection.launcher_incarnation),
        "encryption": "none" if keys is None else "all" if keys.encrypts_data else "control",
    }
    if keys is not None:
        values |= {"launcher_key": keys.launcher, "server_key": keys.server, "job_key": keys.job}
    assert all(map(_WORD.fullmatch, values.values())), f"a value of {connection!r} has a space"
    write_private(run_dir / CONNECTION_FILE, "".join(f"{key} {value}\n" for key, value in values.items()))


def read_connection(run_dir: Path, member: Member = "job") -> Connection:
    """Read the file of a study, and the keys of one of its members; lines that are not known are skipped.

    Raises:
        ConfigurationError: no study runs there, its launcher speaks another version, or a file lacks a key or has a
            value that is none.
    """
    path = run_dir / CONNECTION_FILE
    lines = _Lines(path)
    version = lines.value("version", _NUMBER, "a number")
    if int(version) != CONTROL_VERSION:
        raise ConfigurationError(
            f"{path} is of a launcher that speaks version {version} of the protocol, this process speaks "
            f"{CONTROL_VERSION}: install the same release of melissa-like for the launcher and the solver"
        )
    keys = None
    encryption = lines.value("encryption", _ENCRYPTION, "none, control or all")
    if encryption != "none":
        keys = Keys(
            launcher=lines.key("launcher_key"),
            server=lines.key("server_key"),
            job=lines.key("job_key"),
            own=read_key_pair(run_dir, member),
            encrypts_data=encryption == "all",
        )
    return Connection(
        endpoint=lines.value("endpoint", _WORD, "a ZeroMQ address"),
        server_endpoint=lines.value("server_endpoint", _WORD, "a ZeroMQ address"),
        study=bytes.fromhex(lines.value("study", _ID, "of 32 hexadecimal digits")),
        secret=bytes.fromhex(lines.value("secret", _ID, "of 32 hexadecimal digits")),
        launcher_incarnation=int(lines.value("launcher_incarnation", _NUMBER, "a number")),
        keys=keys,
    )


class _Lines:
    """The values of a connection file by their keys; what is wrong with one is told without quoting it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{path} cannot be read ({error}): a solver that connects must be started by `melissa-like run`, or "
                "get MELISSA_LIKE_RUN_DIR of a running study"
            ) from None
        self._values = {key: " ".join(value) for key, *value in (line.split() for line in lines if line.strip())}

    def value(self, key: str, form: re.Pattern[str], expected: str) -> str:
        """The value of a line that must be there, and of some form."""
        value = self._value_of(key)
        if not form.fullmatch(value):
            raise self._damaged(key, expected)
        return value

    def key(self, key: str) -> str:
        """A public key."""
        value = self._value_of(key)
        if not is_key(value):
            raise self._damaged(key, "a key of 40 characters")
        return value

    def _value_of(self, key: str) -> str:
        if key not in self._values:
            raise ConfigurationError(
                f"{self._path} has no line `{key} ...`, only {', '.join(self._values) or 'none at all'}: install the "
                "same release of melissa-like for the launcher and the solver"
            )
        return self._values[key]

    def _damaged(self, key: str, expected: str) -> ConfigurationError:
        # The value is not quoted: it may be a part of the secret.
        return ConfigurationError(
            f"{self._path}: the value of {key} is not {expected}: the file was changed or damaged"
        )
