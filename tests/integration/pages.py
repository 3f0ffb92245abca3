"""Plays a page of the documentation as a newcomer would: from an empty folder, block by block.

A block is a file if the line above it ends with the file's name. Another `bash` block is run line by line; a line with
the comment `# fails` must fail. A block without a language is what the command above it says, up to its numbers.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"(?P<above>[^\n]*)\n+(?:<!--[^\n]*-->\n+)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)
_FILE = re.compile(r"`([\w./]+)`:$")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_LONGEST_S = 100.0


@dataclass(frozen=True)
class Block:
    """A block of a page; `file` is empty if it is none."""

    language: str
    file: str
    text: str


def sections(page: str) -> dict[str, list[Block]]:
    """The blocks of a page by the titles of its sections."""
    found = {}
    for part in page.split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        found[title] = [
            Block(match["language"], (_FILE.findall(match["above"]) or [""])[-1], match["text"])
            for match in _BLOCK.finditer(text)
        ]
    return {title: blocks for title, blocks in found.items() if blocks}


def play(
    page: str, title: str, folder: Path, *, longest_s: float = _LONGEST_S, variables: Mapping[str, str] | None = None
) -> None:
    """Do what one section says; the files of those before it are there, their commands were not run.

    Args:
        longest_s: that a line may take.
        variables: of the environment, that the page wants to be set.
    """
    said = ""
    for name, blocks in sections(page).items():
        for block in blocks:
            if block.file:
                _write(folder, block)
            elif name == title and block.language == "bash":
                said = _run(block, folder, longest_s, variables or {})
            elif name == title and block.language == "":
                _compare(block.text, said)
        if name == title:
            return
    raise AssertionError(f"the page has no section {title!r} with a block")


def _write(folder: Path, block: Block) -> None:
    path = folder / block.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)


def _run(block: Block, folder: Path, longest_s: float, variables: Mapping[str, str]) -> str:
    """The output of the last line of a block that says anything."""
    said = ""
    for line in block.text.splitlines():
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=folder,
            env={**environment(folder), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=longest_s,
            check=False,
        )
        assert (done.returncode != 0) == line.endswith("# fails"), f"{line}: {done.returncode}\n{done.stdout}"
        assert "Traceback" not in done.stdout
        said = done.stdout or said
    return said


def environment(folder: Path) -> dict[str, str]:
    """As after `. .venv/bin/activate`, with nothing of the repository on the path; `module` loads nothing here."""
    programs = folder / ".programs"
    programs.mkdir(exist_ok=True)
    for name, script in (
        ("melissa-like", f'exec "{sys.executable}" -P -m melissa_like.launcher "$@"'),
        ("module", "exit 0"),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    temporary = folder / ".temporary"
    temporary.mkdir(exist_ok=True)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PATH": path, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}


def _compare(shown: str, said: str) -> None:
    """Every line of the page is a line of the output; three dots stand for anything."""
    lines = list(_plain(said))
    for line in _plain(shown):
        pattern = re.escape(line).replace(re.escape("..."), ".*")
        assert any(re.fullmatch(pattern, other) for other in lines), f"the page shows\n{line}\nbut it was\n{said}"


def _plain(text: str) -> Iterator[str]:
    """Lines without their numbers, rules and runs of blanks."""
    for line in text.splitlines():
        plain = re.sub(r"[\s─━┏┳┓┡╇┩└┴┘]+", " ", _NUMBER.sub("#", line)).strip()
        if plain:
            yield plain
