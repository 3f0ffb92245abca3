"""What samples take where their sizes differ, as a table: which are kept, and who gets which. Pure.

A row each: the digest of its mesh (two numbers), the bytes of the sample, and those of the static fields of its mesh,
which are held once for all samples that have the same.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from melissa_like.buffer.slots import SlotArray

__all__ = ["NUM_COLUMNS", "fitting", "nbytes_of", "shared_out"]

NUM_COLUMNS = 4


def nbytes_of(loads: SlotArray) -> int:
    """Bytes of all samples together."""
    _, firsts = np.unique(loads[:, :2], axis=0, return_index=True)
    return int(loads[:, 2].sum() + loads[firsts, 3].sum())


def shared_out(loads: SlotArray, num_ranks: int, most_samples: int) -> list[SlotArray]:
    """About as many bytes for each rank; samples on the same mesh stay together, but for where two ranks meet.

    Args:
        loads: of all samples, which are no more than all ranks may have.
        num_ranks: that get a share.
        most_samples: of one rank, however small they are.

    Returns:
        The positions of the samples of each rank, ascending.
    """
    meshes = _meshes(loads)
    order = np.argsort(meshes, kind="stable")
    comes_first = np.diff(meshes[order], prepend=-1) != 0
    ends = np.cumsum(loads[order, 2] + comes_first * loads[order, 3])
    ranks = (ends - 1) * num_ranks // max(1, int(ends[-1]) if len(ends) else 0)
    bounds = np.searchsorted(ranks, np.arange(num_ranks + 1)).tolist()
    for rank in range(1, num_ranks):
        bounds[rank] = min(bounds[rank], bounds[rank - 1] + most_samples)
    for rank in reversed(range(1, num_ranks)):
        bounds[rank] = max(bounds[rank], bounds[rank + 1] - most_samples)
    return [np.sort(order[first:end]) for first, end in pairwise(bounds)]


def fitting(loads: SlotArray, seen: npt.NDArray[np.bool_], most_nbytes: int) -> SlotArray:
    """The positions of the samples that stay, ascending: the last ones of those that were seen give way.

    Raises:
        ValueError: those that were not seen take more.
    """
    meshes = _meshes(loads)
    num_left = np.bincount(meshes)
    stays, used = np.ones(len(loads), np.bool_), nbytes_of(loads)
    for position in np.flatnonzero(seen)[::-1]:
        if used <= most_nbytes:
            break
        stays[position] = False
        num_left[meshes[position]] -= 1
        used -= int(loads[position, 2]) + int(loads[position, 3]) * (not num_left[meshes[position]])
    if used > most_nbytes:
        raise ValueError(
            f"the checkpoint holds samples that were not trained on yet, and those of a server rank take {used} bytes, "
            f"but its buffer has {most_nbytes}: raise buffer.capacity to {used} bytes or more for each server rank"
        )
    return np.flatnonzero(stays)


def _meshes(loads: SlotArray) -> SlotArray:
    """Which mesh each is on, as numbers from 0."""
    _, numbers = np.unique(loads[:, :2], axis=0, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64)
