"""`melissa-like status`: one screen about a study or a sweep."""

import sys
from collections.abc import Sequence
from pathlib import Path

from melissa_like.errors import ConfigurationError

__all__ = ["status"]


def status(arguments: Sequence[str]) -> int:
    """The command, with what follows its name; gives its exit code."""
    from melissa_like.launcher.summary import print_status
    from melissa_like.launcher.sweep_file import SWEEP_FILE
    from melissa_like.launcher.sweep_status import print_sweep_status

    if len(arguments) != 1:
        sys.stderr.write("usage: melissa-like status RUN_DIR\n")
        return 2
    folder = Path(arguments[0])
    try:
        if (folder / SWEEP_FILE).exists():
            print_sweep_status(folder)
        else:
            print_status(folder)
    except ConfigurationError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        return 2
    return 0
