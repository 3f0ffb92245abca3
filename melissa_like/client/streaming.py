"""Parts on their way to the server ranks: headers, counts, and what to do when a send stays blocked."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.client.beginning import LocalBeginning
from melissa_like.client.conversion import LostValueError, fill_from
from melissa_like.client.parts import LocalPart, PartChecker, PartShape, refused_value
from melissa_like.client.team import Team
from melissa_like.errors import SolverError
from melissa_like.protocol.control import Assignment, Welcome, WireField
from melissa_like.protocol.wire import OPEN_FIELD, Header, Kind, encode, join_moment, split_moment
from melissa_like.records import STORAGE_DTYPES, Box, FieldSpec, Layout, Purpose, Routing, StudyIdentity, owner_of
from melissa_like.transport import PartSender

__all__ = ["Pace", "PartStream", "layout_from"]

_REMEMBERED_HEADERS = 10_000
_WINDOW_S = 0.02
_FAST_STEPS = 20
_HELD_S = 0.005


class Pace:
    """Whether the next step is so near that what is held may wait for it; decided from when the last ones came.

    A solver that has made more than one step in a millisecond for a while sends several in one message, which is much
    cheaper. If it pauses then, the steps of its last few milliseconds wait until its next one. Steps are counted over a
    window, because a process that makes many is interrupted now and then.
    """

    def __init__(self) -> None:
        self._window_began = self._last_push = -math.inf
        self._steps = 0
        self._is_fast = False

    def pushes(self, now: float) -> bool:
        """At the end of a step, `now` in seconds: whether everything is to leave."""
        self._steps += 1
        elapsed = now - self._window_began
        if elapsed >= _WINDOW_S:
            self._is_fast = elapsed < 2 * _WINDOW_S and self._steps >= _FAST_STEPS
            self._window_began, self._steps = now, 0
        if self._is_fast and now - self._last_push < _HELD_S:
            return False
        self._last_push = now
        return True


def layout_from(welcome: Welcome) -> Layout:
    """The layout that the launcher announced."""
    return Layout(
        fields=tuple(map(_spec_of, welcome.fields)),
        parameters=welcome.parameters,
        static=tuple(map(_spec_of, welcome.static)),
    )


def _spec_of(field: WireField) -> FieldSpec:
    return FieldSpec(
        name=field.name,
        shape=field.shape,
        dtype=field.dtype,
        components=field.components,
        fill_value=field.fill_value,
        extent=field.extent,
        indexes=field.indexes,
    )


def _mapping(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(fields, Mapping):
        raise SolverError(
            f"a step's fields are a {type(fields).__name__}: yield (step, {{name: array}}) or (step, {{name: array}}, "
            "time)"
        )
    return fields


class PartStream:
    """What one client rank sends of one simulation.

    Args:
        ask: called when a send has been blocked for a heartbeat; returns if the study lives, raises if not.
    """

    def __init__(
        self,
        *,
        welcome: Welcome,
        layout: Layout,
        assignment: Assignment,
        identity: StudyIdentity,
        sender: PartSender,
        team: Team,
        ask: Callable[[int], None],
    ) -> None:
        self._heartbeat_s = welcome.heartbeat_s
        self._layout = layout
        self._assignment = assignment
        self._sender = sender
        self._ask = ask
        self._team = team
        self._checker = PartChecker(layout.fields, team)
        self._once: list[LocalPart] = []
        self._routing = Routing(welcome.routing)
        self._num_server_ranks = len(welcome.server_endpoints)
        self._pace = Pace()
        self._commons: dict[PartShape, bytes] = {}
        self._opened = [False] * self._num_server_ranks
        self._sent_lists: list[set[int]] = [set() for _ in range(self._num_server_ranks)]
        self.parts_sent = [0] * self._num_server_ranks
        self._header = partial(
            Header,
            purpose=Purpose(assignment.purpose),
            study=identity.study,
            secret=identity.secret,
            launcher_incarnation=identity.launcher_incarnation,
            server_incarnation=identity.server_incarnation,
            simulation=assignment.simulation,
            attempt=assignment.attempt,
            client_rank=team.rank,
            num_client_ranks=team.size,
            layout_id=welcome.layout_id,
        )

    @property
    def layout(self) -> Layout:
        """What is sent; with the sizes of this simulation once it has begun."""
        return self._layout

    def begin(self, beginning: LocalBeginning) -> None:
        """All ranks have begun the simulation with these sizes and static fields; before the first step."""
        self._layout, self._once = beginning.layout, beginning.parts
        self._checker = PartChecker(self._layout.fields, self._team, beginning.lists)

    @property
    def started(self) -> bool:
        """Whether the ranks have settled together where the rows of each begin."""
        return self._checker.started

    @property
    def rows(self) -> list[int]:
        """Rows of this rank by field, once they are counted."""
        return self._checker.rows

    def count_rows(self, fields: Mapping[str, Any]) -> None:
        """What only one rank may raise at its first step comes here, before the ranks wait for one another.

        Raises:
            SolverError: they break the declaration.
            Exception: whatever a mapping of the solver's own raises.
        """
        self._checker.count_rows(_mapping(fields))

    def settle(self, rows: npt.NDArray[np.int64]) -> None:
        """Settle where the rows of each rank begin, from those of all ranks: [ranks, fields].

        Raises:
            SolverError: together they are not those of a field; on every rank.
        """
        self._checker.settle(rows)

    def prepare(self, fields: Mapping[str, Any]) -> list[LocalPart]:
        """Check a step's fields; the first time, all ranks do so together.

        Raises:
            SolverError: they break the declaration.
            Exception: whatever a mapping of the solver's own raises.
        """
        checked = _mapping(fields)
        if not self._checker.started:
            self._checker.first_step(checked)
        return self._checker.check(checked)

    def send(self, step: int, parts: Sequence[LocalPart], physical_time: float) -> None:
        """Send a step's parts to the server rank that owns it; blocks while back-pressure holds it.

        Raises:
            SolverError: a value that the field's dtype cannot hold.
            StudyStoppedError: the study ended while the send was blocked.
        """
        destination = owner_of(self._assignment.simulation, step, self._num_server_ranks, self._routing)
        # Also without a part of this step: it counts as complete when what is sent once is there.
        if not self._opened[destination] and (parts or self._once):
            self._open(destination)
        for part in parts:
            shape = part.shape
            if shape.points is not None:
                self._send_list(destination, shape)
            header = join_moment(self._common_of(shape), step, physical_time)
            try:
                self._deliver(destination, header, shape.nbytes, partial(fill_from, part.array, shape.dtype))
            except LostValueError as lost:
                raise refused_value(self._layout.fields[shape.field_id], self._team.rank, shape, lost) from None
            self.parts_sent[destination] += 1
        self.pass_over()

    def pass_over(self) -> None:
        """The end of a step, of one too that the server ranks hold already: what is held does not wait for long."""
        if self._pace.pushes(time.monotonic()):
            self._sender.push()

    def close(self) -> None:
        """Nothing more comes of this simulation: let go what is held."""
        self._sender.push()

    def flush(self, timeout_s: float) -> None:
        """Wait until everything sent has left this process, for so long at most."""
        self._sender.flush(timeout_s)

    def elements_of(self, parts: Sequence[LocalPart]) -> list[int]:
        """How many elements of each field these parts hold."""
        numbers = [0] * len(self._layout.fields)
        for part in parts:
            numbers[part.shape.field_id] += part.shape.size
        return numbers

    def _common_of(self, shape: PartShape) -> bytes:
        """The header of a part but for step and time: encoded once."""
        common = self._commons.get(shape)
        if common is None:
            kind = Kind.PART if shape.points is None else Kind.SCATTER
            common, _, _ = split_moment(self._header_of(kind, shape.field_id, shape.dtype, shape.box))
            if len(self._commons) >= _REMEMBERED_HEADERS:
                self._commons.clear()
            self._commons[shape] = common
        return common

    def _header_of(self, kind: Kind, field_id: int, dtype: np.dtype[Any], box: Box) -> bytes:
        code = STORAGE_DTYPES.index(dtype)
        return encode(self._header(kind=kind, field_id=field_id, dtype_code=code, step=0, time=math.nan, box=box))

    def _open(self, destination: int) -> None:
        """Tell a server rank the parameters and the sizes, and all that is sent once, before the first part."""
        numbers = np.array([*self._assignment.parameters, *self._layout.sizes.values()], np.float64)
        header = self._header_of(Kind.OPEN, OPEN_FIELD, numbers.dtype, Box((0,), numbers.shape))
        self._deliver(destination, header, numbers.nbytes, partial(fill_from, numbers, numbers.dtype))
        self._opened[destination] = True
        for part in self._once:
            shape = part.shape
            if shape.points is not None:
                self._send_list(destination, shape)
            kind = Kind.STATIC if shape.points is None else Kind.STATIC_SCATTER
            header = self._header_of(kind, shape.field_id, shape.dtype, shape.box)
            self._deliver(destination, header, shape.nbytes, partial(fill_from, part.array, shape.dtype))
            self.parts_sent[destination] += 1

    def _send_list(self, destination: int, shape: PartShape) -> None:
        """The index list of a scattered part, if the server rank has not got it."""
        number = shape.box.offset[-1]
        if number in self._sent_lists[destination]:
            return
        assert shape.points is not None
        header = self._header_of(Kind.INDEX, number, shape.points.dtype, Box((0,), shape.points.shape))
        self._deliver(destination, header, shape.points.nbytes, partial(fill_from, shape.points, shape.points.dtype))
        self._sent_lists[destination].add(number)
        self.parts_sent[destination] += 1

    def _deliver(self, destination: int, header: bytes, nbytes: int, fill: Callable[[memoryview], None]) -> None:
        while not self._sender.send(destination, header, nbytes, fill, self._heartbeat_s):
            self._ask(destination)
