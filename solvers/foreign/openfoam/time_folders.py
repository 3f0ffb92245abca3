"""Reads the time folders that OpenFOAM writes as text, while it runs."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from melissa_like.client.following import Found, Run

FIELD = re.compile(r"internalField\s+nonuniform\s+List<\w+>\s*(\d+)\s*\((.*?)\)\s*;", re.DOTALL)


def read(run: Run, *, fields: Mapping[str, str]) -> Iterator[Found]:
    """A time folder is complete when the next one is there, or the program has ended; that of time 0 is the input.

    Args:
        run: of the program.
        fields: the file of each field. Cells are in the order of one block, the first direction fastest.
    """
    num_sent, runs = 0, True
    while runs:
        runs = run.wait()
        times = sorted(
            (path for path in run.folder.glob("[0-9]*") if path.name != "0"), key=lambda path: float(path.name)
        )
        for folder in times[num_sent : -1 if runs else None]:
            arrays = {name: cells(folder / file, run.shapes[name]) for name, file in fields.items()}
            yield Found(num_sent, arrays, float(folder.name), [folder / file for file in fields.values()])
            num_sent += 1


def cells(file: Path, shape: tuple[int, ...]) -> Any:
    """The values of all cells as [components, rows, columns]; the third component of a plane flow is left out."""
    found = FIELD.search(file.read_text())
    if found is None:
        raise ValueError(f"{file} has no list of the values of all cells: write it as text (writeFormat ascii)")
    values = np.array(re.sub("[()]", " ", found[2]).split(), dtype=float).reshape(int(found[1]), -1)
    return values.T[: shape[0] if len(shape) == 3 else 1].reshape(shape)
