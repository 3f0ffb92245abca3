"""A binary file that a program still writes: its bytes, step by step."""

from pathlib import Path

from melissa_like.client.readers.folder import wrong_file
from melissa_like.client.readers.records import Records

__all__ = ["GrowingBytes"]

_LEAST_BYTES = 2**20


class GrowingBytes:
    """Reads a file forwards, what is in its records if it has some.

    Args:
        path: of the file.
        header_bytes: that are passed over at its beginning.
        records: how its records are written; None: it has none.
    """

    def __init__(self, path: Path, *, header_bytes: int, records: Records | None) -> None:
        self._path = path
        self._position = header_bytes
        self._records = records
        self._content = bytearray()
        self._num_unfinished = 0

    def take(self, num_bytes: int, *, ended: bool) -> bytes | None:
        """The next bytes, if they are there and something stands behind them, or nothing will.

        Raises:
            SolverError: the file cannot be read, or its records contradict themselves.
        """
        needed = num_bytes if ended else num_bytes + 1
        while len(self._content) < needed and self._read(num_bytes, ended=ended):
            pass
        if len(self._content) < needed:
            return None
        taken = bytes(self._content[:num_bytes])
        del self._content[:num_bytes]
        return taken

    @property
    def num_left(self) -> int:
        """Bytes that are there and were not taken."""
        return len(self._content) + self._num_unfinished

    def _read(self, num_bytes: int, *, ended: bool) -> bool:
        """Read a piece of the file; False: there is no more of it, or not a whole record.

        What was read of a record that is not complete is read again: its beginning may change until it is.
        """
        limit = max(num_bytes, _LEAST_BYTES)
        while True:
            new = self._piece(limit)
            taken = len(new) if self._records is None else self._unpack(self._records, new, ended=ended)
            if self._records is None:
                self._content += new
            self._position += taken
            self._num_unfinished = len(new) - taken
            if taken or len(new) < limit:
                return taken > 0
            limit *= 2

    def _piece(self, limit: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                return file.read(limit)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise wrong_file(self._path, error) from error

    def _unpack(self, records: Records, new: bytes, *, ended: bool) -> int:
        taken = 0
        try:
            for piece, end in records.complete(memoryview(new), ended=ended):
                self._content += piece
                taken = end
        except ValueError as error:
            raise wrong_file(self._path, error) from error
        return taken
