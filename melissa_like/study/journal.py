"""The journal: one JSON line per event, written before the event is handled; replaying it gives the state."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from melissa_like.errors import ConfigurationError
from melissa_like.study.events import Event

__all__ = ["JOURNAL_FILE", "Entry", "Journal", "read_journal"]

JOURNAL_FILE = "journal.jsonl"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line.

    Attributes:
        at_s: seconds since 1970, by a clock that never goes back while a launcher runs: the `now` of
            `StudyState.handle`. It means the same on another host.
        event: what happened.
    """

    at_s: float
    event: Event


class Journal:
    """Appends entries; a line is complete or absent after a crash of the launcher.

    Attributes:
        folder: where it lies.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir
        self._path = run_dir / JOURNAL_FILE
        self._stream: BinaryIO | None = None
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> "Journal":
        self._stream = self._path.open("ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def append(self, entry: Entry) -> None:
        """Write one line in one system call."""
        assert self._stream is not None, "the journal is not open"
        self._stream.write(self._encoder.encode(entry) + b"\n")


def read_journal(run_dir: Path) -> Iterator[Entry]:
    """The entries in order; a torn last line, which a crash of the machine can leave, ends the iteration.

    Raises:
        ConfigurationError: there is no journal, or a line before the last is damaged.
    """
    path = run_dir / JOURNAL_FILE
    decoder = msgspec.json.Decoder(Entry)
    try:
        lines = path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): give the directory of a study") from None
    with lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                if not line.endswith(b"\n"):
                    return
                raise ConfigurationError(f"{path}, line {number}, is damaged: {error}") from None
