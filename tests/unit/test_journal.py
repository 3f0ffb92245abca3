"""The journal: what a crash of the machine leaves at its end, and what replaying it tells."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from melissa_like.errors import ConfigurationError
from melissa_like.study import Entry, Journal, read_journal, replay
from melissa_like.study import events as ev
from melissa_like.study.journal import JOURNAL_FILE
from tests.unit.studied import SETTINGS, STARTED

LONG = ev.Interrupted(reason="x" * 300_000)


def write(folder: Path, *events: ev.Event, first_at_s: float = 0.0) -> None:
    with Journal(folder) as journal:
        for number, event in enumerate(events):
            journal.append(Entry(at_s=first_at_s + number, event=event))
        journal.sync()


def read(folder: Path) -> list[ev.Event]:
    return [entry.event for entry in read_journal(folder)]


TORN: list[Callable[[bytes], bytes]] = [
    lambda line: line[:-1],  # all of it but the end of the line
    lambda line: line[: len(line) // 2],
    lambda line: b"\0" * 5000,
    lambda line: line[: len(line) // 2] + b"\n\0\0\n" + line[:10],
    lambda line: line[: len(line) // 2] + b"\n" * 70_000,
]


@pytest.mark.parametrize("torn", TORN)
@pytest.mark.parametrize("event", [ev.Tick(), LONG])
def test_what_a_crash_of_the_machine_tore_is_left_out_and_cut_off(
    tmp_path: Path, torn: Callable[[bytes], bytes], event: ev.Event
) -> None:
    write(tmp_path, STARTED, event, ev.Tick())
    path = tmp_path / JOURNAL_FILE
    *sound, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(sound) + torn(last))
    assert read(tmp_path) == [STARTED, event]
    write(tmp_path, ev.Interrupted(reason="later"))
    assert read(tmp_path) == [STARTED, event, ev.Interrupted(reason="later")]


def test_a_journal_that_was_torn_in_its_first_line_is_empty(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).write_bytes(b'{"at_s":0.0,"eve')
    assert read(tmp_path) == []
    assert replay(tmp_path) is None


@pytest.mark.parametrize("num", [3, 10_000])
def test_a_line_that_was_damaged_in_the_middle_is_named(tmp_path: Path, num: int) -> None:
    write(tmp_path, STARTED, *[ev.Tick()] * num)
    path = tmp_path / JOURNAL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    lines[num // 2] = b'{"at_s":"soon"}\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(ConfigurationError, match=f"journal.jsonl, line {num // 2 + 1}, is damaged"):
        read(tmp_path)


def test_lines_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    huge = ev.Interrupted(reason="y" * 3_000_000)
    events = [STARTED, huge, ev.Tick(), LONG, LONG, huge, *[ev.Tick()] * 50_000, huge]
    write(tmp_path, *events)
    assert read(tmp_path) == events


def test_seconds_are_those_that_launchers_ran(tmp_path: Path) -> None:
    """The host's clock may even have been set back in between."""
    more = replace(SETTINGS, num_simulations=7)
    write(tmp_path, STARTED, ev.Tick(), ev.Tick(), first_at_s=1000.0)
    write(tmp_path, ev.Resumed(settings=more), ev.Tick(), first_at_s=500.0)
    replayed = replay(tmp_path)
    assert replayed is not None
    assert (replayed.seconds, replayed.num_resumes) == (3.0, 1)
    assert (replayed.first, replayed.state.settings) == (SETTINGS, more)
    assert replayed.state.next_deadline() == 500.0 + SETTINGS.start_timeout_s


def test_a_journal_without_its_beginning_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ev.Tick())
    with pytest.raises(ConfigurationError, match="begins with Tick and not with the start of a study"):
        replay(tmp_path)
