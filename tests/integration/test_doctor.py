"""`melissa-like doctor`: real small jobs through the configured executor, and nothing left of them."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.hosts import hosts
from tests.integration.studies import COMMAND, ROOT, Ran, await_that, environment, marked, melissa_like
from tests.integration.test_several_hosts import ETHERNET, addresses, study

CONFIGS = ("--config-dir", str(ROOT / "tests/plugins/configs"))


def doctor(folder: Path, *overrides: str, **options: object) -> Ran:
    (folder / "here").mkdir(exist_ok=True)
    return melissa_like(folder / "here/study", *overrides, command="doctor", **options)  # type: ignore[arg-type]


def assert_nothing_left(folder: Path) -> None:
    assert list((folder / "here").iterdir()) == []


def verdicts(ran: Ran) -> dict[str, str]:
    """Mark by check."""
    lines = [line for line in ran.out.splitlines() if line[:1] in "✓✗–"]
    return {line[2:].partition(":")[0]: line[0] for line in lines}


@pytest.mark.mpi
def test_all_is_well_on_this_machine(tmp_path: Path) -> None:
    ran = doctor(tmp_path, *marked(ranks=2), "launcher=local", "launcher.num_server_ranks=2")
    assert ran.code == 0, ran.out + ran.err
    assert set(verdicts(ran).values()) <= {"✓", "–"}
    assert "a sum over gloo" in ran.out
    assert "a job of 2 client ranks starts: on" in ran.out
    assert_nothing_left(tmp_path)


def test_all_in_one_process(tmp_path: Path) -> None:
    ran = doctor(tmp_path, *marked(ranks=1), "launcher=inline")
    assert ran.code == 0, ran.out + ran.err
    assert verdicts(ran)["jobs and connections"] == "–"
    assert verdicts(ran)["the lease works on its file system"] == "✓"
    assert_nothing_left(tmp_path)


def test_a_configuration_that_cannot_run(tmp_path: Path) -> None:
    ran = doctor(tmp_path, *marked(), "buffer.watermark=100")
    assert ran.code == 1
    assert "✗ configuration: buffer.watermark is 100 but buffer.capacity is 16" in ran.out


def test_a_start_command_that_fails(tmp_path: Path) -> None:
    ran = doctor(tmp_path, *marked(ranks=2), "launcher=local", "solver.launch=/bin/false")
    assert ran.code == 1
    assert verdicts(ran)["a job of 2 client ranks starts"] == "✗"
    assert "0 of 2 client ranks have reported: its job ended (exit code 1)" in ran.out
    assert verdicts(ran)["server ranks start"] == "✓"
    assert_nothing_left(tmp_path)


def test_over_several_hosts(tmp_path: Path) -> None:
    with hosts(tmp_path, addresses(ETHERNET)) as there:
        given = [*study(tmp_path, there, servers=["n1", "n2"]), "launcher.max_jobs=2"]
        ran = doctor(tmp_path, *given, way=there["login"].way)
    assert ran.code == 0, ran.out + ran.err
    assert "server ranks start: 2, on n1, n2" in ran.out
    assert "where the launcher is reached: 10.77.0.1 on eth0" in ran.out
    assert "to tcp://10.77.0.2, tcp://10.77.0.3" in ran.out
    assert "from login, n1, n2" in ran.out
    assert_nothing_left(tmp_path)


def test_an_interface_that_a_node_lacks(tmp_path: Path) -> None:
    plugged = {**addresses(ETHERNET), "login": {"eth0": ["10.77.0.1/24"], "ib0": ["10.78.0.1/24"]}}
    with hosts(tmp_path, plugged) as there:
        given = [*study(tmp_path, there), "transport.interface=ib0", "launcher.start_timeout_s=20"]
        ran = doctor(tmp_path, *given, way=there["login"].way)
    assert ran.code == 1
    assert "✗ a server rank listens: server rank 0 on n1 cannot: transport.interface is 'ib0'" in ran.out
    assert "✗ connection to the launcher" in ran.out  # over a wire that n1 is not plugged into
    assert_nothing_left(tmp_path)


def test_a_scheduler_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is submitted then."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("squeue", "echo 'no route to n0' >&2; exit 1"), ("sbatch", f"touch {tmp_path}/submitted")):
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    (commands / "scancel").symlink_to("/bin/true")
    (commands / "srun").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    ran = doctor(tmp_path, *marked(ranks=2), "launcher=slurm")
    assert ran.code == 1, ran.out + ran.err
    assert "✗ Slurm answers: squeue failed with exit code 1: no route to n0" in ran.out
    assert "– jobs and connections: the scheduler could not be told of any" in ran.out
    assert not (tmp_path / "submitted").exists()
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_doctor_leaves_nothing(tmp_path: Path, number: int) -> None:
    started = tmp_path / "started"
    solver = tmp_path / "solver"
    solver.write_text(f"#!/bin/sh\necho $$ > {started}.new\nmv {started}.new {started}\nexec sleep 1000\n")
    solver.chmod(0o755)
    (tmp_path / "here").mkdir()
    given = [*marked(ranks=2), "launcher=local", f"solver.launch={solver}"]
    command = [*COMMAND, "doctor", f"run_dir={tmp_path / 'here/study'}", *given]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        await_that(started.exists)
        process.send_signal(number)
        _, err = process.communicate(timeout=60.0)
    assert process.returncode == 130
    assert "interrupted; nothing of it is left" in err
    await_that(lambda: not Path(f"/proc/{started.read_text().strip()}").exists())
    assert_nothing_left(tmp_path)
