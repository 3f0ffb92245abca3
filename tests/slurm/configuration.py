"""What the emulated cluster is told: slurm.conf, and the generic resources of its nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Nodes", "gres_conf", "slurm_conf"]


@dataclass(frozen=True)
class Nodes:
    """The compute nodes.

    Attributes:
        names: of the hosts.
        num_cpus: that each of them says it has, whatever this machine has.
        binds: whether tasks are bound to their processors; a node then has no more of them than this machine.
    """

    names: Sequence[str]
    num_cpus: int = 4
    binds: bool = False


def slurm_conf(folder: Path, controller: str, address: str, nodes: Nodes) -> str:
    """The text of slurm.conf.

    Everybody is root, starts are fast, and there is no accounting: as on some sites, `sacct` has nothing to ask, and a
    job that has ended is forgotten after a while. The last node says that it has a GPU, and is a partition of its own.

    Args:
        folder: of keys, state and logs.
        controller: name of the host of slurmctld.
        address: of it.
        nodes: the compute nodes.
    """
    most, names = ",".join(nodes.names[:-1]), ",".join(nodes.names)
    last = nodes.names[-1]
    return f"""\
ClusterName=emulated
SlurmctldHost={controller}({address})
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/state/slurmctld.pid
SlurmdPidFile={folder}/spool/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/{"affinity" if nodes.binds else "none"}
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1000,sched_interval=5,bf_interval=1
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobs.txt
GresTypes=gpu
NodeName={most} CPUs={nodes.num_cpus} RealMemory=4000 State=UNKNOWN
NodeName={last} CPUs={nodes.num_cpus} RealMemory=4000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={names} Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=gpu Nodes={last} MaxTime=2:00:00 State=UP
"""


def gres_conf(nodes: Nodes) -> str:
    """The text of gres.conf: a GPU that is counted and given to one job at a time, and is none."""
    return f"NodeName={nodes.names[-1]} Name=gpu File=/dev/null\n"
