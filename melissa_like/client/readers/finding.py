"""The last step of a reader: from arrays to what is found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from melissa_like.client.following import Found, Run
from melissa_like.client.readers.fields import Array, Name, Source
from melissa_like.client.readers.times import Times

__all__ = ["FieldsOfSteps", "Place"]


class Place(NamedTuple):
    """Where a step comes from.

    Attributes:
        step: its number.
        before: how many steps came before it.
        told: its file, for messages.
        time: that a file or its name tells.
    """

    step: int
    before: int
    told: str
    time: float | None = None


class FieldsOfSteps:
    """The options `fields` and `time` of a reader.

    Args:
        sources: where each field comes from.
        time: as for `Times`.

    Raises:
        ValueError: `time` is none of these.
    """

    def __init__(self, sources: Mapping[str, Source], time: Any) -> None:
        self._sources = sources
        self._times = Times(time)
        self.names: tuple[Name, ...] = tuple(dict.fromkeys(name for s in sources.values() for name in s.names))

    @property
    def times(self) -> tuple[Name, ...]:
        """The name of the time in the files, if it is there."""
        return self._times.names

    def found(self, run: Run, arrays: Mapping[Name, Array], place: Place, files: Sequence[Path] = ()) -> Found:
        """What a reader yields of a step.

        Args:
            run: whose declared shapes are known.
            arrays: of `names` and `times`.
            place: of the step.
            files: that nothing else needs.

        Raises:
            SolverError: an array does not fit to its field.
        """
        return Found(
            step=place.step,
            fields={
                field: source.field_of(arrays, run.shapes.get(field), f"field {field!r} in {place.told}")
                for field, source in self._sources.items()
            },
            time=self._times.time_of(place.step, place.before, arrays, place.time),
            files=files,
        )
