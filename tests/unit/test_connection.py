"""The connection file: lines of `key value`, for its user alone, that tell what is wrong with them."""

from pathlib import Path

import pytest
from zmq.utils import z85

from melissa_like import protocol
from melissa_like.errors import ConfigurationError
from melissa_like.protocol import Connection, read_connection, write_connection
from melissa_like.protocol.keys import write_key_pair

CONNECTION = Connection(
    endpoint="tcp://127.0.0.1:4711",
    server_endpoint="tcp://127.0.0.1:4712",
    study=bytes(range(16)),
    secret=b"\xff" * 16,
    launcher_incarnation=3,
)
LINES = (
    "version 2\n"
    "endpoint tcp://127.0.0.1:4711\n"
    "server_endpoint tcp://127.0.0.1:4712\n"
    "study 000102030405060708090a0b0c0d0e0f\n"
    "secret ffffffffffffffffffffffffffffffff\n"
    "launcher_incarnation 3\n"
    "encryption none\n"
)


def test_the_file_is_lines_of_key_and_value_that_only_its_user_reads(tmp_path: Path) -> None:
    write_connection(tmp_path, CONNECTION)
    path = tmp_path / "connection.txt"
    assert path.read_text() == LINES
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert read_connection(tmp_path) == CONNECTION


def test_the_golden_files_are_read_and_written_alike(tmp_path: Path) -> None:
    golden = Path(protocol.__file__).parent / "golden"
    connection = read_connection(golden)
    assert connection.study == bytes(range(16))
    assert connection.secret == bytes(range(240, 256))
    assert (connection.endpoint, connection.launcher_incarnation) == ("tcp://192.0.2.7:4711", 2)
    assert connection.keys is not None
    assert [z85.decode(key)[0] for key in (connection.keys.launcher, connection.keys.server, connection.keys.job)] == [
        0,
        32,
        64,
    ]
    assert z85.decode(connection.keys.own.secret) == bytes(range(96, 128))
    write_connection(tmp_path, connection)
    write_key_pair(tmp_path, "job", connection.keys.own)
    for name in ("connection.txt", "job.key"):
        assert (tmp_path / name).read_text() == (golden / name).read_text()


def test_a_launcher_that_was_started_again_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "connection.tmp").write_text("left behind by one that was killed")
    (tmp_path / "connection.txt").write_text("old")
    write_connection(tmp_path, CONNECTION)
    assert read_connection(tmp_path) == CONNECTION


def test_unknown_keys_blank_lines_and_any_order_are_read(tmp_path: Path) -> None:
    lines = "\n".join(reversed(LINES.splitlines()))
    (tmp_path / "connection.txt").write_text(f"curve_key abc def\n\n{lines}\nlonely\n")
    assert read_connection(tmp_path) == CONNECTION


@pytest.mark.parametrize("version", [1, 3])
def test_a_launcher_of_another_version_is_named(tmp_path: Path, version: int) -> None:
    (tmp_path / "connection.txt").write_text(LINES.replace("version 2", f"version {version}"))
    with pytest.raises(ConfigurationError, match=f"speaks version {version} of the protocol, this process speaks 2"):
        read_connection(tmp_path)


@pytest.mark.parametrize("key", [line.split()[0] for line in LINES.splitlines()])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    kept = [line for line in LINES.splitlines() if not line.startswith(key)]
    (tmp_path / "connection.txt").write_text("\n".join(kept))
    with pytest.raises(ConfigurationError, match=f"no line `{key}"):
        read_connection(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("secret ff", "value of secret is not of 32 hexadecimal digits"),
        ("study 000102030405060708090a0b0c0d0e0g", "value of study is not of 32 hexadecimal digits"),
        ("launcher_incarnation -1", "value of launcher_incarnation is not a number"),
        ("endpoint", "value of endpoint is not a ZeroMQ address"),
        ("encryption some", "value of encryption is not none, control or all"),
        ("encryption control\nlauncher_key 012", "value of launcher_key is not a key of 40 characters"),
    ],
)
def test_a_damaged_value_is_named_and_not_quoted(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "connection.txt").write_text(f"{LINES}{line}\n")
    with pytest.raises(ConfigurationError, match=words) as raised:
        read_connection(tmp_path)
    assert "ff" not in str(raised.value).replace(str(tmp_path), "")


def test_no_file_or_no_text_says_how_a_solver_is_started(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must be started by `melissa-like run`"):
        read_connection(tmp_path)
    (tmp_path / "connection.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_connection(tmp_path)
