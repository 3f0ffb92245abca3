"""Which server ranks have been silent for too long: a matter of this process's clock, not of the study's."""

from collections.abc import Callable

from melissa_like.records import ServerRank

__all__ = ["Silence"]


class Silence:
    """When each living server rank was last heard of. All times are `time.monotonic()`.

    A launcher that stood still itself (Ctrl-Z, a file system that does not answer) has heard nobody meanwhile, and what
    they said is still waiting: then everybody's time begins anew.

    Args:
        limit_s: a rank of which nothing is heard for longer has failed.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._heard_at: dict[ServerRank, float] = {}
        self._looked_at = 0.0

    def hear(self, address: ServerRank, now: float) -> None:
        """It lives."""
        self._heard_at[address] = now

    def forget(self, address: ServerRank) -> None:
        """Its process has ended."""
        self._heard_at.pop(address, None)

    def awaited(self, is_there: Callable[[ServerRank], bool]) -> list[ServerRank]:
        """Those that have spoken, are not silent, and are still there."""
        return [address for address in self._heard_at if is_there(address)]

    def take(self, now: float) -> list[ServerRank]:
        """Those that have become silent since the last call; call it at least twice in `limit_s`."""
        if now - self._looked_at > self._limit_s / 2:
            self._heard_at = dict.fromkeys(self._heard_at, now)
        self._looked_at = now
        silent = [address for address, heard_at in self._heard_at.items() if now - heard_at > self._limit_s]
        for address in silent:
            del self._heard_at[address]
        return silent

    def text(self) -> str:
        """What a silent rank has done."""
        return f"it has reported nothing for launcher.server_timeout_s = {self._limit_s:g} s"
