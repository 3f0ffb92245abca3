"""The ledger: what a rollback takes back, and what a million simulations cost."""

import tracemalloc

import pytest

from melissa_like.records import Purpose
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
        ledger.enlist(Purpose.TRAINING, (float(number),))
    return ledger


def test_a_rollback_keeps_what_was_durable() -> None:
    ledger = of(4)
    run(ledger, (0, 1, 2), complete=True)
    half = run(ledger, (0,))
    ledger.cut()
    ledger.deliver(half, (1, 2))
    ledger.send(half, 3, (3,), 0.0)
    ledger.complete(half)
    run(ledger, (0, 1, 2), complete=True)
    started = run(ledger, (2,))
    assert (ledger.num_complete, ledger.samples_delivered) == (3, 10)
    ledger.roll_back()
    assert (ledger.num_complete, ledger.samples_delivered) == (1, 4)
    assert ledger.state_of(0) is SimulationState.COMPLETE
    assert sorted(ledger.waiting) == [half, 2, started]
    assert ledger.delivered_of(half).ranges == ((0, 1),)
    assert not len(ledger.delivered_of(2))
    assert ledger.parameters_of(2) == (2.0,)


def test_a_second_rollback_takes_nothing_more() -> None:
    ledger = of(2)
    run(ledger, (0,))
    ledger.cut()
    ledger.roll_back()
    ledger.roll_back()
    assert ledger.samples_delivered == 1
    assert ledger.delivered_of(0).ranges == ((0, 1),)


def test_what_is_lost_of_a_simulation_given_up_is_given_up_as_well() -> None:
    ledger = of(1)
    simulation = run(ledger, (0, 1))
    assert ledger.give_up(simulation, 3) == 1
    ledger.roll_back()
    assert (ledger.samples_delivered, ledger.samples_given_up) == (0, 3)
    assert ledger.state_of(0) is SimulationState.GIVEN_UP
    assert ledger.samples_expected(1, 3) == 3


def books(ledger: Ledger, num: int, num_steps: int | None) -> tuple[int, int, int]:
    """Samples delivered, given up, lost."""
    lost = ledger.samples_expected(num, num_steps) - ledger.samples_delivered - ledger.samples_given_up
    return ledger.samples_delivered, ledger.samples_given_up, lost


@pytest.mark.parametrize("num_steps", [3, None])
def test_a_dropped_sample_is_given_up_once_whatever_comes_of_its_simulation(num_steps: int | None) -> None:
    ledger = of(2)
    first = run(ledger, (0,))
    for _ in range(2):
        ledger.drop(first, (1,))
    ledger.drop(first, (0,))  # delivered by an attempt before
    assert ledger.settled_of(first).ranges == ((0, 2),)
    ledger.wait_again(first)
    run(ledger, (2,))
    ledger.drop(first, (1,))
    ledger.send(first, 3, (3,), 0.0)
    assert ledger.num_missing(first) == 0
    ledger.complete(first)
    ledger.drop(first, (1,))
    second = run(ledger, ())
    ledger.drop(second, (2,))
    assert ledger.give_up(second, num_steps) == (1 if num_steps is None else 3)
    ledger.drop(second, (0,))
    assert books(ledger, 2, num_steps) == (2, 2 if num_steps is None else 4, 0)
    assert ledger.samples_dropped == {Purpose.TRAINING: 2, Purpose.VALIDATION: 0}


@pytest.mark.parametrize("num_steps", [3, None])
def test_a_dropped_sample_that_is_delivered_after_all_counts_as_delivered(num_steps: int | None) -> None:
    ledger = of(1)
    simulation = run(ledger, (0,))
    ledger.drop(simulation, (1, 2))
    ledger.deliver(simulation, (2, 2))
    ledger.send(simulation, 3, (3,), 0.0)
    ledger.complete(simulation)
    assert books(ledger, 1, num_steps) == (2, 1, 0)


def test_what_was_dropped_stays_so_after_a_rollback() -> None:
    ledger = of(1)
    simulation = run(ledger, (0, 1))
    ledger.drop(simulation, (2,))
    ledger.send(simulation, 3, (3,), 0.0)
    ledger.complete(simulation)
    ledger.roll_back()
    assert ledger.settled_of(simulation).ranges == ((2, 3),)
    assert run(ledger, (0, 1)) == simulation
    ledger.send(simulation, 3, (3,), 0.0)
    ledger.complete(simulation)
    assert books(ledger, 1, 3) == (2, 1, 0)


def test_dropped_samples_of_a_held_out_simulation_are_no_training_samples() -> None:
    ledger = Ledger(1)
    ledger.enlist(Purpose.VALIDATION, (0.0,))
    simulation = run(ledger, (0,))
    ledger.drop(simulation, (1,))
    ledger.send(simulation, 2, (2,), 0.0)
    assert ledger.num_missing(simulation) == 0
    assert (ledger.samples_given_up, ledger.samples_dropped[Purpose.VALIDATION]) == (0, 1)


def test_of_many_simulations_that_were_given_up_the_first_reasons_are_kept() -> None:
    ledger = of(100)
    for number in range(100):
        ledger.give_up(run(ledger, ()), 3, reason=f"reason {number}")
    assert (len(ledger.reasons), ledger.reasons[0], ledger.num_given_up) == (20, "reason 0", 100)


def test_of_an_adaptive_solver_what_is_known_is_expected() -> None:
    ledger = of(3)
    run(ledger, (0, 1, 2), complete=True)
    run(ledger, (0, 1))
    assert ledger.samples_expected(3, None) == 5
    ledger.roll_back()
    assert ledger.samples_expected(3, None) == 3  # how many steps the first one has is still known
    assert ledger.samples_delivered == 0


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
