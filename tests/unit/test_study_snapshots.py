"""Snapshots of a study: what is read back is what was taken, and anything else is passed over."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from melissa_like.launcher.snapshots import Snapshots
from melissa_like.protocol import control as say
from melissa_like.records import ClientRank, Purpose, ServerRank
from melissa_like.study import Entry, Journal, Replayed, StudyState, replay
from melissa_like.study import events as ev
from melissa_like.study.journal import JOURNAL_FILE
from melissa_like.study.snapshots import SNAPSHOT_FILE
from tests.unit.studied import SETTINGS, everything

MANY = replace(SETTINGS, num_simulations=40, num_validation_simulations=0, max_jobs=4, num_ranks=1)
EVERY = 30
WRITTEN_S = 10.0


def events(num: int = 40) -> Iterator[ev.Event]:
    """A study of one job, of which every seventh simulation fails once."""
    server, client = ServerRank(0), ClientRank("job-0001")
    yield ev.Said(address=server, message=say.ServerHello(endpoint="e", host="h", pid=1, device="cpu"))
    yield ev.ParametersDrawn(purpose=Purpose.TRAINING, parameters=tuple((0.5 + i,) for i in range(8)))
    listed = 8
    yield ev.JobStarted(job=client.job)
    yield ev.Said(address=client, message=say.Hello(num_ranks=1, host="h", pid=1))
    for simulation in range(num):
        yield ev.Said(address=client, message=say.Request())
        if listed - simulation <= 5 and listed < num:
            more = min(8 - (listed - simulation - 1), num - listed)
            yield ev.ParametersDrawn(
                purpose=Purpose.TRAINING, parameters=tuple((0.5 + listed + i,) for i in range(more))
            )
            listed += more
        attempt = 1
        if simulation % 7 == 3:
            delivered = say.Delivery(simulation=simulation, attempt=1, steps=(0,), num_parts=1, held=(1,))
            yield ev.Said(address=server, message=say.Progress(deliveries=(delivered,)))
            yield ev.Said(address=client, message=say.Request())  # before its goodbye: the attempt has failed
            attempt = 2
        mine = {"simulation": simulation, "attempt": attempt}
        delivery = say.Delivery(steps=(0, 1), num_parts=2, **mine)
        yield ev.Said(address=server, message=say.Progress(deliveries=(delivery,)))
        yield ev.Said(address=client, message=say.Goodbye(num_steps=2, parts_sent=(2,), **mine))


def launched(
    folder: Path, first: ev.Event, *more: ev.Event, replayed: Replayed | None = None, at_s: float = 100.0
) -> tuple[StudyState, Snapshots]:
    """A launcher to which these happen, one a second, and that dies; each snapshot is awaited."""
    state = StudyState(MANY) if replayed is None else replayed.state
    with Journal(folder) as journal, Snapshots(state, journal, replayed, every=EVERY) as snapshots:
        for number, event in enumerate((first, *more)):
            journal.append(Entry(at_s=at_s + number, event=event))
            state.handle(event, at_s + number)
            snapshots.take_if_due()
            for thread in threading.enumerate():
                if thread.name == "snapshot":
                    thread.join(WRITTEN_S)
    return state, snapshots


def resumed(folder: Path, warnings: list[str] | None = None) -> Replayed:
    replayed = replay(folder, warn=(warnings if warnings is not None else []).append)
    assert replayed is not None
    return replayed


def wholly_replayed(folder: Path) -> Replayed:
    (folder / SNAPSHOT_FILE).unlink(missing_ok=True)
    return resumed(folder)


def assert_same(some: Replayed, other: Replayed) -> None:
    assert everything(some.state) == everything(other.state)
    assert (some.first, some.num_resumes, some.seconds) == (other.first, other.num_resumes, other.seconds)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Of which there is a snapshot, and something that followed."""
    _, snapshots = launched(tmp_path, ev.StudyStarted(settings=MANY), *events())
    assert snapshots.num_written >= 4
    assert snapshots.problem is None
    assert {path.name for path in tmp_path.iterdir()} == {JOURNAL_FILE, SNAPSHOT_FILE}
    return tmp_path


def test_a_resume_replays_only_what_followed_the_newest_snapshot(study: Path) -> None:
    warnings: list[str] = []
    found = resumed(study, warnings)
    assert found.state.ledger.num_complete == 40
    assert found.state.ledger.num_restarts == 6
    assert 0 < found.num_events < EVERY
    whole = wholly_replayed(study)
    assert whole.num_events > 4 * EVERY
    assert_same(found, whole)
    assert warnings == []


def test_launchers_that_go_on_take_snapshots_too(study: Path) -> None:
    """And a snapshot knows of the launchers before, and of the settings of the first."""
    found = resumed(study)
    more = replace(MANY, num_simulations=44, start_timeout_s=1000.0)
    state, snapshots = launched(study, ev.Resumed(settings=more), *[ev.Tick()] * 2, replayed=found, at_s=1000.0)
    assert snapshots.num_written == 0
    again, taken = resumed(study), [ev.Tick()] * 3 * EVERY
    assert again.state.settings == more
    state, snapshots = launched(study, ev.Resumed(settings=more), *taken, replayed=again, at_s=2000.0)
    assert snapshots.num_written == 3
    last = resumed(study)
    assert everything(last.state) == everything(state)
    assert (last.first, last.num_resumes) == (MANY, 2)
    assert last.num_events < EVERY
    assert_same(last, wholly_replayed(study))


def test_after_a_whole_replay_a_snapshot_is_taken_at_once(study: Path) -> None:
    whole = wholly_replayed(study)
    _, snapshots = launched(study, ev.Resumed(settings=MANY), replayed=whole, at_s=1000.0)
    assert snapshots.num_written == 1
    assert resumed(study).num_events == 0


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


DAMAGE: list[tuple[Callable[[bytes], bytes], str]] = [
    (halved, "is damaged, or was cut off"),
    (flipped, "is damaged, or was cut off"),
    (lambda content: content + b"\0", "is damaged, or was cut off"),
    (lambda content: content[:30], "is damaged, or was cut off"),
    (lambda content: b"", "of another release"),
    (lambda content: content.replace(b"snapshot 2\n", b"snapshot 9\n", 1), "of another release"),
]


@pytest.mark.parametrize(("damage", "why"), DAMAGE)
def test_a_damaged_snapshot_is_passed_over(study: Path, damage: Callable[[bytes], bytes], why: str) -> None:
    path = study / SNAPSHOT_FILE
    path.write_bytes(damage(path.read_bytes()))
    warnings: list[str] = []
    found = resumed(study, warnings)
    assert found.num_events > 4 * EVERY
    (warning,) = warnings
    assert why in warning
    assert f"{path} is passed over, and the whole journal is replayed" in warning


def test_a_snapshot_that_is_a_folder_is_passed_over(study: Path) -> None:
    (study / SNAPSHOT_FILE).unlink()
    (study / SNAPSHOT_FILE).mkdir()
    warnings: list[str] = []
    assert resumed(study, warnings).num_events > 4 * EVERY
    assert "cannot be read" in warnings[0]


def test_a_snapshot_that_is_ahead_of_the_journal_is_passed_over(study: Path) -> None:
    """As after a crash of the machine, or if the journal was put back from a copy."""
    path = study / JOURNAL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:40]))
    warnings: list[str] = []
    assert resumed(study, warnings).num_events == 39
    assert "ahead of the journal" in warnings[0]


def test_a_snapshot_of_a_journal_that_went_on_otherwise_is_passed_over(study: Path) -> None:
    path = study / JOURNAL_FILE
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"at_s":110.0', b'"at_s":110.5'))
    warnings: list[str] = []
    resumed(study, warnings)
    assert "does not begin as" in warnings[0]


def test_a_journal_is_known_by_its_first_bytes_as_well_as_by_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("melissa_like.study.snapshots._MARK_BYTES", 64)
    launched(tmp_path, ev.StudyStarted(settings=MANY), *events())
    path = tmp_path / JOURNAL_FILE
    path.write_bytes(path.read_bytes().replace(b'"at_s":100.0', b'"at_s":100.5', 1))
    warnings: list[str] = []
    resumed(tmp_path, warnings)
    assert "does not begin as" in warnings[0]


def test_a_snapshot_of_another_study_is_passed_over(study: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    launched(other, ev.StudyStarted(settings=MANY), *events(), at_s=500.0)
    (study / SNAPSHOT_FILE).write_bytes((other / SNAPSHOT_FILE).read_bytes())
    warnings: list[str] = []
    assert resumed(study, warnings).state.ledger.num_complete == 40
    assert "does not begin as" in warnings[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_without_room_the_study_goes_on_and_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"{SNAPSHOT_FILE}.tmp").symlink_to("/dev/full")
    state, snapshots = launched(tmp_path, ev.StudyStarted(settings=MANY), *events(24))
    assert snapshots.num_written == 1  # the link was removed with what could not be written
    assert "No space left" in str(snapshots.problem)
    assert capsys.readouterr().err.count("WARNING: a snapshot could not be written, the study goes on without") == 1
    assert everything(resumed(tmp_path).state) == everything(state)


def test_no_snapshot_is_taken_of_what_the_journal_does_not_tell(tmp_path: Path) -> None:
    state = StudyState(MANY)
    with Journal(tmp_path) as journal, Snapshots(state, journal, None, every=1) as snapshots:
        started = ev.StudyStarted(settings=MANY)
        journal.append(Entry(at_s=0.0, event=started))
        state.handle(started, 0.0)
        file, journal._file = journal._file, os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(OSError, match="No space left"):
            journal.append(Entry(at_s=1.0, event=ev.Tick()))
        os.close(journal._file)
        journal._file = file
        snapshots.take_if_due()
    assert not (tmp_path / SNAPSHOT_FILE).exists()


def test_a_snapshot_of_another_kind_of_machine_is_passed_over(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", {"little": "big", "big": "little"}[sys.byteorder])
    warnings: list[str] = []
    resumed(study, warnings)
    assert "-endian numbers" in warnings[0]
