"""Partitions of Slurm and their limits, as `scontrol show partition` tells them; pure functions of what it prints.

One line per partition, of words such as `MaxTime=1-00:00:00`; see the manual pages scontrol(1) and slurm.conf(5).
"""

import re
from dataclasses import dataclass

__all__ = ["LIMITS", "Limits", "read_limits"]

#: The command, whose program lies beside the scheduler's others.
LIMITS = ("scontrol", "show", "partition", "--oneliner")
_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d+):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a partition has, and allows.

    Attributes:
        is_up: it starts jobs.
        longest_s: a job may take; None: as long as it takes.
        num_nodes: that a job may have.
        num_cpus: of all nodes of the partition.
        accounts: that may use it; empty: all.
    """

    name: str
    is_default: bool
    is_up: bool
    longest_s: int | None
    num_nodes: int
    num_cpus: int
    accounts: tuple[str, ...] = ()

    def __str__(self) -> str:
        nodes = "1 node" if self.num_nodes == 1 else f"{self.num_nodes} nodes"
        limit = "without a limit of time" if self.longest_s is None else f"{self.longest_s} s at most"
        return f"{nodes} a job, {self.num_cpus} CPUs, {limit}"


def read_limits(said: str) -> tuple[Limits, ...]:
    """The partitions in what `LIMITS` prints; lines of which something is missing are left out."""
    lines = (dict(word.split("=", 1) for word in line.split() if "=" in word) for line in said.splitlines())
    return tuple(
        _limits(line) for line in lines if line.keys() >= {"PartitionName", "State", "TotalNodes", "TotalCPUs"}
    )


def _limits(told: dict[str, str]) -> Limits:
    there, most = int(told["TotalNodes"]), told.get("MaxNodes", "")
    accounts = told.get("AllowAccounts", "ALL")
    return Limits(
        name=told["PartitionName"],
        is_default=told.get("Default") == "YES",
        is_up=told["State"] == "UP",
        longest_s=_seconds(told.get("MaxTime", "")),
        num_nodes=min(there, int(most)) if most.isdecimal() else there,
        num_cpus=int(told["TotalCPUs"]),
        accounts=() if accounts == "ALL" else tuple(accounts.split(",")),
    )


def _seconds(text: str) -> int | None:
    """None of UNLIMITED, as of whatever else is no time."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds
