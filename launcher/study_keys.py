"""What a study's processes know one another by: made once, kept in the run directory, used again by a resume."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from melissa_like.protocol import read_connection
from melissa_like.protocol.keys import Credentials, KeyPair, Keys, Member, read_key_pair, write_key_pair
from melissa_like.transport.admission import make_key_pair

__all__ = ["StudyKeys", "make_study_keys", "read_study_keys"]

_NBYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyKeys:
    """The study, its secret, and its key pairs; printed without them.

    Attributes:
        pairs: by member; empty if nothing is encrypted.
        encryption: as in `transport.encryption`.
    """

    study: bytes
    secret: bytes = field(repr=False)
    pairs: dict[Member, KeyPair] = field(repr=False)
    encryption: str

    def credentials(self, member: Member) -> Credentials:
        """What a process of the study has."""
        return Credentials(study=self.study, secret=self.secret, keys=self.keys(member))

    def keys(self, member: Member) -> Keys | None:
        """The keys among it; None if nothing is encrypted."""
        if not self.pairs:
            return None
        return Keys(
            launcher=self.pairs["launcher"].public,
            server=self.pairs["server"].public,
            job=self.pairs["job"].public,
            own=self.pairs[member],
            encrypts_data=self.encryption == "all",
        )

    def write(self, run_dir: Path) -> None:
        """Write the key pairs, a file each.

        Raises:
            ConfigurationError: the file system does not keep files private.
        """
        for member, pair in self.pairs.items():
            write_key_pair(run_dir, member, pair)


def make_study_keys(encryption: str) -> StudyKeys:
    """Those of a new study.

    Raises:
        TransportError: ZeroMQ cannot encrypt.
    """
    return StudyKeys(
        study=secrets.token_bytes(_NBYTES),
        secret=secrets.token_bytes(_NBYTES),
        pairs=_made(encryption),
        encryption=encryption,
    )


def read_study_keys(run_dir: Path, encryption: str) -> StudyKeys:
    """Those of a study that goes on: jobs that still wait in a queue will read the same.

    A study that encrypts from now on gets its key pairs now.

    Raises:
        ConfigurationError: a file is missing or damaged.
        TransportError: ZeroMQ cannot encrypt.
    """
    connection = read_connection(run_dir, "launcher")
    pairs = _made(encryption)
    if pairs and connection.keys is not None:
        pairs = {member: read_key_pair(run_dir, member) for member in pairs}
    return StudyKeys(study=connection.study, secret=connection.secret, pairs=pairs, encryption=encryption)


def _made(encryption: str) -> dict[Member, KeyPair]:
    if encryption == "none":
        return {}
    return {member: make_key_pair() for member in get_args(Member)}
