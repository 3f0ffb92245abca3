"""What is said while the studies of a sweep run: which one begins, and the lines of several, one after another."""

import os
from contextlib import suppress
from typing import TextIO

from melissa_like.launcher.streams import LOST
from melissa_like.launcher.sweep_file import SweepRow

__all__ = ["PassedOn", "say", "swept_words"]

_MOST_BYTES = 65536


def swept_words(row: SweepRow) -> str:
    """What makes a study differ from the others."""
    return ", ".join(f"{key}={value}" for key, value in row.swept.items()) or "nothing is swept"


def say(to: TextIO, text: str) -> None:
    """Write, and go on without where nobody reads any more: a sweep does not end with its terminal.

    Its table is written at its end, and then the loss is told.
    """
    try:
        to.write(text)
        to.flush()
    except OSError as error:
        if error.errno not in LOST:
            raise


class PassedOn:
    """The lines of a process, each with a word in front; half a line waits for its end.

    Args:
        source: a pipe's descriptor.
        to: where the lines go.
        prefix: of each.
    """

    def __init__(self, source: int, to: TextIO, prefix: str) -> None:
        os.set_blocking(source, False)
        self.source = source
        self._to = to
        self._prefix = prefix
        self._rest = b""

    def read(self) -> bool:
        """Pass on all that waits; False if no more will come."""
        goes_on = True
        with suppress(BlockingIOError):
            while goes_on:
                said = os.read(self.source, _MOST_BYTES)
                goes_on = bool(said)
                *lines, self._rest = (self._rest + said).split(b"\n")
                self._write(lines)
        return goes_on

    def close(self) -> None:
        """Pass on a last line without an end."""
        if self._rest:
            self._write([self._rest])
            self._rest = b""

    def _write(self, lines: list[bytes]) -> None:
        say(self._to, "".join(f"{self._prefix}{line.decode(errors='replace')}\n" for line in lines))
