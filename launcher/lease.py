"""The lease: at most one launcher at a time works on a run directory, also on a file system that hosts share.

A lease is a file `lease.N`, where N is the launcher's incarnation. It is taken by linking the file `lease.N+1`, which
succeeds for one of several takers only, on every file system. Its holder changes the file every five seconds. Another
launcher takes the next one when this one was given back, when its holder is known to be dead, or when the file has not
changed for half a minute *by the taker's own clock*: clocks of two hosts are never compared. A holder that stood still
so long finds the next one, or its own gone, before it does anything else.
"""

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

import msgspec

from melissa_like.errors import UNREADABLE, LeaseError
from melissa_like.launcher.holder import Holder

__all__ = ["Lease", "LeaseFile", "Watch", "newest_lease", "take_lease"]

_NAME = re.compile(r"lease\.([1-9]\d{0,8})")
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_RENEW_EVERY_S = 5.0
_STALE_AFTER_S = 30.0
_LOOK_EVERY_S = 1.0


class LeaseFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says.

    Attributes:
        renewals: how often it was changed.
        given_back: the holder has ended in order.
    """

    holder: Holder
    renewals: int = 0
    given_back: bool = False


class Watch(Protocol):
    """A clock that this process can wait by; it need not be the time of day."""

    def now(self) -> float:
        """Seconds."""
        ...

    def wait(self, seconds: float) -> None:
        """Block for so long."""
        ...


class _Boottime:
    """Also counts what passes while the machine is suspended: others have not been."""

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class Lease:
    """A lease that is held, and given back when the context is left; made by `take_lease`.

    Attributes:
        number: the incarnation of the launcher.
    """

    def __init__(self, run_dir: Path, number: int, holder: Holder, watch: Watch) -> None:
        self._run_dir = run_dir
        self.number = number
        self._said = LeaseFile(holder=holder)
        self._watch = watch
        self._renewed_at = watch.now()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives it back, unless it was lost; where nothing can be written any more it becomes stale instead."""
        with suppress(LeaseError, OSError):
            self._require()
            self._write(given_back=True)

    def keep(self) -> None:
        """Renew it when that is due; cheap, call it before whatever only the holder may do.

        Raises:
            LeaseError: another launcher has taken over meanwhile.
            OSError: the file cannot be written.
        """
        now = self._watch.now()
        if now - self._renewed_at < _RENEW_EVERY_S:
            return
        self._require()
        self._renewed_at = now
        self._write(renewals=self._said.renewals + 1)

    def _require(self) -> None:
        path = _path(self._run_dir, self.number)
        said, newer = _read(path), _path(self._run_dir, self.number + 1)
        if newer.exists() or said is None or said.holder != self._said.holder:
            new_holder = _read(newer)
            who = "another launcher" if new_holder is None else f"the launcher {new_holder.holder}"
            raise LeaseError(
                f"{who} has taken over {self._run_dir}, because this one had not renewed its lease for "
                f"{_STALE_AFTER_S:g} s; this one ends, the study goes on there"
            )

    def _write(self, *, renewals: int | None = None, given_back: bool = False) -> None:
        renewals = self._said.renewals if renewals is None else renewals
        self._said = LeaseFile(holder=self._said.holder, renewals=renewals, given_back=given_back)
        _written_aside(self._run_dir, self._said).replace(_path(self._run_dir, self.number))


def take_lease(
    run_dir: Path,
    *,
    tell: Callable[[str], object] = lambda text: None,
    holder: Holder | None = None,
    watch: Watch | None = None,
) -> Lease:
    """Take the lease of a run directory; blocks up to half a minute where it cannot be seen whether its holder lives.

    Args:
        run_dir: that exists.
        tell: told why this takes a while, once.
        holder: who takes it; None: this process.
        watch: by which is waited; None: the machine's.

    Raises:
        LeaseError: another launcher holds it.
        OSError: the directory cannot be written.
    """
    holder, watch = holder or Holder.this_process(), watch or _Boottime()
    looked = _Look(run_dir, watch, tell)
    while not looked.is_free():
        watch.wait(_LOOK_EVERY_S)
    number = looked.number + 1
    try:
        _link(_written_aside(run_dir, LeaseFile(holder=holder)), _path(run_dir, number))
    except FileExistsError:
        raise _held(run_dir, _read(_path(run_dir, number))) from None
    newest, said = newest_lease(run_dir)
    if newest != number:  # this process stood still: another had this number, and a third took the next and removed it
        _path(run_dir, number).unlink(missing_ok=True)
        raise _held(run_dir, said)
    for older in range(1, number):
        _path(run_dir, older).unlink(missing_ok=True)
    return Lease(run_dir, number, holder, watch)


class _Look:
    """At a lease that somebody else may hold."""

    def __init__(self, run_dir: Path, watch: Watch, tell: Callable[[str], object]) -> None:
        self._run_dir = run_dir
        self._watch = watch
        self._tell = tell
        self.number = newest_lease(run_dir)[0]
        self._seen: bytes | None = None
        self._looked_at = watch.now()
        self._unchanged_s = 0.0

    def is_free(self) -> bool:
        """Whether the next one may be taken; False: look again.

        Raises:
            LeaseError: its holder lives.
        """
        number, said = newest_lease(self._run_dir)
        if number != self.number:
            raise _held(self._run_dir, said)
        if number == 0 or (said is not None and said.given_back):
            return True
        lives = None if said is None else said.holder.lives()
        if lives is not None:
            if lives:
                raise _held(self._run_dir, said)
            return True
        seen, now = msgspec.json.encode(said), self._watch.now()
        if self._seen is None:
            self._seen = seen
            who = "its last launcher" if said is None else f"its last launcher, {said.holder},"
            self._tell(
                f"{self._run_dir}: waiting up to {_STALE_AFTER_S:g} s, because it cannot be seen from here whether "
                f"{who} still lives"
            )
        elif seen != self._seen:
            raise _held(self._run_dir, said)
        else:
            # While this process itself stood still, the holder may have stood still with it.
            self._unchanged_s += min(now - self._looked_at, 2 * _LOOK_EVERY_S)
        self._looked_at = now
        return self._unchanged_s >= _STALE_AFTER_S


def newest_lease(run_dir: Path) -> tuple[int, LeaseFile | None]:
    """The newest lease of a run directory: its number, 0 if there was none, and what it says, None if unreadable."""
    numbers = [int(found[1]) for name in os.listdir(run_dir) if (found := _NAME.fullmatch(name))]
    number = max(numbers, default=0)
    return number, _read(_path(run_dir, number)) if number else None


def _held(run_dir: Path, said: LeaseFile | None) -> LeaseError:
    who = "another launcher" if said is None else f"the launcher {said.holder}"
    return LeaseError(
        f"{who} works on the study in {run_dir}: wait until it has ended, or end it (Ctrl-C, or SIGTERM) and try again"
    )


def _path(run_dir: Path, number: int) -> Path:
    return run_dir / f"lease.{number}"


def _link(made: Path, path: Path) -> None:
    """Give a file another name, unless that is taken.

    Raises:
        FileExistsError: it is.
    """
    try:
        os.link(made, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _write_whole(path, made.read_bytes())  # such a file system is not one that hosts share
    finally:
        made.unlink()


def _read(path: Path) -> LeaseFile | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LeaseFile)
    except UNREADABLE:
        return None


def _written_aside(run_dir: Path, said: LeaseFile) -> Path:
    """A file of this process alone."""
    path = run_dir / f"lease-of-{said.holder.boot}-{said.holder.pid}.tmp"
    _write_whole(path, msgspec.json.encode(said))
    return path


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file, or leave none."""
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise
