"""A text file that a program still writes: its complete lines, each once."""

from pathlib import Path

from melissa_like.client.readers.folder import wrong_file

__all__ = ["GrowingText", "complete_lines"]


def complete_lines(begun: bytes, new: bytes, *, ended: bool) -> tuple[list[str], bytes]:
    """Lines without their ends, and the beginning of the next one.

    Args:
        begun: the beginning of a line that was given back before.
        new: what follows it.
        ended: nothing will follow, so that the last line is complete too.
    """
    *complete, rest = (begun + new).split(b"\n")
    if ended and rest:
        complete, rest = [*complete, rest], b""
    return [line.removesuffix(b"\r").decode(errors="replace") for line in complete], rest


class GrowingText:
    """Reads what was added to a file since it looked last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._begun = b""

    def lines(self, *, ended: bool) -> list[str]:
        """The complete lines that are new; none if there is no file yet.

        Raises:
            SolverError: the file cannot be read, or has become shorter.
        """
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._size:
                    raise wrong_file(self._path, f"it had {self._size} bytes and now has {size}: it is written anew")
                file.seek(self._size)
                new = file.read(size - self._size)
        except FileNotFoundError:
            new = b""
        except OSError as error:
            raise wrong_file(self._path, error) from error
        self._size += len(new)
        lines, self._begun = complete_lines(self._begun, new, ended=ended)
        return lines
