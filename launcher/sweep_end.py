"""The end of a sweep: its table on the terminal, and its figure."""

import sys

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.sweep import Sweep
from melissa_like.launcher.sweep_table import draw_rows, print_rows

__all__ = ["close_sweep"]


def close_sweep(sweep: Sweep) -> int:
    """Write the table for the last time, draw the figure, print the table; 2 if it could not be written, else 0."""
    code = 0
    try:
        sweep.close()
        draw_rows(sweep.folder, sweep.rows)
    except ConfigurationError as error:
        sys.stderr.write(f"melissa-like: {error}\n")
        code = 2
    except (ImportError, OSError) as error:
        sys.stderr.write(f"melissa-like: the figure of the sweep could not be drawn ({error})\n")
    print_rows(sweep.rows)
    sys.stdout.write(f"written to: {sweep.folder}\n")
    return code
