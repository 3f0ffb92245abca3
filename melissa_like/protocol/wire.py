"""The data messages, byte by byte: a header and a payload, two ZeroMQ frames.

The header is little-endian and packed; `README.md` in this folder is its specification, `golden/` holds examples. The
payload of a PART is the box's values in C order, that of an OPEN the parameters and the extents as float64.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from melissa_like.errors import ProtocolError
from melissa_like.records import MAX_DIMENSIONS, STORAGE_DTYPES, Box, Purpose

__all__ = [
    "FIXED_NBYTES",
    "INDEX_DTYPE_CODE",
    "MAGIC",
    "OPEN_FIELD",
    "WIRE_VERSION",
    "Header",
    "Kind",
    "decode",
    "encode",
    "join_moment",
    "split_moment",
]

MAGIC = b"MLPT"
WIRE_VERSION = 2
#: The field id of an OPEN, which is about no field.
OPEN_FIELD = 0xFFFF

_FIXED = struct.Struct("<4sHBB16s16sIIIIIIIHBBQdQ")
FIXED_NBYTES = _FIXED.size
_MOMENT = struct.Struct("<Qd")
_MOMENT_AT = 72
_MOMENT_END = _MOMENT_AT + _MOMENT.size
_BOXES = tuple(struct.Struct(f"<{2 * n}Q") for n in range(MAX_DIMENSIONS + 1))
#: The code of int64, in which an index list travels.
INDEX_DTYPE_CODE = [str(dtype) for dtype in STORAGE_DTYPES].index("int64")
_ITEM_NBYTES = tuple(dtype.itemsize for dtype in STORAGE_DTYPES)


class Kind(IntEnum):
    """What a data message is."""

    OPEN = 0  #: the parameters and the extents of a simulation, before its first part on this connection
    PART = 1  #: one rank's box of one field at one time step
    STATIC = 2  #: one rank's box of a field that is sent once
    SCATTER = 3  #: one rank's points of one field at one time step; an INDEX told before which points
    INDEX = 4  #: an index list: global numbers of points
    STATIC_SCATTER = 5  #: one rank's points of a field that is sent once

    @property
    def is_static(self) -> bool:
        """Whether it is about a field that is sent once."""
        return self in (Kind.STATIC, Kind.STATIC_SCATTER)

    @property
    def is_sent_once(self) -> bool:
        """Whether it is sent once per simulation and server rank, besides the OPEN."""
        return self in (Kind.STATIC, Kind.INDEX, Kind.STATIC_SCATTER)

    @property
    def is_scattered(self) -> bool:
        """Whether its points are those of an index list."""
        return self in (Kind.SCATTER, Kind.STATIC_SCATTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header of a data message; the payload's size follows from the box and the dtype.

    Attributes:
        field_id: position of the field in the layout, among those of a time step or those that are sent once; of an
            INDEX the number of the list.
        dtype_code: position in `melissa_like.records.STORAGE_DTYPES`.
        time: physical time of the step, NaN if the solver gives none.
        box: place of the payload in the global array; where it is scattered, the last offset is the number of the list.
    """

    kind: Kind
    purpose: Purpose
    study: bytes
    secret: bytes = field(repr=False)
    launcher_incarnation: int
    server_incarnation: int
    simulation: int
    attempt: int
    client_rank: int
    num_client_ranks: int
    layout_id: int
    field_id: int
    dtype_code: int
    step: int
    time: float
    box: Box

    @property
    def payload_nbytes(self) -> int:
        """Bytes of the payload."""
        return self.box.size * _ITEM_NBYTES[self.dtype_code]


def encode(header: Header) -> bytes:
    """The header as bytes."""
    box = header.box
    return _FIXED.pack(
        MAGIC,
        WIRE_VERSION,
        header.kind,
        header.purpose,
        header.study,
        header.secret,
        header.launcher_incarnation,
        header.server_incarnation,
        header.simulation,
        header.attempt,
        header.client_rank,
        header.num_client_ranks,
        header.layout_id,
        header.field_id,
        header.dtype_code,
        len(box.shape),
        header.step,
        header.time,
        header.payload_nbytes,
    ) + _BOXES[len(box.shape)].pack(*box.offset, *box.shape)


def decode(encoded: bytes) -> Header:
    """The inverse of `encode`.

    Raises:
        ProtocolError: too short or too long, not a data message, another version, or a size that does not fit the box.
    """
    if len(encoded) < FIXED_NBYTES:
        raise ProtocolError(f"a header of {len(encoded)} bytes, the fixed part alone has {FIXED_NBYTES}")
    (
        magic,
        version,
        kind,
        purpose,
        study,
        secret,
        launcher_incarnation,
        server_incarnation,
        simulation,
        attempt,
        client_rank,
        num_client_ranks,
        layout_id,
        field_id,
        dtype_code,
        num_dimensions,
        step,
        time,
        nbytes,
    ) = _FIXED.unpack_from(encoded)
    if magic != MAGIC or version != WIRE_VERSION:
        raise ProtocolError(
            f"a header that begins with {magic!r} and version {version}, expected {MAGIC!r} and {WIRE_VERSION}: "
            "install the same release of melissa-like on both sides"
        )
    if not 1 <= num_dimensions <= MAX_DIMENSIONS or len(encoded) != FIXED_NBYTES + 16 * num_dimensions:
        raise ProtocolError(f"a header of {len(encoded)} bytes for {num_dimensions} dimensions, 1 to {MAX_DIMENSIONS}")
    numbers = _BOXES[num_dimensions].unpack_from(encoded, FIXED_NBYTES)
    if kind > Kind.STATIC_SCATTER or purpose > Purpose.VALIDATION or dtype_code >= len(STORAGE_DTYPES):
        raise ProtocolError(f"a header of kind {kind}, purpose {purpose} and dtype code {dtype_code}: one is unknown")
    header = Header(
        kind=Kind(kind),
        purpose=Purpose(purpose),
        study=study,
        secret=secret,
        launcher_incarnation=launcher_incarnation,
        server_incarnation=server_incarnation,
        simulation=simulation,
        attempt=attempt,
        client_rank=client_rank,
        num_client_ranks=num_client_ranks,
        layout_id=layout_id,
        field_id=field_id,
        dtype_code=dtype_code,
        step=step,
        time=time,
        box=Box(numbers[:num_dimensions], numbers[num_dimensions:]),
    )
    if kind == Kind.INDEX and (num_dimensions > 1 or numbers[0] or dtype_code != INDEX_DTYPE_CODE):
        raise ProtocolError(
            f"an index list with the offset {header.box.offset} and dtype code {dtype_code}: expected one dimension, "
            f"offset 0 and {INDEX_DTYPE_CODE}"
        )
    if nbytes != header.payload_nbytes:
        raise ProtocolError(
            f"a header that announces {nbytes} bytes for a box of shape {header.box.shape}: expected "
            f"{header.payload_nbytes}"
        )
    return header


def split_moment(encoded: bytes) -> tuple[bytes, int, float]:
    """A header as all that the same part has in common at every step, its step and its time.

    Raises:
        struct.error: fewer bytes than the fixed part has.
    """
    step, time = _MOMENT.unpack_from(encoded, _MOMENT_AT)
    return encoded[:_MOMENT_AT] + encoded[_MOMENT_END:], step, time


def join_moment(common: bytes, step: int, time: float) -> bytes:
    """The inverse of `split_moment`."""
    return common[:_MOMENT_AT] + _MOMENT.pack(step, time) + common[_MOMENT_AT:]
