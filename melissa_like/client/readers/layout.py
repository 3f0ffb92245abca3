"""What lies where in a raw binary file, as its reader is told."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from melissa_like.client.readers.fields import Array, Name

__all__ = ["Item", "RawLayout"]

_KEYS = ("name", "dtype", "shape", "order")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An array in a file; without a name it is passed over.

    Attributes:
        name: of it; None: nobody wants it.
        dtype: of its values, byte order included.
        shape: of it; empty for one number.
        order: `C`, the last axis runs fastest, or `F`, the first.
    """

    name: str | None
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Any = "C"

    @property
    def nbytes(self) -> int:
        """Bytes of it."""
        return math.prod(self.shape) * self.dtype.itemsize


class RawLayout:
    """The arrays of a step, one behind the other.

    Args:
        layout: for each array name, dtype, shape, order; or `skip`, a number of bytes.
        byte_order: `little` or `big`.

    Raises:
        ValueError: an array that cannot be described so.
    """

    def __init__(self, layout: Any, byte_order: str) -> None:
        if byte_order not in ("little", "big"):
            raise ValueError(f"byte_order is {byte_order!r}: write little or big")
        if isinstance(layout, str) or not isinstance(layout, Sequence) or not layout:
            raise ValueError(f"layout is {layout!r}: write a list of arrays, each with name, dtype, shape")
        self.byte_order: Any = byte_order
        self.items = [_item(said, "<" if byte_order == "little" else ">") for said in layout]
        self.nbytes = sum(item.nbytes for item in self.items)
        self.names = [item.name for item in self.items if item.name is not None]
        if not self.nbytes or len(set(self.names)) < len(self.names):
            raise ValueError(f"layout has {self.nbytes} bytes and the names {', '.join(self.names)}: give each its own")

    def arrays(self, content: bytes | memoryview) -> Mapping[Name, Array]:
        """The arrays of one step.

        Args:
            content: `nbytes` bytes.
        """
        found: dict[Name, Array] = {}
        first = 0
        for item in self.items:
            if item.name is not None:
                values = np.frombuffer(content, item.dtype, math.prod(item.shape), first)
                found[item.name] = values.reshape(item.shape, order=item.order)
            first += item.nbytes
        return found


def _item(said: Any, sign: Literal["<", ">"]) -> Item:
    if not isinstance(said, Mapping):
        raise ValueError(f"layout has {said!r}: write name, dtype and shape of an array, or skip: BYTES")
    if set(said) == {"skip"}:
        return Item(name=None, dtype=np.dtype(np.uint8), shape=(int(said["skip"]),))
    unknown = sorted(set(said) - set(_KEYS))
    if unknown or "name" not in said:
        raise ValueError(f"layout has {dict(said)!r}: write {', '.join(_KEYS)}, or skip: BYTES alone")
    shape = said.get("shape", ())
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    try:
        dtype = np.dtype(said.get("dtype", "float64"))
    except TypeError:
        raise ValueError(
            f"layout.{said['name']}.dtype is {said['dtype']!r}: write float64, float32, int32, ..."
        ) from None
    order = said.get("order", "C")
    if dtype.kind not in "fiu" or order not in ("C", "F") or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(
            f"layout.{said['name']} has dtype {dtype}, shape {list(shape)}, order {order!r}: write a dtype of numbers, "
            "a list of sizes, C or F"
        )
    return Item(name=str(said["name"]), dtype=dtype.newbyteorder(sign), shape=shape, order=order)
