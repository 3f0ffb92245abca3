"""A server rank among those of its host, and the interface over which torch talks."""

import pytest

from melissa_like.server.nodes import local_rank, torch_network
from melissa_like.transport.own_host import OwnHost


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 5),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"}, 1),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_LOCALID": "0"}, 5),  # each rank is a step, or the launcher is one
        ({"SLURM_LOCALID": "0"}, 5),  # started by a launcher inside a batch script
        ({"SLURM_STEP_NUM_TASKS": "8"}, 5),
        ({"FLUX_JOB_SIZE": "4", "FLUX_TASK_LOCAL_ID": "3"}, 3),
    ],
)
def test_the_rank_on_its_host_is_what_a_scheduler_tells(environment: dict[str, str], expected: int) -> None:
    assert local_rank(5, environment) == expected


def test_gloo_and_nccl_take_the_interface_where_this_process_is_reached() -> None:
    variables = torch_network(OwnHost(address="10.1.0.7", interface="ib0"), {})
    assert variables == {"GLOO_SOCKET_IFNAME": "ib0", "NCCL_SOCKET_IFNAME": "=ib0"}
    assert torch_network(OwnHost(address="fd00::7", interface="ib0"), {})["NCCL_SOCKET_FAMILY"] == "AF_INET6"


def test_what_the_user_has_set_stays() -> None:
    variables = torch_network(OwnHost(address="10.1.0.7", interface="ib0"), {"NCCL_SOCKET_IFNAME": "eth0"})
    assert variables == {"GLOO_SOCKET_IFNAME": "ib0"}
    assert torch_network(OwnHost(address="10.1.0.7", interface=""), {}) == {}
