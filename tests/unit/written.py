"""A program that writes its files piece by piece, one piece between two looks of a reader."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from melissa_like.client.following import Found, ScriptedRun

__all__ = ["bytes_of", "counted", "read", "renames", "writes"]

Act = Callable[[], str | None]


def bytes_of(write: Callable[[BinaryIO], object]) -> bytes:
    """What a function writes into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def writes(path: Path, content: bytes, pieces: int = 2) -> list[Act]:
    """Acts that together write a file."""
    ends = [len(content) * n // pieces for n in range(pieces + 1)]
    return [partial(_append, path, content[first:end]) for first, end in pairwise(ends)]


def renames(path: Path, content: bytes, pieces: int = 2) -> list[Act]:
    """The same under another name, and then the file has its own."""
    beside = path.with_name(path.name + ".part")
    return [*writes(beside, content, pieces), partial(_rename, beside, path)]


def counted(act: Act, done: list[int]) -> Act:
    """The same act, which adds to a list that it was done."""

    def do() -> str | None:
        printed = act()
        done.append(1)
        return printed

    return do


def read(reader: Callable[[Any], Iterator[Any]], folder: Path, *acts: Any, **options: Any) -> list[Found]:
    """All that a reader finds in a scripted run."""
    return [*reader(ScriptedRun(folder, *acts, **options))]


def _rename(path: Path, target: Path) -> None:
    path.rename(target)


def _append(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(content)
