"""Memory that a process may still take: what the system has, within the limits of its control groups."""

import resource
from pathlib import Path

__all__ = ["available_memory", "shown"]

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_KIB = 1024


def available_memory(proc: Path = _PROC, groups: Path = _GROUPS) -> int:
    """Bytes that this process can still take without others being pushed out, page cache counted as free.

    The least of what the system has, of what each control group that the process is in leaves (both versions), and of
    the limit on its address space.

    Args:
        proc: where the system tells of itself.
        groups: where control groups are mounted.
    """
    left = [_of_system(proc), *(_of_group(folder) for folder in _groups_of(proc, groups))]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        left.append(limit - _field(proc / "self" / "status", "VmSize:"))
    return max(0, min(amount for amount in left if amount is not None))


def shown(nbytes: float) -> str:
    """An amount of memory for people."""
    size, units = float(nbytes), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= _KIB and len(units) > 1:
        size, units = size / _KIB, units[1:]
    return f"{size:.3g} {units[0]}" if units[0] != "bytes" else f"{size:.0f} bytes"


def _of_system(proc: Path) -> int:
    return _field(proc / "meminfo", "MemAvailable:")


def _field(path: Path, name: str) -> int:
    """A number of KiB in a file of names and numbers, in bytes."""
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * _KIB
    raise ValueError(f"{path} has no {name}: this system does not tell its memory as Linux does")


def _groups_of(proc: Path, groups: Path) -> list[Path]:
    """The folders of the control groups that bound this process, outermost last."""
    found = []
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        number, controllers, inside = line.split(":", 2)
        if number != "0" and "memory" not in controllers.split(","):
            continue
        root = groups if number == "0" else groups / "memory"
        folder = root / inside.strip("/")
        while True:
            found.append(folder)
            if folder == root:
                break
            folder = folder.parent
    return found


def _of_group(folder: Path) -> int | None:
    """What a group leaves; None if it has no limit, or is not seen from here, as in a container."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limited = _number(folder / limit)
        if limited is not None:
            return limited - (_number(folder / used) or 0) + _statistic(folder / "memory.stat", cache)
    return None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:  # of the other version, or not mounted here
        return None
    return int(text) if text.isdecimal() else None


def _statistic(path: Path, name: str) -> int:
    """A count of memory.stat; 0 where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
