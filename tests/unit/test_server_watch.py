"""A training that hangs is told of once, by the rank that holds the others up; one that is slow, or waits, is not."""

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import torch

from melissa_like.loading import Batch, Turn
from melissa_like.protocol.control import TrainingBlocked
from melissa_like.server.stacks import StackAlarm
from melissa_like.server.training_clock import TrainingClock
from melissa_like.server.watch import Watch

TIMEOUT_S, FIRST_S = 10.0, 50.0


def clock() -> TrainingClock:
    made = TrainingClock(TIMEOUT_S, first_s=FIRST_S)
    made.begin(0.0)
    return made


def overdue(timed: TrainingClock, now: float, *, put_waits: bool = False, waits_for_others: bool = False) -> str | None:
    return timed.overdue(now, put_waits=put_waits, waits_for_others=waits_for_others)


def in_second_step(*, has_data: bool = True) -> TrainingClock:
    timed = clock()
    timed.ask(1.0)
    timed.hand_out(2.0, has_data=True)
    timed.ask(3.0)
    timed.hand_out(100.0, has_data=has_data)
    return timed


def test_a_step_that_takes_too_long_is_found() -> None:
    timed = in_second_step()
    assert overdue(timed, 110.0) is None
    assert overdue(timed, 110.1) == "its training step 2 has taken more than 10 s"
    timed.ask(110.2)
    assert overdue(timed, 1e6) is None


def test_the_first_step_and_what_comes_before_it_may_take_longer() -> None:
    timed = clock()
    assert overdue(timed, 59.0) is None
    assert overdue(timed, 61.0) == "what its loop does before the first training step has taken more than 60 s"
    timed.ask(62.0)
    timed.hand_out(62.0, has_data=True)
    assert overdue(timed, 121.0) is None
    assert overdue(timed, 123.0) == "its training step 1 has taken more than 60 s"


@pytest.mark.parametrize(("has_data", "waits"), [(False, False), (True, True)])
def test_a_rank_that_waits_for_another_one_leaves_it_the_first_word(has_data: bool, waits: bool) -> None:
    timed = in_second_step(has_data=has_data)
    assert overdue(timed, 120.0, waits_for_others=waits) is None
    words = "its training step 2 has taken more than 20 s, waiting for the other server ranks"
    assert overdue(timed, 120.1, waits_for_others=waits) == words


def test_a_long_validation_that_goes_on_is_left_alone() -> None:
    timed = in_second_step()
    for now in range(105, 200, 5):
        timed.move(float(now))
        assert overdue(timed, now + 4.0) is None
    assert overdue(timed, 206.0) is not None


def test_what_comes_after_the_last_step_is_timed_until_the_loop_returns() -> None:
    timed = in_second_step()
    timed.ask(101.0)
    timed.run_out(102.0)
    assert overdue(timed, 113.0) == "what its loop does after the last training step has taken more than 10 s"
    timed.end()
    assert overdue(timed, 1e6, put_waits=True) is None


def test_saving_what_was_trained_is_timed_too() -> None:
    timed = in_second_step()
    timed.hand_in(200.0)
    assert overdue(timed, 210.0) is None
    assert overdue(timed, 210.1) == "saving what was trained has taken more than 10 s"
    timed.end()
    assert overdue(timed, 1e6) is None


def test_waiting_for_samples_is_no_failure_unless_they_are_there() -> None:
    timed = in_second_step()
    timed.ask(101.0)
    assert overdue(timed, 5000.0) is None
    assert overdue(timed, 5001.0, put_waits=True) is None
    assert overdue(timed, 5005.0) is None
    assert overdue(timed, 5006.0, put_waits=True) is None
    assert overdue(timed, 5016.0, put_waits=True) is None
    found = overdue(timed, 5016.1, put_waits=True)
    assert found == "preparing a batch, though the buffer is full, has taken more than 10 s"


def test_a_clock_that_is_not_started_finds_nothing() -> None:
    assert overdue(TrainingClock(TIMEOUT_S, first_s=FIRST_S), 1e6, put_waits=True) is None


def batch_of_one() -> Turn:
    number = torch.tensor([1])
    batch = Batch(simulations=number, steps=number, times=number, parameters=number, fields={})
    return Turn(batch=batch, num_samples_global=1, progress=0.0, validate=False)


def held(watch: Watch, until: threading.Event, began: threading.Event) -> None:
    with watch.training():
        for _ in watch.passing([batch_of_one()]):
            began.set()
            a_loss_that_blocks(until.wait)


def a_loss_that_blocks(wait: Callable[[float], bool]) -> None:
    wait(20.0)


def test_the_launcher_is_told_once_where_the_training_hangs(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[TrainingBlocked] = []
    timed = TrainingClock(0.0, first_s=0.0)
    watch = Watch(timed, num_server_ranks=1, put_waits=lambda: False, tell=told.append, alarm=StackAlarm(60.0))
    until, began = threading.Event(), threading.Event()
    trainer = threading.Thread(target=held, args=(watch, until, began), name="the trainer")
    trainer.start()
    assert began.wait(10.0)
    watch.look()
    watch.look()
    until.set()
    trainer.join(10.0)
    (message,) = [item.message for item in told]
    assert message.startswith(
        "its training step 1 has taken more than 0 s (launcher.training_timeout_s); it is here:\n"
    )
    assert "in a_loss_that_blocks\n    wait(20.0)" in message
    log = capsys.readouterr().err
    assert "thread the trainer:\n" in log
    assert "thread MainThread:\n" in log


def test_where_a_trial_hangs_is_written_although_it_holds_the_interpreter() -> None:
    """A conversion of a number with a million digits lets no other thread of Python run."""
    program = (
        "import sys\n"
        "from melissa_like.server.stacks import stacks_in_the_log_after\n"
        "sys.set_int_max_str_digits(0)\n"
        "def a_network_that_hangs():\n    return len(str(7 ** 250_000))\n"
        "with stacks_in_the_log_after(0.02):\n    a_network_that_hangs()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "in a_network_that_hangs" in done.stderr


def test_an_alarm_goes_off_unless_it_is_put_off() -> None:
    program = (
        "import sys, time\n"
        "from melissa_like.server.stacks import StackAlarm\n"
        "sys.set_int_max_str_digits(0)\n"
        "def a_loss_that_holds_the_interpreter():\n    return len(str(7 ** 250_000))\n"
        "alarm = StackAlarm(0.05)\nalarm.put_off(time.monotonic())\na_loss_that_holds_the_interpreter()\nalarm.end()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "in a_loss_that_holds_the_interpreter" in done.stderr
    quiet = program.replace("\na_loss_that_holds_the_interpreter()\n", "\n")
    done = subprocess.run([sys.executable, "-c", quiet], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
