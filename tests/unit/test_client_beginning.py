"""Sizes and static fields of a simulation: what ranks say of them together, and what is refused."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from melissa_like.client import Beginning, Part, Scattered
from melissa_like.errors import SolverError
from melissa_like.protocol import control as say
from melissa_like.protocol.wire import Kind
from melissa_like.records import Box
from tests.unit.scripted_study import Study, failures_of, solve_on_ranks

FIELDS = (
    say.WireField(name="u", shape=(2, 0), dtype="float32", components=2, extent="num_points"),
    say.WireField(name="drag", shape=(1,), dtype="float32"),
)
STATIC = (
    say.WireField(name="x", shape=(2, 0), dtype="float32", components=2, extent="num_points"),
    say.WireField(name="edges", shape=(0,), dtype="int32", extent="num_edges", indexes="num_points"),
    say.WireField(name="k", shape=(3,), dtype="float32"),
)
FIRST = say.Assignment(simulation=3, attempt=2, purpose=0, parameters=(0.5,), delivered_steps=())
FINISH = say.Finish(reason="no simulation is left")
EXTENTS = {"num_points": 6, "num_edges": 4}
#: Points of the ranks: 0 and 2, 1 and 5, 3 and 4, as they lie in the memory of each.
POINTS = (np.array([2, 0]), np.array([5, 1], np.int32), [3, 4])

#: From a rank to what its solver yields.
Solver = Callable[[int], Iterable[Any]]


def static(rank: int) -> dict[str, Any]:
    """Rank 0 has all edges, rank 1 all of k."""
    mine: dict[str, Any] = {"x": Scattered(np.ones((2, 2)) * POINTS[rank], POINTS[rank])}
    if rank == 0:
        mine["edges"] = np.array([0, 5, 3, 1])
    return mine if rank != 1 else mine | {"k": Part(np.ones(3), (0,))}


def fields(rank: int, points: Any = None) -> dict[str, Any]:
    mine = {"u": Scattered(np.ones((2, 2)), POINTS[rank] if points is None else points)}
    return mine | ({"drag": np.ones(1)} if rank == 2 else {})


def begun(rank: int, **changes: Any) -> Beginning:
    return Beginning(extents=EXTENTS, static=static(rank) | changes)


def run(solver: Solver, *answers: say.ControlMessage) -> tuple[Study, list[BaseException | None]]:
    study = Study(*answers or (FIRST, FINISH), fields=FIELDS, extents=("num_points", "num_edges"), static=STATIC)
    return solve_on_ranks(study, 3, solver)


def test_what_is_sent_once_comes_before_the_first_step_and_not_again() -> None:
    study, raised = run(lambda rank: [begun(rank), *((step, fields(rank)) for step in range(3))])
    assert raised == [None] * 3
    messages = study.messages()
    (goodbye,) = study.of(say.Goodbye)
    assert isinstance(goodbye, say.Goodbye)
    assert goodbye.parts_sent == (sum(header.kind is not Kind.OPEN for header in messages),)
    of_rank_1 = [(header.kind, header.step, header.box) for header in messages if header.client_rank == 1]
    assert of_rank_1 == [
        (Kind.OPEN, 0, Box((0,), (3,))),
        (Kind.INDEX, 0, Box((0,), (2,))),
        (Kind.STATIC_SCATTER, 0, Box((0, 0), (2, 2))),
        (Kind.STATIC, 0, Box((0,), (3,))),
        *((Kind.SCATTER, step, Box((0, 0), (2, 2))) for step in range(3)),
    ]


def test_a_rank_without_a_part_of_a_step_sends_what_is_sent_once() -> None:
    """Each simulation of a job begins anew, and an attempt that goes on sends everything before its first step."""

    def solve(rank: int) -> Iterable[Any]:
        yield begun(rank)
        for step in range(3):
            all_of_it = {"u": np.ones((2, 6)), "drag": np.ones(1)}
            yield step, all_of_it if rank == 0 else {}

    later = say.Assignment(simulation=4, attempt=1, purpose=1, parameters=(0.7,), delivered_steps=((0, 2),))
    study, raised = run(solve, FIRST, later, FINISH)
    assert raised == [None] * 3
    messages = study.messages()
    for simulation in (3, 4):
        mine = [header for header in messages if header.simulation == simulation and header.client_rank == 2]
        assert [header.kind for header in mine] == [Kind.OPEN, Kind.INDEX, Kind.STATIC_SCATTER]
    assert {header.step for header in messages if header.simulation == 4 and header.kind is Kind.PART} == {2}


def test_other_numbers_are_another_list_also_in_the_same_array() -> None:
    def solve(rank: int) -> Iterable[Any]:
        numbers = np.array(POINTS[rank])
        yield begun(rank, x=Scattered(np.ones((2, 2)), numbers))
        for step in range(3):
            numbers[:] = POINTS[(rank + step + 1) % 3]
            yield step, fields(rank, numbers)

    study, raised = run(solve)
    assert raised == [None] * 3
    mine = [header for header in study.messages() if header.client_rank == 0]
    assert [header.field_id for header in mine if header.kind is Kind.INDEX] == [0, 1, 2]
    assert [header.box.offset[-1] for header in mine if header.kind is Kind.SCATTER] == [1, 2, 0]


def test_without_extents_nothing_need_be_begun_and_nothing_is_refused() -> None:
    study = Study(FIRST, FINISH)
    solved, raised = solve_on_ranks(study, 1, lambda rank: [Beginning(), (0, {"v": np.ones((2, 3, 4))})])
    assert raised == [None]
    assert [header.kind for header in solved.messages()] == [Kind.OPEN, Kind.PART]


def beginning(make: Callable[[int], Any]) -> Solver:
    return lambda rank: [make(rank), (0, fields(rank))]


def extents(given: Any) -> Solver:
    return beginning(lambda rank: Beginning(extents=given, static=static(rank)))


def field(name: str, value: Any, rank: int = 0) -> Solver:
    """One rank gives another value for a static field."""
    return beginning(lambda mine: begun(mine, **({name: value} if mine == rank else {})))


def numbers(given: Any, rank: int = 0, array: Any = None) -> Solver:
    """One rank gives other numbers for its points."""
    return field("x", Scattered(np.ones((2, 2)) if array is None else array, given), rank)


def stepped(numbers: Any) -> Solver:
    """Rank 1 gives these numbers for its points in the second step."""
    return lambda rank: [begun(rank), (0, fields(rank)), (1, fields(rank, numbers if rank == 1 else None))]


REFUSED: dict[str, tuple[Solver, str]] = {
    "no beginning": (lambda rank: [(0, fields(rank))], "call session.begin(extents={...}, static={...}) on every rank"),
    "no beginning of one rank": (
        lambda rank: [*([begun(rank)] if rank else []), (0, fields(rank))],
        "rank 0, time step 0: a time step was sent, and the simulation has not begun: the study has extents "
        "(num_points, num_edges) and static fields (x, edges, k)",
    ),
    "a rank that ends instead": (
        lambda rank: [begun(rank)] if rank else [],
        "this rank begins the simulation while another rank has sent its last one",
    ),
    "two beginnings": (lambda rank: [begun(rank)] * 2, "begin was called a second time"),
    "two beginnings of one rank": (
        lambda rank: [begun(rank), *([begun(rank)] if rank == 2 else []), (0, fields(rank))],
        "rank 2, before its first time step: begin was called a second time",
    ),
    "a beginning after a step": (
        lambda rank: [begun(rank), (0, fields(rank)), begun(rank)],
        "begin was called after time step 0: what does not change in a simulation is told once",
    ),
    "no extents": (extents({}), "the extent 'num_points' was not given"),
    "extents in a list": (extents([6, 4]), "began with extents=[6, 4], a list: give a mapping, {name: size}"),
    "an extent that is missing": (extents({"num_points": 6}), "the extent 'num_edges' was not given"),
    "an extent of its own": (
        extents({**EXTENTS, "num_cells": 3}),
        "the extent 'num_cells' is not declared: the shapes under solver.fields and solver.static name 'num_points', "
        "'num_edges'",
    ),
    "no point": (extents({**EXTENTS, "num_points": 0}), "the extent 'num_points' is 0: give a number of points"),
    "half a point": (extents({**EXTENTS, "num_points": 5.5}), "the extent 'num_points' is 5.5"),
    "a truth": (extents({**EXTENTS, "num_points": True}), "the extent 'num_points' is True"),
    "too many points": (extents({**EXTENTS, "num_points": 2**60}), "give a number of points, 1 or more"),
    "ranks that differ": (
        beginning(lambda rank: Beginning(extents={**EXTENTS, "num_edges": 4 + rank // 2}, static=static(rank))),
        "the ranks give the extent 'num_edges' different sizes, rank 0 4 and rank 2 5: all ranks give the size of",
    ),
    "a static field that is missing": (
        beginning(lambda rank: Beginning(extents=EXTENTS, static={"x": static(rank)["x"], "k": np.ones(1)})),
        "no rank has sent field 'edges': send every field of solver.static once, before the first time step",
    ),
    "a static field of its own": (
        field("y", np.ones(6)),
        "field 'y' is not declared: solver.static declares 'x', 'edg",
    ),
    "a field of a step": (field("u", np.ones((2, 6))), "field 'u' is not declared: solver.static declares"),
    "a static field in a step": (
        lambda rank: [begun(rank), (0, {**fields(rank), "k": np.ones(3)})],
        "field 'k' is not declared: solver.fields declares 'u', 'drag'",
    ),
    "a static field that is no array": (field("k", [[1.0], [1.0, 2.0]], 1), "rank 1 sent a list that is no array"),
    "too many dimensions": (field("edges", np.ones((2, 2), int)), "the declared shape (4,) has 1 dimensions"),
    "too many rows": (field("edges", np.ones(5, int)), "have 5 rows together (5, 0, 0) but its declared shape is (4,)"),
    "floats as numbers of points": (
        field("edges", np.ones(4)),
        "dtype float64 was sent, it is declared int32: convert",
    ),
    "a box outside": (field("k", Part(np.ones(3), (1,)), 1), "or the shape under solver.static"),
    "half of k": (
        field("k", Part(np.ones(2), (0,)), 1),
        "sent 2 elements of field 'k', which has 3: nothing came for the box at (2,) of shape (1,); the boxes of the "
        "ranks do not cover the field: send each element once",
    ),
    "a value that is not finite": (
        field("x", Scattered(np.array([[1, 2], [np.nan, 3]]), POINTS[1]), 1),
        "static field 'x': rank 1 sent nan at index (1, 5) of the field: send finite values",
    ),
    "a value that overflows": (
        field("x", Scattered(np.array([[1, 1e39], [2, 3]]), POINTS[2]), 2),
        "field 'x': rank 2 sent 1e+39 at index (0, 4) of the field, which the declared dtype float32 cannot hold",
    ),
    "an edge to nowhere": (
        field("edges", np.array([0, 6, 3, 1])),
        "static field 'edges': rank 0 names point 6, but this simulation has 6 points (num_points), numbered from 0",
    ),
    "an edge from nowhere": (field("edges", np.array([0, 5, -3, 1])), "names point -3"),
    "numbers that are floats": (numbers([0.0, 1.0]), "sent an array of dtype float64 and shape (2,) as the numbers of"),
    "numbers in rows": (numbers([[0, 1]]), "as the numbers of its points: give one whole number per point"),
    "no numbers": (numbers(None), "rank 0 sent None as the numbers of its points"),
    "a negative number": (numbers([0, -1]), "an index list with the point -1: points are numbered from 0"),
    "a large number": (
        numbers([0, 6]),
        "rank 0 sent values at point 6, but this simulation has 6 points (num_points), numbered from 0",
    ),
    "a number beyond integers": (numbers(np.array([0, 2**64 - 1], np.uint64)), "at point 18446744073709551615"),
    "a number twice": (numbers([2, 2]), "an index list with the point 2 twice, at 0 and at 1: name each point once"),
    "fewer values than numbers": (
        numbers([0, 2], array=np.ones((2, 1))),
        "rank 0 sent an array of shape (2, 1) at 2 points, expected (2, 2): all components, and as many points as",
    ),
    "one component": (numbers([0, 2], array=np.ones((1, 2))), "shape (1, 2) at 2 points, expected (2, 2)"),
    "points of a field without them": (
        field("k", Scattered(np.ones(3), [0, 1, 2]), 1),
        "field 'k' was sent at points, but its declared shape is (3,): only a field whose shape names an extent",
    ),
    "a ghost point": (
        numbers([2, 0, 5], array=np.ones((2, 3))),
        "the ranks have sent 14 elements of field 'x', which has 12: point 5 came twice, the first from ranks 0 and 1; "
        "the points of the ranks do not cover the field: send each point once, no ghost points",
    ),
    "a point of another rank in the place of one's own": (
        numbers([1, 0]),
        "the ranks have sent 12 elements of field 'x', which has 12: point 1 came twice, the first from ranks 0 and 1, "
        "nothing came for point 2; the points of the ranks do not cover the field",
    ),
    "a point of nobody": (numbers([2], array=np.ones((2, 1))), "nothing came for point 0; the points of the ranks"),
    "a ghost point in a step": (
        lambda rank: [
            begun(rank),
            (0, fields(rank)),
            (1, {"u": Part(np.ones((2, 6)), (0, 0))} if rank == 1 else fields(rank)),
        ],
        "time step 1: the ranks have sent 20 elements of field 'u', which has 12: points 0, 2, 3 and 1 more came twice",
    ),
    "a point of nobody in a step": (stepped([1]), "expected (2, 1): all components"),
    "a point that is too high in a step": (stepped([1, 7]), "rank 1, time step 1: field 'u': rank 1 sent values at"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mesh_that_contradicts_itself_is_refused_on_every_rank(case: str) -> None:
    solver, words = REFUSED[case]
    study, raised = run(solver)
    (failure,) = failures_of(study)
    assert words in failure.message
    assert failure.breaks_contract
    assert study.of(say.Goodbye) == []
    assert [type(error) for error in raised] == [SolverError] * 3
