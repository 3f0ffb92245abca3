"""A file that another host has written is waited for, but not for ever."""

import threading
import time
from pathlib import Path

from melissa_like.protocol.seen import await_seen


def test_a_file_that_is_seen_late_is_waited_for(tmp_path: Path) -> None:
    late = tmp_path / "connection.txt"
    writer = threading.Timer(0.3, late.touch)
    writer.start()
    began = time.monotonic()
    await_seen(late, patience_s=60.0)
    assert late.exists()
    assert time.monotonic() - began < 30.0
    writer.join(10.0)


def test_a_file_that_never_comes_is_given_up(tmp_path: Path) -> None:
    await_seen(tmp_path / "study" / "connection.txt", patience_s=0.2)  # whoever reads it says what is wrong
