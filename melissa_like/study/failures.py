"""The policy of failures: what is tried again, what is given up, and when a study has failed."""

from melissa_like.study.ledger import Ledger
from melissa_like.study.settings import StudySettings

__all__ = ["FailurePolicy"]


class FailurePolicy:
    """Counts failures and says when they are too many.

    Attributes:
        anything_delivered: whether the study has had its first sample.
    """

    def __init__(self, settings: StudySettings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._failed_starts = 0
        self._fruitless_attempts = 0
        self.anything_delivered = False

    def start_succeeded(self) -> None:
        """A job was given a simulation."""
        self._failed_starts = 0

    def start_failed(self, what: str, detail: str, *, retry: bool | None = None) -> str | None:
        """A job ended before it was given a simulation; why the study fails, if it does.

        Args:
            what: which job, and how it ended.
            detail: the last lines of its log.
            retry: False: another try makes no sense.
        """
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

    def attempt_failed(self) -> None:
        """An execution of a simulation has failed."""
        self._fruitless_attempts += not self.anything_delivered

    def may_try_again(self, simulation: int) -> bool:
        """Whether a simulation whose attempt has failed is run once more."""
        return self._ledger.failures_of(simulation) < self._settings.max_attempts

    def gave_up(self, simulation: int, detail: str) -> str | None:
        """A simulation was given up; why the study fails, if it does."""
        ledger, settings = self._ledger, self._settings
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
        if self.anything_delivered or self._fruitless_attempts < enough:
            return None
        return (
            f"the first {self._fruitless_attempts} attempts failed before a single sample of the study was delivered, "
            f"all {settings.max_attempts} of simulation {simulation} among them: {ledger.story_of(simulation)}{quoted}"
        )
