"""The allocation of a Slurm cluster in which this process runs, as the environment tells it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Allocation", "Component", "allocation_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A group of like nodes: the whole of an allocation, or a part of a heterogeneous one.

    Attributes:
        job_id: of the job that holds it.
        cpus: of each node that are ours; empty where the environment does not tell.
    """

    job_id: str
    cpus: tuple[int, ...] = ()

    @property
    def num_nodes(self) -> int:
        """At least 1."""
        return max(1, len(self.cpus))

    def nodes_for(self, num_cpus: int) -> int:
        """The fewest nodes that have so many CPUs together, if they are free; all, if there are not so many."""
        found = 0
        for number, cpus in enumerate(sorted(self.cpus, reverse=True), 1):
            found += cpus
            if found >= num_cpus:
                return number
        return self.num_nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What `salloc` or `sbatch` was given.

    Attributes:
        job_id: of the job, or of the first one of a heterogeneous job.
        components: one, or those of a heterogeneous job in order.
    """

    job_id: str
    components: tuple[Component, ...]


def allocation_of(environment: Mapping[str, str]) -> Allocation | None:
    """The allocation whose variables an environment holds; None outside of one."""
    job_id = environment.get("SLURM_JOB_ID", "")
    if not job_id:
        return None
    size = environment.get("SLURM_HET_SIZE", "")
    suffixes = [f"_HET_GROUP_{number}" for number in range(int(size))] if size.isdigit() else [""]
    components = tuple(
        Component(
            job_id=environment.get(f"SLURM_JOB_ID{suffix}", job_id),
            cpus=_cpus_in(environment.get(f"SLURM_JOB_CPUS_PER_NODE{suffix}", "")),
        )
        for suffix in suffixes
    )
    return Allocation(job_id=job_id, components=components)


def _cpus_in(text: str) -> tuple[int, ...]:
    """CPUs of each node from a list such as `16(x2),8`; empty if it is none."""
    if re.fullmatch(r"\d+(\(x\d+\))?(,\d+(\(x\d+\))?)*", text) is None:
        return ()
    cpus: list[int] = []
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        cpus += [int(number)] * int(times or 1)
    return tuple(cpus)
