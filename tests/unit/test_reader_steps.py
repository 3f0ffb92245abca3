"""Which steps are complete, in whatever order a program writes: each once, in order, and never a half-written one."""

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.client.readers.pattern import Pattern
from melissa_like.client.readers.steps import StepBook, StepFiles, checked_completion
from melissa_like.errors import SolverError

PATTERN = Pattern("{field}_{rank}_{step}.npy")


def listed(*names: str, pattern: Pattern = PATTERN) -> list[Any]:
    return [pattern.match(name) for name in names]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[str], int, list[tuple[str, int, int]]]:
    """Files in the order in which a program begins them: each of its streams in order, at its own pace."""
    fields = draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True))
    num_ranks = draw(st.integers(1, 3))
    steps = sorted(draw(st.sets(st.integers(0, 200), min_size=1, max_size=5)))
    paces = [(field, rank) for field in fields for rank in range(num_ranks) for _ in steps]
    waiting = {stream: iter(steps) for stream in set(paces)}
    return fields, num_ranks, [(*stream, next(waiting[stream])) for stream in draw(st.permutations(paces))]


@pytest.mark.parametrize("complete", ["next", "renamed", "end"])
@given(history=histories(), looks=st.randoms(use_true_random=False))
def test_each_step_once_in_order_and_never_before_it_is_complete(
    complete: Any, history: tuple[list[str], int, list[tuple[str, int, int]]], looks: Any
) -> None:
    fields, num_ranks, begun = history
    book = StepBook(complete=complete, fields=fields, num_ranks=num_ranks)
    given_steps: list[StepFiles] = []
    for number in range(1, len(begun) + 1):
        if looks.random() < 0.5:
            continue
        there = begun[:number]
        names = [f"{field}_{rank}_{step}.npy" for field, rank, step in there]
        looks.shuffle(names)
        given_steps += book.take(listed(*names), ended=False)
        for files in given_steps:
            later = {(field, rank) for field, rank, step in there if step > files.step}
            assert complete != "end"
            assert set(files.files) == {(field, rank) for field in fields for rank in range(num_ranks)}
            assert complete == "renamed" or later == set(files.files)
            assert set(files.files.values()) <= set(names)
    names = [f"{field}_{rank}_{step}.npy" for field, rank, step in begun]
    given_steps += book.take(listed(*names), ended=True)
    assert [files.step for files in given_steps] == sorted({step for _, _, step in begun})
    assert [files.before for files in given_steps] == [*range(len(given_steps))]
    assert sorted(chain.from_iterable(files.files.values() for files in given_steps)) == sorted(names)
    assert book.take(listed(*names), ended=True) == []


def test_files_that_are_gone_are_not_missed() -> None:
    book = StepBook(complete="next", fields="u")
    assert [files.step for files in book.take(listed("u_0_1.npy", "u_0_2.npy"), ended=False)] == [1]
    assert [files.step for files in book.take(listed("u_0_2.npy", "u_0_3.npy"), ended=False)] == [2]
    assert [files.step for files in book.take(listed("u_0_3.npy"), ended=True)] == [3]


def test_names_without_a_number_are_counted() -> None:
    book, pattern = StepBook(complete="next"), Pattern("{time}/U")
    taken = book.take(listed("0.5/U", "10/U", "9/U", "1e-2/U", pattern=pattern), ended=True)
    assert [(files.step, files.time) for files in taken] == [(0, 0.01), (1, 0.5), (2, 9), (3, 10)]


def test_a_name_without_an_order_is_one_step() -> None:
    book, pattern = StepBook(complete="end"), Pattern("result.npy")
    assert book.take(listed("result.npy", pattern=pattern), ended=False) == []
    assert [files.step for files in book.take(listed("result.npy", pattern=pattern), ended=True)] == [0]


@pytest.mark.parametrize(
    ("before", "names", "told"),
    [
        (["u_0_5.npy", "u_0_6.npy"], ["u_0_3.npy", "u_0_6.npy"], "u_0_3.npy has appeared after the files of a later"),
        ([], ["u_0_1.npy", "u_0_01.npy"], "u_0_01.npy and u_0_1.npy are of the same step"),
        ([], ["v_0_1.npy"], "0 files of 'u' where 1 were expected: there is v_0_1.npy"),
        (
            [],
            ["u_0_1.npy", "u_1_1.npy", "v_0_1.npy"],
            "2 files of 'u' where 1 were expected: there are u_0_1.npy, u_1_1",
        ),
    ],
)
def test_what_does_not_add_up(before: list[str], names: list[str], told: str) -> None:
    book = StepBook(complete="next", fields=["u", "v"] if "v_0_1.npy" in names else "u")
    book.take(listed(*before), ended=False)
    with pytest.raises(SolverError) as caught:
        book.take(listed(*names), ended=True)
    assert told in str(caught.value)


def test_a_way_of_completion_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="complete is 'later': write renamed or next or end"):
        checked_completion("later")
