"""What the command `melissa-like` leaves with, besides 0, 1 for a failed study and 2 for one that was not run."""

__all__ = ["INTERRUPTED", "OUT_OF_TIME"]

#: As a shell says of a program that Ctrl-C has ended.
INTERRUPTED = 130
#: Try again (EX_TEMPFAIL of sysexits.h).
OUT_OF_TIME = 75
