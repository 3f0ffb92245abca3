"""Python programs of the user's: what they import must not be a file beside them that only has the same name.

Python puts the folder of a program in front of its standard library. So a file `random.py` beside a solver is what
numpy gets when it imports `random`, and the traceback ends in numpy. Our own processes look there last
(`plugins.look_in`); with a program of the user's that is not ours to change, so it is refused.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.executors import search_path

__all__ = ["may_hide", "own_modules", "require_unshadowed"]

_INSTALLED = frozenset(("mpi4py", "msgspec", "numpy", "zmq"))
_LOADED_BY_A_CLIENT = "import sys, melissa_like.client; print(*{name.partition('.')[0] for name in sys.modules})"
_ANSWER_S = 30.0


def may_hide(folder: Path) -> bool:
    """Whether a file there has the name of a module that Python or a package of a client brings."""
    return bool(_suspects(folder))


def own_modules() -> dict[str, str]:
    """A program of the user's finds modules in the folder where the launcher was started, as if it lay there.

    Not where one of them might hide what the program imports: PYTHONPATH comes before Python's own library.
    """
    folder = Path.cwd()
    if may_hide(folder):
        return {}
    return {"PYTHONPATH": os.pathsep.join(part for part in (str(folder), os.environ.get("PYTHONPATH")) if part)}


def require_unshadowed(command: Sequence[str]) -> None:
    """Refuse a Python program beside which a file hides a module that a client needs.

    Raises:
        ConfigurationError: names the file.
    """
    if not Path(command[0]).name.startswith("python"):
        return
    suspects = _suspects(_folder_of(command))
    hidden = suspects.keys() & (_INSTALLED | _loaded_by_a_client(command[0])) if suspects else ()
    if hidden:
        raise ConfigurationError(
            f"{', '.join(str(suspects[name]) for name in sorted(hidden))} has the name of a module that "
            "melissa_like.client needs, and Python would import it instead, because it lies beside the program of "
            f"solver.command ({' '.join(command)}): rename it"
        )


def _folder_of(command: Sequence[str]) -> Path:
    """What Python puts first: the folder of the script, or the present one."""
    script = next((Path(word) for word in command[1:] if word.endswith(".py")), None)
    return Path.cwd() if script is None else script.resolve().parent


def _suspects(folder: Path) -> dict[str, Path]:
    """Files by the name of a module that Python or a package brings, whether anybody imports it or not."""
    found = (*folder.glob("*.py"), *(inside.parent for inside in folder.glob("*/__init__.py")))
    return {path.stem: path for path in found if path.stem in sys.stdlib_module_names | _INSTALLED}


def _loaded_by_a_client(python: str) -> set[str]:
    """Asked of the solver's own interpreter; nothing if it cannot tell, the solver will say why."""
    try:
        answer = subprocess.run(
            [python, "-P", "-c", _LOADED_BY_A_CLIENT],
            env={**os.environ, "PATH": search_path()},
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return set()
    return set(answer.stdout.split())
