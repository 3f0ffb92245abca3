"""What the doctor looks at in its own process."""

import socket
from pathlib import Path

import pytest

from melissa_like.config import Config
from melissa_like.config.schema import FieldConfig
from melissa_like.launcher.doctor.findings import Verdict
from melissa_like.launcher.doctor.here import existing, needed_bytes, own_host, ports
from melissa_like.launcher.executors import Traits
from melissa_like.transport.own_host import OwnHost

LOOPBACK = OwnHost(address="127.0.0.1", interface="lo")


@pytest.fixture
def config() -> Config:
    made = Config()
    made.solver.fields = {"u": FieldConfig(shape=[256])}  # 1 KiB
    made.buffer.capacity = 1000
    return made


def test_a_port_that_is_taken_is_told_and_free_ones_are_good(config: Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config.transport.port = taken.getsockname()[1]
        finding = ports(config, LOOPBACK)
        assert finding.verdict is Verdict.BAD
        assert f"tcp://127.0.0.1:{config.transport.port} is taken" in finding.told
    assert ports(config, LOOPBACK).verdict is Verdict.GOOD
    config.transport.port = 0
    assert ports(config, LOOPBACK).verdict is Verdict.SKIPPED


def test_where_the_launcher_would_be_reached(config: Config) -> None:
    own, finding = own_host(config, Traits())
    assert own is not None
    assert (own.address, finding.verdict) == ("127.0.0.1", Verdict.GOOD)
    config.transport.host = "localhost"
    own, finding = own_host(config, Traits(on_this_host=False))
    assert own is None
    assert "transport.host is 'localhost', which stands for" in finding.told


def test_room_for_checkpoints_and_logs(config: Config) -> None:
    config.launcher.log_limit = 65536
    config.launcher.max_jobs = 3
    assert needed_bytes(config) == 3 * 1000 * 1024 + 4 * 65536
    config.training.checkpoint.buffer_limit = 1000  # the buffer is left out
    assert needed_bytes(config) == 4 * 65536


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert existing(tmp_path / "runs" / "study") == tmp_path
    assert existing(tmp_path) == tmp_path
