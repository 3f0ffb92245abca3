"""All steps of an executor that have not ended, and what is done about them as news of them come."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

from melissa_like.launcher.executors.interface import JobSpec, JobState, JobUpdate, Role
from melissa_like.launcher.executors.local import LocalExecutor
from melissa_like.launcher.executors.logs import log_tail
from melissa_like.launcher.executors.srun import Srun
from melissa_like.launcher.executors.step_ends import end_of
from melissa_like.launcher.executors.step_life import Phase, Step
from melissa_like.launcher.executors.step_watch import Look, StepWatch, read_output
from melissa_like.launcher.executors.step_words import StepName, nodes_of_ranks, waiting
from melissa_like.launcher.executors.updates import Updates

__all__ = ["StepBoard"]

#: `srun`s that may wait for room at once: each is two processes of this host, and asks the controller again and again.
_MOST_WAITING = 16
_SOON_S, _LATER_S, _LATEST_S = 0.05, 0.2, 3.0
#: Slurm may not answer for so long, before the word of an `srun` that has ended is believed alone.
_SILENT_S = 120.0
_TOGETHER = ("sh", "-c", 'echo "rank $SLURM_PROCID on $SLURMD_NODENAME"')
#: An `srun` that has not made its step by then waits for room.
_STARTS_S = 1.0
#: How long server ranks wait for room that solver jobs have.
_YIELDS_S = 5.0
_NO_ROOM = "waits for room in the allocation"
_YIELDED = "was ended, because the server ranks found no room in the allocation"
_NOBODY_KNOWS = "ended; only the launcher that had started it knows how"


class StepBoard:
    """Knows which steps are held, started, active and ended; never blocks. Its user sees to it that calls come in turn.

    Args:
        sruns: how the steps of each role are started.
        updates: where changes of jobs are told.
        local: keeps the `srun`s.
        watch: asks Slurm.
        grace_s: between SIGTERM and SIGKILL.

    Attributes:
        steps: that have not ended, by name.
        strangers: names of steps of another executor that are to be killed.
    """

    def __init__(
        self,
        sruns: Mapping[Role, Srun],
        updates: Updates,
        local: LocalExecutor,
        watch: StepWatch,
        *,
        grace_s: float,
    ) -> None:
        self._sruns = sruns
        self._updates = updates
        self._local = local
        self._watch = watch
        self._grace_s = grace_s
        self.steps: dict[str, Step] = {}
        self.strangers: set[str] = set()
        self._delay_s = _LATER_S

    @property
    def is_clear(self) -> bool:
        """Whether nothing is left."""
        return not self.steps and not self.strangers

    def hold(self, specs: Sequence[JobSpec], study: str) -> dict[str, str]:
        """Take jobs that are to be started as soon as they may be, all together if there are several.

        Returns:
            The names of their steps, by job.
        """
        first = specs[0]
        gang = first.gang if len(specs) > 1 else ""
        names = {spec.name: self._hold(spec, study, gang=gang) for spec in specs}
        if gang:
            log = first.log.with_name(f"{gang}.log")
            question = replace(first, name=gang, log=log, num_processes=len(specs), program=_TOGETHER)
            self._hold(question, study, asks_for=gang)
        self._delay_s = _LATER_S
        return names

    def _hold(self, spec: JobSpec, study: str, *, gang: str = "", asks_for: str = "") -> str:
        name = str(StepName(study=study, mark=uuid.uuid4().hex, job=spec.name))
        self.steps[name] = Step(name=name, job=spec.name, spec=spec, gang=gang, asks_for=asks_for)
        return name

    def adopt(self, name: str, job: str, *, srun: str, is_listed: bool) -> None:
        """Take a step that was found, of whose job this executor tells from now on.

        Args:
            name: of the step.
            job: its job.
            srun: handle of its `srun`, if that is on this host.
            is_listed: Slurm lists it.
        """
        if name not in self.steps:
            self._updates.adopt(job)
            self.steps[name] = Step(name=name, job=job, phase=Phase.STARTED, srun=srun)
        if is_listed:
            self.steps[name].phase = Phase.ACTIVE

    def put_back_what_waits(self) -> None:
        """Solver jobs that wait for room would take that of the server ranks, for which they wait as well."""
        for step in self.steps.values():
            if step.phase is Phase.STARTED and step.words and step.srun and not step.is_server and not step.canceled:
                step.put_back = True
                self._local.cancel(step.srun)

    def cancel(self, step: Step) -> None:
        """Have a step end: its processes get SIGTERM, and what is left of them SIGKILL."""
        if step.canceled:
            return
        step.canceled = True
        step.kill_at = time.monotonic() + (0.0 if step.words else self._grace_s)
        self._delay_s = _SOON_S
        if step.phase is Phase.HELD:
            self._finish(step)

    def kill(self) -> None:
        """Everything gets SIGKILL now."""
        for step in self.steps.values():
            step.kill_at = 0.0

    def advance(self) -> None:
        """Take what is new, and do what follows."""
        for update in self._local.poll():
            if update.state.is_final and (step := self.steps.get(update.name)) is not None:
                self._hear_end(step, update)
        look = self._watch.take()
        if look is not None:
            self._delay_s = min(2 * self._delay_s, _LATEST_S)
            self._learn(look)
        now = time.monotonic()
        for step in self.steps.values():
            if step.kill_at is not None and now >= step.kill_at and step.srun:
                step.kill_at = None
                self._local.cancel(step.srun)
        self._make_room(now)
        self._start_held()
        self._ask()

    def _make_room(self, now: float) -> None:
        """Server ranks that are started again may find their place taken; no solver can go on without them."""
        if any(step.is_server and step.words and now - step.started_at > _YIELDS_S for step in self.steps.values()):
            for step in tuple(self.steps.values()):
                if step.phase is Phase.ACTIVE and not step.is_server and not step.canceled:
                    step.yields = True
                    self.cancel(step)

    # -- to `srun` ----------------------------------------------------------------------------------------------------

    def _start_held(self) -> None:
        """Hand to `srun` what may start now: server ranks first."""
        servers_wait = any(step.is_server and step.phase is not Phase.ACTIVE for step in self.steps.values())
        room = _MOST_WAITING - sum(step.phase is Phase.STARTED for step in self.steps.values())
        for step in tuple(self.steps.values()):
            if step.phase is not Phase.HELD or step.gang or (not step.is_server and (servers_wait or room <= 0)):
                continue
            room -= 1
            self._start(step)

    def _start(self, step: Step) -> None:
        spec, name = step.spec, StepName.parse(step.name)
        assert spec is not None, "what was found is not held"
        assert name is not None, "its name was made here"
        srun = self._sruns[spec.role]
        if step.asks_for:
            command = srun.command_together(spec.num_processes, spec.program, name=step.name)
        else:
            command = srun.command(spec, name=step.name, node=step.node)
        environment = {**srun.site.environment, **spec.environment}
        step.phase, step.words, step.started_at = Phase.STARTED, "", time.monotonic()
        step.log_begin = spec.log.stat().st_size if spec.log.exists() else 0
        started = replace(spec, name=step.name, command=command, environment=environment)
        step.srun = self._local.submit([started], name.study).get(step.name, "")

    # -- what becomes of them -----------------------------------------------------------------------------------------

    def _hear_end(self, step: Step, update: JobUpdate) -> None:
        """Its `srun` has ended, or could not be started."""
        step.srun = ""
        if update.retry is not None:
            self._refuse(step, update.message.replace(step.name, step.job), retry=update.retry)
        elif step.put_back and not step.canceled:
            step.phase, step.put_back = Phase.HELD, False
        else:
            step.ended, step.ended_at, step.gone_from = update, time.monotonic(), self._watch.next_number
            self._delay_s = _SOON_S
            if update.exit_code == 0:
                self._finish(step)

    def _learn(self, look: Look) -> None:
        now = time.monotonic()
        for step in tuple(self.steps.values()):
            listed = None if look.steps is None else look.steps.get(step.name)
            if look.steps is None:
                if step.ended is not None and now - step.ended_at > _SILENT_S:
                    self._finish(step)
            elif listed is not None:
                self._see(step, listed, now)
            elif look.number >= step.gone_from and step.phase is not Phase.HELD and not step.srun:
                self._finish(step)
            if step.phase is Phase.STARTED and look.steps is not None:
                self._say_why(step, waiting(look.outputs.get(step.name, "")), now)
        if look.steps is not None:
            for name in self.strangers & look.steps.keys():
                self._watch.signal(look.steps[name], "KILL")
            self.strangers.clear()

    def _say_why(self, step: Step, words: str, now: float) -> None:
        """It is not there yet: in the words of `srun`, which says nothing at all for up to a minute."""
        words = words or step.words or (_NO_ROOM if now - step.started_at > _STARTS_S else "")
        if words != step.words:
            step.words = words
            self._tell(step, JobState.QUEUED, words)

    def _see(self, step: Step, listed: str, now: float) -> None:
        """Slurm lists it."""
        if step.phase is Phase.STARTED:
            step.phase, step.words = Phase.ACTIVE, ""
            self._tell(step, JobState.ACTIVE)
        if step.ended is not None or (step.kill_at is not None and now >= step.kill_at):
            self._watch.signal(listed, "KILL")
        elif step.canceled and not step.signaled:
            step.signaled = True
            self._watch.signal(listed, "TERM")

    def _finish(self, step: Step) -> None:
        """Nothing of it is left."""
        del self.steps[step.name]
        first, last = ("", "") if step.log is None else (read_output(*step.log), log_tail(step.log[0]))
        was_active = step.phase is Phase.ACTIVE
        ended = step.ended or JobUpdate(name=step.name, state=JobState.FAILED, message=_NOBODY_KNOWS)
        final = end_of(
            step.job, ended, canceled=step.canceled, was_active=was_active, first_words=first, last_words=last
        )
        if step.yields:
            final = JobUpdate(name=step.job, state=JobState.FAILED, message=_YIELDED, by_machine=True)
        if step.asks_for:
            self._judge_room(step.asks_for, final, first)
        else:
            if not was_active and not step.canceled and final.retry is None:
                self._updates.announce(step.job, JobState.ACTIVE)
            self._updates.add(final)
        if step.gang and not self._members(step.gang):  # canceled before it could start
            for question in [one for one in self.steps.values() if one.asks_for == step.gang]:
                self.cancel(question)

    def _judge_room(self, gang: str, final: JobUpdate, output: str) -> None:
        """It is known whether there is room for a gang, and where."""
        members = self._members(gang)
        nodes = nodes_of_ranks(output, len(members)) if final.state is JobState.COMPLETED else None
        for place, step in enumerate(members):
            if nodes is not None:
                step.gang, step.node = "", nodes[place]
            else:
                self._refuse(step, final.message.replace(gang, step.job), retry=final.retry is not False)

    def _members(self, gang: str) -> list[Step]:
        return [step for step in self.steps.values() if step.gang == gang]

    def _refuse(self, step: Step, reason: str, *, retry: bool) -> None:
        del self.steps[step.name]
        if step.asks_for:
            refused = JobUpdate(name=step.job, state=JobState.FAILED, message=reason, retry=retry)
            self._judge_room(step.asks_for, refused, "")
        else:
            self._updates.refuse(step.job, reason, retry=retry)

    def _tell(self, step: Step, state: JobState, words: str = "") -> None:
        """A change of a step; of the question for room only that it waits."""
        if not step.asks_for:
            self._updates.announce(step.job, state, message=words)
        elif state is JobState.QUEUED:
            for member in self._members(step.asks_for):
                self._updates.announce(member.job, state, message=words)

    def _ask(self) -> None:
        """Want a look, if only that can tell what comes next."""
        unsettled = [step for step in self.steps.values() if step.is_unsettled]
        if not unsettled and not self.strangers:
            return
        kill_in = [step.kill_at - time.monotonic() for step in unsettled if step.kill_at is not None]
        logs = {step.name: step.log for step in unsettled if step.phase is Phase.STARTED and step.log is not None}
        self._watch.ask(max(0.0, min(self._delay_s, *kill_in, _LATEST_S)), logs)
