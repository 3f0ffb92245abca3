"""A file that another host has written is waited for, but not for ever."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from melissa_like.protocol.connection import CONNECTION_FILE
from melissa_like.protocol.seen import LAUNCHER_VARIABLE, await_connection, await_seen

SECOND = {LAUNCHER_VARIABLE: "2"}


def seconds_of(wait: Callable[[], None]) -> float:
    began = time.monotonic()
    wait()
    return time.monotonic() - began


def written_later(path: Path, text: str) -> threading.Timer:
    timer = threading.Timer(0.3, path.write_text, (text,))
    timer.start()
    return timer


def test_a_file_that_is_seen_late_is_waited_for(tmp_path: Path) -> None:
    late = tmp_path / "config.yaml"
    writer = written_later(late, "")
    assert seconds_of(lambda: await_seen(late, patience_s=60.0)) < 30.0
    assert late.exists()
    writer.join(10.0)


def test_a_file_that_never_comes_is_given_up(tmp_path: Path) -> None:
    await_seen(tmp_path / "study" / "config.yaml", patience_s=0.2)  # whoever reads it says what is wrong
    await_connection(tmp_path, {}, patience_s=0.2)
    await_connection(tmp_path, SECOND, patience_s=0.2)


def test_the_file_of_the_launcher_before_is_not_taken_for_that_of_the_one_that_started_this_process(
    tmp_path: Path,
) -> None:
    file = tmp_path / CONNECTION_FILE
    file.write_text("endpoint e\nlauncher_incarnation 1\n")
    writer = written_later(file, "endpoint f\nlauncher_incarnation 2\n")
    assert seconds_of(lambda: await_connection(tmp_path, SECOND)) < 30.0
    assert "endpoint f" in file.read_text()
    writer.join(10.0)


@pytest.mark.parametrize("environment", [{}, {LAUNCHER_VARIABLE: "1"}, SECOND, {LAUNCHER_VARIABLE: "?"}])
def test_the_file_of_a_later_launcher_is_as_good(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / CONNECTION_FILE).write_text("endpoint e\nlauncher_incarnation 12\n")
    assert seconds_of(lambda: await_connection(tmp_path, environment)) < 5.0
