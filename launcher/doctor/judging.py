"""From what the probes have told to findings on jobs, packages, connections and torch: nothing is looked at here."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from melissa_like.launcher.doctor.findings import Finding, bad, good, skipped
from melissa_like.launcher.doctor.jobs import SOLVER_JOB, Told
from melissa_like.launcher.doctor.reports import Contact, Sight
from melissa_like.records import ServerRank

__all__ = ["Expected", "judge_jobs", "listed"]

_OWN = "melissa-like"
_SLOW_S = 5.0
_ADVICE_START = (
    "if it waits, ask for less (launcher.num_server_ranks, the site settings under launcher.executor) or wait; else "
    "mend what its log says"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a study needs.

    Attributes:
        num_server_ranks: that are started.
        num_ranks: client ranks of the probe.
        spans_nodes: these were asked to be on two nodes.
        uses_mpi: the solver is a plug-in that is started by MPI.
        num_client_ranks: of the whole study at once: each is connected to each server rank.
        packages: that jobs of a role need.
        needed_bytes: that the study may write.
        sight: of the launcher's process.
        logs: last lines of the logs, by job.
        patience_s: for which the probes were awaited.
    """

    num_server_ranks: int
    num_ranks: int
    spans_nodes: bool
    uses_mpi: bool
    num_client_ranks: int
    packages: dict[str, tuple[str, ...]]
    needed_bytes: int
    sight: Sight
    logs: dict[str, str]
    patience_s: float


def judge_jobs(told: Told, expected: Expected) -> list[Finding]:
    """What follows from the reports for whatever runs as a job."""
    return [
        _server_ranks(told, expected),
        _client_ranks(told, expected),
        _packages(told, expected),
        *_connections(told),
        *_torch(told, expected),
    ]


def _server_ranks(told: Told, expected: Expected) -> Finding:
    check = "server ranks start"
    missing = [rank for rank in range(expected.num_server_ranks) if rank not in told.servers]
    if not missing:
        return good(check, f"{expected.num_server_ranks}, {_over(s.sight.host for s in told.servers.values())}")
    why = _why(str(ServerRank(missing[0])), told, expected)
    return bad(check, f"server rank {missing[0]} did not: {why}", _ADVICE_START)


def _why(name: str, told: Told, expected: Expected) -> str:
    """Why a job has not reported."""
    end = told.ends.get(name)
    if end is None:
        return f"after {expected.patience_s:g} s its job is still there ({told.waits.get(name, 'not listed')})"
    if end.retry is not None:  # it was refused
        return end.message
    log = expected.logs.get(name, "")
    quoted = f"its last lines:\n{log}" if log else "its log is empty"
    return f"its job ended ({end.message}), {quoted}"


def _client_ranks(told: Told, expected: Expected) -> Finding:
    check = f"a job of {expected.num_ranks} client ranks starts"
    if len(told.solvers) < expected.num_ranks:
        came = f"{len(told.solvers)} of {expected.num_ranks} client ranks have reported"
        return bad(
            check,
            f"{came}: {_why(SOLVER_JOB, told, expected)}",
            "let solver.launch be the command by which MPI programs are started here, and solver.num_ranks fit a job",
        )
    wrong = [s for s in told.solvers if expected.uses_mpi and s.total != sum(range(1, expected.num_ranks + 1))]
    if wrong:
        return bad(
            check,
            f"each process is rank {wrong[0].rank} of {wrong[0].size}: they were started, but not as one MPI program",
            "start them with the MPI that mpi4py was built with, by solver.launch or by the scheduler's MPI plug-in",
        )
    over = _over(s.sight.host for s in told.solvers)
    if expected.spans_nodes and len({s.sight.host for s in told.solvers}) == 1:
        return bad(check, f"both ran {over}, though two nodes were asked for", "let the partition have two nodes")
    return good(check, f"{over}{' with MPI' if expected.uses_mpi else ''}")


def _packages(told: Told, expected: Expected) -> Finding:
    check = "Python and packages"
    seen = [("server", s.sight) for s in told.servers.values()] + [("solver", s.sight) for s in told.solvers]
    for role, there in seen:
        missing = [name for name in expected.packages[role] if name not in there.packages]
        if missing:
            return bad(
                check,
                f"on {there.host} the Python of {role} jobs lacks {', '.join(missing)}",
                "install melissa-like there with the extras that the README names, or name another Python",
            )
        has, ours = there.packages.get(_OWN), expected.sight.packages.get(_OWN)
        if has != ours:
            return bad(
                check,
                f"on {there.host} {role} jobs have {_OWN} {has}, the launcher has {ours}",
                "install the same release everywhere",
            )
    if not seen:
        return skipped(check, "no job has reported")
    pythons = sorted({there.python for _, there in seen} | {expected.sight.python})
    return good(check, f"Python {', '.join(pythons)}; everything that server ranks and solver jobs need is there")


def _connections(told: Told) -> Iterable[Finding]:
    tried = [
        *((f"server rank {rank} on {s.sight.host}", c) for rank, s in told.servers.items() for c in s.contacts),
        *((f"a client rank on {s.sight.host}", c) for s in told.solvers for c in s.contacts),
    ]
    closed = [(rank, server) for rank, server in told.servers.items() if server.problem]
    if closed:
        rank, server = closed[0]
        yield bad(
            "a server rank listens",
            f"server rank {rank} on {server.sight.host} cannot: {server.problem}",
            "set transport.interface to an interface that every node has",
        )
    to_launcher = [(who, made) for who, made in tried if made.whom == "the launcher"]
    yield _connection("connection to the launcher", to_launcher)
    yield _connection("connection from solver to server", [one for one in tried if one not in to_launcher])


def _connection(check: str, tried: Sequence[tuple[str, Contact]]) -> Finding:
    if not tried:
        return skipped(check, "nobody could try")
    for who, made in tried:
        if made.seconds is None:
            where = f" at {made.endpoint}" if made.endpoint else ""
            return bad(
                check,
                f"{who} cannot reach {made.whom}{where}: {made.problem}",
                "set transport.interface to a network that joins all nodes, and let no firewall stand between them "
                "(the launcher's port can be fixed with transport.port)",
            )
    slowest = max(made.seconds for _, made in tried if made.seconds is not None)
    if slowest > _SLOW_S:
        return bad(check, f"an answer took {slowest:.1f} s", "look whether transport.interface names the fast network")
    at = ", ".join(sorted({made.endpoint.rpartition(":")[0] for _, made in tried}))
    return good(check, f"{len(tried)} made, to {at}; an answer in {1000 * slowest:.1f} ms at most")


def _torch(told: Told, expected: Expected) -> Iterable[Finding]:
    """Devices and collectives of the server ranks, and what of it is for GPUs alone."""
    check, on_gpus = "collectives of the server ranks", "GPU and nccl"
    meetings = [met for _, met in sorted(told.meetings.items())]
    for met in meetings:
        if met.problem:
            advice = "set transport.interface; for GPUs see that the job asks for one per rank, and training.device"
            yield bad(check, f"server rank {met.rank} on {met.host}: {met.problem}", advice)
            return
    if len(meetings) < expected.num_server_ranks:
        yield skipped(check, "not all server ranks have come so far")
        return
    slowest = max(met.seconds or 0.0 for met in meetings)
    if expected.num_server_ranks == 1:
        yield skipped(check, "one server rank needs none")
    else:
        yield good(check, f"a sum over {meetings[0].backend} takes {1000 * slowest:.1f} ms")
    gpus = Counter((met.host, met.gpu) for met in meetings if met.gpu)
    shared = [(host, number) for (host, _), number in gpus.items() if number > 1]
    if not gpus:
        yield skipped(
            on_gpus, f"torch sees no GPU on {listed(met.host for met in meetings)}, or training.device is cpu"
        )
    elif shared:
        host, number = shared[0]
        advice = "start one server rank per GPU: lower launcher.num_server_ranks, or ask for more GPUs"
        yield bad(on_gpus, f"{number} server ranks on {host} would train on the same GPU", advice)
    else:
        told_of_it = f"{len(gpus)} GPUs for {len(meetings)} server ranks"
        yield good(on_gpus, f"{told_of_it}; one alone needs no nccl" if len(meetings) == 1 else told_of_it)


def _over(hosts: Iterable[str]) -> str:
    return f"on {listed(hosts)}"


def listed(hosts: Iterable[str]) -> str:
    """Hosts, each once."""
    return ", ".join(sorted(set(hosts)))
