"""Whether the ranks of a job have sent together all of a time step, and what is wrong if they have not.

Every rank counts what it has sent; the sums travel in the collective that ends each step, so that all ranks know of a
gap at once, at the step that has it. Only then are boxes gathered, to name the place.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from melissa_like.client.team import Team
from melissa_like.records import Box, FieldSpec

__all__ = ["fault_of_boxes", "gather_boxes", "label_of", "steps_agree"]

#: Larger than any job, small enough for sums of squares.
_LABELS = 1_000_003
#: Of one rank, and of free space while it is cut up: more say too little to be worth the search.
_MOST_BOXES = 1000
_MOST_NAMED = 3


def label_of(step: int) -> list[int]:
    """Two numbers by whose sums the ranks know whether all of them are at the same step."""
    label = step % _LABELS
    return [label, label * label]


def steps_agree(total: int, of_squares: int, num_ranks: int) -> bool:
    """Whether all labels are the same: then, and only then, the mean of the squares is the square of the mean."""
    return num_ranks * of_squares == total * total


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


def fault_of_boxes(spec: FieldSpec, boxes: Sequence[Box] | None, num_elements: int) -> str:
    """How the boxes of a field miss it: what is not covered, or covered twice.

    Args:
        spec: the field.
        boxes: of all ranks; None if they are too many to be looked at.
        num_elements: that were sent.
    """
    if not num_elements:
        return (
            f"no rank has sent field {spec.name!r}: send every field of solver.fields in each time step, or do not "
            "declare it"
        )
    what = f"the ranks have sent {num_elements} elements of field {spec.name!r}, which has {spec.size}"
    if boxes is not None and num_elements > spec.size:
        what += _twice(boxes)
    elif boxes is not None:
        what += _missing(boxes, spec.shape)
    return f"{what}; the boxes of the ranks do not cover the field: send each element once per time step"


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
