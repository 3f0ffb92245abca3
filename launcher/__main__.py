"""The command `melissa-like`; `python -m melissa_like.launcher` is the same."""

import os
import sys

from melissa_like.extras import missing_package

__all__ = ["main"]


def main() -> None:
    """Entry of the console script; leaves with an exit code."""
    # Put in front by -m or by PYTHONPATH: a file of the user's must not hide what is imported from now on.
    here = os.getcwd()
    sys.path[:] = [*(entry for entry in sys.path if entry != here), *([here] if here in sys.path else [])]
    if sys.argv[1:2] == ["native"]:  # works where only the client is installed
        from melissa_like.client.native import native

        sys.exit(native(sys.argv[2:]))
    try:
        from melissa_like.launcher.cli import main as command
    except ModuleNotFoundError as error:
        told = missing_package(error, "the command melissa-like")
        if told is None:
            raise
        sys.stderr.write(f"melissa-like: {told}\n")
        sys.exit(2)
    command()


if __name__ == "__main__":
    main()
