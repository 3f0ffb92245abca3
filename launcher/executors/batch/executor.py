"""Jobs of a batch scheduler: the thin shell around a `Scheduler` and a `Tracker`."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from melissa_like.errors import DeadlineExceededError, SchedulerError
from melissa_like.launcher.executors.batch.conversation import Conversation
from melissa_like.launcher.executors.batch.folder import JobFolder, Made, new_key
from melissa_like.launcher.executors.batch.pace import Pace
from melissa_like.launcher.executors.batch.scheduler import Listed, Phase, Scheduler, Submission, read_tag
from melissa_like.launcher.executors.batch.site import site_settings
from melissa_like.launcher.executors.batch.tracker import Tracker
from melissa_like.launcher.executors.interface import FoundJob, JobSpec, JobUpdate, Role, Traits
from melissa_like.launcher.executors.logs import open_log
from melissa_like.launcher.executors.refusals import may_pass, refusal_of
from melissa_like.launcher.executors.updates import Updates

__all__ = ["BatchExecutor"]

_SCAN_S = 0.5
_URGENT_S = 1.0
_IDLE_S = 60.0
#: Beyond the time that `close` is given: the scheduler takes its own to end what runs.
_END_S = 60.0
#: How long `find` asks a scheduler that does not answer.
_FIND_S, _ASK_AGAIN_S = 60.0, 1.0


class BatchExecutor:
    """Submits jobs to a batch scheduler, and sees them end by its list and by their end records.

    Server ranks, which are a gang, are one batch job; solver jobs are one each, or an array where several are submitted
    at once. A job that its scheduler refuses only for now stays queued, and is submitted again. Jobs outlive the
    launcher: `find` lists those of a dead one, queued ones too.

    Args:
        on_change: see `Executor`.
        scheduler: its commands and formats.
        run_dir: that every node sees under the same path; what is submitted is written to `jobs` in it.
        server: settings of the site for server ranks, see `SiteSettings`.
        solver: the same for solver jobs.
        poll_interval_s: between two questions to the scheduler, each about all jobs. Ends of jobs are noticed earlier.
        command_timeout_s: for a command of the scheduler to answer.
        grace_s: between SIGTERM and SIGKILL, unless the scheduler is faster.
        log_limit_bytes: of a job's log; what a job prints beyond is left out between the beginning and the end.

    Raises:
        ConfigurationError: a setting of the site that the scheduler does not have, or that is none.
    """

    def __init__(
        self,
        *,
        on_change: Callable[[], None],
        scheduler: Scheduler,
        run_dir: str | Path,
        server: Mapping[str, Any] | None = None,
        solver: Mapping[str, Any] | None = None,
        poll_interval_s: float = 5.0,
        command_timeout_s: float = 20.0,
        grace_s: float = 5.0,
        log_limit_bytes: int = 16 * 2**20,
    ) -> None:
        self._scheduler = scheduler
        self._sites = {
            role: site_settings(given, f"launcher.executor.{role}", accepts=scheduler.accepts, name=scheduler.name)
            for role, given in ((Role.SERVER, server), (Role.SOLVER, solver))
        }
        self._updates = Updates(on_change)
        self._folder = JobFolder(Path(os.path.abspath(run_dir)) / "jobs")
        self._changed = threading.Condition()  # guards the next four
        self._tracker = Tracker(scheduler.name)
        self._strangers: set[tuple[str, int]] = set()
        self._has_news = False
        self._closing = False
        self._conversation = Conversation(
            scheduler=scheduler,
            folder=self._folder,
            tracker=self._tracker,
            lock=self._changed,
            strangers=self._strangers,
            pace=Pace(poll_interval_s, _URGENT_S),
            command_timeout_s=command_timeout_s,
            grace_s=grace_s,
            log_limit_bytes=log_limit_bytes,
        )
        self._command_timeout_s = command_timeout_s
        self._grace_s = grace_s
        self._stopped = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Makes the folder of the jobs and starts the thread that talks to the scheduler.

        Raises:
            OSError: the folder cannot be made.
        """
        assert self._thread is None, "a BatchExecutor is opened once"
        self._folder.make()
        self._thread = threading.Thread(target=self._talk, name="batch-executor", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Closes with twice the grace as its deadline, and the minute that a scheduler may take."""
        self.close(2 * self._grace_s)

    @property
    def traits(self) -> Traits:
        """What the launcher has to know; it refuses to start where the scheduler's commands are not."""
        command, name = self._scheduler.submit(Path())[0], self._scheduler.name
        refusal = (
            f"there is no {command} here, by which jobs are submitted to {name}: start the study where the commands of "
            f"{name} are, as on a login node, or write their folder under launcher.executor.scheduler.commands"
        )
        return Traits(
            on_this_host=False,
            same_programs=not self._sites[Role.SOLVER].changes_programs,
            refusal="" if shutil.which(command) else refusal,
        )

    # -- the contract -------------------------------------------------------------------------------------------------

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        """Hands the jobs to the thread that submits them; see `Executor.submit`.

        What the scheduler says of them comes by `poll`, a refusal too: it may take its time. A handle names a place in
        a submission.
        """
        self._check_open("submit")
        for spec in specs:
            if not spec.command and not spec.program:
                raise ValueError(f"job {spec.name!r} has no command: a {self._scheduler.name} job is a process")
        self._updates.admit(specs)
        accepted = self._without_refused(specs)
        handles = {}
        with self._changed:
            for submission in self._submissions(accepted, study):
                self._tracker.submit(submission, time.monotonic())
                handles.update({spec.name: f"{submission.key}/{i}" for i, spec in enumerate(submission.specs)})
            self._wake()
        return handles

    def find(self, study: str) -> tuple[FoundJob, ...]:
        """The jobs of a study in the scheduler's list, by the tag that they carry; see `Executor.find`.

        Blocks until the scheduler has answered: what is not found is taken for gone.

        Raises:
            DeadlineExceededError: it has not answered for a minute.
        """
        self._check_open("find")
        entries = self._list_patiently()
        found: dict[str, list[Listed]] = {}
        for entry in entries:
            tag = read_tag(entry.tag)
            if tag is not None and tag[0] == quote(study, safe="") and entry.phase is not Phase.ENDED:
                found.setdefault(tag[1], []).append(entry)
        with self._changed:
            for key, listed in found.items():
                if not self._tracker.knows(key):
                    self._adopt(key, study, listed)
            self._wake()
            return tuple(
                FoundJob(name=job.name, handle=f"{batch.key}/{job.place}", state=job.state)
                for batch in self._tracker.batches.values()
                if batch.study == study
                for job in batch.jobs.values()
            )

    def poll(self) -> tuple[JobUpdate, ...]:
        """The changes since the last call; see `Executor.poll`.

        Raises:
            BaseException: what ended the thread, should that ever happen.
        """
        if self._failure is not None:
            raise self._failure
        return self._updates.take()

    def cancel(self, handle: str) -> None:
        """Has the thread cancel the job, and with a server rank its whole gang; see `Executor.cancel`."""
        key, _, place = handle.rpartition("/")
        if not key or not place.isdigit():
            return
        with self._changed:
            if not self._tracker.cancel(key, int(place)):
                self._strangers.add((key, int(place)))
            self._wake()

    def close(self, timeout_s: float) -> None:
        """Cancels everything and returns when nothing of it is left; see `Executor.close`.

        Args:
            timeout_s: the scheduler is given a minute more. Closing again does nothing.
        """
        if self._thread is None or self._stopped:
            return
        with self._changed:
            self._closing = True
            for batch in [*self._tracker.batches.values()]:
                for place in [*batch.jobs]:
                    self._tracker.cancel(batch.key, place)
            self._wake()
            self._changed.wait_for(self._is_over, timeout_s + _END_S)
            left = sorted(job.name for batch in self._tracker.batches.values() for job in batch.jobs.values())
            self._stopped = True
            self._wake()
        self._thread.join(self._command_timeout_s + _END_S)
        if self._failure is not None:
            raise self._failure
        if left:
            why = f" ({self._conversation.trouble})" if self._conversation.trouble else ""
            raise DeadlineExceededError(
                f"{self._scheduler.name} still has {', '.join(left)} {timeout_s + _END_S:g} s after they were "
                f"canceled{why}: look at its own list, and cancel them there"
            )

    def script(self, specs: Sequence[JobSpec], study: str = "STUDY") -> tuple[str, ...]:
        """The batch scripts by which these jobs would be submitted, one per batch job or array; nothing is written."""
        return tuple(
            self._scheduler.script(submission, self._folder.start_of(submission.key))
            for submission in self._submissions(specs, study)
        )

    # -- jobs become submissions --------------------------------------------------------------------------------------

    def _submissions(self, specs: Sequence[JobSpec], study: str) -> Iterator[Submission]:
        def alike(spec: JobSpec) -> tuple[str, str, int]:
            return (spec.gang, spec.role, spec.num_processes)

        for (gang, role, _), group in groupby(sorted(specs, key=alike), key=alike):
            wanted = tuple(group)
            most = len(wanted) if gang else self._scheduler.array_limit
            for first in range(0, len(wanted), most):
                some = wanted[first : first + most]
                key = new_key(some[0].name)
                output, site = self._folder.output_path(key), self._sites[Role(role)]
                array_from = 0 if len(some) > 1 and not gang else None
                yield Submission(key=key, study=study, specs=some, site=site, array_from=array_from, output=output)

    def _without_refused(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        """Those that can be submitted; the others, and with one of a gang all of it, are told as refused."""
        refused: dict[str, tuple[str, bool]] = {}
        for spec in specs:
            if (why := self._refusal_of(spec)) is not None:
                refused[spec.name] = why
        gangs = {spec.gang: refused[spec.name] for spec in specs if spec.gang and spec.name in refused}
        accepted = []
        for spec in specs:
            found = refused.get(spec.name) or gangs.get(spec.gang)
            if found is None:
                accepted.append(spec)
            else:
                self._updates.refuse(spec.name, found[0], retry=found[1])
        return accepted

    def _refusal_of(self, spec: JobSpec) -> tuple[str, bool] | None:
        """Why a job cannot work, as far as can be seen from here, and whether that may pass."""
        site = self._sites[spec.role]
        if not site.changes_programs and (why := refusal_of(spec)) is not None:
            return why, False
        try:
            open_log(spec.log).close()
        except OSError as error:
            return f"job {spec.name!r} cannot be submitted: {error}", may_pass(error)
        return None

    # -- jobs of another launcher -------------------------------------------------------------------------------------

    def _list_patiently(self) -> tuple[Listed, ...]:
        deadline = time.monotonic() + _FIND_S
        while True:
            try:
                return self._conversation.list_all()
            except SchedulerError as error:
                if time.monotonic() >= deadline:
                    raise DeadlineExceededError(
                        f"{self._scheduler.name} has not told for {_FIND_S:g} s which jobs it has ({error}), so those "
                        "of an earlier launcher may still run: try again when it answers"
                    ) from error
            with self._changed:
                self._changed.wait(_ASK_AGAIN_S)

    def _adopt(self, key: str, study: str, listed: Sequence[Listed]) -> None:
        made = self._folder.made(key) or Made(names=tuple(f"{key}.{entry.index or 0}" for entry in listed))
        indices = {entry.index or 0 for entry in listed}
        wanted = {
            place: name
            for place, name in enumerate(made.names)
            if (made.is_gang or place in indices) and not self._has_ended(f"{key}.{place}", made)
        }
        for name in wanted.values():
            self._updates.adopt(name)
        if wanted:
            self._tracker.adopt(key, study, wanted, listed, made)

    def _has_ended(self, end: str, made: Made) -> bool:
        record = self._folder.end_of(end)
        return record is not None and (made.is_alone or record.by_itself)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _check_open(self, what: str) -> None:
        if self._thread is None or self._closing:
            raise ValueError(f"{what} was called on an executor that is not open: call it within `with`")

    def _wake(self) -> None:
        self._has_news = True
        self._changed.notify_all()

    def _is_over(self) -> bool:
        return (not self._tracker.batches and not self._strangers) or self._failure is not None

    def _talk(self) -> None:
        """Body of the thread: rounds of the conversation until the executor is closed."""
        try:
            while not self._stopped:
                self._conversation.take_round(time.monotonic())
                self._publish()
                with self._changed:
                    idle = not self._tracker.batches and not self._strangers
                    self._changed.wait_for(lambda: self._has_news, _IDLE_S if idle else _SCAN_S)
                    self._has_news = False
            self._publish()  # what was canceled before it was submitted
        except BaseException as error:  # surfaces in the next `poll` or in `close`
            with self._changed:
                self._failure = error
                self._changed.notify_all()
            self._updates.wake()

    def _publish(self) -> None:
        with self._changed:
            updates, self._tracker.updates = self._tracker.updates, []
            told, self._tracker.told_ends = self._tracker.told_ends, []
            failed, self._tracker.failed = self._tracker.failed, {}
        for update in updates:
            said = (
                self._folder.last_words(*failed[update.name]) if update.state.is_final and update.name in failed else ""
            )
            self._updates.add(replace(update, message=f"{update.message}; {said}") if said else update)
        for name in told:
            with suppress(OSError):  # another launcher was faster, or it is read again to no effect
                self._folder.tell(name)
        with self._changed:
            self._changed.notify_all()
