"""`python -m tests.benchmarks NAME [NAME ...]`; without a name, which there are."""

import sys
from importlib import import_module
from pathlib import Path

_NOT_BENCHMARKS = {"__init__", "__main__", "measure", "streams"}


def main() -> int:
    """Run the named benchmarks one after another."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_BENCHMARKS)
    names = sys.argv[1:]
    unknown = [name for name in names if name not in known]
    if not names or unknown:
        sys.stderr.write(f"usage: python -m tests.benchmarks NAME ...\nwhere NAME is one of: {', '.join(known)}\n")
        return 2
    for name in names:
        import_module(f"tests.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
