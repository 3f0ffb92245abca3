"""How a solver job of several ranks is started: the site's MPI command in front of the solver's."""

import os
import shlex
import shutil
import string
import sys
from collections.abc import Sequence
from pathlib import Path

from melissa_like.errors import ConfigurationError

__all__ = ["DEFAULT_LAUNCH", "launch_command", "search_path"]

DEFAULT_LAUNCH = "mpiexec -n {num_ranks}"


def launch_command(
    template: str, num_ranks: int, command: Sequence[str], *, python: str | None = None
) -> tuple[str, ...]:
    """The whole command of a job.

    Args:
        template: the MPI start command, in shell quoting; `{num_ranks}`, or `{num_processes}`, is filled in. Good
            values: "mpiexec -n {num_ranks}", "srun -n {num_ranks}", "/usr/bin/mpirun -n {num_ranks} --oversubscribe". A
            program without a slash is looked for on `search_path`. Empty: a job of one rank is its command itself.
        num_ranks: processes to start, at least 1.
        command: the solver and its arguments.
        python: of the solver, if it is not the launcher's.

    Raises:
        ConfigurationError: the template has an unknown placeholder or broken quoting, or is empty for several ranks.
        ValueError: no command, or no rank.
    """
    if num_ranks < 1 or not command:
        raise ValueError(
            f"num_ranks is {num_ranks} and the command {list(command)}: give at least one rank and a command"
        )
    prefix = [_fill(word, template, {"num_ranks": num_ranks, "num_processes": num_ranks}) for word in _words(template)]
    if prefix:
        return (_locate(prefix[0], python), *prefix[1:], *command)
    if num_ranks > 1:
        raise ConfigurationError(
            f"solver.launch is empty but solver.num_ranks is {num_ranks}, so only one rank would start: write "
            f"{DEFAULT_LAUNCH!r} or your site's start command, or set solver.num_ranks to 1"
        )
    return tuple(command)


def _words(template: str) -> list[str]:
    try:
        return shlex.split(template)
    except ValueError as error:
        raise ConfigurationError(
            f"solver.launch is {template!r}, which is not a command line ({error}): close the quotes"
        ) from error


def _fill(word: str, template: str, values: dict[str, int]) -> str:
    valid = ", ".join(f"{{{name}}}" for name in values)
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(word) if name is not None]
    except ValueError as error:
        raise ConfigurationError(
            f"solver.launch is {template!r}, where {word!r} has unbalanced braces ({error}): the valid placeholders "
            f"are {valid}; write {{{{ and }}}} for braces"
        ) from error
    for name in names:
        if name not in values:
            raise ConfigurationError(
                f"solver.launch is {template!r}, where {{{name}}} means nothing: the valid placeholders are {valid}"
            )
    return word.format(**values)


def search_path(python: str | None = None) -> str:
    """PATH as jobs get it: where the running Python lies comes first, unless PATH names it already.

    So the MPI and the Python of a virtual environment are found in it, activated or not.

    Args:
        python: path of the solver's Python, if it has another: where that one lies comes first.
    """
    path = os.environ.get("PATH", os.defpath)
    if python is not None and "/" in python:
        return os.pathsep.join((os.path.dirname(os.path.abspath(python)), path))
    # Not resolved: in a virtual environment python is a link, and mpiexec lies beside the link.
    beside = str(Path(sys.executable).parent)
    return path if beside in path.split(os.pathsep) else os.pathsep.join((beside, path))


def _locate(program: str, python: str | None) -> str:
    return program if "/" in program else shutil.which(program, path=search_path(python)) or program
