"""`python -m tests.benchmarks NAME [NAME ...]`; without a name, which there are. `NAME --help` where it has options."""

import inspect
import sys
from importlib import import_module
from itertools import takewhile
from pathlib import Path

_NOT_BENCHMARKS = {"__init__", "__main__", "clients", "measure", "paced", "producers", "streams"}


def main() -> int:
    """Run the named benchmarks one after another; options belong to the only one that is named."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_BENCHMARKS)
    names = list(takewhile(lambda word: not word.startswith("-"), sys.argv[1:]))
    options = sys.argv[1 + len(names) :]
    unknown = [name for name in names if name not in known]
    if not names or unknown or (options and len(names) > 1):
        sys.stderr.write(f"usage: python -m tests.benchmarks NAME ...\nwhere NAME is one of: {', '.join(known)}\n")
        return 2
    for name in names:
        run = import_module(f"tests.benchmarks.{name}").main
        if not options:
            run()
        elif "arguments" in inspect.signature(run).parameters:
            run(options)
        else:
            sys.stderr.write(f"{name} has no options: leave out {' '.join(options)}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
