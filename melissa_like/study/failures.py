"""The policy of failures: what is tried again, what is given up, and when a study has failed.

A study in which every simulation fails must end after a few of them, whatever its size; one in which some fail must
not, even if these come first or fail quickly. So given-up simulations count while none completes and no attempt lives
longer than those that failed, and it takes as many in a row as chance does not bring together.
"""

import math
from typing import Self

import msgspec

from melissa_like.study.ledger import Ledger
from melissa_like.study.settings import StudySettings

__all__ = ["FailurePolicy", "FailuresSnapshot"]

#: In how many studies, of all, chance alone may look like a solver that always fails.
_MISTAKEN = 1e-3
#: What the machine loses counts so much less than what fails by itself: a node that comes back may fail again.
_LOSSES_PER_FAILURE = 10


class FailuresSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a `FailurePolicy` has counted."""

    failed_starts: int
    lost_starts: int
    fruitless_attempts: int
    given_up_in_a_row: int
    longest_life_s: float
    anything_delivered: bool


class FailurePolicy:
    """Counts failures and says when they are too many.

    Attributes:
        anything_delivered: whether the study has had its first sample.
    """

    def __init__(self, settings: StudySettings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._failed_starts = 0
        self._lost_starts = 0
        self._fruitless_attempts = 0
        self._given_up_in_a_row = 0
        self._longest_life_s = 0.0  # of the attempts that failed since a simulation completed
        self.anything_delivered = False

    def snapshot(self) -> FailuresSnapshot:
        """All that was counted."""
        return FailuresSnapshot(
            failed_starts=self._failed_starts,
            lost_starts=self._lost_starts,
            fruitless_attempts=self._fruitless_attempts,
            given_up_in_a_row=self._given_up_in_a_row,
            longest_life_s=self._longest_life_s,
            anything_delivered=self.anything_delivered,
        )

    @classmethod
    def from_snapshot(cls, kept: FailuresSnapshot, settings: StudySettings, ledger: Ledger) -> Self:
        """The policy of which a snapshot was taken, with the present settings of its study, and its ledger."""
        made = cls(settings, ledger)
        made._failed_starts, made._lost_starts = kept.failed_starts, kept.lost_starts
        made._fruitless_attempts = kept.fruitless_attempts
        made._given_up_in_a_row = kept.given_up_in_a_row
        made._longest_life_s = kept.longest_life_s
        made.anything_delivered = kept.anything_delivered
        return made

    def start_succeeded(self) -> None:
        """A job was given a simulation."""
        self._failed_starts = self._lost_starts = 0

    def start_failed(
        self, what: str, detail: str, *, retry: bool | None = None, by_machine: bool = False
    ) -> str | None:
        """A job ended before it was given a simulation; why the study fails, if it does.

        Args:
            what: which job, and how it ended.
            detail: the last lines of its log.
            retry: False: another try makes no sense.
            by_machine: it was lost with its node, say.
        """
        self._lost_starts += by_machine
        if by_machine and self._lost_starts < _LOSSES_PER_FAILURE * self._settings.max_failed_starts:
            return None
        self._failed_starts += 1
        quoted = f"\n{detail}" if detail else ""
        if retry is False:
            return f"the scheduler refuses the solver's jobs: {what}{quoted}"
        if self._failed_starts < self._settings.max_failed_starts:
            return None
        if self._failed_starts == 1:
            return f"the solver does not start: {what}{quoted}"
        return (
            f"{self._failed_starts} solver jobs in a row ended before they were given a simulation "
            f"(launcher.max_failed_starts); the last one: {what}{quoted}"
        )

    def attempt_failed(self, lived_s: float) -> None:
        """An execution of a simulation has failed, so many seconds after its start."""
        self._fruitless_attempts += not self.anything_delivered
        self._longest_life_s = max(self._longest_life_s, lived_s)

    def simulation_completed(self) -> None:
        """The solver works, for one simulation at least."""
        self._given_up_in_a_row, self._longest_life_s = 0, 0.0

    def may_try_again(self, simulation: int) -> bool:
        """Whether a simulation whose attempt has failed is run once more."""
        return self._ledger.failures_of(simulation) < self._settings.max_attempts

    def may_be_lost_again(self, simulation: int) -> bool:
        """Whether an attempt that the machine has lost is no failure of its simulation; it is one when all are lost."""
        return self._ledger.losses_of(simulation) < _LOSSES_PER_FAILURE * self._settings.max_attempts

    def gave_up(self, simulation: int, detail: str, now: float) -> str | None:
        """A simulation was given up; why the study fails, if it does."""
        ledger, settings = self._ledger, self._settings
        self._given_up_in_a_row += 1
        quoted = f"\n{detail}" if detail else ""
        total = max(len(ledger), settings.num_simulations + settings.num_validation_simulations)
        allowed = settings.max_failed_fraction * total
        if total == 1:
            return f"its only simulation failed: {ledger.story_of(simulation)}{quoted}"
        if ledger.num_given_up > allowed:
            return (
                f"{ledger.num_given_up} of {total} simulations failed {settings.max_attempts} times, "
                f"launcher.max_failed_fraction allows {allowed:g}; the last one, simulation {simulation}: "
                f"{ledger.story_of(simulation)}{quoted}"
            )
        # max_failed_fraction of many simulations takes many jobs, where the solver has only ever failed. But only once
        # a simulation has used up its attempts: the first jobs of several may well be killed together. And where a
        # single attempt is allowed, the first simulation alone must not decide about all.
        enough = max(settings.max_attempts, settings.max_failed_starts)
        if not self.anything_delivered and self._fruitless_attempts >= enough:
            return (
                f"the first {self._fruitless_attempts} attempts failed before a single sample of the study was "
                f"delivered, all {settings.max_attempts} of simulation {simulation} among them: "
                f"{ledger.story_of(simulation)}{quoted}"
            )
        if self._given_up_in_a_row >= self._too_many_in_a_row() and not self._any_survives(now):
            return (
                f"{self._given_up_in_a_row} simulations in a row failed {settings.max_attempts} times, and none "
                "completed: the solver seems to fail always. If up to that many may fail one after another, raise "
                f"launcher.max_failed_fraction ({settings.max_failed_fraction:g}); the last one, simulation "
                f"{simulation}: {ledger.story_of(simulation)}{quoted}"
            )
        return None

    def _too_many_in_a_row(self) -> float:
        """How many in a row chance does not bring together where the allowed fraction fails, at random."""
        fraction = self._settings.max_failed_fraction
        if not 0 < fraction < 1:  # nothing, or everything, may fail
            return math.inf
        chances = 1 + self._ledger.num_complete  # each completed one may begin another row
        return math.ceil(math.log(_MISTAKEN / chances) / math.log(fraction) - 1e-9)

    def _any_survives(self, now: float) -> bool:
        """Whether an attempt has sent everything, or has lived longer than those that failed."""
        return any(
            attempt.parts_sent is not None or now - attempt.started_at > self._longest_life_s
            for attempt in self._ledger.in_progress.values()
        )
