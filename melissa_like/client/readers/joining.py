"""The pieces that the ranks of a program wrote, put together."""

import math
from collections.abc import Sequence

import numpy as np

from melissa_like.client.readers.fields import Array
from melissa_like.errors import SolverError

__all__ = ["along_an_axis", "by_offsets"]


def along_an_axis(pieces: Sequence[Array], axis: int, told: str) -> Array:
    """Pieces in the order of their ranks, one after the other.

    Raises:
        SolverError: their other axes differ, or there is no such axis.
    """
    try:
        return np.concatenate(pieces, axis)
    except ValueError as error:
        shapes = ", ".join(str(list(piece.shape)) for piece in pieces)
        raise SolverError(f"{told}: the pieces {shapes} of the ranks do not join along axis {axis} ({error})") from None


def by_offsets(pieces: Sequence[Array], offsets: Sequence[Array], told: str) -> Array:
    """Boxes of one array, each with the index of its first element; each element must be in one of them.

    Raises:
        SolverError: an offset of another number of axes, or boxes that leave gaps or overlap.
    """
    places = []
    for piece, offset in zip(pieces, offsets, strict=True):
        first = [int(index) for index in np.ravel(offset)]
        if len(first) != piece.ndim or min(first, default=0) < 0:
            raise SolverError(
                f"{told}: a rank's piece has the shape {list(piece.shape)} and the offset {first}: an index for each "
                "axis is needed"
            )
        places.append(tuple(slice(f, f + n) for f, n in zip(first, piece.shape, strict=True)))
    shape = tuple(max(place[axis].stop for place in places) for axis in range(pieces[0].ndim))
    whole, covered = np.empty(shape, np.result_type(*pieces)), np.zeros(shape, np.bool_)
    for piece, place in zip(pieces, places, strict=True):
        whole[place] = piece
        covered[place] = True
    num_given, num_covered = sum(piece.size for piece in pieces), int(covered.sum())
    if not num_given == num_covered == math.prod(shape):
        raise SolverError(
            f"{told}: the boxes of the ranks have {num_given} values and cover {num_covered} of the "
            f"{math.prod(shape)} of the shape {list(shape)}: each must be in one box"
        )
    return whole
