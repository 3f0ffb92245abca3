"""The keys of a study: who may speak to whom, and how its processes know one another.

A study has three CURVE key pairs, of the launcher, of its server ranks and of its solver jobs, made once and kept for
its life. Each lies in a file of its own in the run directory, which only the study's user can read; the public keys are
in the connection file. A key is 40 characters of Z85, as ZeroMQ takes them.
"""

import os
import re
import stat
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from melissa_like.errors import ConfigurationError

__all__ = [
    "Credentials",
    "KeyPair",
    "Keys",
    "Member",
    "is_key",
    "read_key_pair",
    "write_key_pair",
    "write_private",
]

#: Whose key pair it is.
Member: TypeAlias = Literal["launcher", "server", "job"]

_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """One member's keys; what is printed of it lacks the secret one."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What a member knows: the public keys of all three, and its own pair.

    Attributes:
        encrypts_data: the parts of fields are encrypted too, not the control messages alone.
    """

    launcher: str
    server: str
    job: str
    own: KeyPair
    encrypts_data: bool = False


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a process shows to the others of its study, and by what it knows them.

    Attributes:
        study: 16 bytes.
        secret: 16 bytes.
        keys: None: nothing is encrypted, and who knows the secret is let in.
    """

    study: bytes
    secret: bytes
    keys: Keys | None

    def __repr__(self) -> str:
        return f"Credentials(study={self.study.hex()}, keys={self.keys!r})"

    @property
    def data_keys(self) -> Keys | None:
        """The keys of connections that carry parts; None: these are not encrypted."""
        return self.keys if self.keys is not None and self.keys.encrypts_data else None


def is_key(text: str) -> bool:
    """Whether a text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def write_key_pair(run_dir: Path, member: Member, pair: KeyPair) -> None:
    """Write a member's keys, readable by the study's user alone.

    Raises:
        ConfigurationError: the file system does not keep files private.
    """
    write_private(run_dir / f"{member}.key", f"public {pair.public}\nsecret {pair.secret}\n")


def read_key_pair(run_dir: Path, member: Member) -> KeyPair:
    """Read a member's keys.

    Raises:
        ConfigurationError: there are none, or the file was damaged.
    """
    path = run_dir / f"{member}.key"
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}): the processes of a study need its run directory, which only its user "
            "can read"
        ) from None
    values = dict(zip(words[::2], words[1::2], strict=False))
    pair = KeyPair(public=values.get("public", ""), secret=values.get("secret", ""))
    if not (is_key(pair.public) and is_key(pair.secret)):
        # Nothing of the file is quoted.
        raise ConfigurationError(f"{path} does not hold the lines `public KEY` and `secret KEY`: it was damaged")
    return pair


def write_private(path: Path, text: str) -> None:
    """Write a file that only its user can read, whatever the umask; in one rename, and on the disk before it.

    Raises:
        ConfigurationError: the file system does not keep files private.
    """
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        os.fchmod(descriptor, 0o600)  # a umask may have taken away what its user needs
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            temporary.unlink()
            raise ConfigurationError(
                f"the file system of {path.parent} lets others read {path.name}, which holds a secret: choose a "
                "run_dir where files can be private"
            )
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    temporary.replace(path)
