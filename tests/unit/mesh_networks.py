"""A problem on meshes that differ, what a network for it is called with, and a small one."""

import torch
from torch import Tensor

from melissa_like.models import FieldShape, MeshMessagePassing, Problem, StaticShape

POINTS, ELEMENTS = "num_points", "num_triangles"
ON_POINTS = {"coordinates": StaticShape(2, extent=POINTS), "inside": StaticShape(1, extent=POINTS)}
TRIANGLES = {"triangles": StaticShape(3, extent=ELEMENTS, indexes=POINTS)}


def problem(**changed: object) -> Problem:
    given = {
        "targets": {"u": FieldShape(2, (), extent=POINTS), "drag": FieldShape(1, ())},
        "fields": {"force": FieldShape(1, (), extent=POINTS), "inflow": FieldShape(1, (4,))},
        "parameters": ("a", "b"),
        "time": True,
        "static": ON_POINTS | TRIANGLES | {"kind": StaticShape(1, (3,)), "wide": StaticShape(1, (2,), shared=True)},
    }
    return Problem(**(given | changed))  # type: ignore[arg-type]


def meshes(sizes: tuple[int, ...], seed: int = 0) -> dict[str, object]:
    """What the network is called with: random points, fans of triangles."""
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    triangles = [
        torch.tensor([[0, i, i + 1] for i in range(1, size - 1)]) + first
        for size, first in zip(sizes, offsets.tolist(), strict=False)
    ]
    total, samples = int(offsets[-1]), len(sizes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "offsets": {POINTS: offsets, ELEMENTS: torch.tensor([0, *map(len, triangles)]).cumsum(0)},
        "static": {
            "coordinates": normal(total, 2),
            "inside": normal(total, 1),
            "triangles": torch.cat(triangles),
            "kind": normal(samples, 1, 3),
            "wide": normal(1, 2),
        },
        "fields": {"force": normal(total, 1), "inflow": normal(samples, 1, 4)},
        "parameters": normal(samples, 2),
        "time": normal(samples),
    }


def small(of: Problem, **options: object) -> MeshMessagePassing:
    torch.manual_seed(0)
    return MeshMessagePassing(of, hidden=16, layers=2, **options)  # type: ignore[arg-type]
