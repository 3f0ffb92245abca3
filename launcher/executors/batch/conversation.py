"""Everything that is said to a scheduler and heard of it, in rounds; one thread owns it."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from melissa_like.errors import SchedulerError
from melissa_like.launcher.executors.batch.calls import Call, run_command
from melissa_like.launcher.executors.batch.folder import EndRecord, JobFolder
from melissa_like.launcher.executors.batch.pace import Pace
from melissa_like.launcher.executors.batch.scheduler import Answer, Fate, Listed, Phase, Scheduler, Submission, read_tag
from melissa_like.launcher.executors.batch.tracker import Tracker
from melissa_like.launcher.executors.refusals import may_pass

__all__ = ["Conversation"]

#: So many jobs are canceled by one command: a command line has its limits.
_MOST_AT_ONCE = 200


class Conversation:
    """Submits, cancels, asks for the list, and reads end records; what it hears goes to the tracker.

    Args:
        tracker: read and changed with the lock only; no command runs while it is held.
        lock: that guards it, and the next one.
        strangers: key and place of jobs to be canceled that the tracker does not know.
        command_timeout_s: for any command of the scheduler.

    Attributes:
        trouble: why the scheduler did not answer last; empty if it did.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        folder: JobFolder,
        tracker: Tracker,
        lock: threading.Condition,
        strangers: set[tuple[str, int]],
        pace: Pace,
        command_timeout_s: float,
        grace_s: float,
        log_limit_bytes: int,
    ) -> None:
        self._scheduler = scheduler
        self._folder = folder
        self._tracker = tracker
        self._lock = lock
        self._strangers = strangers
        self._pace = pace
        self._command_timeout_s = command_timeout_s
        self._grace_s = grace_s
        self._log_limit_bytes = log_limit_bytes
        self.trouble = ""

    def take_round(self, now: float) -> None:
        """Say what is to be said, and listen."""
        with self._lock:
            submissions = self._tracker.due(now)
        for submission in submissions:
            self._submit(submission, now)
        with self._lock:
            doomed = self._tracker.to_cancel(now)
        self._cancel(doomed)
        self._listen(now)
        self._read_ends(now)

    def list_all(self, job_ids: Sequence[str] = ()) -> tuple[Listed, ...]:
        """Ask for the list; blocks until the scheduler has answered.

        Raises:
            SchedulerError: it has not.
        """
        called = self._ask(self._scheduler.poll(job_ids))
        return self._scheduler.read_listed(called.code, called.stdout, called.stderr)

    def _submit(self, submission: Submission, now: float) -> None:
        key = submission.key
        path = self._folder.script_path(submission)
        try:
            script = self._scheduler.script(submission, self._folder.start_of(key))
            self._folder.write(submission, script, grace_s=self._grace_s, log_limit_bytes=self._log_limit_bytes)
            called = run_command(self._scheduler.submit(path), self._command_timeout_s)
            answer = self._scheduler.read_submitted(called.code, called.stdout, called.stderr)
        except OSError as error:
            answer = Answer(fate=Fate.LATER if may_pass(error) else Fate.REFUSED, words=str(error))
        except SchedulerError as error:
            answer = Answer(fate=Fate.UNKNOWN, words=str(error))
        with self._lock:
            self._tracker.answer(submission, answer, now, script=str(path))

    def _cancel(self, jobs: Sequence[Listed]) -> None:
        waiting = iter(jobs)
        while some := tuple(islice(waiting, _MOST_AT_ONCE)):
            try:
                self._ask(self._scheduler.cancel(some))  # the list tells what came of it; else it is canceled again
            except SchedulerError as error:
                self.trouble = str(error)

    def _listen(self, now: float) -> None:
        with self._lock:
            job_ids = [batch.job_id for batch in self._tracker.batches.values() if batch.job_id]
            strangers = set(self._strangers)
            urgent = self._tracker.awaits_word or bool(strangers)
            wanted = bool(strangers or self._tracker.batches)
        if not wanted or not self._pace.is_due(now, urgent=urgent):
            return
        self._pace.ask(now)
        try:
            entries = self.list_all(() if strangers else job_ids)
        except SchedulerError as error:
            self.trouble = str(error)
            self._pace.hear(answered=False)
            return
        self.trouble = ""
        self._pace.hear(answered=True)
        with self._lock:
            self._tracker.take_listed(entries, now)
            self._strangers -= strangers
        self._cancel([entry for entry in entries if self._is_one_of(entry, strangers)])

    def _is_one_of(self, entry: Listed, strangers: set[tuple[str, int]]) -> bool:
        tag = read_tag(entry.tag)
        if tag is None or entry.phase is Phase.ENDED:
            return False
        places = {place for key, place in strangers if key == tag[1]}
        made = self._folder.made(tag[1]) if places else None
        return bool(places) and ((entry.index or 0) in places or (made is not None and made.is_gang))

    def _read_ends(self, now: float) -> None:
        records: dict[str, EndRecord] = {}
        with suppress(OSError):  # a file system that does not answer has no news; the list has
            records = self._folder.new_ends()
        with self._lock:
            missing = [name for name in self._tracker.missing_records() if name not in records]
        for name in missing:
            if (record := self._folder.end_of(name)) is not None:
                records[name] = record
        with self._lock:
            self._tracker.take_ends(records, now)
            self._tracker.settle(now)

    def _ask(self, command: Sequence[str]) -> Call:
        try:
            return run_command(command, self._command_timeout_s)
        except OSError as error:
            raise SchedulerError(f"{command[0]} cannot be run: {error}") from error
