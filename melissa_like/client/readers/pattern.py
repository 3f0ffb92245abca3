"""Names with placeholders: which files a program writes, and what their names tell."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["Key", "Pattern", "Placed", "files_that_match", "natural_order"]

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
#: What each placeholder stands for.
_PLACEHOLDERS = {"step": r"[0-9]+", "time": _NUMBER, "order": r"[^/]+?", "field": r"[^/]+?", "rank": r"[0-9]+"}
_TOKEN = re.compile(r"\{([^{}]*)\}|(\*)|([^{}*]+)|[{}]")
#: Those that put files into an order, and the first of them that a pattern has does.
_ORDERING = ("step", "order", "time")

#: What steps are sorted by: a number each, or the pieces of a text, its numbers as numbers.
Key = tuple[tuple[int, float, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A name that matches, and what its placeholders say; None where the pattern has no such placeholder."""

    name: str
    key: Key
    step: int | None = None
    time: float | None = None
    field: str | None = None
    rank: int | None = None


class Pattern:
    """A path with placeholders, relative to the folder of the simulation.

    `{step}` stands for the number of the step, `{time}` for the physical time, `{order}` for any text by which the
    names are sorted (numbers in it as numbers: 9 before 10), `{field}` for a field's name in the program, `{rank}` for
    the number of a rank, and `*` for anything that tells nothing. None of them stands for a `/`.

    Raises:
        ValueError: an unknown placeholder, both `{step}` and `{order}`, or a path that leaves the folder.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        path = PurePosixPath(text)
        if not text or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{text!r} is no path inside the folder of the simulation: write it relative to that")
        self.placeholders = frozenset(_placeholders(text))
        if {"step", "order"} <= self.placeholders:
            raise ValueError(f"{text!r} has both {{step}} and {{order}}: the number of the step is the order")
        self._whole = re.compile(_regex(str(path)))
        #: Of the path: a plain name, or what an entry of the folder must match.
        self.segments: tuple[str | re.Pattern[str], ...] = tuple(
            re.compile(_regex(part)) if "*" in part or "{" in part else part for part in path.parts
        )

    @property
    def is_ordered(self) -> bool:
        """Whether the names tell the order of the steps; if not, there is one name per field and rank."""
        return not self.placeholders.isdisjoint(_ORDERING)

    def match(self, name: str) -> Placed | None:
        """What a name says, if it matches."""
        found = self._whole.fullmatch(name)
        if found is None:
            return None
        said = found.groupdict()
        return Placed(
            name=name,
            key=_key(said),
            step=int(said["step"]) if "step" in said else None,
            time=float(said["time"]) if "time" in said else None,
            field=said.get("field"),
            rank=int(said["rank"]) if "rank" in said else None,
        )


def files_that_match(folder: Path, pattern: Pattern) -> Iterator[Placed]:
    """The files in a folder whose paths match, in no order; only folders that may hold such files are listed."""
    for path in _paths(str(folder), "", pattern.segments):
        placed = pattern.match(path)
        if placed is not None:
            yield placed


def _paths(folder: str, prefix: str, segments: Sequence[str | re.Pattern[str]]) -> Iterator[str]:
    """Paths of files relative to `folder` whose segments match one by one."""
    segment, rest = segments[0], segments[1:]
    for name in _names(os.path.join(folder, prefix), segment, files=not rest):
        if rest:
            yield from _paths(folder, f"{prefix}{name}/", rest)
        else:
            yield f"{prefix}{name}"


def _names(folder: str, segment: str | re.Pattern[str], *, files: bool) -> Iterator[str]:
    """The entries of a folder that match: a look at each file of its own would cost far more than the list."""
    if isinstance(segment, str):
        if not files or os.path.isfile(os.path.join(folder, segment)):
            yield segment
        return
    try:
        with os.scandir(folder) as entries:
            yield from [e.name for e in entries if segment.fullmatch(e.name) and (not files or e.is_file())]
    except (FileNotFoundError, NotADirectoryError):  # not made yet, or removed by the program
        return


def _placeholders(text: str) -> Iterator[str]:
    for token in _TOKEN.finditer(text):
        name = token.group(1)
        if token.group() in ("{", "}") or (name is not None and name not in _PLACEHOLDERS):
            known = ", ".join(f"{{{known}}}" for known in _PLACEHOLDERS)
            raise ValueError(f"{text!r} has {token.group()!r}, which is no placeholder: there are {known} and *")
        if name is not None:
            yield name


def _regex(text: str) -> str:
    """A placeholder that stands there twice must be the same text twice."""
    seen: set[str] = set()
    parts = []
    for token in _TOKEN.finditer(text):
        name, star, plain = token.groups()
        if name in seen:
            parts.append(f"(?P={name})")
        elif name is not None:
            seen.add(name)
            parts.append(f"(?P<{name}>{_PLACEHOLDERS[name]})")
        else:
            parts.append("[^/]*" if star else re.escape(plain))
    return "".join(parts)


def _key(said: Mapping[str, str]) -> Key:
    if "step" in said:
        return ((0, int(said["step"]), ""),)
    if "order" in said:
        return natural_order(said["order"])
    return ((0, float(said["time"]), ""),) if "time" in said else ()


def natural_order(text: str) -> Key:
    """Numbers in a text count as numbers, and come before letters."""
    pieces = (piece for piece in re.split(r"([0-9]+)", text) if piece)
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)
