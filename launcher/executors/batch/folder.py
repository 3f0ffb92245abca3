"""What a launcher and its batch jobs leave each other in the run directory, under `jobs/`.

| file | written by | what |
|---|---|---|
| `KEY.sh` | launcher | the batch script, as it was submitted |
| `KEY.json` | launcher | what the processes of a submission run, and in which environment |
| `KEY.N.out` | scheduler | its own words, and what the site's lines print before job N starts |
| `ends/KEY.N` | job N | its end record: how its process ended |
| `ends/told/KEY.N` | launcher | the same, once it was noticed: so that a scan of `ends` stays short |
"""

import json
import os
import re
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from melissa_like.launcher.executors.batch import start
from melissa_like.launcher.executors.batch.scheduler import Start, Submission
from melissa_like.launcher.executors.logs import log_tail

__all__ = ["EndRecord", "JobFolder", "new_key"]

_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_.-]+")
_OUTPUT_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRecord:
    """How a process of a job ended, by its own starter, which has ended all that descended from it.

    Attributes:
        exit_code: of the main process; None: it was killed, or never started.
        signal: that killed it.
        was_asked: whether its end was asked for by a signal.
        failure: why it could not be started.
    """

    exit_code: int | None = None
    signal: int | None = None
    was_asked: bool = False
    failure: str = ""

    @property
    def by_itself(self) -> bool:
        """Whether the main process exited without having been asked to."""
        return self.exit_code is not None and not self.was_asked

    @classmethod
    def read(cls, text: bytes) -> Self | None:
        """From a file; None: this is no such record."""
        try:
            told = json.loads(text)
            return cls(**{name: told[name] for name in cls.__slots__})
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was submitted, as another launcher finds it.

    Attributes:
        names: of the jobs, by their place.
        is_gang: they are processes of one batch job.
        is_alone: a job is one process, and what descends from it.
    """

    names: tuple[str, ...]
    is_gang: bool = False
    is_alone: bool = False


def new_key(name: str) -> str:
    """A name for a submission that no other has, and that tells of its first job."""
    return f"{_NOT_IN_A_KEY.sub('_', name)}.{uuid.uuid4().hex[:12]}"


class JobFolder:
    """The folder `jobs` in a run directory.

    Args:
        path: of it, absolute.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends = path / "ends"
        self._told = self._ends / "told"

    def make(self) -> None:
        """Make it, for this user alone: what is run may have secrets in its environment.

        Raises:
            OSError: it cannot be made.
        """
        self._told.mkdir(parents=True, exist_ok=True)
        self._path.chmod(0o700)

    def script_path(self, submission: Submission) -> Path:
        """Of a submission."""
        return self._path / f"{submission.name}.sh"

    def output_path(self, key: str) -> str:
        """Of a submission, with `{index}` in it."""
        return str(self._path).replace("{", "{{").replace("}", "}}") + f"/{key}.{{index}}.out"

    def start_of(self, key: str) -> Start:
        """The command line by which the processes of a submission start."""
        return Start(words=(sys.executable, "-I", "-S", start.__file__, str(self._path / f"{key}.json")))

    def write(self, submission: Submission, script: str, *, grace_s: float, log_limit_bytes: int) -> None:
        """Write what a submission needs before it is submitted.

        Raises:
            OSError: it cannot be written.
        """
        jobs = [
            {
                "name": spec.name,
                "command": submission.site.command_of(spec, launcher_python=sys.executable),
                "environment": {**submission.site.environment, **spec.environment},
                "log": os.path.abspath(spec.log),
                "working_directory": os.path.abspath(spec.working_directory),
                "end": str(self._ends / f"{submission.key}.{place}"),
            }
            for place, spec in enumerate(submission.specs)
        ]
        told: Mapping[str, Any] = {
            "study": submission.study,
            "gang": submission.specs[0].gang if submission.is_gang else "",
            "is_alone": submission.is_alone,
            "grace_s": grace_s,
            "log_limit_bytes": log_limit_bytes,
            "jobs": jobs,
        }
        described = self._path / f"{submission.key}.json"
        if not described.exists():  # a part of an array is described by the whole
            described.write_text(json.dumps(told))
        self.script_path(submission).write_text(script)
        self.script_path(submission).chmod(0o700)  # some schedulers run it as it is

    def made(self, key: str) -> Made | None:
        """What a submission holds; None: it was not made here."""
        try:
            told = json.loads((self._path / f"{key}.json").read_text())
            names = tuple(job["name"] for job in told["jobs"])
            return Made(names=names, is_gang=bool(told["gang"]), is_alone=told["is_alone"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def new_ends(self) -> dict[str, EndRecord]:
        """Records that came since they were last taken, by `KEY.N`; one that cannot be read is left for later.

        Raises:
            OSError: the folder cannot be read.
        """
        found = {}
        for entry in os.scandir(self._ends):
            if entry.is_file() and not entry.name.endswith(".new") and (record := self._read(Path(entry.path))):
                found[entry.name] = record
        return found

    def tell(self, name: str) -> None:
        """A record was noticed: it is put aside.

        Raises:
            OSError: it cannot be.
        """
        (self._ends / name).replace(self._told / name)

    def end_of(self, name: str) -> EndRecord | None:
        """A record by its name, noticed or not, also where a scan of the folder does not show it yet."""
        return self._read(self._ends / name) or self._read(self._told / name)

    def last_words(self, key: str, index: int) -> str:
        """The last of what scheduler and site's lines have printed about a job, and where; empty if nothing."""
        path = Path(self.output_path(key).format(index=index))
        said = log_tail(path, _OUTPUT_LINES).strip()
        return f"{path} ends with: {said}" if said else ""

    def _read(self, path: Path) -> EndRecord | None:
        try:
            return EndRecord.read(path.read_bytes())
        except OSError:
            return None
