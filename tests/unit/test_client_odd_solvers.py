"""Solvers as strange as users write them, on three ranks: the first rank that fails is heard, or nothing is wrong."""

import datetime
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from melissa_like.client import Part
from melissa_like.protocol import control as say
from melissa_like.records import Box
from tests.unit.scripted_study import Study, failures_of, solve_on_ranks

FIELDS = (
    say.WireField(name="u", shape=(6, 4), dtype="float32"),
    say.WireField(name="flag", shape=(6,), dtype="uint8"),
)
FIRST = say.Assignment(simulation=3, attempt=2, purpose=0, parameters=(0.5,), delivered_steps=())
FINISH = say.Finish(reason="no simulation is left")
NUM_RANKS = 3

#: From a rank to what its solver yields.
Solver = Callable[[int], Iterable[Any]]


def u() -> np.ndarray:
    return np.ones((2, 4))


def flag() -> np.ndarray:
    return np.zeros(2, "uint8")


def good() -> dict[str, Any]:
    return {"u": u(), "flag": flag()}


def steps(*numbers: Any) -> Solver:
    """Good fields at these steps."""
    return lambda rank: [(number, good()) for number in numbers]


def times(*moments: Any) -> Solver:
    """Good fields at these times."""
    return lambda rank: [(step, good(), moment) for step, moment in enumerate(moments)]


def once(fields: Callable[[int], Any]) -> Solver:
    """These fields in the second of two steps."""
    return lambda rank: [(0, good()), (1, fields(rank))]


def first(fields: Callable[[int], Any]) -> Solver:
    """These fields in the first step."""
    return lambda rank: [(0, fields(rank)), (1, good())]


def only(rank: int, odd: Callable[[], Any], others: Callable[[], Any] = good) -> Callable[[int], Any]:
    """Something odd of one rank."""
    return lambda mine: odd() if mine == rank else others()


def run(solver: Solver, *answers: say.ControlMessage) -> tuple[Study, list[BaseException | None]]:
    """What the launcher heard, and what each rank raised."""
    return solve_on_ranks(Study(*answers or (FIRST, FINISH), fields=FIELDS), NUM_RANKS, solver)


class Failing(dict[str, Any]):
    """A mapping whose owner cannot hand the fields out."""

    def items(self) -> Any:
        raise MemoryError("no memory for the copy from the device")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raising(error: BaseException, at: int = 1, rank: int = 1, after: str = "") -> Solver:
    """One rank raises: before its first step (0), between two, or behind the last (3)."""

    def solve(mine: int) -> Iterator[Any]:
        try:
            for step in range(3):
                if step == at and mine == rank and not after:
                    raise error
                yield step, good()
            if at == 3 and mine == rank and not after:
                raise error
        finally:
            if after and mine == rank:
                raise error

    return solve


def in_its_field(error: BaseException, rank: int = 1) -> Callable[[int], Any]:
    class Lazy:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            raise error

    return only(rank, lambda: {"u": Lazy(), "flag": flag()})


REFUSED: dict[str, tuple[Solver, str]] = {
    "a negative step": (steps(-1), "time step -1 as the first one"),
    "a step again": (steps(0, 0), "time step 0 after time step 0"),
    "a step backwards": (steps(4, 2), "time step 2 after time step 4"),
    "a step beyond what is kept": (steps(2**63), "time step 9223372036854775808 as the first one"),
    "a step beyond what can be sent": (steps(0, 2**70), "number the steps with growing integers"),
    "a truth": (steps(True), "time step True"),
    "a truth of numpy": (steps(0, np.True_), "after time step 0"),
    "a float": (steps(3.0), "time step 3.0"),
    "a float of numpy": (steps(np.float64(1)), "as the first one: number"),
    "a float without dimensions": (steps(np.array(1.5)), "array(1.5)"),
    "an array of one": (steps(np.array([1])), "array([1])"),
    "text": (steps("0"), "time step '0'"),
    "no step": (steps(None), "time step None"),
    "steps that differ": (
        lambda rank: [(rank // 2, good())],
        "rank 0 sends time step 0 while rank 2 sends time step 1",
    ),
    "steps that differ on average": (
        lambda rank: [(0, good()), (5 + rank, good())],
        "rank 0 sends time step 5 while rank 1 sends time step 6",
    ),
    "fields and step exchanged": (lambda rank: [(good(), 0)], "number the steps"),
    "a complex time": (times(0.0, 1j), "physical time 1j"),
    "a time as text": (times("0.5"), "physical time '0.5'"),
    "a time without end": (times(0.0, math.inf), "physical time inf"),
    "a time that overflows": (times(10**400), "physical time 1000"),
    "a list of times": (times([0.5]), "physical time [0.5]"),
    "a true time": (times(True), "physical time True"),
    "a masked time": (times(np.ma.masked), "physical time masked"),
    "a date": (times(datetime.datetime(2026, 1, 1)), "physical time datetime"),
    "a date of numpy": (times(np.datetime64("2026-01-01")), "physical time np.datetime64"),
    "a complex number of numpy": (times(np.complex128(2)), "physical time np.complex128"),
    "a function that returns": (lambda rank: None, "solve returned a NoneType"),  # type: ignore[arg-type,return-value]
    "a step without fields": (lambda rank: [0], "solve yielded a int"),
    "too much at once": (lambda rank: [(0, good(), 0.0, "more")], "solve yielded a tuple"),
    "no fields": (once(lambda rank: None), "time step 1: a step's fields are a NoneType"),
    "a list of fields": (first(only(2, lambda: [u()])), "rank 2, time step 0: a step's fields are a list"),
    "a generator of fields": (once(lambda rank: iter([("u", u())])), "a step's fields are a list_iterator"),
    "a field of None": (once(only(1, lambda: {"u": None})), "rank 1, time step 1: field 'u': rank 1 sent a NoneType"),
    "a field of its own": (once(only(1, lambda: {**good(), "p": u()})), "field 'p' is not declared"),
    "no field at all": (once(lambda rank: {}), "time step 1: no rank has sent field 'u'"),
    "a field that is missing": (once(lambda rank: {"u": u()}), "time step 1: no rank has sent field 'flag'"),
    "a field that one rank lacks": (
        once(only(2, lambda: {"u": u()})),
        "time step 1: the ranks have sent 4 elements of field 'flag', which has 6: nothing came for the box at (4,) "
        "of shape (2,)",
    ),
    "a gap between parts": (
        first(lambda rank: {"u": Part(np.ones((2, 3)), (2 * rank, 0)), "flag": flag()}),
        "time step 0: the ranks have sent 18 elements of field 'u', which has 24: nothing came for the box at (0, 3) "
        "of shape (2, 1), the box at (2, 3) of shape (2, 1), the box at (4, 3) of shape (2, 1)",
    ),
    "a hole in the middle": (
        once(lambda rank: {"u": Part(np.ones((2, 4)), (2 * rank, 0)) if rank != 1 else Part(u()[:1], (2, 0))}),
        "nothing came for the box at (3, 0) of shape (1, 4)",
    ),
    "parts that lie on one another": (
        once(lambda rank: {"u": Part(np.ones((4, 4)), (rank, 0)), "flag": flag()}),
        "sent 48 elements of field 'u', which has 24: the box at (0, 0) of shape (4, 4) and the box at (1, 0) of shape "
        "(4, 4) share elements, which are sent twice",
    ),
    "an empty array of too few dimensions": (
        first(only(1, lambda: {"u": np.zeros(0), "flag": flag()})),
        "rank 1, time step 0: field 'u': an array of shape (0,) was sent",
    ),
    "the same later": (
        once(only(2, lambda: {"u": np.zeros(0), "flag": flag()})),
        "rank 2, time step 1: field 'u': an array of shape (0,) was sent",
    ),
    "rows that are too few": (first(only(1, lambda: {"u": u()[:1], "flag": flag()})), "5 rows together (2, 1, 2)"),
    "rows that change": (once(only(1, lambda: {"u": u()[:1]})), "rank 1 sent 1 rows"),
    "half an offset": (once(lambda rank: {"u": Part(u(), (2.5 * rank, 0))}), "field 'u': a Part with the offset"),
    "an offset that is a number": (once(lambda rank: {"u": Part(u(), 0)}), "a Part with the offset 0"),
    "an offset of too few": (once(lambda rank: {"u": Part(u(), (0,))}), "not inside the declared shape (6, 4)"),
    "a value that overflows": (
        once(only(1, lambda: {"u": np.array([[1.0] * 4, [1.0, -1e39, 1e300, 0.0]]), "flag": flag()})),
        "rank 1, time step 1: field 'u': rank 1 sent -1e+39 at index (3, 1) of the field, which the declared dtype "
        "float32 cannot hold (2 such values",
    ),
    "an integer that wraps": (
        first(only(2, lambda: {"u": u(), "flag": np.array([0, 256], "uint16")})),
        "rank 2, time step 0: field 'flag': rank 2 sent 256 at index (5,)",
    ),
    "signed for unsigned": (first(only(1, lambda: {"u": u(), "flag": np.zeros(2, int)})), "dtype int64 was sent"),
    "a mask": (
        once(only(1, lambda: {"u": np.ma.masked_greater(np.arange(8.0).reshape(2, 4), 5), "flag": flag()})),
        "rank 1, time step 1: field 'u': rank 1 sent an array with 2 masked entries, the first at index (1, 2)",
    ),
    "a tensor that learns": (
        once(only(1, lambda: {"u": torch.ones(2, 4, requires_grad=True)})),
        "rank 1 sent a Tensor that is no array",
    ),
    "one rank ends early": (
        lambda rank: [(step, good()) for step in range(3 - (rank == 2))],
        "rank 0, time step 2: this rank sends time step 2 while another rank has sent its last one",
    ),
    "one rank never begins": (
        lambda rank: [] if rank == 0 else [(0, good())],
        "rank 1, time step 0: this rank sends time step 0 while another rank has sent its last one",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_breach_of_contract_is_told_once_with_rank_and_step_and_raised_everywhere(case: str) -> None:
    solver, words = REFUSED[case]
    study, raised = run(solver)
    failure, *more = failures_of(study)
    assert not more or "solve" in words  # raised by each rank between two steps, where they do not meet
    assert words in failure.message
    assert failure.message.startswith("rank ")
    assert failure.breaks_contract
    assert study.of(say.Goodbye) == []
    if "solve" not in words:
        reason = words.partition(": ")[2] if words.startswith(("rank ", "time step 1: ", "time step 0: ")) else words
        assert [reason in str(error) for error in raised] == [True] * NUM_RANKS


RAISED: dict[str, tuple[Solver, str]] = {
    "before the first step": (raising(ArithmeticError("diverged"), at=0), "rank 1, before its first time step: Trace"),
    "between two steps": (raising(ArithmeticError("diverged")), "rank 1, after time step 0: Traceback"),
    "behind the last step": (raising(ArithmeticError("diverged"), at=3), "rank 1, after time step 2: Traceback"),
    "at its end": (raising(ArithmeticError("diverged"), after="end"), "ArithmeticError: diverged"),
    "on rank 0": (raising(OSError(28, "No space"), rank=0), "rank 0, after time step 0: Traceback"),
    "an exit": (raising(SystemExit(3)), "RuntimeError: the solver called sys.exit(3)"),
    "an exit without a fault": (raising(SystemExit()), "RuntimeError: the solver called sys.exit(None)"),
    "an interruption": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "an end that is no end": (raising(StopIteration()), "generator raised StopIteration"),
    "an error without text": (raising(UnprintableError()), "UnprintableError"),
    "a name that is no text": (raising(OSError("no file \udcff")), "OSError: no file \\udcff"),
    "a long story": (raising(RuntimeError("x" * 10**7 + " at last")), " at last"),
    "several at once": (raising(ExceptionGroup("both", [ValueError("a"), KeyError("b")])), "KeyError: 'b'"),
    "in a field at first": (first(in_its_field(MemoryError("device"))), "rank 1, time step 0: Traceback"),
    "in a field later": (once(in_its_field(MemoryError("device"), 2)), "rank 2, time step 1: Traceback"),
    "in a field without text": (once(in_its_field(UnprintableError())), "UnprintableError"),
    "in a field with a strange name": (once(in_its_field(OSError("\udcff"))), "OSError: \\udcff"),
    "in the mapping": (once(only(1, lambda: Failing(good()))), "MemoryError: no memory for the copy"),
    "in a step's number": (
        lambda rank: [(0, good()), (type("N", (), {"__index__": lambda self: 1 // 0})() if rank else 1, good())],
        "rank 1, after time step 0: Traceback",
    ),
}


@pytest.mark.parametrize("case", RAISED)
def test_what_a_solver_raises_is_told_with_rank_and_step(case: str) -> None:
    solver, words = RAISED[case]
    study, _ = run(solver)
    (failure,) = failures_of(study)
    assert words in failure.message
    assert "melissa_like/client/session.py" not in failure.message
    assert len(failure.message) < 25_000
    assert not failure.breaks_contract
    assert study.of(say.Goodbye) == []


def nothing_of(rank: int) -> dict[str, Any]:
    """Rank 1 has no rows, rank 2 no field, and rank 0 all of one."""
    if rank == 0:
        return {"u": np.ones((4, 4)), "flag": np.zeros(6, "uint8")}
    return {"u": np.ones((0, 4)), "flag": np.zeros(0, "uint8")} if rank == 1 else {"u": u()}


TAKEN: dict[str, Solver] = {
    "steps of every kind of integer": steps(np.int8(0), np.array(1), np.uint64(2), torch.tensor(7), 2**63 - 1),
    "times of every kind of number": times(0, np.float32(0.5), np.array(1), torch.tensor(2.0), np.longdouble(3)),
    "times that nobody knows": times(None, math.nan, np.nan),
    "times that fall": times(1.0, 0.5, -3.0),
    "no time in between": lambda rank: [(0, good(), 0.5), (1, good()), (2, good(), None)],
    "ranks without rows": lambda rank: [(step, nothing_of(rank)) for step in range(4)],
    "parts of no size": lambda rank: [
        (step, {"u": Part(u(), (2 * rank, 0)), "flag": Part(np.zeros(6 * (rank == 2), "uint8"), (0,))})
        for step in range(3)
    ],
    "a field of one rank": lambda rank: [(0, {"u": u(), **({"flag": np.zeros(6, "uint8")} if rank == 2 else {})})],
    "a decomposition that changes": lambda rank: [
        (step, {"u": Part(u(), (2 * ((rank + step) % 3), 0)), "flag": flag()}) for step in range(3)
    ],
    "offsets of numpy": lambda rank: [(0, {"u": Part(u(), np.array([2 * rank, 0])), "flag": flag()})],  # type: ignore[arg-type]
    "a list of steps": lambda rank: [(0, {"u": u().tolist(), "flag": flag()})],
    "a named pair": lambda rank: [type("Pair", (tuple,), {})((0, good()))],
    "values that are not finite": lambda rank: [(0, {"u": np.full((2, 4), np.nan), "flag": flag()})],
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_sound_arrives_once_and_nothing_empty_is_sent(case: str) -> None:
    study, raised = run(TAKEN[case])
    assert raised == [None] * NUM_RANKS
    (goodbye,) = study.of(say.Goodbye)
    assert isinstance(goodbye, say.Goodbye)
    arrived = study.arrived()
    assert goodbye.parts_sent == (len(arrived),)
    assert len({header.step for header in arrived}) == goodbye.num_steps
    for step in {header.step for header in arrived}:
        for field_id, field in enumerate(FIELDS):
            covered = np.zeros(field.shape, int)
            for header in arrived:
                if (header.step, header.field_id) == (step, field_id):
                    assert header.box.size
                    covered[Box(header.box.offset, header.box.shape).slices] += 1
            assert (covered == 1).all()


def test_a_step_that_is_there_already_may_be_left_empty() -> None:
    there = say.Assignment(simulation=3, attempt=2, purpose=0, parameters=(0.5,), delivered_steps=((0, 2), (3, 4)))

    def solver(rank: int) -> Iterator[Any]:
        for step in range(5):
            yield step, good() if step in (2, 4) else {}

    study, raised = run(solver, there, FINISH)
    assert raised == [None] * NUM_RANKS
    assert {header.step for header in study.arrived()} == {2, 4}


def test_a_solver_that_never_yields_says_so_with_its_goodbye() -> None:
    study, raised = run(lambda rank: [])
    assert raised == [None] * NUM_RANKS
    assert study.of(say.Goodbye) == [say.Goodbye(simulation=3, attempt=2, num_steps=0, parts_sent=(0,))]
