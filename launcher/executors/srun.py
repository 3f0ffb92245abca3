"""The command of a step: `srun` with its options in front of a job's program."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from melissa_like.launcher.executors.allocation import Component
from melissa_like.launcher.executors.batch.site import SiteSettings
from melissa_like.launcher.executors.interface import JobSpec

__all__ = ["Srun"]

#: What every step is started with. `--exact`: no more than it asks for, so that several share a node, each with cores
#: of its own. `--mem=0`: the memory of the job is shared and never waited for. `--no-kill=off`: a step that loses a
#: node ends, though the allocation may outlive that. `--kill-on-bad-exit`: ranks do not wait for one that has failed.
_ALWAYS = ("--exact", "--mem=0", "--export=ALL", "--no-kill=off", "--kill-on-bad-exit=1")
#: By these variables MPI start commands (MPICH's, Intel's, Open MPI's) know that they are in an allocation, and take
#: all of its nodes: one within a step has the node of that step alone. `srun` itself looks at SLURM_JOB_ID.
_ON_THIS_NODE = ("env", "-u", "SLURM_JOBID", "-u", "SLURM_NODELIST", "-u", "SLURM_JOB_NODELIST")


@dataclass(frozen=True, slots=True, kw_only=True)
class Srun:
    """How the steps of a role are started.

    Attributes:
        site: settings of the role.
        component: the nodes among which they are started.
        group: of the component in a heterogeneous allocation; None: the allocation has one.
        program: what it is called: a path, where it is not on PATH.
        mpi: plug-in that starts the ranks; empty: the site's own choice.
    """

    site: SiteSettings
    component: Component
    group: int | None = None
    mpi: str = ""
    program: str = "srun"

    def command(self, spec: JobSpec, *, name: str, node: str = "") -> tuple[str, ...]:
        """The command that runs a job as a step.

        Args:
            spec: of the job.
            name: of the step.
            node: on which it must be; empty: wherever there is room, on as few nodes as can hold it.
        """
        num_cpus = spec.num_processes * (self.site.cpus_per_task or 1)
        nodes = 1 if spec.starts_others else self.site.nodes or self.component.nodes_for(num_cpus)
        where = ("--nodes=1", f"--nodelist={node}") if node else (f"--nodes={nodes}",)
        num_tasks = 1 if spec.starts_others else spec.num_processes
        return (*self._begin(num_tasks, name, num_cpus // num_tasks), *where, *self._devices(), *self._program(spec))

    def command_together(self, num_ranks: int, program: Sequence[str], *, name: str) -> tuple[str, ...]:
        """The command of a step with a task for each job of a gang: there is room for all at once.

        Without a GPU for each there is one on a node, as long as there are enough nodes.

        Args:
            num_ranks: jobs of the gang.
            program: of each task.
            name: of the step.
        """
        nodes = self.site.nodes or min(num_ranks, self.component.num_nodes)
        spread = self.site.gpus is None and num_ranks <= nodes
        where = (f"--nodes={num_ranks}", "--ntasks-per-node=1") if spread else (f"--nodes=1-{nodes}",)
        return (*self._begin(num_ranks, name, self.site.cpus_per_task or 1), *where, *self._devices(), *program)

    def _begin(self, num_tasks: int, name: str, cpus_per_task: int) -> tuple[str, ...]:
        return (
            self.program,
            *_ALWAYS,
            *(() if self.group is None else (f"--het-group={self.group}",)),
            *((f"--mpi={self.mpi}",) if self.mpi else ()),
            f"--job-name={name}",
            f"--ntasks={num_tasks}",
            f"--cpus-per-task={cpus_per_task}",
        )

    def _devices(self) -> tuple[str, ...]:
        """A step that asks for no generic resources would get all of the allocation's, and keep others waiting."""
        gpus, gres = self.site.gpus, self.site.gres
        wanted = (f"--gpus-per-task={gpus}",) if gpus else (f"--gres={gres or 'none'}",)
        return (*wanted, *self.site.options)

    def _program(self, spec: JobSpec) -> tuple[str, ...]:
        """The program in its container, behind the site's lines of shell."""
        program = tuple(
            self.site.python if self.site.python and word == sys.executable else word
            for word in spec.program or spec.command
        )
        inside = (*self.site.container, *(_ON_THIS_NODE if spec.starts_others else ()), *program)
        if not self.site.setup:
            return inside
        return ("bash", "-c", "\n".join((*self.site.setup, 'exec "$@"')), "bash", *inside)
