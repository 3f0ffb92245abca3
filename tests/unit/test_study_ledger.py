"""The ledger: what restored server ranks take back, and what a million simulations cost."""

import tracemalloc

import pytest

from melissa_like.records import Purpose, Ranges, Window
from melissa_like.study import Ledger, SimulationState


def run(ledger: Ledger, steps: tuple[int, ...], *, complete: bool = False) -> int:
    """The next waiting simulation, so far; its number."""
    attempt = ledger.start_next("job", 1, 0.0)
    assert attempt is not None
    ledger.deliver(attempt.simulation, steps)
    if complete:
        ledger.send(attempt.simulation, len(steps), (len(steps),), 0.0)
        ledger.complete(attempt.simulation)
    return attempt.simulation


def of(num: int) -> Ledger:
    ledger = Ledger(1)
    for number in range(num):
        ledger.enlist(Purpose.TRAINING, [(float(number),)])
    return ledger


def restore(
    ledger: Ledger, *over: tuple[int, int], num_steps: int | None = 3, **delivered: tuple[tuple[int, int], ...]
) -> None:
    """The server ranks are lost, and others have loaded a checkpoint: `_2=((0, 3),)` are samples of simulation 2."""
    ledger.end_attempts()
    there = {int(name[1:]): Ranges(ranges) for name, ranges in delivered.items()}
    ledger.restore(Ranges(over), there, num_steps)


def test_what_restored_server_ranks_lack_is_due_again_before_anything_new() -> None:
    ledger = of(6)
    run(ledger, (0, 1, 2), complete=True)
    half = run(ledger, (0, 1, 2), complete=True)
    run(ledger, (0, 1, 2), complete=True)
    started = run(ledger, (2,))
    assert (ledger.num_complete, ledger.samples.num_delivered) == (3, 10)
    restore(ledger, (0, 1), _1=((0, 1),))
    assert (ledger.num_complete, ledger.samples.num_delivered) == (1, 4)
    assert ledger.num_over[Purpose.TRAINING] == 1
    assert ledger.state_of(0) is SimulationState.COMPLETE
    assert list(ledger.waiting) == [half, 2, started, 4, 5]
    assert ledger.samples.delivered_of(half).ranges == ((0, 1),)
    assert not len(ledger.samples.delivered_of(2))
    assert ledger.parameters_of(2) == (2.0,)


def test_what_was_delivered_counts_until_it_is_known_what_is_left() -> None:
    ledger = of(1)
    run(ledger, (0, 1))
    ledger.end_attempts()
    assert (ledger.samples.num_delivered, list(ledger.waiting)) == (2, [0])


def test_server_ranks_that_restore_the_same_again_take_nothing_more() -> None:
    ledger = of(2)
    run(ledger, (0, 1))
    for _ in range(2):
        restore(ledger, _0=((0, 1),))
        assert ledger.samples.num_delivered == 1
        assert ledger.samples.delivered_of(0).ranges == ((0, 1),)


def test_a_checkpoint_may_hold_more_than_the_books_know_of() -> None:
    """The launcher died between a delivery and the journal."""
    ledger = of(4)
    run(ledger, ())
    run(ledger, (0,))
    restore(ledger, (0, 1), _1=((0, 3),), _2=((1, 2),))
    assert (ledger.num_complete, ledger.samples.num_delivered) == (1, 7)
    assert list(ledger.waiting) == [1, 2, 3]
    assert books(ledger, 4, 3) == (7, 0, 5)
    assert list(ledger.unfinished_in(Ranges([(0, 3)]))) == [1, 2]


def test_a_simulation_that_said_goodbye_is_complete_if_all_of_it_was_restored() -> None:
    ledger = of(2)
    simulation = run(ledger, (0,))
    ledger.send(simulation, 3, (3,), 0.0)
    restore(ledger, _0=((0, 3),))
    assert ledger.state_of(0) is SimulationState.COMPLETE
    assert (list(ledger.waiting), ledger.samples.num_delivered, ledger.samples.step_range) == ([1], 3, (0, 2))


@pytest.mark.parametrize("num_steps", [3, None])
def test_what_is_lost_of_a_simulation_given_up_is_given_up_as_well(num_steps: int | None) -> None:
    ledger = of(1)
    simulation = run(ledger, (0, 1))
    missing = 0 if num_steps is None else 1
    assert ledger.give_up(simulation, num_steps) == missing
    restore(ledger, num_steps=num_steps)
    assert books(ledger, 1, num_steps) == (0, 2 + missing, 0)
    assert ledger.state_of(0) is SimulationState.GIVEN_UP
    ledger.deliver(simulation, (1,))  # late
    assert books(ledger, 1, num_steps) == (1, 1 + missing, 0)
    restore(ledger, (0, 1), num_steps=num_steps)  # given up before the checkpoint, which lacks nothing that came
    assert books(ledger, 1, num_steps) == (1, 1 + missing, 0)


def test_windows_are_restored_by_their_first_step() -> None:
    ledger = of(1)
    ledger.samples.window = Window(length=2)
    simulation = run(ledger, (0, 1))
    ledger.send(simulation, 3, (3,), 0.0)
    ledger.complete(simulation)
    restore(ledger, _0=((1, 2),))
    assert books(ledger, 1, 3) == (1, 0, 1)


@pytest.mark.parametrize("drops_first", [True, False])
def test_windows_beyond_the_end_that_becomes_known_are_not_given_up(drops_first: bool) -> None:
    """Step 2 of 4 is dropped: it is in windows from 0, 1 and 2, but the last one would have needed step 4."""
    ledger = of(2)
    ledger.samples.window = Window(length=3)
    simulation = run(ledger, ())
    if drops_first:
        ledger.drop(simulation, (0, 1, 2))
    ledger.send(simulation, 4, (4,), 0.0)
    if not drops_first:
        ledger.drop(simulation, (0, 1, 2))
    assert ledger.samples.num_missing(simulation) == 0
    assert ledger.complete(simulation) == 2
    other = run(ledger, (0,))
    ledger.send(other, 4, (4,), 0.0)
    assert (ledger.samples.num_missing(other), ledger.samples.num_given_up) == (1, 2)
    assert ledger.samples.expected(2, None) == 4


def test_steps_that_no_window_holds_are_counted_once_a_simulation_has_ended() -> None:
    ledger = of(3)
    ledger.samples.window = Window(length=2, hop=3)
    for num_steps in (8, 6):
        simulation = run(ledger, (0,))
        ledger.send(simulation, num_steps, (num_steps,), 0.0)
    assert ledger.samples.num_steps_in_no_window == 2 + 2
    assert ledger.samples.steps_not_needed(2, 8) == ((2, 3), (5, 6))


def test_what_was_told_as_given_up_leaves_out_what_is_still_to_be_told() -> None:
    ledger = of(3)
    complete, given_up, waits = (run(ledger, (0,)) for _ in range(3))
    for simulation in (complete, waits):
        ledger.drop(simulation, (1, 2))
    ledger.send(complete, 3, (3,), 0.0)
    ledger.complete(complete)
    ledger.give_up(given_up, 3)
    assert (ledger.samples.num_given_up, ledger.samples_announced_given_up) == (6, 4)


def books(ledger: Ledger, num: int, num_steps: int | None) -> tuple[int, int, int]:
    """Samples delivered, given up, lost."""
    lost = ledger.samples.expected(num, num_steps) - ledger.samples.num_delivered - ledger.samples.num_given_up
    return ledger.samples.num_delivered, ledger.samples.num_given_up, lost


@pytest.mark.parametrize("num_steps", [3, None])
def test_a_dropped_sample_is_given_up_once_whatever_comes_of_its_simulation(num_steps: int | None) -> None:
    ledger = of(2)
    first = run(ledger, (0,))
    for _ in range(2):
        ledger.drop(first, (1,))
    ledger.drop(first, (0,))  # delivered by an attempt before
    assert ledger.samples.settled_of(first).ranges == ((0, 2),)
    ledger.wait_again(first)
    run(ledger, (2,))
    ledger.drop(first, (1,))
    ledger.send(first, 3, (3,), 0.0)
    assert ledger.samples.num_missing(first) == 0
    ledger.complete(first)
    ledger.drop(first, (1,))
    second = run(ledger, ())
    ledger.drop(second, (2,))
    assert ledger.give_up(second, num_steps) == (1 if num_steps is None else 3)
    ledger.drop(second, (0,))
    assert books(ledger, 2, num_steps) == (2, 2 if num_steps is None else 4, 0)
    assert ledger.samples.num_dropped == {Purpose.TRAINING: 2, Purpose.VALIDATION: 0}


@pytest.mark.parametrize("num_steps", [3, None])
def test_a_dropped_sample_that_is_delivered_after_all_counts_as_delivered(num_steps: int | None) -> None:
    ledger = of(1)
    simulation = run(ledger, (0,))
    ledger.drop(simulation, (1, 2))
    ledger.deliver(simulation, (2, 2))
    ledger.send(simulation, 3, (3,), 0.0)
    ledger.complete(simulation)
    assert books(ledger, 1, num_steps) == (2, 1, 0)


def test_what_was_dropped_stays_so_whatever_is_restored() -> None:
    ledger = of(1)
    simulation = run(ledger, (0, 1))
    ledger.drop(simulation, (2,))
    ledger.send(simulation, 3, (3,), 0.0)
    ledger.complete(simulation)
    restore(ledger, _0=((0, 2),))
    assert books(ledger, 1, 3) == (2, 1, 0)
    assert ledger.num_complete == 1
    restore(ledger)
    assert ledger.samples.settled_of(simulation).ranges == ((2, 3),)
    assert run(ledger, (0, 1)) == simulation
    ledger.send(simulation, 3, (3,), 0.0)
    ledger.complete(simulation)
    assert books(ledger, 1, 3) == (2, 1, 0)


def test_a_story_tells_what_became_of_each_attempt() -> None:
    ledger = of(1)
    ledger.start_next("job-0001", 1, 0.0)
    ledger.end_attempts()
    ledger.start_next("job-0002", 1, 0.0)
    ledger.send(0, 3, (3,), 0.0)
    ledger.count_failure(0, "no part came")
    assert ledger.story_of(0) == (
        "attempt 1 given to job-0001; the server ranks were lost; attempt 2 given to job-0002; goodbye after 3 time "
        "steps; no part came"
    )


def test_dropped_samples_of_a_held_out_simulation_are_no_training_samples() -> None:
    ledger = Ledger(1)
    ledger.enlist(Purpose.VALIDATION, [(0.0,)])
    simulation = run(ledger, (0,))
    ledger.drop(simulation, (1,))
    ledger.send(simulation, 2, (2,), 0.0)
    assert ledger.samples.num_missing(simulation) == 0
    assert (ledger.samples.num_given_up, ledger.samples.num_dropped[Purpose.VALIDATION]) == (0, 1)


def test_of_many_simulations_that_were_given_up_the_first_reasons_are_kept() -> None:
    ledger = of(100)
    for number in range(100):
        ledger.give_up(run(ledger, ()), 3, reason=f"reason {number}")
    assert (len(ledger.reasons), ledger.reasons[0], ledger.num_given_up) == (20, "reason 0", 100)


def test_of_an_adaptive_solver_what_is_known_is_expected() -> None:
    ledger = of(3)
    run(ledger, (0, 1, 2), complete=True)
    run(ledger, (0, 1))
    assert ledger.samples.expected(3, None) == 5
    restore(ledger, num_steps=None)
    assert ledger.samples.expected(3, None) == 3  # how many steps the first one has is still known
    assert ledger.samples.num_delivered == 0


def test_waiting_and_complete_simulations_cost_no_object() -> None:
    num = 20_000
    tracemalloc.start()
    try:
        ledger = of(num)
        listed, _ = tracemalloc.get_traced_memory()
        for _ in range(num):
            run(ledger, (0, 1, 2), complete=True)
        complete, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ledger.num_complete == num
    assert listed / num < 120  # most of it the deque of those that wait, which a study keeps short
    assert complete / num < 40
