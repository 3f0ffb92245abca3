"""How the fields of a ragged sample, or the static fields of a simulation, lie one after the other in bytes.

In a batch the points come first, those of all samples one after the other. They are stored like that, so that a batch
is made of whole stretches: a field with an extent lies as [N, C], or [N, L, C] of a window, another as it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from melissa_like.records import FieldSpec

__all__ = ["Bytes", "Packed", "packed"]

Bytes: TypeAlias = npt.NDArray[np.uint8]

#: Bytes that every field begins at a multiple of: the size of the largest number.
_ALIGNMENT = 8
#: Numbers per point that are copied one by one.
_FEW = 8


@dataclass(frozen=True, slots=True)
class _Place:
    """Of a field: its bytes, and the shape that it is stored in."""

    spec: FieldSpec
    first: int
    behind: int
    shape: tuple[int, ...]

    def of(self, memory: Bytes) -> npt.NDArray[Any]:
        """The field in the bytes of all, as it is stored."""
        return memory[self.first : self.behind].view(self.spec.numpy_dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Packed:
    """Where each field lies.

    Attributes:
        nbytes: of all together.
        window_length: time steps L; None: one, without an axis for it.
    """

    nbytes: int
    window_length: int | None
    _places: tuple[_Place, ...]

    @property
    def specs(self) -> tuple[FieldSpec, ...]:
        """The fields, in the sizes of the simulation."""
        return tuple([place.spec for place in self._places])

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First byte of each field, and the one behind its last."""
        return tuple([(place.first, place.behind) for place in self._places])

    def write(self, arrays: Iterable[npt.NDArray[Any]], memory: Bytes) -> None:
        """Copy fields as solvers have them, [*grid] or [C, *grid], with an axis of steps in front of a window's."""
        for place, array in zip(self._places, arrays, strict=True):
            if place.spec.extent is None:
                np.copyto(place.of(memory), array)
            else:
                _copy_points_first(array, place.of(memory))

    def read(self, memory: Bytes) -> tuple[npt.NDArray[Any], ...]:
        """The fields as solvers have them; views."""
        return tuple([self._as_sent(place, place.of(memory)) for place in self._places])

    def _as_sent(self, place: _Place, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if place.spec.extent is None:
            return stored
        sent = np.moveaxis(stored, 0, -1)
        return sent[..., 0, :] if place.spec.components == 1 else sent


def _copy_points_first(sent: npt.NDArray[Any], stored: npt.NDArray[Any]) -> None:
    """Transpose what has the points in the last axis. A few numbers per point are up to four times as fast one by one.

    Args:
        sent: (N,) or (C, N); of a window with the axis of steps in front.
        stored: [N, C], or [N, L, C].
    """
    num_points = len(stored)
    rows, columns = sent.reshape(-1, num_points), stored.reshape(num_points, -1)
    if len(rows) > _FEW:
        np.copyto(columns, rows.T)
        return
    for number, row in enumerate(rows):
        columns[:, number] = row


def packed(specs: Sequence[FieldSpec], extents: Mapping[str, int], window_length: int | None = None) -> Packed:
    """How some fields of a simulation are packed.

    Args:
        specs: of the fields, as the study declares them.
        extents: the sizes of the simulation.
        window_length: time steps of each; None: one, without an axis for it.
    """
    lengths = () if window_length is None else (window_length,)
    places, first = [], 0
    for spec in (declared.sized(extents) for declared in specs):
        behind = first + spec.nbytes * (window_length or 1)
        ragged = (spec.grid[-1], *lengths, spec.components)
        places.append(_Place(spec, first, behind, (*lengths, *spec.shape) if spec.extent is None else ragged))
        first = -(-behind // _ALIGNMENT) * _ALIGNMENT
    return Packed(nbytes=first, window_length=window_length, _places=tuple(places))
