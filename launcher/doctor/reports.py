"""What probes are told, and what they tell: files in a folder that all hosts of a study see."""

from pathlib import Path
from typing import TypeVar

import msgspec

__all__ = [
    "END_FILE",
    "ERRAND_FILE",
    "LEASE_FILE",
    "RENDEZVOUS_FILE",
    "Contact",
    "Errand",
    "MeetingReport",
    "ServerReport",
    "Sight",
    "SolverReport",
    "meeting_file",
    "read",
    "server_file",
    "write",
]

ERRAND_FILE = "errand.json"
RENDEZVOUS_FILE = "rendezvous"
#: When it is there, the probes of server ranks end.
END_FILE = "end"
#: That each process tries to link, and only one can.
LEASE_FILE = "lease"


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe is to do.

    Attributes:
        launcher: where the launcher listens: `tcp://ADDRESS:PORT`.
        interface: as in `transport.interface`.
        num_server_ranks: that there are.
        device: as in `training.device`.
        packages: of which a probe tells the versions, by role.
        patience_s: for whatever it waits for.
    """

    launcher: str
    interface: str | None
    num_server_ranks: int
    device: str
    packages: dict[str, tuple[str, ...]]
    patience_s: float


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What every process sees where it runs.

    Attributes:
        packages: versions by name; those that are missing are left out.
        open_files: that this process may have.
        free_bytes: on the file system of the folder.
        has_linked: this process was the one that made the link; None if links cannot be made, see `problem`.
        problem: why not.
    """

    host: str
    pid: int
    python: str
    packages: dict[str, str]
    open_files: int
    free_bytes: int
    has_linked: bool | None
    problem: str = ""


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that was tried.

    Attributes:
        whom: "the launcher", "server rank 0".
        endpoint: that was told.
        seconds: for a question and its answer; None: there was none.
        clock_offset_s: how far the clock there is ahead of the one here.
        problem: why there was no answer.
    """

    whom: str
    endpoint: str
    seconds: float | None = None
    clock_offset_s: float = 0.0
    problem: str = ""


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A probe in the place of a server rank, once it listens.

    Attributes:
        endpoint: where; empty: it cannot, see `problem`.
        interface: that has this address.
    """

    rank: int
    sight: Sight
    endpoint: str = ""
    interface: str = ""
    contacts: tuple[Contact, ...] = ()
    problem: str = ""


class MeetingReport(msgspec.Struct, frozen=True, kw_only=True):
    """How torch fared in the place of a server rank.

    Attributes:
        device: that this rank would train on.
        gpu: the identity of that GPU, whatever its number is here; empty for another device.
        backend: by which the ranks met: `gloo`, `nccl`, or empty with one rank only.
        seconds: of a reduction over all ranks.
        problem: what went wrong.
    """

    rank: int
    host: str
    device: str = ""
    gpu: str = ""
    backend: str = ""
    seconds: float | None = None
    problem: str = ""


class SolverReport(msgspec.Struct, frozen=True, kw_only=True):
    """A probe in the place of a client rank.

    Attributes:
        rank: among those that were started together.
        size: how many these are.
        total: sum of (rank + 1) over all, as MPI found it; None without MPI in Python.
        contacts: with the launcher and every server rank.
    """

    rank: int
    size: int
    total: int | None
    sight: Sight
    contacts: tuple[Contact, ...]


def server_file(rank: int) -> str:
    """Name of the report of a server rank's probe."""
    return f"server-{rank}.json"


def meeting_file(rank: int) -> str:
    """Name of the report on torch of a server rank's probe."""
    return f"meeting-{rank}.json"


_Kind = TypeVar("_Kind", bound=msgspec.Struct)


def write(path: Path, told: msgspec.Struct) -> None:
    """Write aside and rename, so that nobody reads half of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(told))
    temporary.replace(path)


def read(path: Path, kind: type[_Kind]) -> _Kind | None:
    """What is told there; None if nothing is yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
