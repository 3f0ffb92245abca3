"""From an array as it lies in a file to a field as it is declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from itertools import permutations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from melissa_like.errors import SolverError

__all__ = [
    "MESH_CELLS",
    "MESH_EDGES",
    "MESH_POINTS",
    "OF_STATIC",
    "Array",
    "Name",
    "Source",
    "listed_sources",
    "parsed_selection",
    "sources_of",
]

Array = npt.NDArray[Any]
#: Of an array in a file: a text, or the number of a column.
Name = str | int
#: Names of what is no array of a file, but its mesh.
MESH_POINTS, MESH_CELLS, MESH_EDGES = "mesh:points", "mesh:cells", "mesh:edges"
#: Options of what is sent once, beside those of a field.
OF_STATIC = ("file", "numbers_from")
_MOST_AXES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a field comes from, and how its array is turned into it: `shape`, then `select`, then `axes`.

    Attributes:
        names: of its arrays in the file; several are the components of the field.
        shape: what the file's values are first brought into; None: as they lie in the file.
        order: in which the values of `shape`, or of a flat array, follow one another: `C`, the last axis runs fastest,
            or `F`, the first.
        select: which of them are taken.
        axes: the axes of the file in the order of the field, as for `numpy.transpose`.
        numbers_from: they are numbers of points, which the file counts from here; None: other values.
    """

    names: tuple[Name, ...]
    shape: tuple[int, ...] | None = None
    order: Literal["C", "F"] = "C"
    select: tuple[Any, ...] = ()
    axes: tuple[int, ...] | None = None
    numbers_from: int | None = None

    def field_of(self, found: Mapping[Name, Array], declared: Sequence[int | str] | None, told: str) -> Array:
        """The field.

        Args:
            found: the arrays of `names`.
            declared: the shape of the field; what has its values in another shape is brought into it. None, or a name
                in it: any.
            told: field and file, for messages.

        Raises:
            SolverError: the array has another number of values or of axes than the options need, or is to hold numbers
                of points, and does not.
        """
        parts = [self._arranged(found[name], told) for name in self.names]
        if len({part.shape for part in parts}) > 1:
            shapes = ", ".join(f"{name!r} {part.shape}" for name, part in zip(self.names, parts, strict=True))
            raise SolverError(f"{told}: its components have the shapes {shapes}: they must be equal")
        array = parts[0] if len(parts) == 1 else np.stack(parts)
        if declared is not None:
            array = self._fitted(array, tuple(declared), told)
        return array if self.numbers_from is None else _counted_from_0(array, self.numbers_from, told)

    def _arranged(self, array: Array, told: str) -> Array:
        if self.shape is not None:
            if array.size != np.prod(self.shape):
                raise SolverError(
                    f"{told}: it has {array.size} values, of shape {array.shape}, and not those of the shape "
                    f"{list(self.shape)} in the reader's options: correct that shape"
                )
            array = array.reshape(self.shape, order=self.order)
        try:
            array = array[self.select]
            return array if self.axes is None else np.transpose(array, self.axes)
        except (IndexError, ValueError) as error:
            raise SolverError(
                f"{told}: its array has the shape {array.shape}, to which select and axes of the reader's options do "
                f"not fit ({error}): correct them"
            ) from None

    def _fitted(self, array: Array, declared: tuple[int | str, ...], told: str) -> Array:
        """Bring a flat array, or one with axes of size 1, into the declared shape; anything else is a mistake."""
        if _fits(array.shape, declared):
            return array
        sizes = tuple(size for size in declared if isinstance(size, int))
        longer = tuple(n for n in array.shape if n > 1)
        if len(sizes) < len(declared):  # only axes of size 1 can be too many: nothing says how a flat array is cut
            if _fits(longer, declared):
                return array.reshape(longer)
            expected = f"shape [{', '.join(map(str, declared))}]"
        else:
            if array.size == np.prod(sizes):
                if len(longer) <= 1 or longer == tuple(n for n in sizes if n > 1):
                    return array.reshape(sizes, order=self.order)
                if array.shape[0] == sizes[0] and array.ndim == 2:  # components, each flat
                    return np.stack([component.reshape(sizes[1:], order=self.order) for component in array])
            expected = f"{np.prod(sizes)}, of shape {list(sizes)}"
        raise SolverError(
            f"{told}: received {array.size} values, of shape {list(array.shape)}; expected {expected}"
            f"{_advice(array.shape, declared)}"
        )


def _fits(shape: tuple[int, ...], declared: tuple[int | str, ...]) -> bool:
    if len(shape) != len(declared):
        return False
    return all(not isinstance(size, int) or size == n for n, size in zip(shape, declared, strict=True))


def _advice(shape: tuple[int, ...], declared: tuple[int | str, ...]) -> str:
    if len(shape) == len(declared) <= _MOST_AXES:
        for axes in permutations(range(len(shape))):
            if _fits(tuple(shape[axis] for axis in axes), declared):
                return f": for axes in another order, write axes: {list(axes)}"
    if len(shape) == len(declared) + 1:
        for axis in range(len(shape)):
            if shape[:axis] + shape[axis + 1 :] == declared:
                return f": if there are several steps in it, say along which axis: step_axis: {axis}"
    return ": correct the declared shape, or tell the reader with shape, select and axes what of it the field is"


def _counted_from_0(array: Array, first: int, told: str) -> Array:
    if array.dtype.kind not in "iu":
        numbers = array.astype(np.int64) if np.isfinite(array).all() else np.zeros(array.shape, np.int64)
        wrong = np.argwhere(numbers != array)
        if len(wrong):
            at = tuple(wrong[0].tolist())
            raise SolverError(
                f"{told}: there is {array[at]} at index {at} of it, but numbers of points are whole: leave out "
                "numbers_from, or correct name and select, which say what is read"
            )
        array = numbers
    return array.astype(np.int64) - first


def listed_sources(given: Any, option: str) -> Mapping[str, Any]:
    """What is said of each field, from a list of names, one name, or what is a mapping already.

    Raises:
        ValueError: something else.
    """
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, Mapping | Sequence) or not listed:
        raise ValueError(f"{option} is {given!r}: write a list of names, or field: name in the file")
    return listed if isinstance(listed, Mapping) else {name: name for name in listed}


def sources_of(given: Any, option: str = "fields") -> dict[str, Source]:
    """The option `fields`: a list of names, or for each field its name in the file, or the options of `Source`.

    Args:
        given: the value of the option.
        option: its name; `static` has more keys.

    Raises:
        ValueError: something else.
    """
    return {str(field): _source(str(field), said, option) for field, said in listed_sources(given, option).items()}


def _source(field: str, said: Any, option: str) -> Source:
    if not isinstance(said, Mapping):
        said = {"name": field if said is None else said}
    known = {"name", *(each.name for each in dataclass_fields(Source))} - {"names", *OF_STATIC}
    known |= {*OF_STATIC} if option == "static" else set()
    unknown, key = sorted(map(str, set(said) - known)), f"{option}.{field}"
    if unknown:
        raise ValueError(f"{key} has the options {', '.join(unknown)}: there are {', '.join(sorted(known))}")
    order = said.get("order", "C")
    if order not in ("C", "F"):
        raise ValueError(f"{key}.order is {order!r}: write C (the last axis runs fastest) or F (the first)")
    first = said.get("numbers_from")
    if first is not None and (isinstance(first, bool) or not isinstance(first, int)):
        raise ValueError(f"{key}.numbers_from is {first!r}: write the number of the first point in the file, 0 or 1")
    return Source(
        names=_names(key, said.get("name", field)),
        shape=_integers(said.get("shape"), f"{key}.shape"),
        order=order,
        select=parsed_selection(str(said.get("select", "")), f"{key}.select"),
        axes=_integers(said.get("axes"), f"{key}.axes"),
        numbers_from=first,
    )


def _names(key: str, said: Any) -> tuple[Name, ...]:
    names = (said,) if isinstance(said, str | int) else tuple(said)
    if not names or not all(isinstance(name, str | int) and not isinstance(name, bool) for name in names):
        raise ValueError(f"{key}.name is {said!r}: write a name, the number of a column, or a list of these")
    return names


def _integers(said: Any, key: str) -> tuple[int, ...] | None:
    if said is None:
        return None
    if isinstance(said, str) or not isinstance(said, Sequence) or not all(isinstance(n, int) for n in said):
        raise ValueError(f"{key} is {said!r}: write a list of whole numbers")
    return tuple(said)


def parsed_selection(text: str, key: str) -> tuple[Any, ...]:
    """What is taken of an array, as it is written between numpy's brackets: numbers, slices and `...`.

    Raises:
        ValueError: something else stands there.
    """
    if not text.strip():
        return ()
    try:
        return tuple(_one_axis(part.strip()) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"{key} is {text!r}: write for each axis a number, or first:end:stride, or :, as in '0, 1:-1, ::2'; ... "
            "stands for the axes between"
        ) from None


def _one_axis(text: str) -> Any:
    if text == "...":
        return Ellipsis
    if ":" not in text:
        return int(text)
    bounds = [int(bound) if bound.strip() else None for bound in text.split(":")]
    if len(bounds) > 3:
        raise ValueError(text)
    return slice(*bounds)
