"""What an OPEN says: the parameters of a simulation, and its sizes."""

import math
from collections.abc import Sequence

import msgspec

from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.protocol.wire import Header
from melissa_like.records import FloatArray, Layout, Window

__all__ = ["Opening", "read_opening", "refuse_opening", "refuse_sizes"]


class Opening(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The numbers with which the client ranks of an attempt open it.

    Attributes:
        extents: the size of each, by name.
    """

    parameters: FloatArray
    extents: dict[str, int]

    def __str__(self) -> str:
        sizes = f" and the extents {self.extents}" if self.extents else ""
        return f"the parameters {self.parameters.tolist()}{sizes}"


def refuse_opening(header: Header, layout: Layout) -> Refusal | None:
    """An OPEN of another number of numbers."""
    parameters, extents = layout.parameters, layout.extents
    if header.box.shape == (len(parameters) + len(extents),):
        return None
    what, names = f"{len(parameters)} ({', '.join(parameters)})", ""
    if extents:
        names = f", and then {len(extents)} extents ({', '.join(extents)})"
    return refusal_of(
        header,
        Reason.WRONG_PARAMETERS,
        f"it was opened with parameters of shape {header.box.shape} but the study has {what}{names}: send one number "
        "for each",
    )


def read_opening(header: Header, numbers: FloatArray, layout: Layout) -> Opening | Refusal:
    """What the numbers of an OPEN mean; there are as many as there should be."""
    sizes: Sequence[float] = numbers[len(layout.parameters) :].tolist()
    if all(math.isfinite(size) and size >= 1 and size == int(size) for size in sizes):
        extents = dict(zip(layout.extents, map(int, sizes), strict=True))
        return Opening(parameters=numbers[: len(layout.parameters)], extents=extents)
    return refusal_of(
        header,
        Reason.WRONG_EXTENTS,
        f"it was opened with the extents {dict(zip(layout.extents, sizes, strict=True))}: send whole numbers of "
        "points, 1 or more",
    )


def refuse_sizes(
    header: Header, layout: Layout, most_nbytes: int | None, window: Window | None = None
) -> Refusal | None:
    """A simulation of which not one sample would find room.

    Args:
        header: of its OPEN.
        layout: of the simulation, with its sizes.
        most_nbytes: that a sample and what is sent once may have together; None: any.
        window: what a sample is; None: one time step.
    """
    sample_nbytes = layout.sample_nbytes * (1 if window is None else window.length)
    nbytes = sample_nbytes + layout.static_nbytes
    if most_nbytes is None or nbytes <= most_nbytes:
        return None
    return refusal_of(
        header,
        Reason.TOO_LARGE,
        f"a sample with the extents {layout.sizes} takes {sample_nbytes} bytes, and its static fields "
        f"{layout.static_nbytes}, but a server rank has room for {most_nbytes} bytes: raise buffer.capacity, or send "
        "smaller meshes",
    )
