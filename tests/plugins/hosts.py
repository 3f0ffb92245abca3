"""A scheduler whose jobs run on other hosts: those of the tests, which words in front of a command lead to."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from melissa_like.launcher.executors import FoundJob, JobSpec, JobUpdate, Role, Traits
from tests.plugins.scheduler import SpoolExecutor


class HostsExecutor:
    """Jobs outlive the launcher; server ranks and solver jobs go round over the hosts that are for them.

    Args:
        on_change: called when `poll` has something new.
        spool: the scheduler's directory.
        ways: a file of JSON: for `server` and `solver` the hosts, each as the words that lead a command there.
        grace_s: between SIGTERM and SIGKILL.
    """

    traits = Traits(on_this_host=False)

    def __init__(self, *, on_change: Callable[[], None], spool: str, ways: str, grace_s: float = 5.0) -> None:
        self._spool = SpoolExecutor(on_change=on_change, spool=spool, grace_s=grace_s)
        self._ways = {role: itertools.cycle(json.loads(Path(ways).read_text())[role]) for role in Role}

    def __enter__(self) -> Self:
        self._spool.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._spool.__exit__(*exc_info)

    def submit(self, specs: Sequence[JobSpec], study: str) -> Mapping[str, str]:
        return self._spool.submit([self._placed(spec) for spec in specs], study)

    def find(self, study: str) -> tuple[FoundJob, ...]:
        return self._spool.find(study)

    def poll(self) -> tuple[JobUpdate, ...]:
        return self._spool.poll()

    def cancel(self, handle: str) -> None:
        self._spool.cancel(handle)

    def close(self, timeout_s: float) -> None:
        self._spool.close(timeout_s)

    def _placed(self, spec: JobSpec) -> JobSpec:
        return replace(spec, command=(*next(self._ways[spec.role]), *spec.command))
