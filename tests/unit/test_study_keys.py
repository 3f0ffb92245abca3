"""A study's keys are made once: a resume finds them again, and what is damaged is told and not quoted."""

import os
import stat
from pathlib import Path

import pytest

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.study_keys import StudyKeys, make_study_keys, read_study_keys
from melissa_like.protocol import Connection, read_connection, write_connection
from melissa_like.protocol.keys import write_private


def written(run_dir: Path, keys: StudyKeys, incarnation: int = 1) -> None:
    """As a launcher does when it starts."""
    keys.write(run_dir)
    connection = Connection(
        endpoint="tcp://127.0.0.1:1",
        server_endpoint="tcp://127.0.0.1:2",
        study=keys.study,
        secret=keys.secret,
        launcher_incarnation=incarnation,
        keys=keys.keys("launcher"),
    )
    write_connection(run_dir, connection)


@pytest.mark.parametrize("encryption", ["none", "control", "all"])
def test_a_resume_finds_the_keys_of_the_study(tmp_path: Path, encryption: str) -> None:
    keys = make_study_keys(encryption)
    written(tmp_path, keys)
    assert read_study_keys(tmp_path, encryption) == keys
    for member in ("job", "server"):
        assert read_connection(tmp_path, member).credentials == keys.credentials(member)  # type: ignore[arg-type]


def test_two_studies_have_nothing_in_common() -> None:
    one, other = make_study_keys("control"), make_study_keys("control")
    secrets = [keys.secret.hex() for keys in (one, other)]
    secrets += [pair.secret for keys in (one, other) for pair in keys.pairs.values()]
    assert len(set(secrets)) == 8
    assert one.study != other.study


@pytest.mark.parametrize(("before", "after"), [("none", "control"), ("control", "none"), ("control", "all")])
def test_another_encryption_at_a_resume_keeps_what_there_is(tmp_path: Path, before: str, after: str) -> None:
    keys = make_study_keys(before)
    written(tmp_path, keys)
    again = read_study_keys(tmp_path, after)
    assert (again.study, again.secret) == (keys.study, keys.secret)
    assert bool(again.pairs) == (after != "none")
    if before == "control" and after == "all":
        assert again.pairs == keys.pairs
    written(tmp_path, again, 2)
    connection = read_connection(tmp_path)
    assert (connection.launcher_incarnation, connection.keys) == (2, again.keys("job"))


@pytest.mark.parametrize("damage", [b"", b"\xff", b"public 1\nsecret 2\n", b"public", b"secret " + b"a" * 40])
def test_damaged_keys_are_told_and_not_quoted(tmp_path: Path, damage: bytes) -> None:
    keys = make_study_keys("control")
    written(tmp_path, keys)
    (tmp_path / "job.key").write_bytes(damage)
    with pytest.raises(ConfigurationError, match=r"job\.key") as raised:
        read_connection(tmp_path)
    assert "aaaa" not in str(raised.value)
    (tmp_path / "job.key").unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_study_keys(tmp_path, "control")


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_private_file_is_its_users_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_private(tmp_path / "file.txt", "secret\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_a_file_system_that_keeps_nothing_private_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", lambda descriptor, mode: None)
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0o777: opened(path, flags, 0o666))
    before = os.umask(0)
    try:
        with pytest.raises(ConfigurationError, match=r"lets others read connection\.txt.*choose a run_dir"):
            write_private(tmp_path / "connection.txt", "secret\n")
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []
