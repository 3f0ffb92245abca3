"""What a site wants of batch jobs: settings under `launcher.executor.server` and `launcher.executor.solver`."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.executors.interface import JobSpec
from melissa_like.plugins import nearest

__all__ = ["SiteSettings", "site_settings"]

_TIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """Settings of one role of jobs; what is left out is left to the scheduler.

    Attributes:
        partition: where the jobs run; other schedulers call it a queue.
        account: that is charged.
        qos: quality of service.
        constraint: features or properties that the nodes must have, as the scheduler writes them.
        gres: generic resources of each node, as the scheduler writes them: "gpu:4".
        time_s: limit of a job in seconds; under `time`, in seconds or as text ("1:30:00", "1-12:00:00" with days).
        nodes: over which the processes of a job are spread evenly.
        cpus_per_task: cores of each process.
        mem: memory of each node, as the scheduler writes it: "16G".
        gpus: of each process.
        exclusive: no other job on the nodes.
        setup: lines of shell before the start: "module load python".
        environment: variables of the job's processes; they stand in no script.
        container: command before the program, as in "apptainer exec --nv image.sif", in the job and in its ranks.
        python: Python inside the container or on the nodes, in the place of the one that runs the launcher.
        options: more options of the scheduler, verbatim: "--reservation=tests".
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gres: str = ""
    time_s: int | None = None
    nodes: int | None = None
    cpus_per_task: int | None = None
    mem: str = ""
    gpus: int | None = None
    exclusive: bool = False
    setup: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    container: tuple[str, ...] = ()
    python: str = ""
    options: tuple[str, ...] = ()

    @property
    def changes_programs(self) -> bool:
        """Whether a program may be found in the job that cannot be found here."""
        return bool(self.setup or self.container or self.python)

    def command_of(self, spec: JobSpec, *, launcher_python: str) -> tuple[str, ...]:
        """What a job runs: its command with this Python, and in this container; an MPI start command stays outside.

        Args:
            spec: of the job.
            launcher_python: which stands in its program.
        """
        before: tuple[str, ...]
        if spec.gang or spec.command[-len(spec.program) :] != spec.program:
            before, program = (), spec.program or spec.command
        else:
            before, program = spec.command[: -len(spec.program)], spec.program
        if self.python:
            program = tuple(self.python if word == launcher_python else word for word in program)
        return (*before, *self.container, *program)


def site_settings(given: Mapping[str, Any] | None, key: str, *, accepts: frozenset[str], name: str) -> SiteSettings:
    """The settings of one role.

    Args:
        given: as the configuration has them; None: nothing is said.
        key: under which they stand, for messages.
        accepts: what the scheduler takes.
        name: of the scheduler.

    Raises:
        ConfigurationError: no mapping, an unknown name, or a value that cannot be one.
    """
    if given is None:
        return SiteSettings()
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{key} is {given!r}: write settings of the site below it, as in `partition: main`")
    known = {_written(one.name) for one in fields(SiteSettings)}
    for wanted in given:
        if wanted not in known or wanted not in accepts:
            why = "which is no setting of a site" if wanted not in known else f"which {name} does not have"
            raise ConfigurationError(
                f"{key} has {wanted!r}, {why}: write one of {', '.join(sorted(accepts))}{nearest(str(wanted), accepts)}"
            )
    read: dict[str, Any] = {_field(wanted): _READ[wanted](value, f"{key}.{wanted}") for wanted, value in given.items()}
    return SiteSettings(**{setting: value for setting, value in read.items() if value is not None})


def _written(name: str) -> str:
    return "time" if name == "time_s" else name


def _field(name: str) -> str:
    return "time_s" if name == "time" else name


def _text(value: Any, key: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or "\n" in str(value):
        raise ConfigurationError(f"{key} is {value!r}: write a text on one line")
    return str(value)


def _count(value: Any, key: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{key} is {value!r}: write a whole number, 1 or more")
    return value


def _yes(value: Any, key: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ConfigurationError(f"{key} is {value!r}: write true or false")


def _seconds(value: Any, key: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ConfigurationError(
            f"{key} is {value!r}: write seconds (5400), or hours, minutes and seconds as text ('1:30:00', with days in "
            "front '1-12:00:00')"
        )
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _lines(value: Any, key: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, Sequence) or not all(isinstance(line, str) and "\n" not in line for line in lines):
        raise ConfigurationError(f"{key} is {value!r}: write a list of lines, or a text")
    return tuple(line for line in lines if line.strip())


def _words(value: Any, key: str) -> tuple[str, ...] | None:
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(word, str) for word in value):
        return tuple(value)
    text = _text(value, key)
    return None if text is None else tuple(shlex.split(text))


def _variables(value: Any, key: str) -> Mapping[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{key} is {value!r}: write variables below it, as in `OMP_PLACES: cores`")
    return {str(name): str(_text(one, f"{key}.{name}") or "") for name, one in value.items()}


_READ = {
    "partition": _text,
    "account": _text,
    "qos": _text,
    "constraint": _text,
    "gres": _text,
    "time": _seconds,
    "nodes": _count,
    "cpus_per_task": _count,
    "mem": _text,
    "gpus": _count,
    "exclusive": _yes,
    "setup": _lines,
    "environment": _variables,
    "container": _words,
    "python": _text,
    "options": _lines,
}
