"""Which windows are complete, against a model that looks at all of them each time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.assembly import WindowTally
from melissa_like.assembly.progress import CompletedSteps
from melissa_like.records import Window, num_samples

WINDOWS = st.builds(Window, length=st.integers(1, 5), stride=st.integers(1, 4), hop=st.integers(1, 7))


@settings(deadline=None)
@given(WINDOWS, st.integers(0, 40), st.integers(0, 40))
def test_the_windows_that_hold_a_step(window: Window, step: int, num_steps: int) -> None:
    firsts = range(0, step + 1, window.hop)
    assert list(window.holding(step)) == [first for first in firsts if step in window.steps_from(first)]
    within = range(0, num_samples(num_steps, window) * window.hop, window.hop)
    assert list(window.holding(step, num_steps)) == [first for first in within if step in window.steps_from(first)]
    assert window.overlaps == any(len(window.holding(step)) > 1 for step in range(200))


class Model:
    """The steps of each attempt, and the windows that were formed; slow and plain."""

    def __init__(self, window: Window, num_steps: int, *, mixes: bool) -> None:
        self.window, self.mixes = window, mixes
        self.windows = range(0, num_samples(num_steps, window) * window.hop, window.hop)
        self.there: set[int] = set()
        self.formed: set[int] = set()

    def add(self, step: int) -> list[int]:
        self.there.add(step)
        new = [w for w in self.windows if w not in self.formed and {*self.window.steps_from(w)} <= self.there]
        self.formed |= {*new}
        return new

    def holding(self, step: int) -> set[int]:
        return {w for w in self.windows if step in self.window.steps_from(w)}

    def needs(self, step: int) -> bool:
        return bool(self.holding(step) - self.formed)


@settings(deadline=None, max_examples=150)
@given(WINDOWS, st.integers(1, 20), st.booleans(), st.data())
def test_windows_are_formed_once_of_one_attempt(
    window: Window, num_steps: int, mixes: bool, data: st.DataObject
) -> None:
    tally, model = WindowTally(window, num_steps=num_steps, mixes=mixes), Model(window, num_steps, mixes=mixes)
    lost: set[int] = set()
    spent: set[int] = set()
    told_lost: set[int] = set()
    for _ in range(3):
        settled = {*tally.settled_steps()}
        assert settled == {step for step in range(num_steps) if model.holding(step) and not model.needs(step)}
        steps = [step for step in range(num_steps) if step not in settled and step not in model.there]
        for step in data.draw(st.permutations(steps))[: data.draw(st.integers(0, num_steps))]:
            news = tally.add(step)
            match data.draw(st.integers(0, 5)):
                case 0:  # it is dropped
                    expected = model.holding(step) - model.formed
                    assert {*tally.give_up(step, news)} == expected
                    model.there.add(step)
                    model.formed |= expected
                    lost |= expected
                case 1:  # it was not taken
                    tally.retract(step, news)
                case _:
                    assert list(news.complete) == model.add(step)
                    spent |= {*news.spent}
                    told_lost |= {*news.given_up}
            assert {*tally.formed} == model.formed
            assert tally.num_held == sum(map(model.needs, model.there))
            if list(model.there) == list(range(len(model.there))):
                assert tally.num_held <= (window.length - 1) * window.stride
        assert told_lost <= lost
        assert not any(model.needs(step) for step in spent)
        there = CompletedSteps(1)
        for step in model.there:
            there.add(step)
        again = tally.begin_attempt(there)
        if mixes:
            assert again is there
        else:
            model.there.clear()


def test_what_is_dropped_is_told_with_the_next_step_that_is_taken() -> None:
    tally = WindowTally(Window(length=2), num_steps=5)
    tally.add(0)
    assert tally.give_up(1, tally.add(1)) == (0, 1)
    news = tally.add(2)
    assert (news.given_up, news.complete) == ((0, 1), ())
    assert {*news.spent} == {0, 1}
    assert tally.add(3).complete == (2,)


@pytest.mark.parametrize(("hop", "held"), [(1, 2), (2, 1), (3, 0)])
def test_no_more_is_held_than_what_a_window_needs_yet(hop: int, held: int) -> None:
    tally = WindowTally(Window(length=3, hop=hop), num_steps=None)
    for step in range(9):
        tally.add(step)
    assert tally.num_held == held
