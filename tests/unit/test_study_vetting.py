"""A foreign client may say anything; the study ends with a sentence, not with a traceback."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.protocol import control as say
from melissa_like.records import Address, ClientRank, Purpose, ServerRank
from melissa_like.study import Ledger
from melissa_like.study import events as ev
from melissa_like.study.vetting import fault_of
from tests.unit.studied import Study
from tests.unit.test_study_machine import ADDRESSES, MESSAGES

RANK_0 = ClientRank("job-0001")


def ledger() -> Ledger:
    """Three simulations; the first has been begun, the last is waiting."""
    made = Ledger(1)
    for _ in range(3):
        made.enlist(Purpose.TRAINING, [(0.0,)])
    made.start_next("job-0001", 2, 0.0)
    made.start_next("job-0002", 2, 0.0)
    return made


def goodbye(**changes: object) -> say.Goodbye:
    said: dict[str, object] = {"simulation": 1, "attempt": 1, "num_steps": 2, "parts_sent": (2, 2)}
    return say.Goodbye(**{**said, **changes})  # type: ignore[arg-type]


def progress(simulation: int, attempt: int = 1, steps: tuple[int, ...] = (0,), num_parts: int = 1) -> say.Progress:
    delivery = say.Delivery(simulation=simulation, attempt=attempt, steps=steps, num_parts=num_parts)
    return say.Progress(deliveries=(delivery,))


def restored(
    over: tuple[tuple[int, int], ...] = (),
    delivered: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = (),
    checkpoint: int | None = 0,
) -> say.Restored:
    held = tuple(say.HeldSteps(simulation=number, steps=steps) for number, steps in delivered)
    return say.Restored(checkpoint=checkpoint, over=over, delivered=held)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (RANK_0, goodbye()),
        (ClientRank("job-0001", 1), say.Blocked(server_rank=0)),
        (ClientRank("job-0001", 1), say.Failure(simulation=0, attempt=1, message="")),
        (RANK_0, say.Acknowledge()),
        (ServerRank(1), progress(1)),
        (ServerRank(1, 2), restored(over=((0, 1), (2, 3)), delivered=((2, ()), (1, ((0, 4), (6, 7)))))),
        (ServerRank(0), say.Checkpointed(number=0, batches=0, nbytes=0)),
    ],
)
def test_sound_messages_pass(address: Address, message: say.ControlMessage) -> None:
    assert fault_of(address, message, ledger(), 2) is None


@pytest.mark.parametrize(
    ("address", "message", "words"),
    [
        (ClientRank("job-0001", 1), say.Request(), "only rank 0"),
        (ClientRank("job-0001", 1), goodbye(), "only rank 0"),
        (RANK_0, say.Stop(reason=""), "no solver rank says"),
        (RANK_0, progress(0), "no solver rank says"),
        (ServerRank(0), say.Request(), "no server rank says"),
        (ServerRank(2), say.Pressure(put_waits=True), "server ranks 0 to 1"),
        (ServerRank(0), restored(), "the first incarnation does not say"),
        (ServerRank(0, 2), restored(checkpoint=-1), "count from 0"),
        (ServerRank(0, 2), restored(((0, 1),), checkpoint=None), "no checkpoint, but with samples"),
        (ServerRank(0, 2), restored(((2, 4),)), "over, (2, 4): send half-open ranges in order and apart, from 0"),
        (ServerRank(0, 2), restored(((-1, 1),)), "send half-open ranges"),
        (ServerRank(0, 2), restored(((1, 1),)), "send half-open ranges"),
        (ServerRank(0, 2), restored(((1, 2), (0, 1))), "send half-open ranges"),
        (ServerRank(0, 2), restored(delivered=((3, ((0, 1),)),)), "name each once, of 0 to 2"),
        (ServerRank(0, 2), restored(delivered=((1, ()), (1, ()))), "name each once"),
        (ServerRank(0, 2), restored(delivered=((1, ((-1, 1),)),)), "of simulation 1, the samples (-1, 1)"),
        (ServerRank(0, 2), restored(delivered=((1, ((0, 2**31 + 1),)),)), "from 0 to below 2147483648"),
        (ServerRank(0), say.Checkpointed(number=-1, batches=0, nbytes=0), "count from 0"),
        (RANK_0, goodbye(simulation=70), "simulation 70"),
        (RANK_0, goodbye(simulation=-1), "simulation -1"),
        (RANK_0, goodbye(attempt=0), "attempt 0 of simulation 1"),
        (RANK_0, goodbye(simulation=2, attempt=1), "attempt 1 of simulation 2, of which 0"),
        (RANK_0, goodbye(parts_sent=(1,)), "1 numbers in parts_sent"),
        (RANK_0, goodbye(parts_sent=(1, -1)), "count from 0"),
        (RANK_0, goodbye(num_steps=2**40), "count from 0"),
        (RANK_0, say.Failure(simulation=3, attempt=1, message=""), "simulation 3"),
        (ServerRank(0), progress(70), "simulation 70"),
        (ServerRank(0), progress(2, attempt=0), "attempt 0 of simulation 2"),
        (ServerRank(0), progress(0, attempt=2), "attempt 2 of simulation 0"),
        (ServerRank(0), progress(0, steps=(-1,)), "count from 0"),
        (ServerRank(0), progress(0, num_parts=-1), "count from 0"),
    ],
)
def test_each_breach_is_named(address: Address, message: say.ControlMessage, words: str) -> None:
    fault = fault_of(address, message, ledger(), 2)
    assert fault is not None
    assert fault.startswith(f"{address} said {type(message).__name__}")
    assert words in fault


@given(st.sampled_from(["new", "started", "busy", "sent", "over"]), ADDRESSES, MESSAGES)
@settings(max_examples=500, deadline=None)
def test_whatever_anybody_says_is_taken_without_an_exception(
    phase: str, address: Address, message: say.ControlMessage
) -> None:
    study = Study(num_simulations=1, num_validation_simulations=0, num_server_ranks=2)
    if phase != "new":
        study.started()
    if phase in ("busy", "sent", "over"):
        given_ = study.greeted().assigned()
        if phase != "busy":
            study.sent(given_, parts=(2, 2))
        if phase == "over":
            study.delivered(given_)
            study.server(progress(0, num_parts=2), rank=1)
    commands = study.on(ev.Said(address=address, message=message))
    if study.state.outcome == "failed":
        assert study.state.reason
        assert commands
