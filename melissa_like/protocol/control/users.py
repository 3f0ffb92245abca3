"""What commands of the study's user and the launcher say to each other."""

from melissa_like.protocol.control.message import Message

__all__ = [
    "Scale",
    "Scaled",
]


class Scale(Message, frozen=True, kw_only=True):
    """From now on so many solver jobs may be alive at once; answered by `Scaled`, or by `Refused`.

    Said again it changes nothing more.
    """

    max_jobs: int


class Scaled(Message, frozen=True, kw_only=True):
    """The answer to `Scale`.

    Attributes:
        before: as many might be alive until now.
        max_jobs: as many may be alive from now on.
        num_jobs: that are alive, without those that are canceled now or are about to end anyway.
        num_canceled: jobs that had no simulation yet and are ended at once.
        num_leaving: jobs that end when their simulation has.
    """

    before: int
    max_jobs: int
    num_jobs: int
    num_canceled: int
    num_leaving: int
