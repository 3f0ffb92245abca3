"""What a program has on the disk, and what of it nobody has sent yet: from measurements, without a clock or a file."""

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Pending", "sizes_in"]


class Pending:
    """Bytes that a program has written and that were not sent, as far as this can be seen from outside.

    A reader that waits has sent all that it found when it looked last. So what has grown since then is pending, and no
    file need be known to anybody.

    Args:
        sizes: of the files that were there before the program began.

    Attributes:
        peak_bytes: the most that was there at once.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sent = self._seen = self._last = dict(sizes)
        self.peak_bytes = sum(sizes.values())

    @property
    def num_bytes(self) -> int:
        """Pending, as measured last."""
        sent = self._sent
        return sum(max(0, size - sent.get(name, 0)) for name, size in self._last.items())

    @property
    def total_bytes(self) -> int:
        """On the disk, as measured last."""
        return sum(self._last.values())

    @property
    def num_files(self) -> int:
        """On the disk, as measured last."""
        return len(self._last)

    def measure(self, sizes: Mapping[str, int]) -> None:
        """Take the present sizes of all files, by name."""
        self._last = dict(sizes)
        self.peak_bytes = max(self.peak_bytes, self.total_bytes)

    def look(self) -> None:
        """The reader looks now, at what was measured last or at more."""
        self._seen = self._last

    def waits(self) -> None:
        """The reader waits again: what it saw is sent."""
        self._sent = self._seen


def sizes_in(folder: Path) -> dict[str, int]:
    """Bytes of each file in a folder and below; what goes meanwhile is not there.

    Raises:
        OSError: the folder cannot be read.
    """
    sizes: dict[str, int] = {}
    folders = [os.fspath(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            sizes[entry.path] = entry.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue
        except (FileNotFoundError, NotADirectoryError):
            continue
    return sizes
