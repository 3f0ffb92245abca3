"""Who holds a lease: one process, told apart from every other one, also of another host or after a reboot."""

import os
import socket
from pathlib import Path

import msgspec

__all__ = ["Holder"]

#: Field of /proc/PID/stat behind the command's name.
_STARTED = 19


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A process.

    Attributes:
        boot: of the kernel that runs it, unique over all machines.
        namespace: of its process id: in a container the same number is another process.
        started: in ticks since the boot, because process ids are used again.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @staticmethod
    def this_process() -> "Holder":
        """The one that asks."""
        pid = os.getpid()
        started = _started(pid)
        assert started is not None, "this process is in /proc"
        return Holder(host=socket.gethostname(), boot=_boot(), namespace=_namespace(), pid=pid, started=started)

    def lives(self) -> bool | None:
        """Whether it is there; None if that cannot be seen from here."""
        if (self.boot, self.namespace) != (_boot(), _namespace()):
            return None
        return _started(self.pid) == self.started


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _started(pid: int) -> int | None:
    """When a process was started; None if there is none, or only a zombie that nobody has collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name, in parentheses, may hold anything: the fields are counted behind it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[_STARTED])
