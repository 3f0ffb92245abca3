"""`AcceptedParts`: which parts were accepted at some step, so that at another one little must be looked at."""

import msgspec

from melissa_like.assembly.places import Place
from melissa_like.assembly.simulations import OpenSimulation

__all__ = ["AcceptedPart", "AcceptedParts"]

#: More than that are forgotten together.
_REMEMBERED_PARTS = 10_000


class AcceptedPart(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A part that was accepted at some step: at another one only what changes must be looked at.

    It is remembered as long as its attempt is the newest, and its simulation not over.
    """

    simulation: OpenSimulation
    place: Place


class AcceptedParts:
    """By all of their headers but step and time.

    Attributes:
        get: the part with these bytes, or None; asked for every message.
    """

    def __init__(self) -> None:
        self._parts: dict[bytes, AcceptedPart] = {}
        self.get = self._parts.get

    def add(self, common: bytes, simulation: OpenSimulation, place: Place) -> None:
        """Remember one of the newest attempt of a simulation."""
        if len(self._parts) >= _REMEMBERED_PARTS:
            for part in self._parts.values():
                part.simulation.accepted.clear()
            self._parts.clear()
        self._parts[common] = AcceptedPart(simulation=simulation, place=place)
        simulation.accepted.append(common)

    def forget(self, simulation: OpenSimulation) -> None:
        """Its attempt is not the newest any more, or it is over."""
        for common in simulation.accepted:
            self._parts.pop(common, None)
        simulation.accepted.clear()
