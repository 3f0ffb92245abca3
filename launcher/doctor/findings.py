"""What a check gives, and how it reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Verdict", "bad", "good", "is_well", "skipped", "text_of"]


class Verdict(StrEnum):
    """Of one check; the value is the mark in front of it."""

    GOOD = "✓"
    SKIPPED = "–"
    BAD = "✗"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check has found.

    Attributes:
        check: what was looked at, in a few words.
        told: what was seen; of a check that was skipped, why.
        advice: what to do about it; only if it is bad.
    """

    check: str
    verdict: Verdict
    told: str
    advice: str = ""


def good(check: str, told: str) -> Finding:
    """All is well."""
    return Finding(check=check, verdict=Verdict.GOOD, told=told)


def skipped(check: str, why: str) -> Finding:
    """It does not apply, or could not be looked at because of something that is told elsewhere."""
    return Finding(check=check, verdict=Verdict.SKIPPED, told=why)


def bad(check: str, told: str, advice: str) -> Finding:
    """A study would fail by it, or go slowly."""
    return Finding(check=check, verdict=Verdict.BAD, told=told, advice=advice)


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is bad."""
    return all(finding.verdict is not Verdict.BAD for finding in findings)


def text_of(finding: Finding) -> str:
    """For people: a line, and below it what to do."""
    first = f"{finding.verdict} {finding.check}: {finding.told}".replace("\n", "\n    ")
    return f"{first}\n  → {finding.advice}\n" if finding.advice else f"{first}\n"
