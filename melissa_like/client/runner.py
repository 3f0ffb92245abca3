"""Drives a generator plug-in: starts it for each simulation of a job and streams what it yields."""

import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from melissa_like.client.beginning import Beginning
from melissa_like.client.job import Client
from melissa_like.client.session import Session
from melissa_like.client.team import SerialCommunicator
from melissa_like.errors import ConfigurationError, SolverError
from melissa_like.plugins import locate

__all__ = ["SOLVER_FILE", "SolverCall", "read_solver_call", "run_plugin"]

SOLVER_FILE = "solver.json"


class SolverCall(msgspec.Struct, frozen=True, kw_only=True):
    """The plug-in: import path of the generator function and its options."""

    target: str
    options: dict[str, Any]

    def resolve(self) -> Callable[..., Iterable[Any]]:
        """Import the function.

        Raises:
            ConfigurationError: no such module, one that fails, no such function in it, or other arguments.
        """
        try:
            found = locate(self.target, "solver.solve._target_")
        except ConfigurationError as error:
            if not isinstance(error.__cause__, ModuleNotFoundError):
                raise
            raise ConfigurationError(
                f"{error}. What it needs may be installed in an environment of its own, whose Python is then named by "
                f"solver.python; this one is {sys.executable}"
            ) from error
        if not callable(found):
            raise ConfigurationError(f"solver.solve._target_ is {self.target!r}, which is not a function")
        self._check_arguments(found)
        return found  # type: ignore[no-any-return]

    def _check_arguments(self, function: Callable[..., Any]) -> None:
        try:
            signature = inspect.signature(function)
        except ValueError:  # a compiled function need not tell
            return
        try:
            signature.bind(None, None, **self.options)
        except TypeError as error:
            raise ConfigurationError(
                f"solver.solve._target_ is {self.target}{signature}, which cannot be called with (parameters, comm"
                f"{''.join(f', {name}=...' for name in self.options)}): {error}; the keys of solver.solve besides "
                "_target_ are its options"
            ) from None


def read_solver_call(run_dir: Path) -> SolverCall:
    """The plug-in that the launcher wrote into the run directory.

    Raises:
        ConfigurationError: it wrote none.
    """
    try:
        return msgspec.json.decode((run_dir / SOLVER_FILE).read_bytes(), type=SolverCall)
    except OSError as error:
        raise ConfigurationError(
            f"{run_dir / SOLVER_FILE} cannot be read ({error.strerror}): only a study with solver.solve, a generator, "
            "starts melissa_like.client; a program of your own calls melissa_like.client.connect"
        ) from None


def run_plugin(solve: Callable[..., Iterable[Any]], options: dict[str, Any], client: Client, comm: Any) -> None:
    """Run simulations until the launcher has none left; a job asks again and again (persistent).

    Raises:
        StudyStoppedError: the study ended under way.
        Exception: whatever the plug-in raised, after it was reported to the launcher.
    """
    communicator = comm if comm is not None else SerialCommunicator()
    with client:
        while (session := client.next_session()) is not None:
            with session:
                _run(session, lambda: solve(dict(session.parameters), communicator, **options))


def _run(session: Session, begin: Callable[[], Iterable[Any]]) -> None:
    try:
        for item in _steps(begin()):
            _send(session, item)
    except SystemExit as left:  # with exit code 0 MPI would not end the other ranks, which wait for this one
        raise RuntimeError(f"the solver called sys.exit({left.code!r}) before its end") from left


def _steps(returned: Any) -> Iterable[Any]:
    if not isinstance(returned, Iterable):
        raise SolverError(
            f"solve returned a {type(returned).__name__}: write a generator, with "
            "`yield step, {name: array}` for each time step"
        )
    return returned


def _send(session: Session, item: Any) -> None:
    if isinstance(item, Beginning):
        session.begin(item.extents, item.static)
        return
    if not isinstance(item, tuple) or len(item) not in (2, 3):
        raise SolverError(
            f"solve yielded a {type(item).__name__}: yield (step, {{name: array}}) or (step, {{name: array}}, time), "
            "after a Beginning if the mesh differs from simulation to simulation"
        )
    session.send(*item)
