"""The journal: one JSON line per event, written before the event is handled; replaying it gives the state.

A line that was appended survives the end of the launcher, whatever kind of end. What a command rests on must survive a
crash of the machine as well, so `sync` is called before commands are carried out, and not for every event: a disk takes
milliseconds for it. Such a crash leaves anything behind the last `sync`: a torn line, or zeros. Nothing rested on that,
so it is cut off before another launcher appends.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from melissa_like.errors import UNDECODABLE, ConfigurationError
from melissa_like.study.events import Event

__all__ = ["JOURNAL_FILE", "Entry", "Journal", "read_journal", "sync_journal"]

JOURNAL_FILE = "journal.jsonl"

_CHUNK_BYTES = 2**16


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line.

    Attributes:
        at_s: seconds since 1970, by a clock that never goes back while a launcher runs: the `now` of
            `StudyState.handle`. It means the same on another host.
        event: what happened.
    """

    at_s: float
    event: Event


_DECODER = msgspec.json.Decoder(Entry)


class Journal:
    """Appends entries; of one launcher at a time, which holds the run directory's lease.

    Args:
        run_dir: of the study.
        durable: whether it must survive a crash of the machine; not where all that runs is threads of this process.

    Attributes:
        folder: where it lies.
        num_bytes: of it, once it is open.
        num_appended: entries, since it was opened.
        first_at_s: of the first of these; None before.
        last_at_s: of the last one.
        is_broken: an entry could not be appended or synced, so that it does not tell all that happened.
    """

    def __init__(self, run_dir: Path, *, durable: bool = True) -> None:
        self.folder = run_dir
        self._durable = durable
        self._path = run_dir / JOURNAL_FILE
        self._file: int | None = None
        self._is_synced = True
        self._encoder = msgspec.json.Encoder()
        self.num_bytes = self.num_appended = 0
        self.first_at_s: float | None = None
        self.last_at_s: float | None = None
        self.is_broken = False

    def __enter__(self) -> "Journal":
        """Makes the file, or cuts off what a crash of the machine left at its end."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        end = _sound_end(self._file)
        if end < os.fstat(self._file).st_size:
            os.ftruncate(self._file, end)
            os.fsync(self._file)
        self.num_bytes = end
        _sync_folder(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def append(self, entry: Entry) -> None:
        """Write one line, mostly in one system call.

        Raises:
            OSError: there is no room for it; nothing may be appended any more, because a part of it may be there.
        """
        assert self._file is not None, "the journal is not open"
        self._is_synced = False
        line = self._encoder.encode(entry) + b"\n"
        num_bytes = len(line)
        try:
            while (written := os.write(self._file, line)) < len(line):
                line = line[written:]
        except OSError:
            self.is_broken = True
            raise
        self.num_bytes += num_bytes
        self.num_appended += 1
        self.last_at_s = entry.at_s
        if self.first_at_s is None:
            self.first_at_s = entry.at_s

    def sync(self) -> None:
        """Block until the disk has all that was appended; cheap if nothing was.

        Raises:
            OSError: the disk does not take it.
        """
        assert self._file is not None, "the journal is not open"
        if self._durable and not self._is_synced:
            try:
                os.fdatasync(self._file)
            except OSError:
                self.is_broken = True
                raise
            self._is_synced = True


def sync_journal(run_dir: Path) -> None:
    """Block until the disk has all that was appended so far; for another thread than the journal's own.

    Raises:
        OSError: the disk does not take it. The journal's own `sync` will say so too.
    """
    file = os.open(run_dir / JOURNAL_FILE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


def read_journal(run_dir: Path, start: int = 0) -> Iterator[Entry]:
    """The entries in order, but for what a crash of the machine left at the end.

    Args:
        run_dir: of a study.
        start: from this byte on, where an entry begins.

    Raises:
        ConfigurationError: there is no journal, or a line in the middle is damaged.
    """
    path = run_dir / JOURNAL_FILE
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): give the directory of a study") from None
    try:
        end, at = _sound_end(file), start
        while at < end:
            chunk = os.pread(file, min(_CHUNK_BYTES, end - at), at)
            while chunk and not chunk.endswith(b"\n") and at + len(chunk) < end:
                rest = os.pread(file, min(_CHUNK_BYTES, end - at - len(chunk)), at + len(chunk))
                found = rest.find(b"\n") + 1
                chunk += rest[: found or len(rest)]
            yield from _decode(chunk, path, at)
            at += len(chunk)
    finally:
        os.close(file)


def _decode(lines: bytes, path: Path, at: int) -> list[Entry]:
    try:
        return _DECODER.decode_lines(lines)
    except UNDECODABLE:
        for number, line in enumerate(lines.splitlines(), start=1 + _num_lines(path, at)):
            try:
                _DECODER.decode(line)
            except UNDECODABLE as error:
                raise ConfigurationError(
                    f"{path}, line {number}, is damaged, or of another release of melissa-like: {error}. Put the file "
                    "back from a copy, or install the release that versions.json names"
                ) from None
        raise


def _num_lines(path: Path, end: int) -> int:
    """Lines of a file before a byte."""
    number = 0
    with path.open("rb") as file:
        while (left := end - file.tell()) > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
            number += chunk.count(b"\n")
    return number


def _sound_end(file: int) -> int:
    """Where the last sound line of a journal ends; looked for from the end."""
    size, reach = os.fstat(file).st_size, 2**16
    while True:
        start = max(0, size - reach)
        tail = os.pread(file, size - start, start)
        end = tail.rfind(b"\n")
        while end >= 0:
            begin = tail.rfind(b"\n", 0, end)
            if (begin >= 0 or start == 0) and _is_sound(tail[begin + 1 : end]):
                return start + end + 1
            end = begin
        if start == 0:
            return 0
        reach *= 4


def _is_sound(line: bytes) -> bool:
    try:
        _DECODER.decode(line)
    except UNDECODABLE:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """A file that is new in a folder survives a crash of the machine only with it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
