"""Whether the settings of a site fit what its scheduler says: nothing is looked at here."""

from collections.abc import Sequence

from melissa_like.launcher.doctor.findings import Finding, bad, good
from melissa_like.launcher.doctor.limits import Limits
from melissa_like.launcher.executors.allocation import Allocation
from melissa_like.launcher.executors.batch import SiteSettings
from melissa_like.plugins import nearest

__all__ = ["judge_allocation", "judge_site", "partition_of"]


def partition_of(site: SiteSettings, partitions: Sequence[Limits]) -> Limits | None:
    """Where jobs of a role would run; None if there is no such place."""
    return next((p for p in partitions if (p.name == site.partition if site.partition else p.is_default)), None)


def judge_site(role: str, site: SiteSettings, partitions: Sequence[Limits], num_processes: int) -> Finding:
    """Whether a job of a role fits the limits of its partition.

    Args:
        role: `server` or `solver`.
        site: settings of the role.
        partitions: of the site.
        num_processes: of one job.
    """
    check, key = f"partition of {role} jobs", f"launcher.executor.{role}"
    names = [p.name for p in partitions]
    listed = ", ".join(names) or "none"
    where = partition_of(site, partitions)
    if where is None:
        near = nearest(site.partition, names) if site.partition else ""
        named = (
            f"{key}.partition is {site.partition!r}" if site.partition else f"{key} names none, and none is the default"
        )
        return bad(check, f"{named}; there are {listed}{near}", f"name one of these under {key}.partition")
    told, advice = _mismatch(key, site, where, num_processes)
    if told:
        return bad(check, f"{told}, but {where.name} has {where}", advice)
    return good(check, f"{where.name}: {where}")


def _mismatch(key: str, site: SiteSettings, where: Limits, num_processes: int) -> tuple[str, str]:
    """What does not fit and what to do; both empty if all fits."""
    num_cpus = num_processes * (site.cpus_per_task or 1)
    if not where.is_up:
        return f"partition {where.name} is down, so that jobs wait", "name another one, or ask the site"
    if where.accounts and site.account and site.account not in where.accounts:
        allowed = ", ".join(where.accounts)
        return f"{key}.account is {site.account!r}, which is none of {allowed}", "name an account that may use it"
    if where.longest_s is not None and site.time_s is not None and site.time_s > where.longest_s:
        return f"{key}.time is {site.time_s} s", "lower it: what a job could not do the next one goes on with"
    if site.nodes is not None and site.nodes > where.num_nodes:
        return f"{key}.nodes is {site.nodes}", "lower it, or name another partition"
    if num_cpus > where.num_cpus:
        return f"a job takes {num_cpus} CPUs", "lower solver.num_ranks, launcher.num_server_ranks or cpus_per_task"
    return "", ""


def judge_allocation(allocation: Allocation, num_processes: int) -> Finding:
    """Whether server ranks and one solver job fit into what this process was given.

    Args:
        allocation: in which it runs.
        num_processes: of all server ranks and one solver job, each on a CPU at least.
    """
    check = "the allocation"
    nodes = sum(len(component.cpus) for component in allocation.components)
    cpus = sum(sum(component.cpus) for component in allocation.components)
    told = f"job {allocation.job_id} has {cpus} CPUs on {nodes} nodes"
    if cpus and num_processes > cpus:
        return bad(
            check,
            f"{told}, but the server ranks and one solver job are {num_processes} processes",
            "ask for more by --nodes and --ntasks, or lower launcher.num_server_ranks or solver.num_ranks",
        )
    return good(check, f"{told}; the server ranks and one solver job take {num_processes} at least")
