"""The start of a gang by schedulers that start a program on one place at a time."""

import shlex
from collections.abc import Iterable, Sequence

__all__ = ["start_each"]


def start_each(commands: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Lines of bash that start all commands at once, wait for all, and end all if one fails: its rank was lost.

    Args:
        commands: each starts one process; a word such as "$host" is left to the shell.
    """
    return (
        *(f"{' '.join(_quoted(word) for word in command)} &" for command in commands),
        "for _ in $(jobs -p); do wait -n || { kill $(jobs -p); wait; exit 1; }; done",
    )


def _quoted(word: str) -> str:
    return f'"{word}"' if word.startswith("$") else shlex.quote(word)
