"""Who a message is from and what it is about: identities of studies and samples, and who owns a sample."""

import hmac
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

__all__ = ["Purpose", "Routing", "SampleKey", "StudyIdentity", "owner_of"]


class Purpose(IntEnum):
    """What the samples of a simulation are for; the number is the one on the wire."""

    TRAINING = 0
    VALIDATION = 1


class Routing(IntEnum):
    """Which server rank owns the sample (simulation *s*, step *t*) among *R*."""

    SAMPLE = 0  #: (s + t) mod R: consecutive steps go to different server ranks
    TRAJECTORY = 1  #: s mod R: a simulation stays together


def owner_of(simulation: int, step: int, num_server_ranks: int, routing: Routing) -> int:
    """The server rank that owns a sample (DESIGN §3, routing)."""
    if routing is Routing.TRAJECTORY:
        return simulation % num_server_ranks
    return (simulation + step) % num_server_ranks


class SampleKey(msgspec.Struct, frozen=True, order=True):
    """A sample's identity within a study: it is delivered, and counted, once."""

    simulation: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyIdentity:
    """What every message carries besides (simulation, attempt): anything else is refused and counted.

    Attributes:
        study: 16 random bytes drawn when the study is created.
        secret: 16 random bytes that only processes of the study's user can read.
        launcher_incarnation: 1 for the first launcher of the study, one more at each resume.
        server_incarnation: 1 for the first start of the server ranks, one more at each restart.
    """

    study: bytes
    secret: bytes = field(repr=False)
    launcher_incarnation: int = 1
    server_incarnation: int = 1

    def is_shown_by(self, study: bytes, secret: bytes) -> bool:
        """Whether a message carries this study and its secret; the time that it takes tells nothing of the secret."""
        # Both are looked at in any case.
        return hmac.compare_digest(secret, self.secret) & (study == self.study)
