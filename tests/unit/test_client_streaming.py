"""When a client lets go what it holds: soon, unless the next step is nearer."""

import numpy as np

from melissa_like.client.streaming import Pace


def test_a_solver_that_takes_its_time_sends_every_step_at_once() -> None:
    pace = Pace()
    assert all(pace.pushes(now) for now in np.arange(0.0, 1.0, 0.0011))


def test_steps_in_quick_succession_leave_together_every_few_milliseconds() -> None:
    pace = Pace()
    pushed = [now for now in np.arange(0.0, 1.0, 0.0001) if pace.pushes(now)]
    assert pushed[0] == 0.0
    assert 100 < len(pushed) < 250
    assert max(np.diff(pushed)) < 0.006


def test_after_a_pause_the_next_step_leaves_at_once() -> None:
    pace = Pace()
    assert [pace.pushes(now) for now in (0.0, 0.0001, 0.0002, 0.5, 0.5001)] == [True, False, False, True, False]
