"""From what a solver gives to the bytes that are sent: every value exact up to rounding, or refused.

numpy converts in silence: a large integer wraps around, a large float becomes infinite, a masked entry becomes whatever
lies beneath its mask. A network would be trained on that, so each of them is an error here. An array that has the
storage dtype already is only copied.
"""

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LostValueError", "MaskedValueError", "fill_from", "plain_array"]


class _ValueError(ValueError):
    """A value that cannot be sent.

    Attributes:
        index: of the first one.
        number: how many there are.
    """

    def __init__(self, array: Any, bad: npt.NDArray[np.bool_]) -> None:
        self.index = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        self.number = int(np.count_nonzero(bad))
        self.value = array[self.index]
        super().__init__(f"{self.value} at {self.index}")


class LostValueError(_ValueError):
    """A value that the storage dtype cannot hold."""


class MaskedValueError(_ValueError):
    """An entry that has no value, and nothing is declared to take its place."""


def plain_array(value: Any, fill: np.generic | None) -> npt.NDArray[Any]:
    """What a solver gave, as an array without a mask; nothing is copied if it is one.

    Args:
        value: an array of any kind, also one that only numpy can make an array of (`__array__`, lists).
        fill: takes the place of masked entries.

    Raises:
        MaskedValueError: there are masked entries, and no `fill`.
        TypeError, ValueError, RuntimeError: it is no array, or none in the memory of the host.
    """
    if type(value) is np.ndarray:
        return value
    if value is None:
        raise TypeError("there is nothing in it")
    if _lists_masks(value):
        values, mask = _unmasked(value)
        array = np.asarray(values)
    else:
        any_array = np.asanyarray(value)  # what exports a masked array does not lose its mask
        array, mask = np.asarray(any_array), getattr(any_array, "mask", getattr(value, "mask", None))
    if array.ndim == 0 and array.dtype.kind in "OUS":
        raise TypeError("it holds no numbers that numpy can find")
    mask = mask if mask is None else np.asarray(mask)
    if mask is None or mask.dtype != np.bool_ or not mask.any():
        return array
    mask = np.broadcast_to(mask, array.shape)
    if fill is None:
        raise MaskedValueError(array, mask)
    return np.where(mask, fill, array)


def _lists_masks(value: Any) -> bool:
    """Whether a list has a masked array in it, or what exports one, whose mask numpy would drop."""
    return isinstance(value, list | tuple) and any(_is_masked(item) or _lists_masks(item) for item in value)


def _is_masked(item: Any) -> bool:
    if type(item) is float or isinstance(item, list | tuple | np.generic):  # nearly always
        return False
    return isinstance(item, np.ma.MaskedArray) or (
        not isinstance(item, np.ndarray)
        and hasattr(item, "__array__")
        and isinstance(np.asanyarray(item), np.ma.MaskedArray)
    )


def _unmasked(value: Any) -> tuple[Any, Any]:
    """Values and masks of lists in lists."""
    if isinstance(value, list | tuple):
        values, masks = zip(*map(_unmasked, value), strict=True) if value else ((), ())
        return values, masks
    array = np.asanyarray(value)
    return np.ma.getdata(array), np.ma.getmaskarray(array)


def fill_from(array: npt.NDArray[Any], dtype: np.dtype[np.generic], target: memoryview) -> None:
    """Convert and copy in one pass, whatever the strides of the array; integers that may not fit are looked at before.

    Args:
        array: of the same kind as `dtype`: floats for floats, signed for signed.
        dtype: as it is sent.
        target: memory of at least as many bytes.

    Raises:
        LostValueError: a value that `dtype` cannot hold, where it was finite before. What is in `target` is void.
    """
    destination = np.frombuffer(target, dtype=dtype, count=math.prod(array.shape)).reshape(array.shape)
    if array.dtype == dtype:
        np.copyto(destination, array)
    elif dtype.kind == "f":
        _round(array, destination)
    else:
        _refuse_wrapping(array, _range_that_fits(array.dtype, dtype))
        np.copyto(destination, array, casting="same_kind")


def _round(array: npt.NDArray[Any], destination: npt.NDArray[Any]) -> None:
    try:
        _round_or_overflow(array, destination)
    except FloatingPointError:
        lost = np.isinf(destination) & np.isfinite(array)
        if lost.any():
            raise LostValueError(array, lost) from None


@np.errstate(over="raise", under="ignore", invalid="ignore")  # half as much for a small array as a `with`
def _round_or_overflow(array: npt.NDArray[Any], destination: npt.NDArray[Any]) -> None:
    """The processor notes an overflow while it converts, so looking for one costs no pass of its own."""
    np.copyto(destination, array, casting="same_kind")


@cache
def _range_that_fits(source: np.dtype[Any], dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """The least and the largest integer that a dtype holds; None if it holds all of the source."""
    return None if np.can_cast(source, dtype, "safe") else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def _refuse_wrapping(array: npt.NDArray[Any], held: tuple[int, int] | None) -> None:
    if held is not None and array.size:
        low, high = held
        if array.min() < low or array.max() > high:
            raise LostValueError(array, (array < low) | (array > high))
