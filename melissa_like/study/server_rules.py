"""Rules about the server ranks: they receive, restore, deliver, refuse, wait, train, save, and end."""

from melissa_like.protocol import control as say
from melissa_like.records import Purpose, Ranges, ServerRank
from melissa_like.study.books import Books
from melissa_like.study.commands import Tell
from melissa_like.study.jobs import JobPhase

__all__ = [
    "count_deliveries",
    "hear_server",
    "judge_failure",
    "server_ended",
    "server_queued",
    "server_silent",
    "server_started",
]


def hear_server(books: Books, address: ServerRank, message: say.ControlMessage) -> None:
    """Take what a server rank of the present incarnation said."""
    match message:
        case say.Progress(deliveries=deliveries):  # nearly all are this one
            for item in deliveries:
                _deliver(books, address.rank, item)
        case say.ServerHello():
            _greet_server(books, address.rank, message)
        case say.Restored():
            _restore(books, address.rank, message)
        case say.Checkpointed():
            books.server.save(message)
        case say.RejectedPart():
            _reject(books, address.rank, message)
        case say.UnfitSample():
            _fail_unfit(books, message)
        case say.Pressure(put_waits=put_waits):
            _press(books, address.rank, put_waits)
        case say.ServerFinished(end=end) if address.rank not in books.server.failed:
            books.server.trained[address.rank] = end
            if books.server.has_trained and books.server.leaving is None:
                _judge(books)
        case say.EndIsNear(message=what):
            _let_go(books, f"server rank {address.rank} was to end: {what}")
        case say.ServerFailed() if books.server.leaving is not None:
            books.server.trained[address.rank] = "failed"
        case say.TrainingBlocked(message=what) if address.rank not in books.server.trained:
            _lose(books, f"server rank {address.rank} hangs: {what}")
        case say.ServerFailed(message=what):
            books.server.fail(address.rank, what, books.now)
            if books.server.all_accounted_for or not books.server.has_met:  # ranks that have not met harm nobody
                judge_failure(books)
            else:
                books.clocks.look_again()


def judge_failure(books: Books) -> None:
    """A server rank has failed, and no other one was lost: the first to say so is the cause."""
    rank, what = next(iter(books.server.failed.items()))
    books.end("failed", f"server rank {rank} ended: {what}")


def _greet_server(books: Books, rank: int, hello: say.ServerHello) -> None:
    books.server.greet(rank, hello)
    books.ledger.samples.window = hello.window
    if books.server.rendezvous is not None:
        welcome = say.ServerWelcome(rendezvous=books.server.rendezvous, wants_losses=books.settings.wants_losses)
        for other in books.server.greeted if rank == 0 else (rank,):
            books.want(Tell(address=ServerRank(other, books.server.incarnation), message=welcome))
    books.clocks.look_again()


def _restore(books: Books, rank: int, message: say.Restored) -> None:
    """What is durable is what the server ranks have, whatever was reported; known once all of them have said it."""
    told = books.server.restore(rank, message)
    if told is None:
        return
    checkpoints = {said.checkpoint for said in told}
    if len(checkpoints) > 1:
        books.end("failed", f"the server ranks have loaded different checkpoints: {sorted(map(str, checkpoints))}")
        return
    over = Ranges(one for said in told for one in said.over)
    delivered: dict[int, Ranges] = {}
    for held in (held for said in told for held in said.delivered):
        there = delivered.setdefault(held.simulation, Ranges())
        for start, end in held.steps:
            there.add_range(start, end)
    ledger, num_steps = books.ledger, books.settings.num_steps
    unknown = [s for s in ledger.unfinished_in(over) if num_steps is None and ledger.samples.steps_of(s) is None]
    if unknown:
        books.end(
            "failed",
            f"checkpoint {message.checkpoint} holds simulation {unknown[0]} to its end, of which the journal does not "
            "know that it had one: was the journal changed, or put back from a copy?",
        )
        return
    ledger.restore(over, delivered, num_steps)
    num_over = ledger.num_over[Purpose.TRAINING]
    books.tell_servers(say.Standing(num_over=num_over, samples_given_up=ledger.samples_announced_given_up))
    books.clocks.look_again()


def server_queued(books: Books, address: ServerRank) -> None:
    """A server rank waits for its scheduler: it is not late as long as it does.

    Jobs that wait for the server ranks end: they may have the room that these wait for.
    """
    if books.server.is_present(address):
        books.server.started_at = None
        for job in [*books.jobs.alive.values()]:
            if job.phase is JobPhase.GREETED and not job.welcomed:
                books.cancel(job)


def server_started(books: Books, address: ServerRank) -> None:
    """A server rank that has waited runs: from now on it may be late."""
    if books.server.is_present(address):
        books.server.started_at = books.now
        books.clocks.start(books.now, books.settings.start_timeout_s)


def server_ended(
    books: Books, address: ServerRank, what: str, *, retry: bool | None = None, by_machine: bool = False
) -> None:
    """The process of a server rank is gone: if it had not come to its end, all of them are started again.

    Unless the scheduler has refused it (`retry` is False), and would refuse the next one too.
    """
    server = books.server
    server.end(address)
    if retry is False and server.is_present(address):
        books.end("failed", f"server rank {address.rank} cannot be started: {what}")
    elif server.is_present(address) and address.rank not in server.trained and address.rank not in server.failed:
        _lose(books, f"server rank {address.rank} ended: {what}", by_machine=by_machine)
    elif server.leaving is not None and server.has_ended:
        _lose(books, server.leaving)
    elif server.lost_because is not None and server.has_ended:
        books.replace_servers()


def server_silent(books: Books, address: ServerRank, what: str) -> None:
    """A server rank reports nothing, though its process may still be there."""
    if books.server.is_present(address) and address.rank not in books.server.trained:
        _lose(books, f"server rank {address.rank} is silent: {what}")


def _lose(books: Books, why: str, *, by_machine: bool = False) -> None:
    """All server ranks are replaced, if that is still allowed; the new ones start when no old one is left."""
    if not books.server.may_restart(by_machine=by_machine):
        again = books.server.num_restarts
        often = f"{again} restart{'s' if again > 1 else ''}"
        tried = f"after {often} of the server ranks without a checkpoint of more training steps in between, "
        books.end("failed", f"{tried}{why}" if again else why)
        return
    _end_what_speaks_to_them(books)
    books.lose_servers(why, by_machine=by_machine)


def _let_go(books: Books, why: str) -> None:
    """All server ranks save and end, because one has to; the next ones go on from there.

    Ranks that are not ready have nothing to save, and those that have trained are at their end anyway.
    """
    server, within_s = books.server, books.settings.save_timeout_s
    if not server.ready or server.trained or server.failed:
        return
    _end_what_speaks_to_them(books)
    server.leave(why, books.now + within_s)
    books.tell_servers(say.Stop(reason=why, save_within_s=within_s))
    books.clocks.look_again()


def _end_what_speaks_to_them(books: Books) -> None:
    """Jobs that have met the present server ranks; others wait for the next ones."""
    books.ledger.end_attempts()
    for job in books.jobs.alive.values():
        if job.phase not in (JobPhase.SUBMITTED, JobPhase.STARTING):
            books.cancel(job)


def count_deliveries(books: Books, message: say.Progress) -> None:
    """Note which samples the server ranks hold, and nothing that would follow from it."""
    for item in message.deliveries:
        _count(books, item)


def _count(books: Books, item: say.Delivery) -> None:
    if books.ledger.deliver(item.simulation, item.steps):
        books.failures.anything_delivered = True
    if item.dropped:
        books.ledger.drop(item.simulation, item.dropped)
    if item.held:
        books.ledger.hold(item.simulation, item.held)


def _deliver(books: Books, rank: int, item: say.Delivery) -> None:
    _count(books, item)
    attempt = books.ledger.in_progress.get(item.simulation)
    if attempt is not None and attempt.number == item.attempt:
        attempt.receive(rank, item.num_parts, books.now)
        books.settle(attempt)


def _reject(books: Books, rank: int, message: say.RejectedPart) -> None:
    if message.breaks_contract:
        books.end(
            "failed",
            f"the solver broke its contract in simulation {message.simulation}, attempt {message.attempt}: "
            f"{message.message}",
        )
        return
    attempt = books.ledger.in_progress.get(message.simulation)
    if attempt is not None and attempt.number == message.attempt:
        books.break_off(attempt, f"server rank {rank} refused a part: {message.message}")


def _fail_unfit(books: Books, message: say.UnfitSample) -> None:
    """As if the solver had raised: the attempt has failed, and another one may do better."""
    attempt = books.ledger.in_progress.get(message.simulation)
    if attempt is not None and attempt.number == message.attempt:
        books.break_off(attempt, message.message)


def _press(books: Books, rank: int, put_waits: bool) -> None:
    if put_waits:
        books.server.pressed.add(rank)
        books.clocks.look_again()
    else:
        books.server.pressed.discard(rank)
        if not books.server.pressed:
            books.clocks.forgive(books.now)


def _judge(books: Books) -> None:
    """Every server rank has come to its end."""
    ends = set(books.server.trained.values())
    if books.reception_over and ends == {"drained"}:
        books.end("completed", _completed(books))
    else:
        why = next((said for end, said in _EARLY_ENDS if end in ends), "the server ranks stopped training")
        what = "every delivered sample was trained on" if books.reception_over else "all simulations had run"
        books.end("stopped", f"{why} before {what}")


_EARLY_ENDS = (("max_batches", "training.max_batches was reached"), ("returned", "training.loop returned"))


def _completed(books: Books) -> str:
    """What was trained on, and what was not."""
    ledger = books.ledger
    missing = []
    if ledger.num_given_up:
        missing.append(f"{ledger.num_given_up} of {len(ledger)} simulations were given up")
    dropped = ledger.samples.num_dropped
    if sum(dropped.values()):
        held_out = f" and {dropped[Purpose.VALIDATION]} held-out ones" if dropped[Purpose.VALIDATION] else ""
        missing.append(f"{dropped[Purpose.TRAINING]} samples{held_out} that were not finite were left out")
    if not missing:
        return "every sample was delivered and trained on"
    return "every delivered sample was trained on; " + ", ".join(missing)
