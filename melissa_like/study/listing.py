"""The list of simulations is open: it grows by what the sampler is asked for, a little ahead of the jobs.

A sampler that steers the study by what was trained on must be asked late; a job must not wait for it. So at most two
simulations per job wait at any time, and the held-out ones are listed first, so that validation can begin early.
"""

from typing import Self

import msgspec

from melissa_like.records import Purpose
from melissa_like.study.commands import AskParameters
from melissa_like.study.ledger import Ledger

__all__ = ["Listing", "ListingSnapshot"]

_ORDER = (Purpose.VALIDATION, Purpose.TRAINING)


class ListingSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a `Listing` knows."""

    asked_for: dict[Purpose, int]
    wanted: dict[Purpose, int]
    max_jobs: int
    asked: AskParameters | None


class Listing:
    """What has been asked of the sampler, and whether more will come.

    Args:
        ledger: that takes the simulations.
        wanted: simulations of each purpose.
        max_jobs: solver jobs alive at once.

    Attributes:
        max_jobs: solver jobs alive at once, at present.
        asked: the question that has no answer yet.
    """

    def __init__(self, ledger: Ledger, wanted: dict[Purpose, int], max_jobs: int) -> None:
        self._ledger = ledger
        self._asked_for = dict(wanted)
        self._wanted = dict(wanted)
        self.max_jobs = max_jobs
        self.asked: AskParameters | None = None

    def resume(self, wanted: dict[Purpose, int], max_jobs: int) -> None:
        """Another launcher goes on, and may want more; a list that the sampler closed stays closed if it does not."""
        changed = {purpose: num for purpose, num in wanted.items() if num != self._asked_for[purpose]}
        self._wanted |= changed
        self._asked_for |= changed
        self.max_jobs, self.asked = max_jobs, None

    def snapshot(self) -> ListingSnapshot:
        """All of it, as it is until anything is changed."""
        return ListingSnapshot(asked_for=self._asked_for, wanted=self._wanted, max_jobs=self.max_jobs, asked=self.asked)

    @classmethod
    def from_snapshot(cls, kept: ListingSnapshot, ledger: Ledger) -> Self:
        """The listing of which a snapshot was taken; the ledger takes the simulations."""
        made = cls(ledger, kept.wanted, kept.max_jobs)
        made._asked_for, made.asked = kept.asked_for, kept.asked
        return made

    def is_closed(self, purpose: Purpose) -> bool:
        """Whether no further simulation of a purpose will be listed."""
        return self._ledger.num_listed[purpose] >= self._wanted[purpose]

    @property
    def closed(self) -> bool:
        """Whether no further simulation will be listed."""
        return self.is_closed(Purpose.TRAINING) and self.is_closed(Purpose.VALIDATION)  # often asked: no loop

    def ask(self) -> AskParameters | None:
        """The next question to the sampler, if one is due."""
        num_waiting = len(self._ledger.waiting)
        if self.asked is not None or num_waiting > self.max_jobs or self.closed:
            return None
        for purpose in _ORDER:
            left = self._wanted[purpose] - self._ledger.num_listed[purpose]
            if left > 0:
                num = min(left, 2 * self.max_jobs - num_waiting)
                self.asked = AskParameters(purpose=purpose, first=len(self._ledger), num=num)
                return self.asked
        return None

    def fault_of(self, purpose: Purpose, parameters: tuple[tuple[float, ...], ...]) -> str | None:
        """Why an answer is none, or None for a sound one."""
        asked = self.asked
        if asked is None or asked.purpose is not purpose or len(parameters) > asked.num:
            return f"{len(parameters)} simulations were drawn for {purpose.name.lower()}, but {asked} was asked"
        return None

    def answer(self, purpose: Purpose, parameters: tuple[tuple[float, ...], ...]) -> None:
        """List what the sampler gave; fewer than were asked for close the list of that purpose."""
        assert self.asked is not None
        if len(parameters) < self.asked.num:
            self._wanted[purpose] = self._ledger.num_listed[purpose] + len(parameters)
        self._ledger.enlist(purpose, parameters)
        self.asked = None
