"""What Slurm says of a site, and the first settings that follow from it: pure functions of the outputs of its commands.

`sinfo` prints a line per partition and kind of node; the format below asks for the fields that its manual page calls %P
(partition, with a star for the default one), %a (up or down), %l (longest job), %s (nodes of a job), %D (nodes),
%c (processors of each), %m (their memory in MB) and %G (generic resources).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["ACCOUNTS", "PARTITIONS", "Partition", "read_accounts", "read_partitions", "site_yaml"]

#: Commands whose outputs are read; the second one needs the user's name behind, and a site may have no accounting.
PARTITIONS = ("sinfo", "--noheader", "--format=%P|%a|%l|%s|%D|%c|%m|%G")
ACCOUNTS = ("sacctmgr", "--noheader", "--parsable2", "show", "associations", "format=Account")

_FIELDS = 8
_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_GPU = re.compile(r"gpu(?::[^:,()]+)?:(\d+)")
_LONGEST_S = 24 * 3600
_MOST_OTHERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition whose nodes may be of several kinds.

    Attributes:
        limit_s: the longest job, in seconds; None: as long as it takes.
        most_nodes: of a job; None: as many as there are.
        num_nodes: of all kinds.
        num_cpus: of a node of the most frequent kind.
        memory_mb: the same.
        num_gpus: of the node that has most.
    """

    name: str
    is_default: bool
    limit_s: int | None
    most_nodes: int | None
    num_nodes: int
    num_cpus: int
    num_gpus: int
    memory_mb: int

    @property
    def words(self) -> str:
        """In short, for a comment."""
        nodes = "1 node" if self.num_nodes == 1 else f"{self.num_nodes} nodes"
        gpus = f", up to {self.num_gpus} GPUs" if self.num_gpus else ""
        most = "" if self.most_nodes is None else f", {self.most_nodes} nodes a job"
        limit = "no time limit" if self.limit_s is None else f"at most {_time(self.limit_s)}"
        return f"{nodes} of {self.num_cpus} CPUs{gpus}{most}, {limit}"


def read_partitions(said: str) -> list[Partition]:
    """The partitions that are up, in Slurm's order.

    Args:
        said: the output of `PARTITIONS`.

    Raises:
        ValueError: a line that is none.
    """
    kinds: dict[str, list[Partition]] = {}
    for line in said.splitlines():
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != _FIELDS:
            raise ValueError(f"a line of sinfo has {len(fields)} fields and not {_FIELDS}: {line!r}")
        name, state, limit, size, nodes, cpus, memory, gres = fields
        if state != "up":
            continue
        kind = Partition(
            name=name.rstrip("*"),
            is_default=name.endswith("*"),
            limit_s=_seconds(limit),
            most_nodes=_most(size),
            num_nodes=_number(nodes),
            num_cpus=_number(cpus),
            num_gpus=sum(int(count) for count in _GPU.findall(gres)),
            memory_mb=_number(memory),
        )
        kinds.setdefault(kind.name, []).append(kind)
    return [_joined(same) for same in kinds.values()]


def _joined(kinds: Sequence[Partition]) -> Partition:
    """One partition of its lines."""
    most = max(kinds, key=lambda kind: kind.num_nodes)
    return replace(most, num_nodes=sum(kind.num_nodes for kind in kinds), num_gpus=max(kind.num_gpus for kind in kinds))


def read_accounts(said: str) -> list[str]:
    """The accounts of the user; empty where there is no accounting.

    Args:
        said: the output of `ACCOUNTS`.
    """
    return list(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))


def site_yaml(partitions: Sequence[Partition], accounts: Sequence[str], *, where: str) -> str:
    """The file of the group `launcher` for this site: the server on GPUs if there are any, the solvers on the rest.

    Args:
        partitions: of the site, at least one.
        accounts: of the user; the first one is written.
        where: it was asked, for the first line.
    """
    solver = next((p for p in partitions if p.is_default), None) or max(partitions, key=_num_cpus)
    server = max(partitions, key=lambda p: (p.num_gpus, p is solver, _num_cpus(p)))
    account = accounts[0] if accounts else None
    lines = [
        f"# By `melissa-like site` on {where}: a first try. What else may be set: melissa-like run --help launcher",
        "defaults: [slurm]",
        "executor:",
        f"  server:  # {server.words}",
        f"    {{{_settings(server, account, gpus=1 if server.num_gpus else None)}}}",
        f"  solver:  # {solver.words}",
        f"    {{{_settings(solver, account)}}}",
    ]
    if len(accounts) > 1:
        lines.append(f"# other accounts of yours: {', '.join(accounts[1:])}")
    others = [p for p in partitions if p not in (server, solver)]
    lines += [f"# partition {p.name}: {p.words}" for p in others[:_MOST_OTHERS]]
    if len(others) > _MOST_OTHERS:
        lines[-1] = f"# and {len(others) - _MOST_OTHERS + 1} partitions more: see sinfo --summarize"
    return "\n".join(lines) + "\n"


def _settings(partition: Partition, account: str | None, *, gpus: int | None = None) -> str:
    settings = {"partition": _quoted(partition.name)}
    if account is not None:
        settings["account"] = _quoted(account)
    if gpus is not None:
        settings["gpus"] = str(gpus)
    if partition.limit_s is not None:
        settings["time"] = f'"{_time(min(partition.limit_s, _LONGEST_S))}"'
    return ", ".join(f"{key}: {value}" for key, value in settings.items())


def _quoted(name: str) -> str:
    return (
        name if re.fullmatch(r"[A-Za-z][\w-]*", name) and name.lower() not in ("null", "true", "false") else f'"{name}"'
    )


def _num_cpus(partition: Partition) -> int:
    return partition.num_nodes * partition.num_cpus


def _number(text: str) -> int:
    """Of `4`, or `16+` where nodes differ."""
    return int(text.rstrip("+"))


def _most(size: str) -> int | None:
    """Of `1-4`, `2`, or `1-infinite`."""
    last = size.rpartition("-")[2]
    return int(last) if last.isdecimal() else None


def _seconds(limit: str) -> int | None:
    """Of `1-00:00:00`, `2:00:00`, `30:00`, or `infinite`."""
    found = _TIME.fullmatch(limit)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _time(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    clock = f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{days}-{hours:02d}{clock[clock.index(':') :]}" if days else clock
