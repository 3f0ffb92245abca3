"""From what the probes have told to findings on clocks, files and limits of the nodes: nothing is looked at here."""

from melissa_like.launcher.doctor.findings import Finding, bad, good, skipped
from melissa_like.launcher.doctor.jobs import Told
from melissa_like.launcher.doctor.judging import Expected, listed
from melissa_like.launcher.doctor.reports import ServerReport, SolverReport
from melissa_like.transport.open_files import RESERVED

__all__ = ["judge_nodes"]

_LARGEST_OFFSET_S = 1.0


def judge_nodes(told: Told, expected: Expected) -> list[Finding]:
    """What follows from the reports for the nodes; without any report, for the launcher's host alone."""
    return [
        _clocks(told),
        _run_directory(told, expected),
        _lease(told, expected),
        _open_files(told, expected),
        _disk(expected),
    ]


def _reports(told: Told) -> list[ServerReport | SolverReport]:
    return [*told.servers.values(), *told.solvers]


def _clocks(told: Told) -> Finding:
    check = "clocks of the nodes"
    seen = [
        (report.sight.host, made.clock_offset_s, made.seconds / 2)
        for report in _reports(told)
        for made in report.contacts
        if made.seconds is not None and made.whom == "the launcher"
    ]
    if not seen:
        return skipped(check, "no node has reached the launcher")
    host, offset, uncertain = max(seen, key=lambda one: abs(one[1]) - one[2])
    told_of_it = f"that of {host} is {abs(offset):.3f} s {'behind' if offset > 0 else 'ahead of'} the launcher's"
    if abs(offset) - uncertain > _LARGEST_OFFSET_S:
        return bad(check, told_of_it, "have them set by chrony or ntpd: logs of several nodes cannot be read together")
    return good(check, f"they differ by {1000 * abs(offset):.1f} ms at most")


def _run_directory(told: Told, expected: Expected) -> Finding:
    check = "the run directory is seen and written"
    hosts = {report.sight.host for report in _reports(told)}
    if not hosts:
        return skipped(check, "no job has reported, which may be because what it writes is not seen here")
    unseen = [c for s in told.solvers for c in s.contacts if not c.endpoint and c.problem]
    if unseen:
        return bad(
            check, unseen[0].problem, "choose a run_dir on a file system that all nodes share, and that is quick"
        )
    return good(check, f"from {listed({*hosts, expected.sight.host})}")


def _lease(told: Told, expected: Expected) -> Finding:
    check = "the lease works on its file system"
    sights = [expected.sight, *(s.sight for s in told.servers.values()), *(s.sight for s in told.solvers)]
    failed = next((there for there in sights if there.has_linked is None), None)
    advice = "choose a run_dir on a file system with hard links, or never start two launchers on one run_dir"
    if failed is not None:
        return bad(check, f"on {failed.host} a hard link cannot be made: {failed.problem}", advice)
    made = sum(bool(there.has_linked) for there in sights)
    if made != 1:
        return bad(check, f"{made} of {len(sights)} processes took the lease at once", advice)
    return good(check, f"{len(sights)} processes wanted it, one has it")


def _open_files(told: Told, expected: Expected) -> Finding:
    check = "open files"
    needed = expected.num_client_ranks + RESERVED
    sights = [("the launcher", expected.sight), *((f"server rank {r}", s.sight) for r, s in told.servers.items())]
    for who, there in sights:
        if there.open_files < needed:
            return bad(
                check,
                f"{who} on {there.host} may open {there.open_files}, but {expected.num_client_ranks} client ranks and "
                f"its own files need {needed}",
                "raise the hard limit (ulimit -Hn, LimitNOFILE of slurmd), or lower launcher.max_jobs or "
                "solver.num_ranks",
            )
    least = min(there.open_files for _, there in sights)
    return good(check, f"{least} allowed, {needed} needed for {expected.num_client_ranks} client ranks")


def _disk(expected: Expected) -> Finding:
    check = "disk space"
    free = expected.sight.free_bytes
    told_of_it = f"{free / 1e9:.1f} GB are free, checkpoints and logs may take {expected.needed_bytes / 1e9:.1f} GB"
    if free < expected.needed_bytes:
        return bad(
            check,
            told_of_it,
            "choose another run_dir, or lower training.checkpoint.buffer_limit, training.checkpoint.num_kept, "
            "buffer.capacity or launcher.log_limit",
        )
    return good(check, told_of_it)
