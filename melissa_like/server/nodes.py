"""Which server rank of its host this one is, and over which interface torch talks to the others."""

from collections.abc import Mapping

from melissa_like.transport.own_host import OwnHost

__all__ = ["local_rank", "torch_network"]

#: What schedulers tell a process: how many there are of its job step, and which of its host it is.
_TOLD_BY = (("SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"), ("FLUX_JOB_SIZE", "FLUX_TASK_LOCAL_ID"))


def local_rank(rank: int, environment: Mapping[str, str]) -> int:
    """Which server rank of its host a rank is, as far as that is known: it picks the GPU.

    A scheduler that has started the ranks together tells it. A step of one process says nothing: each rank may be such
    a step, or the launcher may, and has started the ranks itself. Then ranks count as placed one host after another.

    Args:
        rank: of this server rank among all.
        environment: of this process.
    """
    for number, local in _TOLD_BY:
        if environment.get(number, "1") != "1" and environment.get(local, "").isdecimal():
            return int(environment[local])
    return rank


def torch_network(own: OwnHost, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Variables by which gloo and nccl take the interface of this process; set before torch.distributed starts.

    Without them gloo takes what the name of the host stands for, which may be a loopback address, and nccl the first
    interface that it finds. What is set already stays.

    Args:
        own: where this process is reached.
        environment: of this process.
    """
    if not own.interface:
        return {}
    wanted = {"GLOO_SOCKET_IFNAME": own.interface, "NCCL_SOCKET_IFNAME": f"={own.interface}"}
    if ":" in own.address:
        wanted["NCCL_SOCKET_FAMILY"] = "AF_INET6"
    return {name: value for name, value in wanted.items() if name not in environment}
