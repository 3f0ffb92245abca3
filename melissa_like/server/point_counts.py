"""How many points each client rank sends, counted as the parts arrive: for a check, which has time to look."""

from collections import Counter
from collections.abc import Mapping

from melissa_like.protocol.wire import Kind, decode
from melissa_like.records import Layout
from melissa_like.transport import PartReceiver
from melissa_like.transport.interface import Place, Received, Target

__all__ = ["CountedParts", "PointCounts"]


class PointCounts:
    """Points of each client rank in one time step, the first that is seen; of the first field that has an extent.

    Args:
        layout: of the study.
    """

    def __init__(self, layout: Layout) -> None:
        fields = enumerate(layout.fields)
        self._field_id, self._components = next(
            ((number, spec.components) for number, spec in fields if spec.extent is not None), (-1, 1)
        )
        self._step: int | None = None
        self._elements: Counter[int] = Counter()
        self._num_ranks = 0

    def see(self, encoded: bytes) -> None:
        """Count a header that has arrived.

        Raises:
            ProtocolError: it is none.
        """
        header = decode(encoded)
        if header.kind not in (Kind.PART, Kind.SCATTER) or header.field_id != self._field_id:
            return
        if self._step is None:
            self._step = header.step
        if header.step == self._step:
            self._num_ranks = max(self._num_ranks, header.num_client_ranks)
            self._elements[header.client_rank] += header.box.size

    @property
    def by_rank(self) -> tuple[int, ...]:
        """Points of each client rank; empty if there is no such field, or none came."""
        return tuple(self._elements[rank] // self._components for rank in range(self._num_ranks))


class CountedParts:
    """A part receiver whose headers are counted before they are placed.

    Attributes:
        endpoint: of the receiver.
    """

    def __init__(self, parts: PartReceiver, counts: PointCounts) -> None:
        self.endpoint = parts.endpoint
        self.wake = parts.wake
        self.close = parts.close
        self._parts = parts
        self._counts = counts

    @property
    def refused(self) -> Mapping[str, int]:
        """Of the receiver."""
        return self._parts.refused

    def receive(self, place: Place, timeout_s: float) -> Received | None:
        """As `PartReceiver.receive`."""

        def counted(header: bytes) -> Target | None:
            target = place(header)  # first, because it tells what is wrong with a header
            self._counts.see(header)
            return target

        return self._parts.receive(counted, timeout_s)
