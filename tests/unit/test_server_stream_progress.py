"""How a server rank says that its training ended."""

import math

import numpy as np
import pytest

from melissa_like.buffer import SampleBuffer, fifo, reservoir
from melissa_like.errors import DeadlineExceededError, StudyStoppedError
from melissa_like.protocol.control import ServerWelcome, SimulationOver, Standing
from melissa_like.records import FieldSpec, Layout, Purpose, SampleKey
from melissa_like.server.stream_progress import StreamProgress
from melissa_like.server.time_range import TimeRange, misfit_of

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))


def progress(buffer: SampleBuffer, rank: int = 0, **changes: int | None) -> StreamProgress:
    """Of a study of two simulations of three samples."""
    settings = {"num_simulations": 2, "samples_per_simulation": 3, "views_per_sample": None, **changes}
    time = TimeRange(end_time=None, num_steps=settings["samples_per_simulation"], highest_step=lambda: 2)
    return StreamProgress(buffer, rank=rank, num_server_ranks=1, time_range=time.known, **settings)  # type: ignore[arg-type]


def over(given_up: int = 0, purpose: Purpose = Purpose.TRAINING) -> SimulationOver:
    return SimulationOver(simulation=0, purpose=purpose, samples_given_up=given_up)


def put(buffer: SampleBuffer, num_samples: int) -> None:
    for step in range(num_samples):
        assert buffer.put(SampleKey(0, step), [np.zeros(4)], time=0.0, parameters=np.zeros(1), timeout_s=0.0)


@pytest.mark.parametrize(
    ("num_samples", "over", "stop", "end"),
    [
        (0, True, None, "drained"),
        (2, True, None, "max_batches"),
        (0, False, None, "max_batches"),
        (0, True, "told to", "stopped"),
    ],
)
def test_only_an_empty_buffer_after_the_reception_is_drained(
    num_samples: int, over: bool, stop: str | None, end: str
) -> None:
    buffer = fifo(LAYOUT, capacity=10, seed=0, spare_slots=2)
    put(buffer, num_samples)
    stream = progress(buffer)
    if over:
        buffer.end_reception()
    if stop is not None:
        stream.stop(stop, 30.0)
    assert stream.end == end


def test_a_sample_that_had_all_its_views_is_not_left_over() -> None:
    buffer = reservoir(LAYOUT, capacity=10, watermark=1, views_per_sample=2, seed=0, spare_slots=2)
    put(buffer, 3)
    buffer.end_reception()
    assert buffer.offer().held == 6
    stream = progress(buffer)
    buffer.settle(buffer.draw(5))
    assert stream.end == "max_batches"
    buffer.settle(buffer.draw(1))
    assert stream.end == "drained"


@pytest.mark.parametrize("views", [None, 2])
def test_samples_that_were_given_up_do_not_hold_the_schedule_back(views: int | None) -> None:
    """Two simulations of three steps on two ranks; one gives up two samples, so four arrive, two on each rank."""
    delivered = 0
    for rank in range(2):
        buffer = reservoir(LAYOUT, capacity=10, watermark=1, views_per_sample=views, seed=0, spare_slots=2)
        stream = progress(buffer, rank, views_per_sample=views)
        put(buffer, 2)
        if views is not None:
            buffer.settle(buffer.draw(2 * views, gate_lifted=True))
        stream.simulation_over(over())
        stream.simulation_over(over(2))
        delivered += stream.local_state().delivered
    assert delivered == stream.expected == 6


def test_an_adaptive_solver_counts_simulations_whether_given_up_or_not() -> None:
    stream = progress(fifo(LAYOUT, capacity=10, seed=0, spare_slots=2), samples_per_simulation=None)
    stream.simulation_over(over())
    stream.simulation_over(over(5))
    assert stream.local_state().delivered == stream.expected == 2


def test_with_fixed_views_an_adaptive_solvers_progress_is_that_of_the_draws() -> None:
    """All four simulations are over before the training begins: the schedule must not be at its end."""
    buffer = reservoir(LAYOUT, capacity=10, watermark=1, views_per_sample=2, seed=0, spare_slots=2)
    stream = progress(buffer, samples_per_simulation=None, views_per_sample=2, num_simulations=4)
    put(buffer, 4)
    for _ in range(4):
        stream.simulation_over(over())
    buffer.end_reception()
    buffer.offer()
    seen = []
    for _ in range(4):
        seen.append(stream.local_state().delivered)
        buffer.settle(buffer.draw(2))
    assert [*seen, stream.local_state().delivered] == [0, 1, 2, 3, 4]
    assert stream.expected == 4


def empty() -> SampleBuffer:
    return fifo(LAYOUT, capacity=10, seed=0, spare_slots=2)


@pytest.mark.parametrize("samples", [3, None])
def test_simulations_that_were_never_listed_count_as_come(samples: int | None) -> None:
    stream = progress(empty(), num_simulations=4, samples_per_simulation=samples)
    stream.list_closed(1)
    assert stream.local_state().delivered == stream.expected - (1 if samples is None else samples)
    assert progress(empty(), rank=1, num_simulations=4).local_state().delivered == 0


@pytest.mark.parametrize("samples", [3, None])
@pytest.mark.parametrize("needs_time", [True, False])
def test_only_a_network_that_is_given_the_time_waits_for_what_it_is_scaled_from(
    samples: int | None, needs_time: bool
) -> None:
    state = progress(empty(), samples_per_simulation=samples).local_state(needs_time=needs_time)
    assert state.time_known == (samples is not None or not needs_time)
    assert state.time_range == (None if samples is None else (0.0, 2.0))


def test_validation_waits_for_the_held_out_simulations() -> None:
    stream = progress(empty())
    stream.simulation_over(over(purpose=Purpose.VALIDATION))
    assert not stream.local_state().validation_ready
    stream.held_out_over()
    state = stream.local_state()
    assert (state.validation_ready, state.delivered) == (True, 0)


def test_a_rank_waits_for_its_welcome_or_the_end_of_the_study() -> None:
    stream, welcome = progress(empty(), rank=1), ServerWelcome(rendezvous="h:1", wants_losses=True)
    with pytest.raises(DeadlineExceededError, match="server rank 1 was not welcomed"):
        stream.await_welcome(0.01)
    stream.welcome(welcome)
    assert stream.await_welcome(0.01) == welcome
    stream.stop("interrupted", 30.0)
    with pytest.raises(StudyStoppedError, match="interrupted"):
        stream.await_welcome(0.01)


def test_after_a_stop_there_is_time_as_long_as_the_launcher_leaves_it() -> None:
    stream = progress(empty())
    assert stream.has_time
    stream.stop("interrupted", 60.0)
    assert stream.has_time
    stream.stop("interrupted", 1.0)
    assert not stream.has_time


@pytest.mark.parametrize(
    ("end_time", "num_steps", "highest", "told", "known"),
    [
        (None, 10, -1, None, (0.0, 9.0)),
        (None, 10, 9, (0, 9), (0.0, 9.0)),
        (None, 10, 10, (1, 10), (0.0, 9.0)),  # numbered from 1
        (None, 10, 11, None, None),  # numbered in another way: nobody knows how far it goes
        (None, 10, 10**6, (10**6, 10**7), (1e6, 1e7)),
        (None, None, 5, None, None),
        (None, None, 5, (0, 41), (0.0, 41.0)),
        (2.5e7, 10, 10**6, (10**6, 10**7), (0.0, 2.5e7)),
        (40.0, None, 5, None, (0.0, 40.0)),
    ],
)
def test_what_the_time_is_scaled_from(
    end_time: float | None,
    num_steps: int | None,
    highest: int,
    told: tuple[int, int] | None,
    known: tuple[float, float] | None,
) -> None:
    time = TimeRange(end_time=end_time, num_steps=num_steps, highest_step=lambda: highest)
    if told is not None:
        time.tell(*told)
    assert time.known() == known


@pytest.mark.parametrize(
    ("highest", "scaled_from", "fits"),
    [
        (10, (0.0, 9.0), True),
        (41, (0.0, 9.0), True),  # an adaptive solver whose first simulation was short
        (9, (0.0, 0.0), True),
        (99, (0.0, 2.5), False),  # a physical time instead of a number
        (10**7, (0.0, 9.0), False),
        (9, (0.0, 1e18), False),
        (9, (0.0, 90.0), True),
    ],
)
def test_a_range_that_does_not_fit_the_steps_is_told(
    highest: int, scaled_from: tuple[float, float], fits: bool
) -> None:
    misfit = misfit_of(highest, scaled_from, is_complete=True)
    assert (misfit is None) == fits
    assert fits or f"numbered up to {highest}" in str(misfit)


def test_of_a_study_that_was_stopped_the_last_steps_may_be_missing() -> None:
    assert misfit_of(3, (0.0, 999.0), is_complete=False) is None


def test_a_rank_that_has_restored_waits_for_the_others_and_goes_on_counting() -> None:
    made = progress(fifo(LAYOUT, capacity=10), samples_per_simulation=None)
    with pytest.raises(DeadlineExceededError, match="not all others have within 0 s"):
        made.await_standing(0.0)
    made.standing(Standing(num_over=2, samples_given_up=1))
    made.await_standing(0.0)
    made.simulation_over(over())
    assert made.local_state().delivered == 3
    assert made.save_until == math.inf
    made.stop("told to", 5.0)
    assert made.save_until < math.inf
    with pytest.raises(StudyStoppedError, match="told to"):
        made.await_standing(0.0)


def test_what_was_given_up_before_a_restart_counts_as_come() -> None:
    buffer = fifo(LAYOUT, capacity=10)
    made = progress(buffer)
    put(buffer, 1)
    made.simulation_over(over(given_up=1))
    made.standing(Standing(num_over=2, samples_given_up=2))  # in sum, what was told already included
    assert made.local_state().delivered == 3
    made.simulation_over(over(given_up=2))
    assert made.local_state().delivered == 5
