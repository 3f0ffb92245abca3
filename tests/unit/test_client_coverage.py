"""What the ranks have not sent is named as what it is: checked against counting every element."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melissa_like.client.coverage import fault_of_boxes, gather_boxes, label_of, steps_agree
from melissa_like.records import Box, FieldSpec
from tests.unit.ranks import on_ranks

SHAPE = (6, 5)
SPEC = FieldSpec(name="u", shape=SHAPE)
BOX = re.compile(r"the box at \((\d+), (\d+)\) of shape \((\d+), (\d+)\)")


def counted(boxes: list[Box]) -> np.ndarray:
    covered = np.zeros(SHAPE, int)
    for box in boxes:
        covered[box.slices] += 1
    return covered


def named(text: str) -> list[Box]:
    return [Box((int(a), int(b)), (int(c), int(d))) for a, b, c, d in BOX.findall(text)]


some_boxes = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 4)).flatmap(
        lambda offset: st.builds(
            Box, st.just(offset), st.tuples(st.integers(1, 6 - offset[0]), st.integers(1, 5 - offset[1]))
        )
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(some_boxes)
def test_the_boxes_that_are_named_are_those_that_are_missing_or_sent_twice(boxes: list[Box]) -> None:
    covered = counted(boxes)
    total = int(covered.sum())
    text = fault_of_boxes(SPEC, boxes, total)
    assert f"sent {total} elements of field 'u', which has 30" in text
    found = named(text)
    if total > SPEC.size:
        one, other = found
        assert one.overlaps(other)
        assert {one, other} <= set(boxes)
    elif (covered == 0).any():
        missing = counted(found)
        assert (missing[covered > 0] == 0).all()
        assert missing.max() == 1
        assert ("more boxes" in text) or (missing[covered == 0] == 1).all()


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=8), st.booleans())
def test_ranks_know_from_two_sums_whether_they_are_at_the_same_step(steps: list[int], same: bool) -> None:
    steps = [steps[0]] * len(steps) if same else steps
    sums = np.sum([label_of(step) for step in steps], axis=0).tolist()
    assert steps_agree(*sums, len(steps)) is (len({step % 1_000_003 for step in steps}) == 1)


def test_the_sums_of_a_million_ranks_can_be_sent() -> None:
    assert 2**20 * label_of(10**18 + 7)[1] < 2**63


@pytest.mark.parametrize(("most", "known"), [(3, True), (1001, False)])
def test_boxes_are_gathered_of_all_ranks_unless_they_are_too_many(most: int, known: bool) -> None:
    def mine(rank: int) -> list[Box]:
        return [Box((i, rank), (1, 1)) for i in range(most if rank == 1 else rank)]

    gathered = on_ranks(3, lambda team: gather_boxes(team, mine(team.rank), 2))
    assert gathered == [[*mine(0), *mine(1), *mine(2)] if known else None] * 3


def test_too_many_boxes_leave_the_numbers() -> None:
    text = fault_of_boxes(SPEC, None, 7)
    assert "the ranks have sent 7 elements of field 'u', which has 30; the boxes" in text
