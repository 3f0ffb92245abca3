"""The secrets of a study are in four files that only its user can read, and nowhere else."""

import json
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from melissa_like.protocol import read_connection
from melissa_like.protocol.keys import read_key_pair
from tests.integration.launched import launched, resume
from tests.integration.studies import COMMAND, marked, melissa_like

SECRET_FILES = {"connection.txt", "launcher.key", "server.key", "job.key"}


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_study_keeps_its_secrets_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    run_dir, seen = tmp_path / "study", tmp_path / "processes.txt"
    ran = melissa_like(run_dir, *marked("spying", simulations=2, path=seen), "monitoring.tensorboard=true", umask=umask)
    assert ran.code == 0, ran.err
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    assert {name: stat.S_IMODE((run_dir / name).stat().st_mode) for name in SECRET_FILES} == dict.fromkeys(
        SECRET_FILES, 0o600
    )
    secret = read_connection(run_dir).secret
    words = [secret, secret.hex().encode()]
    words += [read_key_pair(run_dir, member).secret.encode() for member in ("launcher", "server", "job")]  # type: ignore[arg-type]
    status = [*COMMAND, "status", str(run_dir)]
    shown = subprocess.run(status, capture_output=True, text=True, timeout=30, check=True)
    told = {"printed": ran.out + ran.err + shown.stdout + shown.stderr}
    contents = {name: text.encode() for name, text in told.items()}
    contents |= {str(p): p.read_bytes() for p in run_dir.rglob("*") if p.is_file() and p.name not in SECRET_FILES}
    assert "melissa_like.server" in seen.read_text()
    contents["arguments and environments"] = seen.read_bytes()
    assert [name for name, content in contents.items() if any(word in content for word in words)] == []


def test_a_resumed_study_keeps_its_keys(tmp_path: Path) -> None:
    """Jobs that waited in a queue meanwhile have not read them yet, and others know the study by them."""
    run_dir = tmp_path / "study"
    with launched(run_dir, *marked("slow", pause_s=0.1, simulations=4), "launcher.grace_s=1") as first:
        first.read_until("streaming")
        first.send(signal.SIGKILL)
        assert first.wait().code == -signal.SIGKILL
    keys = {name: (run_dir / name).read_text() for name in SECRET_FILES if name.endswith(".key")}
    before = read_connection(run_dir)
    ran = resume(run_dir)
    assert ran.code == 0, ran.err
    after = read_connection(run_dir)
    assert {name: (run_dir / name).read_text() for name in keys} == keys
    assert (after.study, after.secret, after.keys) == (before.study, before.secret, before.keys)
    assert (before.launcher_incarnation, after.launcher_incarnation) == (1, 2)
    assert {stat.S_IMODE((run_dir / name).stat().st_mode) for name in SECRET_FILES} == {0o600}


def test_what_would_be_started_tells_no_secret_and_makes_none(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    ran = melissa_like(run_dir, *marked(simulations=2), "--dry-run")
    assert ran.code == 0, ran.err
    assert "melissa_like.server" in ran.out
    assert not run_dir.exists()


def test_a_study_without_encryption_has_no_keys_and_one_secret(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    ran = melissa_like(run_dir, *marked(simulations=2), "transport.encryption=none")
    assert ran.code == 0, ran.err
    assert {path.name for path in run_dir.iterdir()} & SECRET_FILES == {"connection.txt"}
    assert "encryption none\n" in (run_dir / "connection.txt").read_text()


def test_a_study_that_encrypts_everything(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    ran = melissa_like(
        run_dir, *marked(simulations=4), "transport.encryption=all", "transport.shared_memory=false", "buffer=fifo"
    )
    assert ran.code == 0, ran.err
    report = json.loads((run_dir / "report.json").read_text())
    assert report["samples"]["trained_on"] == 24
    assert (report["refused"], report["refused_control_messages"]) == ({}, {})
