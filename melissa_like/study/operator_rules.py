"""Rules about what the study's user changes while it runs: how many solver jobs may be alive.

With more, jobs are submitted as soon as simulations wait. With fewer, those go first that have nothing to lose: jobs in
the scheduler's queue, the newest first, then those that are starting, then those that wait for a simulation. If that is
not enough, the first ones to ask for another simulation are told that there is none (`job_rules.serve`): no simulation
is broken off.
"""

from dataclasses import replace

from melissa_like.protocol import control as say
from melissa_like.records import Operator
from melissa_like.study.books import Books
from melissa_like.study.commands import Tell
from melissa_like.study.job_rules import let_go
from melissa_like.study.jobs import JobPhase

__all__ = ["answer_late", "hear_operator"]


def hear_operator(books: Books, address: Operator, message: say.ControlMessage) -> None:
    """Take what the user has said by a command; what no command says is not answered."""
    if not isinstance(message, say.Scale):
        return
    if message.max_jobs < 1:
        refusal = f"max_jobs cannot become {message.max_jobs}: write 1 or more, or end the study by Ctrl-C"
        books.want(Tell(address=address, message=say.Refused(reason=refusal)))
        return
    before = books.settings.max_jobs
    books.settings = replace(books.settings, max_jobs=message.max_jobs)
    books.listing.max_jobs = message.max_jobs
    num_canceled = _cancel_idle(books)
    staying = books.jobs.num_staying
    books.want(
        Tell(
            address=address,
            message=say.Scaled(
                before=before,
                max_jobs=message.max_jobs,
                num_jobs=staying,
                num_canceled=num_canceled,
                num_leaving=max(0, staying - message.max_jobs),
            ),
        )
    )


def answer_late(books: Books, address: Operator, message: say.ControlMessage) -> None:
    """After the verdict nothing can be changed."""
    if isinstance(message, say.Scale):
        refusal = f"the study has ended ({books.outcome}: {books.reason})"
        books.want(Tell(address=address, message=say.Refused(reason=refusal)))


def _cancel_idle(books: Books) -> int:
    """End jobs that are one too many and have no simulation; how many were."""
    num_before = books.jobs.num_staying
    for phase in (JobPhase.SUBMITTED, JobPhase.STARTING):
        for job in reversed(books.jobs.alive.values()):
            if job.phase is phase and books.has_too_many_jobs:
                books.cancel(job)
    for job in list(books.hungry.values()):
        if job.phase is JobPhase.GREETED and job.name in books.jobs.alive and books.has_too_many_jobs:
            del books.hungry[job.name]
            let_go(books, job)
    return num_before - books.jobs.num_staying
