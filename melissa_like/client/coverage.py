"""Whether the ranks of a job have sent together all of a time step, and what is wrong if they have not.

Every rank counts what it has sent; the sums travel in the collective that ends each step, so that all ranks know of a
gap at once, at the step that has it. Only then are boxes gathered, to name the place.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from melissa_like.client.parts import PartShape
from melissa_like.client.team import Team
from melissa_like.records import Box, FieldSpec

__all__ = [
    "BEGINNING",
    "fault_of_boxes",
    "fault_of_points",
    "gather_boxes",
    "gather_points",
    "label_of",
    "name_gap",
    "name_steps",
    "steps_agree",
]

#: In place of the number of a time step: the rank begins the simulation.
BEGINNING = -2
#: Larger than any job, small enough for sums of squares.
_LABELS = 1_000_003
#: Of one rank, and of free space while it is cut up: more say too little to be worth the search.
_MOST_BOXES = 1000
_MOST_NAMED = 3
#: Numbers that are gathered, of all ranks together, to find one point.
_MOST_COUNTS = 2**23


def label_of(step: int) -> list[int]:
    """Two numbers by whose sums the ranks know whether all of them are at the same step, or begin."""
    label = _LABELS if step == BEGINNING else step % _LABELS
    return [label, label * label]


def steps_agree(total: int, of_squares: int, num_ranks: int) -> bool:
    """Whether all labels are the same: then, and only then, the mean of the squares is the square of the mean."""
    return num_ranks * of_squares == total * total


def name_steps(team: Team, number: int) -> str:
    """How the ranks disagree on the step that they send. Every rank calls it."""
    numbers = team.gather_rows([number])[:, 0].tolist()
    other = next(rank for rank, one in enumerate(numbers) if one != numbers[0])
    does = ["begins the simulation" if one == BEGINNING else f"sends time step {one}" for one in numbers]
    return (
        f"rank 0 {does[0]} while rank {other} {does[other]}: every rank sends the same steps, in the same order"
        f"{', and begins before the first one' if BEGINNING in numbers else ''}"
    )


def name_gap(team: Team, spec: FieldSpec, shapes: Sequence[PartShape], num_elements: int, group: str = "fields") -> str:
    """How the parts of all ranks miss a field. Every rank calls it.

    Args:
        team: the ranks.
        spec: the field.
        shapes: of the parts of it that this rank has sent.
        num_elements: that all ranks have sent.
        group: the key of the configuration that declares the field.
    """
    if spec.extent is None:
        boxes = gather_boxes(team, [shape.box for shape in shapes], len(spec.shape))
        return fault_of_boxes(spec, boxes, num_elements, group)
    return fault_of_points(spec, gather_points(team, spec, shapes), num_elements, group)


def gather_points(team: Team, spec: FieldSpec, shapes: Sequence[PartShape]) -> npt.NDArray[np.int64] | None:
    """How many elements each rank has sent at each point: [ranks, points]; None if that is too much to look at.

    Every rank calls it.
    """
    if team.size * spec.shape[-1] > _MOST_COUNTS:
        return None
    counts = np.zeros(spec.shape[-1], np.int64)
    for shape in shapes:
        counts[shape.box.slices[-1] if shape.points is None else shape.points] += math.prod(shape.box.shape[:-1])
    return team.gather_rows(counts.tolist())


def gather_boxes(team: Team, boxes: Sequence[Box], num_dimensions: int) -> list[Box] | None:
    """The boxes of all ranks, on every rank; None if they are too many. Every rank calls it.

    Args:
        team: the ranks.
        boxes: of this rank.
        num_dimensions: of each box.
    """
    most = int(team.gather_rows([len(boxes)]).max())
    if most == 0 or most > _MOST_BOXES:
        return None if most else []
    width = 2 * num_dimensions
    mine = [number for box in boxes for number in (*box.offset, *box.shape)]
    rows = team.gather_rows([*mine, *[0] * (most * width - len(mine))])
    return list(_boxes_of(rows.reshape(-1, width), num_dimensions))


def _boxes_of(rows: npt.NDArray[np.int64], num_dimensions: int) -> Iterator[Box]:
    for row in rows.tolist():
        box = Box(tuple(row[:num_dimensions]), tuple(row[num_dimensions:]))
        if box.size:
            yield box


def fault_of_boxes(spec: FieldSpec, boxes: Sequence[Box] | None, num_elements: int, group: str = "fields") -> str:
    """How the boxes of a field miss it: what is not covered, or covered twice.

    Args:
        spec: the field.
        boxes: of all ranks; None if they are too many to be looked at.
        num_elements: that were sent.
        group: the key of the configuration that declares the field.
    """
    if not num_elements:
        return _nothing(spec, group)
    what = f"the ranks have sent {num_elements} elements of field {spec.name!r}, which has {spec.size}"
    if boxes is not None and num_elements > spec.size:
        what += _twice(boxes)
    elif boxes is not None:
        what += _missing(boxes, spec.shape)
    return f"{what}; the boxes of the ranks do not cover the field: send each element once{_each(group)}"


def fault_of_points(
    spec: FieldSpec, counts: npt.NDArray[np.int64] | None, num_elements: int, group: str = "fields"
) -> str:
    """How the points of a field are missed: those that no rank has sent, or that came twice.

    Args:
        spec: the field, which has an extent.
        counts: elements at each point, by rank; None if they are too many to be looked at.
        num_elements: that were sent.
        group: the key of the configuration that declares the field.
    """
    if not num_elements:
        return _nothing(spec, group)
    what = f"the ranks have sent {num_elements} elements of field {spec.name!r}, which has {spec.size}"
    if counts is not None:
        totals, components = counts.sum(axis=0), spec.components
        twice, missing = np.flatnonzero(totals > components), np.flatnonzero(totals < components)
        if twice.size:
            what += f": {_points_shown(twice)} came twice, the first from {_ranks_shown(counts[:, twice[0]])}"
        if missing.size:
            what += f"{',' if twice.size else ':'} nothing came for {_points_shown(missing)}"
    return (
        f"{what}; the points of the ranks do not cover the field: send each point once{_each(group)}, no ghost points"
    )


def _points_shown(points: npt.NDArray[np.intp]) -> str:
    named = ", ".join(map(str, points[:_MOST_NAMED].tolist()))
    more = f" and {points.size - _MOST_NAMED} more" if points.size > _MOST_NAMED else ""
    return f"point{'s' if points.size > 1 else ''} {named}{more}"


def _ranks_shown(counts: npt.NDArray[np.int64]) -> str:
    ranks = np.flatnonzero(counts).tolist()
    return f"rank{'s' if len(ranks) > 1 else ''} {' and '.join(map(str, ranks[:_MOST_NAMED]))}"


def _nothing(spec: FieldSpec, group: str) -> str:
    when = " in each time step" if group == "fields" else " once, before the first time step"
    return f"no rank has sent field {spec.name!r}: send every field of solver.{group}{when}, or do not declare it"


def _each(group: str) -> str:
    return " per time step" if group == "fields" else ""


def _twice(boxes: Sequence[Box]) -> str:
    for number, box in enumerate(boxes):
        for other in boxes[:number]:
            if box.overlaps(other):
                return f": {_shown(other)} and {_shown(box)} share elements, which are sent twice"
    return ""


def _missing(boxes: Sequence[Box], shape: tuple[int, ...]) -> str:
    free = [Box((0,) * len(shape), shape)]
    for box in boxes:
        free = [rest for one in free for rest in _without(one, box)]
        if len(free) > _MOST_BOXES:
            return ""
    free.sort(key=lambda box: box.offset)
    named = ", ".join(_shown(box) for box in free[:_MOST_NAMED])
    more = f" and {len(free) - _MOST_NAMED} more boxes" if len(free) > _MOST_NAMED else ""
    return f": nothing came for {named}{more}"


def _shown(box: Box) -> str:
    return f"the box at {box.offset} of shape {box.shape}"


def _without(box: Box, taken: Box) -> Iterator[Box]:
    """Boxes that cover what is left of one when another is taken out."""
    if not box.overlaps(taken):
        yield box
        return
    offset, shape = list(box.offset), list(box.shape)
    for axis in range(len(shape)):
        end = offset[axis] + shape[axis]
        first, last = max(offset[axis], taken.offset[axis]), min(end, taken.offset[axis] + taken.shape[axis])
        for begin, behind in ((offset[axis], first), (last, end)):
            if behind > begin:
                yield Box(
                    (*offset[:axis], begin, *offset[axis + 1 :]), (*shape[:axis], behind - begin, *shape[axis + 1 :])
                )
        offset[axis], shape[axis] = first, last - first
