"""Which points of a mesh send each other messages: edges of all samples of a batch, found anew for each.

Edges are int64 [2, E], receiver above sender, by receiver, each pair once and no point with itself.
"""

from collections.abc import Callable
from itertools import pairwise, permutations
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Neighbourhood", "nearest", "of_elements", "within"]

#: From places [ΣN, d] and offsets [B + 1] to edges.
Neighbourhood: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def of_elements(elements: Tensor, num_points: int) -> Tensor:
    """The corners of an element are neighbours of one another: edges, triangles, cells of any kind.

    Args:
        elements: numbers of their corners, [ΣE, corners]; a number may occur several times, where an element has fewer
            corners than others.
        num_points: of all samples.
    """
    pairs = torch.cat([elements[:, [one, other]] for one, other in permutations(range(elements.shape[1]), 2)]).long()
    keys = torch.unique(pairs[:, 0] * num_points + pairs[:, 1])
    edges = torch.stack([keys // num_points, keys % num_points])
    return edges[:, edges[0] != edges[1]]


def nearest(places: Tensor, offsets: Tensor, *, neighbours: int) -> Tensor:
    """Those that are nearest to each point, in the same sample; in a small one as many as there are.

    Args:
        places: of the points, [ΣN, d].
        offsets: of the samples, [B + 1].
        neighbours: of each point.
    """
    from scipy.spatial import cKDTree  # takes a while, and only meshes without connectivity need it

    found = []
    given = places.detach().double().cpu().numpy()
    for first, behind in pairwise(offsets.tolist()):
        most = min(neighbours + 1, behind - first)
        if most < 2:
            continue
        _, near = cKDTree(given[first:behind]).query(given[first:behind], k=most)
        receivers = torch.arange(first, behind).repeat_interleave(most)
        found.append(torch.stack([receivers, torch.from_numpy(near).long().flatten() + first]))
    return _without_loops(found, places)


def within(places: Tensor, offsets: Tensor, *, radius: float) -> Tensor:
    """Those that are within a radius of each point, in the same sample; there may be none.

    Args:
        places: of the points, [ΣN, d].
        offsets: of the samples, [B + 1].
        radius: in the unit of the places.
    """
    from scipy.spatial import cKDTree

    found = []
    given = places.detach().double().cpu().numpy()
    for first, behind in pairwise(offsets.tolist()):
        pairs = torch.from_numpy(cKDTree(given[first:behind]).query_pairs(radius, output_type="ndarray")).long() + first
        both = torch.cat([pairs, pairs.flip(1)])
        found.append(both[both[:, 0].argsort(stable=True)].T)
    return _without_loops(found, places)


def _without_loops(found: list[Tensor], places: Tensor) -> Tensor:
    edges = torch.cat([torch.zeros(2, 0, dtype=torch.int64), *found], dim=1).to(places.device)
    return edges[:, edges[0] != edges[1]]
