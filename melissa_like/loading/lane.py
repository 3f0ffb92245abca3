"""The lane between the loader's thread and the trainer's: a ring of slots one way, turns in order the other way.

The number of slots bounds how far the loader runs ahead. The end of the stream, or the error that ended it, travels
behind the last turn, so that every rank's trainer takes the same number of turns before it sees it.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from melissa_like.buffer import Draw
from melissa_like.loading.batch import Turn
from melissa_like.loading.placement import Slot

__all__ = ["Lane", "PreparedTurn"]

#: How often a waiting thread looks again by itself; every change wakes it at once.
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTurn:
    """A turn on its way to the trainer.

    Attributes:
        turn: its batch may be used when the slot was taken.
        slot: where the batch lies; occupied, but empty, in a turn of zero weight.
        draw: to be settled when the training step has ended; None in a turn of zero weight.
    """

    turn: Turn
    slot: Slot
    draw: Draw | None


class Lane:
    """Hands slots to the loader's thread and prepared turns to the trainer's; one of each, no more."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._changed = threading.Condition()
        self._free = deque(slots)
        self._ready: deque[PreparedTurn] = deque()
        self._error: BaseException | None = None
        self._error_seen = False
        self._ended = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the trainer closed the lane."""
        return self._closed

    def open_slot(self) -> Slot | None:
        """A free slot; None when the lane is closed. Blocks until one of both."""
        with self._changed:
            self._wait_until(lambda: bool(self._free) or self._closed)
            return None if self._closed else self._free.popleft()

    def push(self, prepared: PreparedTurn) -> None:
        """Append a turn. Does not block: whoever holds a slot has room."""
        with self._changed:
            self._ready.append(prepared)
            self._changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        """No turn follows; `error` says why when it was not the agreed end."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def pop(self) -> PreparedTurn | None:
        """The next turn; None at the end. Blocks until one of both, or the lane is closed.

        Raises:
            BaseException: the one given to `end`, with its traceback, once all turns before it are taken.
        """
        with self._changed:
            self._wait_until(lambda: bool(self._ready) or self._ended or self._closed)
            if self._ready and not self._closed:
                return self._ready.popleft()
            if self._error is not None:
                self._error_seen = True
                raise self._error
            return None

    @property
    def unseen_error(self) -> BaseException | None:
        """The error given to `end`, unless `pop` raised it."""
        return None if self._error_seen else self._error

    def recycle(self, slot: Slot) -> None:
        """Give a slot back to the loader's thread."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def close(self) -> None:
        """Wake both threads; no slot and no turn is handed out any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait_until(self, predicate: Callable[[], bool]) -> None:
        while not predicate():
            self._changed.wait(_LOOK_AGAIN_S)
