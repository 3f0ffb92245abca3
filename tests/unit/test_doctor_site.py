"""Whether settings of a site fit what its scheduler says; what is told where they do not."""

import pytest

from melissa_like.launcher.doctor.findings import Verdict
from melissa_like.launcher.doctor.judging_site import judge_allocation, judge_site, partition_of
from melissa_like.launcher.doctor.limits import read_limits
from melissa_like.launcher.executors.allocation import allocation_of
from melissa_like.launcher.executors.batch import SiteSettings

#: As Slurm 22.05 prints it, shortened; the last two lines changed by hand.
PARTITIONS = read_limits(
    """\
PartitionName=main AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL Default=YES QoS=N/A DefaultTime=NONE MaxNodes=2 \
MaxTime=02:00:00 MinNodes=0 MaxCPUsPerNode=UNLIMITED Nodes=n[1-3] State=UP TotalCPUs=12 TotalNodes=3 \
TRES=cpu=12,mem=12000M,node=3,billing=12
PartitionName=gpu AllowGroups=ALL AllowAccounts=physics,chemistry Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED \
Nodes=n3 State=UP TotalCPUs=16 TotalNodes=1
PartitionName=old AllowAccounts=ALL Default=NO MaxNodes=UNLIMITED MaxTime=1-00:00:00 State=DOWN TotalCPUs=8 TotalNodes=2
No partitions in the system
"""
)


def test_the_partitions_that_are_told() -> None:
    assert [(p.name, p.is_default, p.is_up, p.longest_s, p.num_nodes, p.num_cpus) for p in PARTITIONS] == [
        ("main", True, True, 7200, 2, 12),
        ("gpu", False, True, None, 1, 16),
        ("old", False, False, 86400, 2, 8),
    ]


def test_settings_that_fit_say_what_the_partition_has() -> None:
    finding = judge_site("solver", SiteSettings(time_s=3600, nodes=2), PARTITIONS, 8)
    assert finding.verdict is Verdict.GOOD
    assert finding.told == "main: 2 nodes a job, 12 CPUs, 7200 s at most"


@pytest.mark.parametrize(
    ("site", "num_processes", "told"),
    [
        (SiteSettings(partition="gpus"), 1, "launcher.executor.solver.partition is 'gpus'; there are main, gpu, old"),
        (SiteSettings(partition="old"), 1, "partition old is down, so that jobs wait, but old has"),
        (
            SiteSettings(partition="gpu", account="art"),
            1,
            "launcher.executor.solver.account is 'art', which is none of",
        ),
        (SiteSettings(time_s=7201), 1, "launcher.executor.solver.time is 7201 s, but main has 2 nodes a job"),
        (SiteSettings(nodes=3), 3, "launcher.executor.solver.nodes is 3, but main has 2 nodes a job"),
        (SiteSettings(), 13, "a job takes 13 CPUs, but main has"),
        (SiteSettings(cpus_per_task=8), 2, "a job takes 16 CPUs, but main has"),
    ],
)
def test_settings_that_do_not_fit(site: SiteSettings, num_processes: int, told: str) -> None:
    finding = judge_site("solver", site, PARTITIONS, num_processes)
    assert finding.verdict is Verdict.BAD
    assert finding.told.startswith(told)
    assert finding.advice


def test_a_site_without_a_default_partition() -> None:
    finding = judge_site("server", SiteSettings(), PARTITIONS[1:], 1)
    assert finding.told == "launcher.executor.server names none, and none is the default; there are gpu, old"
    assert partition_of(SiteSettings(), PARTITIONS[1:]) is None
    assert judge_site("server", SiteSettings(partition="gpu"), PARTITIONS, 2).verdict is Verdict.GOOD


@pytest.mark.parametrize(("num_processes", "verdict"), [(12, Verdict.GOOD), (13, Verdict.BAD)])
def test_an_allocation_that_holds_a_study_or_not(num_processes: int, verdict: Verdict) -> None:
    allocation = allocation_of({"SLURM_JOB_ID": "17", "SLURM_JOB_CPUS_PER_NODE": "4(x3)"})
    assert allocation is not None
    finding = judge_allocation(allocation, num_processes)
    assert finding.verdict is verdict
    assert "job 17 has 12 CPUs on 3 nodes" in finding.told
