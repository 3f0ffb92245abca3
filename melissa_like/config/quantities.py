"""Amounts as people write them: bytes and durations."""

import re
from typing import Any

__all__ = ["bytes_in", "seconds_in"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def bytes_in(text: Any) -> int | None:
    """What a text such as '2 GiB' says; None if it says no number of bytes."""
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*([KMGT]i?)?B\s*", text) if isinstance(text, str) else None
    return None if match is None else int(float(match[1]) * _UNITS[match[2] or ""])


def seconds_in(given: Any) -> float | None:
    """What a number, or a text such as '1:30:00' or '1-12:00:00', says; None if it says no duration."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", given.strip()) if isinstance(given, str) else None
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 86400.0 * days + 3600 * hours + 60 * minutes + seconds
