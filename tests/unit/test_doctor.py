"""From what probes have told to what a person is told: every ✗ names what was seen and what to do."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from melissa_like.launcher.doctor.contact import Listener, contact
from melissa_like.launcher.doctor.findings import Finding, Verdict, bad, good, is_well, skipped, text_of
from melissa_like.launcher.doctor.jobs import SOLVER_JOB, Told
from melissa_like.launcher.doctor.judging import Expected, judge_jobs
from melissa_like.launcher.doctor.judging_nodes import judge_nodes
from melissa_like.launcher.doctor.probe import sight
from melissa_like.launcher.doctor.reports import Contact, MeetingReport, ServerReport, Sight, SolverReport
from melissa_like.launcher.executors import JobState, JobUpdate

VERSIONS = {"melissa-like": "1.0", "numpy": "2.0"}
SIGHT = Sight(
    host="login",
    pid=1,
    python="3.12.1",
    packages=VERSIONS,
    open_files=4096,
    free_bytes=10**12,
    has_linked=True,
)


def seen(host: str, **other: object) -> Sight:
    return replace(SIGHT, host=host, has_linked=False, **other)


def answered(whom: str, endpoint: str, offset_s: float = 0.0, seconds: float = 0.001) -> Contact:
    return Contact(whom=whom, endpoint=endpoint, seconds=seconds, clock_offset_s=offset_s)


LAUNCHER, SERVER = "tcp://10.0.0.1:4711", "tcp://10.0.0.2:4712"


def server(rank: int = 0, **other: object) -> ServerReport:
    told = ServerReport(
        rank=rank, sight=seen("n1"), endpoint=SERVER, interface="eth0", contacts=(answered("the launcher", LAUNCHER),)
    )
    return replace(told, **other)


def solver(rank: int, host: str, **other: object) -> SolverReport:
    contacts = (answered("the launcher", LAUNCHER), answered("server rank 0", SERVER))
    return replace(SolverReport(rank=rank, size=2, total=3, sight=seen(host), contacts=contacts), **other)


def met(rank: int = 0, **other: object) -> MeetingReport:
    return replace(MeetingReport(rank=rank, host="n1", device="cpu"), **other)


def told(**other: object) -> Told:
    whole = Told(servers={0: server()}, meetings={0: met()}, solvers=[solver(0, "n2"), solver(1, "n3")], seconds=2.0)
    for name, value in other.items():
        setattr(whole, name, value)
    return whole


EXPECTED: dict[str, object] = {
    "num_server_ranks": 1,
    "num_ranks": 2,
    "spans_nodes": True,
    "uses_mpi": True,
    "num_client_ranks": 64,
    "packages": {"server": ("melissa-like", "numpy"), "solver": ("melissa-like",)},
    "needed_bytes": 10**9,
    "sight": SIGHT,
    "logs": {},
    "patience_s": 60.0,
}


def found(what: Told, **other: object) -> dict[str, Finding]:
    expected = Expected(**{**EXPECTED, **other})  # type: ignore[arg-type]
    return {finding.check: finding for finding in (*judge_jobs(what, expected), *judge_nodes(what, expected))}


def only_bad(findings: dict[str, Finding]) -> Finding:
    wrong = [finding for finding in findings.values() if finding.verdict is Verdict.BAD]
    assert len(wrong) == 1, wrong
    assert wrong[0].advice
    return wrong[0]


def test_where_all_is_well_every_check_says_what_it_saw() -> None:
    findings = found(told())
    unneeded = {check for check, finding in findings.items() if finding.verdict is not Verdict.GOOD}
    assert unneeded == {"collectives of the server ranks", "GPU and nccl"}
    assert findings["server ranks start"].told == "1, on n1"
    assert findings["a job of 2 client ranks starts"].told == "on n2, n3 with MPI"
    assert "to tcp://10.0.0.2" in findings["connection from solver to server"].told
    assert findings["GPU and nccl"].told == "torch sees no GPU on n1, or training.device is cpu"


def test_a_job_that_ended_is_quoted() -> None:
    ended = JobUpdate(name="server-0", state=JobState.FAILED, exit_code=2, message="exit code 2")
    lost = told(servers={}, meetings={}, ends={"server-0": ended})
    finding = found(lost, logs={"server-0": "no module named torch"})["server ranks start"]
    assert "its job ended (exit code 2), its last lines:\nno module named torch" in finding.told


def test_a_job_that_waits_says_what_the_scheduler_said() -> None:
    finding = only_bad(found(told(solvers=[], waits={SOLVER_JOB: "Resources"})))
    assert finding.check == "a job of 2 client ranks starts"
    assert "0 of 2 client ranks have reported: after 60 s its job is still there (Resources)" in finding.told


def test_processes_that_are_not_one_mpi_program() -> None:
    alone = [solver(0, host, size=1, total=1) for host in ("n2", "n3")]
    assert "each process is rank 0 of 1" in only_bad(found(told(solvers=alone))).told
    assert is_well(found(told(solvers=alone), uses_mpi=False).values())


def test_ranks_on_one_node_where_two_were_asked_for() -> None:
    together = [solver(0, "n2"), solver(1, "n2")]
    assert "both ran on n2" in only_bad(found(told(solvers=together))).told
    assert is_well(found(told(solvers=together), spans_nodes=False).values())


def test_packages_that_are_missing_or_others() -> None:
    without = told(servers={0: server(sight=seen("n1", packages={"melissa-like": "1.0"}))})
    assert only_bad(found(without)).told == "on n1 the Python of server jobs lacks numpy"
    other = told(solvers=[solver(0, "n2", sight=seen("n2", packages={"melissa-like": "0.9"})), solver(1, "n3")])
    assert only_bad(found(other)).told == "on n2 solver jobs have melissa-like 0.9, the launcher has 1.0"


def test_a_way_that_is_closed_names_both_ends() -> None:
    closed = Contact(whom="server rank 0", endpoint=SERVER, problem="timed out")
    shut = told(solvers=[solver(0, "n2", contacts=(answered("the launcher", LAUNCHER), closed)), solver(1, "n3")])
    finding = only_bad(found(shut))
    assert finding.check == "connection from solver to server"
    assert finding.told == "a client rank on n2 cannot reach server rank 0 at tcp://10.0.0.2:4712: timed out"
    assert "transport.interface" in finding.advice


def test_a_server_rank_that_cannot_listen() -> None:
    deaf = told(servers={0: server(endpoint="", problem="transport.interface is 'ib0'")}, meetings={})
    findings = found(deaf)
    assert findings["a server rank listens"].told == "server rank 0 on n1 cannot: transport.interface is 'ib0'"
    assert findings["collectives of the server ranks"].verdict is Verdict.SKIPPED


@pytest.mark.parametrize(("offset_s", "words"), [(-2.5, "ahead of"), (2.5, "behind")])
def test_clocks_that_differ(offset_s: float, words: str) -> None:
    away = told(servers={0: server(contacts=(answered("the launcher", LAUNCHER, offset_s),))})
    assert only_bad(found(away)).told == f"that of n1 is 2.500 s {words} the launcher's"


def test_a_slow_answer_says_little_of_a_clock() -> None:
    late = answered("the launcher", LAUNCHER, offset_s=1.5, seconds=3.0)
    assert is_well(found(told(servers={0: server(contacts=(late,))})).values())


@pytest.mark.parametrize(("second", "is_well_then"), [(("n1", "A"), False), (("n1", "B"), True), (("n2", "A"), True)])
def test_each_server_rank_needs_a_gpu_of_its_own(second: tuple[str, str], is_well_then: bool) -> None:
    """Each may call its GPU cuda:0."""
    on_gpu = {"device": "cuda:0", "backend": "nccl", "seconds": 0.002}
    both = {rank: met(rank, host=host, gpu=gpu, **on_gpu) for rank, (host, gpu) in enumerate([("n1", "A"), second])}
    findings = found(told(servers={0: server(0), 1: server(1)}, meetings=both), num_server_ranks=2)
    assert findings["collectives of the server ranks"].told == "a sum over nccl takes 2.0 ms"
    if is_well_then:
        assert findings["GPU and nccl"].told == "2 GPUs for 2 server ranks"
    else:
        assert only_bad(findings).told == "2 server ranks on n1 would train on the same GPU"


def test_torch_that_fails() -> None:
    failed = told(meetings={0: met(problem="nccl: unhandled system error")})
    assert only_bad(found(failed)).told == "server rank 0 on n1: nccl: unhandled system error"


def test_a_lease_that_two_take_or_that_cannot_be_made() -> None:
    twice = told(servers={0: server(sight=replace(seen("n1"), has_linked=True))})
    assert only_bad(found(twice)).told == "2 of 4 processes took the lease at once"
    without = told(servers={0: server(sight=replace(seen("n1"), has_linked=None, problem="not supported"))})
    assert only_bad(found(without)).told == "on n1 a hard link cannot be made: not supported"


def test_too_few_open_files() -> None:
    finding = only_bad(found(told(servers={0: server(sight=seen("n1", open_files=300))})))
    assert "server rank 0 on n1 may open 300, but 64 client ranks and its own files need 320" in finding.told


def test_too_little_room() -> None:
    finding = only_bad(found(told(), needed_bytes=2 * 10**12))
    assert finding.told == "1000.0 GB are free, checkpoints and logs may take 2000.0 GB"


def test_without_jobs_the_launcher_alone_is_judged() -> None:
    assert is_well(judge_nodes(Told(), Expected(**EXPECTED)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("findings", "well"), [([], True), ([good("a", "b"), skipped("c", "d")], True), ([bad("a", "b", "c")], False)]
)
def test_all_is_well_if_nothing_is_bad(findings: Sequence[Finding], well: bool) -> None:
    assert is_well(findings) is well


def test_how_a_finding_reads() -> None:
    assert text_of(good("clocks", "fine")) == "✓ clocks: fine\n"
    assert text_of(skipped("nccl", "no GPU")) == "– nccl: no GPU\n"
    assert text_of(bad("lease", "two\nhave it", "mend it")) == "✗ lease: two\n    have it\n  → mend it\n"


def test_a_contact_tells_how_far_the_clocks_are_apart() -> None:
    with Listener("127.0.0.1", clock=lambda: time.time() + 100.0) as listener:
        made = contact("the launcher", listener.endpoint)
    assert made.seconds is not None
    assert made.clock_offset_s == pytest.approx(100.0, abs=5.0)
    assert contact("the launcher", listener.endpoint).problem


def test_only_one_process_takes_the_lease(tmp_path: Path) -> None:
    assert [sight(tmp_path, ()).has_linked for _ in range(3)] == [True, False, False]


def test_a_job_that_was_refused_says_why() -> None:
    refused = JobUpdate(name=SOLVER_JOB, state=JobState.FAILED, message="Slurm refused it: no account", retry=False)
    finding = only_bad(found(told(solvers=[], ends={SOLVER_JOB: refused})))
    assert finding.told == "0 of 2 client ranks have reported: Slurm refused it: no account"
