"""The reference of all keys: `melissa-like run --help` prints it, configs/README.md holds it as tables.

`python -m melissa_like.config.reference --write` writes these anew; without `--write` it prints them.
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from melissa_like.config.keys import CONFIGS, Group, Key, choices_of, groups

__all__ = ["as_markdown", "as_text", "with_tables"]

_BEGIN, _END = "<!-- keys: written by python -m melissa_like.config.reference --write -->", "<!-- end of keys -->"
_WIDTH = 100


def as_text(wanted: str = "", folders: Sequence[Path] = ()) -> str:
    """The reference for a terminal.

    Args:
        wanted: one group; empty: all.
        folders: configuration folders of the user's, whose files are listed as choices.
    """
    lines: list[str] = []
    for group in groups():
        if wanted in ("", group.name):
            lines += [_heading(group, folders), *(line for key in group.keys for line in _text_of(key)), ""]
    return "\n".join(lines)


def as_markdown() -> str:
    """The reference as one table per group."""
    parts = []
    for group in groups():
        title = f"### {group.name}" if group.name else "### none"
        chosen = f" Default file: `{group.default}.yaml`." if group.default else ""
        rows = [
            f"| `{k.name}` | {_cell(k.meaning)} | {_code(k.default)} | {_cell(_limits_in_words(k))} |"
            for k in group.keys
        ]
        head = ["| key | meaning | default | allowed |", "|---|---|---|---|"]
        parts.append("\n".join([title, "", f"{group.summary}{chosen}", "", *head, *rows]))
    return "\n\n".join(parts)


def _limits_in_words(key: Key) -> str:
    return f"{key.allowed} ({key.unit})" if key.unit else key.allowed


def _heading(group: Group, folders: Sequence[Path]) -> str:
    if not group.name:
        return group.summary
    choices = ", ".join(choices_of(group.name, folders))
    return textwrap.fill(f"{group.name} = {choices} (default: {group.default}). {group.summary}", _WIDTH)


def _text_of(key: Key) -> Iterator[str]:
    default = f" = {key.default}" if key.default else ""
    yield textwrap.fill(f"{key.name}{default}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
    about = f"{key.meaning} [{_limits_in_words(key)}]"
    yield textwrap.fill(about.replace("`", ""), _WIDTH, initial_indent="      ", subsequent_indent="      ")


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else "must be given"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_tables(page: str) -> str:
    """A page whose tables are up to date: what lies between its two marks is replaced."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{as_markdown()}\n\n{_END}{after}"


def _main(arguments: Sequence[str]) -> None:
    if list(arguments) != ["--write"]:
        sys.stdout.write(as_markdown() + "\n")
        return
    page = CONFIGS / "README.md"
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1:])
