"""Rules about solver jobs: they start, say hello, ask, say goodbye, fail, are held, and end."""

from melissa_like.protocol import control as say
from melissa_like.records import ClientRank, Window, num_samples
from melissa_like.study.attempts import Attempt
from melissa_like.study.books import Books
from melissa_like.study.commands import Tell
from melissa_like.study.events import JobEnded
from melissa_like.study.jobs import Job, JobPhase

__all__ = ["hear_client", "job_ended", "job_started", "let_go", "serve"]

_GIVEN_UP = "the study has given up this job"


def hear_client(books: Books, address: ClientRank, message: say.ControlMessage) -> None:
    """Take what a rank of a solver job said; of a job that has ended only its questions are answered."""
    job = books.jobs.alive.get(address.job)
    match message:  # the usual ones first
        case say.Request() if job is not None:
            _take_request(books, job)
        case say.Goodbye() if job is not None:
            _take_goodbye(books, job, message)
        case say.Blocked():
            _answer_blocked(books, address, job)
        case say.Hello(num_ranks=num_ranks):
            _greet(books, address, job, num_ranks)
        case say.Recomputes() if job is not None:
            attempt = books.attempt_at(job, message.simulation, message.attempt)
            if attempt is not None:
                attempt.progressed_at = books.now
        case say.Failure() if job is not None:
            _take_failure(books, job, message)


def job_started(books: Books, job: Job | None) -> None:
    """The scheduler runs a job."""
    if job is not None and job.phase is JobPhase.SUBMITTED:
        job.phase, job.since = JobPhase.STARTING, books.now
        books.clocks.start(books.now, books.settings.start_timeout_s)


def job_ended(books: Books, event: JobEnded) -> None:
    """No process of a job is left."""
    job = books.jobs.get(event.job)
    if job is None:
        return
    books.jobs.end(job)
    how = f"{job.name} ended ({event.message})"
    if job.phase is JobPhase.BUSY:
        attempt = books.attempt_at(job)
        if attempt is not None:
            # A simulation that had all the time of a job and did not end will not in the next one either.
            no_fault = event.by_machine or (event.out_of_time and job.had_others)
            books.fail_attempt(attempt, f"{how} before its goodbye", event.log_tail, by_machine=no_fault)
    elif job.was_useless:
        what = f"{how} before it was given a simulation"
        no_fault = event.by_machine or event.out_of_time
        books.fail_start(what, event.log_tail, retry=event.retry, by_machine=no_fault)


def _greet(books: Books, address: ClientRank, job: Job | None, num_ranks: int) -> None:
    if job is None or job.phase is JobPhase.ENDING:
        reason = f"{address.job} is not a living job of this study"
        books.want(Tell(address=address, message=say.Refused(reason=reason)))
    elif num_ranks != books.settings.num_ranks:
        books.end(
            "failed",
            f"{address.job} runs with an MPI world of {num_ranks} ranks but solver.num_ranks is "
            f"{books.settings.num_ranks}: the program was probably built with another MPI than the one that starts "
            "it; set solver.launch to the matching mpiexec",
        )
    elif job.phase in (JobPhase.SUBMITTED, JobPhase.STARTING):  # a second hello must not take its simulation away
        job.phase, job.since = JobPhase.GREETED, books.now
        books.unserved[job.name] = job
        if books.server.is_queued:  # for the room that this job has, perhaps
            books.cancel(job)


def _answer_blocked(books: Books, address: ClientRank, job: Job | None) -> None:
    """The one event that changes nothing; see `events.is_journaled`."""
    if job is None or job.phase in (JobPhase.FAILING, JobPhase.ENDING) or not books.server.ready:
        books.want(Tell(address=address, message=say.Stop(reason=_GIVEN_UP)))
    else:
        books.want(Tell(address=address, message=books.welcome()))


def _take_request(books: Books, job: Job) -> None:
    if job.phase is JobPhase.BUSY:
        attempt = books.attempt_at(job)
        if attempt is not None and attempt.parts_sent is None:
            books.fail_attempt(attempt, f"{job.name} asked for another simulation before its goodbye")
        job.phase = JobPhase.GREETED
    job.requests = True
    books.unserved[job.name] = job


def _take_goodbye(books: Books, job: Job, message: say.Goodbye) -> None:
    attempt = books.attempt_at(job, message.simulation, message.attempt)
    if attempt is None or attempt.parts_sent is not None:
        return
    if job.phase is JobPhase.BUSY:
        books.rest(job, JobPhase.GREETED)
    books.ledger.send(message.simulation, message.num_steps, message.parts_sent, books.now)
    books.clocks.start(books.now, books.settings.delivery_timeout_s)
    declared = books.settings.num_steps
    if declared is not None and message.num_steps != declared:
        books.end(
            "failed",
            f"simulation {message.simulation} said goodbye after {message.num_steps} time steps but "
            f"solver.num_steps is {declared}: let the solver send every step, or correct solver.num_steps (null "
            "for a solver that does not know in advance)",
        )
        return
    if num_samples(message.num_steps, books.ledger.samples.window) == 0:
        books.fail_attempt(attempt, _too_short(job, message.num_steps, books.ledger.samples.window))
        return
    books.settle(attempt)


def _too_short(job: Job, num_steps: int, window: Window | None) -> str:
    if num_steps == 0 or window is None:
        return f"the solver ended in {job.name} before its first time step: let it send one at least"
    return (
        f"the solver ended in {job.name} after {num_steps} time steps, but a sample needs {window.span}: let it send "
        "as many, or shorten the window of training.task"
    )


def _take_failure(books: Books, job: Job, message: say.Failure) -> None:
    attempt = books.attempt_at(job, message.simulation, message.attempt)
    if message.breaks_contract:
        books.end("failed", f"the solver broke its contract in simulation {message.simulation}: {message.message}")
    elif attempt is not None:
        if job.phase is JobPhase.BUSY:
            # Its exit must not fail the attempt a second time.
            books.rest(job, JobPhase.FAILING)
        books.fail_attempt(attempt, f"the solver raised in {job.name}", message.message)


def serve(books: Books, job: Job) -> None:
    """Answer a job's hello, and its request if a simulation waits or none will come; else it stays hungry."""
    if job.phase is not JobPhase.GREETED or job.name not in books.jobs.alive:
        return
    if not job.welcomed:
        job.welcomed = True
        books.rest(job, JobPhase.GREETED)
        books.want(Tell(address=ClientRank(job.name), message=books.welcome()))
    if not job.requests:
        return
    if books.has_too_many_jobs:
        let_go(books, job)
        return
    attempt = books.ledger.start_next(job.name, books.settings.num_server_ranks, books.now)
    if attempt is not None:
        job.requests = False
        _assign(books, job, attempt)
    elif books.listing.closed:
        let_go(books, job)
    else:
        books.hungry[job.name] = job


def let_go(books: Books, job: Job) -> None:
    """A job that asked for a simulation ends instead: none is left, or the study wants fewer jobs."""
    enough = books.has_too_many_jobs
    reason = f"launcher.max_jobs is {books.settings.max_jobs} now" if enough else "no simulation is left"
    job.requests = False
    books.rest(job, JobPhase.FINISHING)
    books.want(Tell(address=ClientRank(job.name), message=say.Finish(reason=reason)))


def _assign(books: Books, job: Job, attempt: Attempt) -> None:
    job.had_others = job.simulation is not None
    job.phase, job.simulation = JobPhase.BUSY, attempt.simulation
    books.clocks.start(books.now, books.settings.step_timeout_s)
    books.failures.start_succeeded()
    books.want(
        Tell(
            address=ClientRank(job.name),
            message=say.Assignment(
                simulation=attempt.simulation,
                attempt=attempt.number,
                purpose=int(attempt.purpose),
                parameters=books.ledger.parameters_of(attempt.simulation),
                delivered_steps=books.ledger.samples.steps_not_needed(attempt.simulation, books.settings.num_steps),
            ),
        )
    )
