"""What a simulation sends once: its own sizes, and the fields that do not change with time."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy.typing as npt

from melissa_like.records.layout import Layout

__all__ = ["StaticFields", "static_fields"]


class StaticFields(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The sizes of one simulation, and what it has sent once; one object for all samples of an attempt.

    Two of the same simulation with the same `digest` hold the same bytes: a newer attempt that sends what the older one
    has sent is given the same object, and after a restart the digest tells.

    Attributes:
        extents: the size of each extent, by name, in the order of `Layout.extents`.
        arrays: by name, in the order of `Layout.static`: [*grid], or [components, *grid]; read-only.
        nbytes: of the arrays.
        digest: 16 bytes that differ between different sizes or values.
    """

    extents: dict[str, int]
    arrays: dict[str, npt.NDArray[Any]]
    nbytes: int
    digest: bytes


def static_fields(layout: Layout, arrays: Mapping[str, npt.NDArray[Any]]) -> StaticFields:
    """What a simulation has sent once, from its arrays, which are read-only from now on.

    Args:
        layout: of this simulation, with its sizes.
        arrays: one per static field, by name.

    Raises:
        ValueError: an array is missing, or has another shape or dtype than declared.
    """
    digest = hashlib.blake2b(repr(layout.sizes).encode(), digest_size=16)
    held: dict[str, npt.NDArray[Any]] = {}
    for spec in layout.static:
        array = arrays.get(spec.name)
        if array is None or array.shape != spec.shape or array.dtype != spec.numpy_dtype:
            got = "is missing" if array is None else f"has shape {array.shape} and dtype {array.dtype}"
            raise ValueError(f"static field {spec.name!r} {got}, expected {spec.shape} and {spec.dtype}")
        array.flags.writeable = False
        digest.update(array.data if array.flags.c_contiguous else array.tobytes())
        held[spec.name] = array
    return StaticFields(
        extents=layout.sizes,
        arrays=held,
        nbytes=sum(array.nbytes for array in held.values()),
        digest=digest.digest(),
    )
