"""The program of a probe: `python -m melissa_like.launcher.doctor.probe FOLDER server RANK`, or `... solver [--mpi]`.

It does what a server rank or a client rank would do first, and tells how it went by a report in the folder.
"""

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from melissa_like.errors import TransportError
from melissa_like.launcher.doctor.contact import Listener, contact
from melissa_like.launcher.doctor.reports import (
    END_FILE,
    ERRAND_FILE,
    LEASE_FILE,
    Contact,
    Errand,
    MeetingReport,
    ServerReport,
    Sight,
    SolverReport,
    meeting_file,
    read,
    server_file,
    write,
)
from melissa_like.protocol.seen import await_seen
from melissa_like.transport.open_files import most_open_files

if TYPE_CHECKING:
    from melissa_like.transport.own_host import OwnHost

__all__ = ["main", "sight"]

_LOOK_EVERY_S = 0.1
_RANK = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
_SIZE = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    folder, role, *more = arguments
    place = Path(folder)
    await_seen(place / ERRAND_FILE)
    errand = read(place / ERRAND_FILE, Errand)
    if errand is None:
        sys.stderr.write(f"{place / ERRAND_FILE} is not seen on {socket.gethostname()}\n")
        return 2
    if role == "server":
        _serve(place, errand, int(more[0]))
    else:
        _solve(place, errand, with_mpi="--mpi" in more)
    return 0


def sight(folder: Path, packages: Sequence[str]) -> Sight:
    """What this process sees; it tries to make the one link of the folder that several processes want.

    Args:
        folder: of the probes.
        packages: whose versions are told.
    """
    own, problem = folder / f"link-{uuid.uuid4().hex}", ""
    own.touch()
    has_linked: bool | None = None
    try:
        os.link(own, folder / LEASE_FILE)
        has_linked = True
    except FileExistsError:
        has_linked = False
    except OSError as error:
        problem = str(error)
    return Sight(
        host=socket.gethostname(),
        pid=os.getpid(),
        python=platform.python_version(),
        packages=_versions(packages),
        open_files=most_open_files(),
        free_bytes=shutil.disk_usage(folder).free,
        has_linked=has_linked,
        problem=problem,
    )


def _serve(folder: Path, errand: Errand, rank: int) -> None:
    """Listen, meet the other server ranks, and stay until the doctor has what it wants."""
    from melissa_like.transport.own_host import host_towards  # psutil, which the environment of a solver need not have

    meet = _importing_torch()  # first, because nothing is answered meanwhile
    seen = sight(folder, errand.packages["server"])
    to_launcher = contact("the launcher", errand.launcher)
    try:
        own = host_towards(errand.launcher, errand.interface)
        listener = Listener(own.address)
    except (TransportError, OSError) as error:
        report = ServerReport(rank=rank, sight=seen, contacts=(to_launcher,), problem=str(error))
        write(folder / server_file(rank), report)
        return
    with listener:
        write(
            folder / server_file(rank),
            ServerReport(
                rank=rank,
                sight=seen,
                endpoint=listener.endpoint,
                interface=own.interface,
                contacts=(to_launcher,),
            ),
        )
        write(folder / meeting_file(rank), meet(folder, errand, rank, own))
        until = time.monotonic() + errand.patience_s
        while not (folder / END_FILE).exists() and time.monotonic() < until:
            time.sleep(_LOOK_EVERY_S)


def _importing_torch() -> "Callable[[Path, Errand, int, OwnHost], MeetingReport]":
    try:
        from melissa_like.launcher.doctor.meeting import meet
    except ImportError as error:
        problem = f"torch cannot be imported ({error})"
        return lambda folder, errand, rank, own: MeetingReport(rank=rank, host=socket.gethostname(), problem=problem)
    return meet


def _solve(folder: Path, errand: Errand, *, with_mpi: bool) -> None:
    """Start MPI, then connect to the launcher and to every server rank."""
    rank, size, total = _mpi() if with_mpi else (_number(_RANK, 0), _number(_SIZE, 1), None)
    seen = sight(folder, errand.packages["solver"])
    contacts = [contact("the launcher", errand.launcher)]
    files = [folder / server_file(number) for number in range(errand.num_server_ranks)]
    await_seen(*files, patience_s=errand.patience_s)
    for number, file in enumerate(files):
        server, whom = read(file, ServerReport), f"server rank {number}"
        if server is None:
            told = f"its report was not seen on {seen.host} within {errand.patience_s:g} s"
            contacts.append(Contact(whom=whom, endpoint="", problem=told))
        elif server.endpoint:
            contacts.append(contact(whom, server.endpoint))
    report = SolverReport(rank=rank, size=size, total=total, sight=seen, contacts=tuple(contacts))
    write(folder / f"solver-{uuid.uuid4().hex}.json", report)


def _mpi() -> tuple[int, int, int | None]:
    """Rank, size, and a sum over all ranks."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    return world.rank, world.size, int(world.allreduce(world.rank + 1))


def _number(variables: Sequence[str], otherwise: int) -> int:
    """What one of several start commands has told this process."""
    return next((int(os.environ[name]) for name in variables if os.environ.get(name, "").isdecimal()), otherwise)


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
