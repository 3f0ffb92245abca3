"""Addresses on the control socket: a server rank, a rank of a solver job, or a command of the study's user.

Inside the program an address is an object; its text is what a peer calls itself on the socket, and what the executor
calls the process of a server rank. Nothing else reads that text.
"""

import re
from typing import TypeAlias

import msgspec

__all__ = ["Address", "ClientRank", "Operator", "ServerRank", "parse_address"]

_SERVER = re.compile(r"server-(0|[1-9]\d{0,8})(?:\.([1-9]\d{0,8}))?")
_OPERATOR = re.compile(r"operator-([0-9a-f]{8})")
_CLIENT = re.compile(r"([A-Za-z0-9][\w.-]{0,63})/(0|[1-9]\d{0,8})")


class ServerRank(msgspec.Struct, frozen=True, tag="server", order=True, gc=False):
    """One of the processes that train.

    Attributes:
        incarnation: of the server ranks, from 1: one that was replaced is another address.
    """

    rank: int
    incarnation: int = 1

    def __str__(self) -> str:
        return f"server-{self.rank}" if self.incarnation == 1 else f"server-{self.rank}.{self.incarnation}"


class ClientRank(msgspec.Struct, frozen=True, tag="client", order=True, gc=False):
    """One rank of a solver job; rank 0 speaks for the job."""

    job: str
    rank: int = 0

    def __str__(self) -> str:
        return f"{self.job}/{self.rank}"


class Operator(msgspec.Struct, frozen=True, tag="operator", order=True):
    """A command of the study's user that speaks to its launcher, as `melissa-like scale`: once, and is gone.

    Attributes:
        token: 8 hexadecimal digits of its own, so that two commands at a time are two.
    """

    token: str

    def __str__(self) -> str:
        return f"operator-{self.token}"


Address: TypeAlias = ServerRank | ClientRank | Operator


def parse_address(text: str) -> Address | None:
    """The address that a text stands for: `server-0`, `job-0001/3`, `operator-0a1b2c3d`; None if it stands for none."""
    if found := _SERVER.fullmatch(text):
        return ServerRank(int(found[1]), int(found[2] or 1))
    if found := _OPERATOR.fullmatch(text):
        return Operator(found[1])
    if found := _CLIENT.fullmatch(text):
        return ClientRank(found[1], int(found[2]))
    return None
