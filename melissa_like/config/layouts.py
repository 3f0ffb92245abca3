"""From the solver's declarations to the layout of a study: fields, what is sent once, what nobody sends."""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.config.schema import FieldConfig, SolverConfig, StaticConfig
from melissa_like.errors import ConfigurationError
from melissa_like.records import STORAGE_DTYPES, FieldSpec, Layout, StudyWideField

__all__ = ["layout_of"]

#: Numbers that float32 must be able to tell apart between the bounds of a field.
_LEAST_NUMBERS = 100
#: Files that are remembered: the layout is asked for again and again.
_REMEMBERED_FILES = 16


def layout_of(solver: SolverConfig) -> Layout:
    """The layout that the solver's declarations stand for.

    Raises:
        ConfigurationError: a field that cannot be stored, or a file of values that cannot be read.
    """
    try:
        return Layout(
            fields=tuple(_field(name, spec) for name, spec in solver.fields.items()),
            parameters=tuple(solver.parameters),
            static=tuple(_static(name, spec) for name, spec in solver.static.items() if spec.value is None),
            study_wide=tuple(_study_wide(name, spec) for name, spec in solver.static.items() if spec.value is not None),
        )
    except ValueError as error:
        raise ConfigurationError(
            f"solver.{'static' if isinstance(error, _StaticFieldError) else 'fields'}: {error}"
        ) from None


class _StaticFieldError(ValueError):
    """What is wrong with a field under solver.static."""


def _field(name: str, spec: FieldConfig) -> FieldSpec:
    shape, extent = _shape(name, spec.shape)
    return FieldSpec(
        name=name,
        shape=shape,
        dtype=spec.dtype,
        components=spec.components,
        bounds=_bounds(name, spec.dtype, spec.bounds),
        fill_value=spec.fill_value,
        extent=extent,
    )


def _static(name: str, spec: StaticConfig) -> FieldSpec:
    try:
        shape, extent = _shape(name, spec.shape)
        return FieldSpec(
            name=name,
            shape=shape,
            dtype=spec.dtype,
            components=spec.components,
            extent=extent,
            indexes=_indexes(name, spec.indexes),
        )
    except ValueError as error:
        raise _StaticFieldError(str(error)) from None


def _study_wide(name: str, spec: StaticConfig) -> StudyWideField:
    try:
        values = _values(name, spec.value, spec.dtype)
        declared = [*spec.shape] or [*values.shape]
        shape, extent = _shape(name, declared)
        if extent is not None:
            raise ValueError(
                f"field {name!r} has a value and the shape {declared}: a value is the same in all simulations, so "
                "write its shape in numbers, or leave the shape out"
            )
        made = FieldSpec(
            name=name,
            shape=shape,
            dtype=spec.dtype,
            components=spec.components,
            indexes=_indexes(name, spec.indexes),
        )
        if isinstance(made.indexes, int) and not 0 <= values.min() <= values.max() < made.indexes:
            raise ValueError(
                f"field {name!r} indexes {made.indexes} points, and its values go from {values.min()} to "
                f"{values.max()}: points are numbered from 0, so the last one is {made.indexes - 1}"
            )
        return StudyWideField(spec=made, values=values)
    except ValueError as error:
        raise _StaticFieldError(str(error)) from None


def _shape(name: str, given: Sequence[Any]) -> tuple[tuple[int, ...], str | None]:
    """The shape in numbers, 0 for the last if it is a name, and that name."""
    *before, last = given or [None]
    extent = last if isinstance(last, str) else None
    numbers = [*before, 0 if extent is not None else last]
    if any(type(size) is not int for size in numbers) or (extent is not None and not extent.isidentifier()):
        raise ValueError(
            f"field {name!r} has the shape {['null' if size is None else size for size in given]}: write numbers of "
            "points; where simulations differ in it, a name for the last one, as in [num_points] or [2, num_points], "
            "whose size each simulation says when it begins"
        )
    return tuple(numbers), extent


def _indexes(name: str, given: Any) -> str | int | None:
    if given is None or (isinstance(given, str) and given) or (type(given) is int and given > 0):
        return given
    raise ValueError(
        f"field {name!r} indexes {given!r}: write the extent whose points its values name, as in num_points, a number "
        "of points, or null"
    )


def _values(name: str, given: Any, dtype: str) -> npt.NDArray[Any]:
    """The values of a study-wide field in its dtype, none of them changed by more than rounding."""
    array = _loaded(name, given) if isinstance(given, str) else _listed(name, given)
    if dtype not in {str(known) for known in STORAGE_DTYPES}:
        raise ValueError(f"field {name!r} has dtype {dtype!r}: write one of {', '.join(map(str, STORAGE_DTYPES))}")
    kind = np.dtype(dtype).kind
    fits = array.dtype.kind in "iu" if kind in "iu" else array.dtype.kind in "iuf"
    with np.errstate(over="ignore"):
        stored = array.astype(dtype) if fits else array
    if not fits or not array.size or (kind in "iu" and not np.array_equal(stored, array)):
        raise ValueError(
            f"field {name!r} has values of dtype {array.dtype} and shape {array.shape} that {dtype} cannot hold: "
            "declare another dtype, or give other values"
        )
    if not np.isfinite(stored).all():
        raise ValueError(f"field {name!r} has a value that is not finite in {dtype}: give finite values")
    return stored


def _listed(name: str, given: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"field {name!r} has a value that is no array ({error}): write lists of equal length"
        ) from None


def _loaded(name: str, given: str) -> npt.NDArray[Any]:
    path = Path(given)
    try:
        return _load(path.absolute(), path.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"field {name!r} has the value {given!r}, which cannot be read from {path.absolute()} ({error}): give the "
            "path of an .npy file, or lists"
        ) from None


@lru_cache(maxsize=_REMEMBERED_FILES)
def _load(path: Path, _modified_ns: int) -> npt.NDArray[Any]:
    with path.open("rb") as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _bounds(name: str, dtype: str, given: list[float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    if len(given) != 2 or not (math.isfinite(given[0]) and math.isfinite(given[1]) and given[0] < given[1]):
        raise ValueError(
            f"field {name!r} has the bounds {given}: write [lowest, highest], both finite and the lowest below the "
            "highest, or null"
        )
    low, high = given
    lowest, highest = _range_of(dtype)
    if low < lowest or high > highest:
        raise ValueError(
            f"field {name!r} has the bounds {given}, but its dtype is {dtype} and a network computes in float32, so "
            f"that its values lie between {lowest:.4g} and {highest:.4g}: write bounds within these, or send the field "
            "in other units"
        )
    if high - low < _LEAST_NUMBERS * float(np.spacing(np.float32(max(abs(low), abs(high))))):
        raise ValueError(
            f"field {name!r} has the bounds {given}, between which float32, in which a network computes, knows too few "
            "numbers: send the difference from the lowest value"
        )
    return low, high


def _range_of(dtype: str) -> tuple[float, float]:
    """The values of a storage dtype that a network can be given, as float32."""
    most = float(np.finfo(np.float32).max)
    if dtype not in {str(known) for known in STORAGE_DTYPES}:  # refused with the field
        return -most, most
    if np.dtype(dtype).kind in "iu":
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    most = min(most, float(np.finfo(dtype).max))
    return -most, most
