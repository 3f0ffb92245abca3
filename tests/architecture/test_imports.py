"""Imports flow one way, and a client stays light."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import get_origin

import pytest

import melissa_like

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted(path.stem for path in (ROOT / "tests/benchmarks").glob("[a-z]*.py"))
PACKAGES = sorted(m.name for m in iter_modules(melissa_like.__path__) if m.ispkg)


def test_layers_and_forbidden_imports() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("melissa_like.client", ("torch", "hydra", "omegaconf", "mpi4py", "scipy")),
        ("melissa_like.client.readers", ("torch", "hydra", "omegaconf", "mpi4py", "scipy", "h5py", "pyvista")),
        ("melissa_like.study", ("torch", "zmq", "hydra")),
        ("melissa_like.assembly", ("torch", "zmq")),
        ("melissa_like.sampling", ("torch", "zmq", "scipy")),
        ("melissa_like.transport", ("torch",)),
        ("melissa_like.training", ("zmq", "mpi4py")),
        ("melissa_like.loading", ("zmq",)),
        ("melissa_like.buffer", ("zmq",)),
        ("melissa_like.buffer.recipes", ("torch",)),
        ("melissa_like.server.checking", ("torch",)),
        ("melissa_like.models", ("zmq", "mpi4py")),
        ("melissa_like.launcher.cli", ("torch",)),
        ("melissa_like.launcher.run", ("torch",)),
    ],
)
def test_a_fresh_interpreter_does_not_load(module: str, banned: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print([m for m in {banned!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


WITHOUT_EXTRAS = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"h5py", "hydra", "matplotlib", "mpi4py", "omegaconf", "rich", "scipy", "torch"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
"""
BY_HAND = "import os; os.environ.clear(); from melissa_like.client.__main__ import main; sys.exit(main())"
CLIENT = """
import melissa_like.client.__main__
from melissa_like.transport.zmq_transport import ZmqTransport

transport = ZmqTransport()
receiver = transport.part_receiver(queue_length=1)
sender = transport.part_sender([receiver.endpoint], budget_bytes=1000)
assert sender.send(0, b"header", 3, lambda memory: memory.__setitem__(slice(3), b"abc"), 10.0)
sender.push()
place = bytearray(3)
assert receiver.receive(lambda header: memoryview(place), 10.0).header == b"header"
assert place == b"abc"
"""
COMMAND = "from melissa_like.launcher.__main__ import main; sys.argv = ['melissa-like', 'run']; main()"
NATIVE = "from melissa_like.launcher.__main__ import main; sys.argv = ['melissa-like', 'native', '--libs']; main()"
SERVER_RANK = "from melissa_like.server.__main__ import main; sys.argv = ['server', '.', 'server-0']; sys.exit(main())"


@pytest.mark.parametrize(
    ("program", "code", "told"),
    [
        (CLIENT, 0, ""),
        (BY_HAND, 2, "MELISSA_LIKE_RUN_DIR is not set: start the solver by `melissa-like run`"),
        (NATIVE, 0, ""),
        (COMMAND, 2, "melissa-like: the command melissa-like needs the package omegaconf"),
        (SERVER_RANK, 2, "a server rank needs the package omegaconf"),
    ],
)
def test_without_the_extras_a_client_works_and_the_others_say_what_to_install(
    program: str, code: int, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS + program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == bool(told)
    assert ("is not installed here: pip install 'melissa-like[all]'" in done.stderr) == ("needs the package" in told)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_opens_with_a_page_and_deliberate_names(package: str) -> None:
    module = import_module(f"melissa_like.{package}")
    assert module.__doc__
    assert len(module.__doc__.split()) > 8
    for name in module.__all__:
        if get_origin(getattr(module, name)) is not None:
            continue  # an alias of a type: its page explains it
        assert getattr(module, name).__doc__, f"melissa_like.{package}.{name} has no docstring"


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_benchmark_can_be_loaded(benchmark: str) -> None:
    """Nobody runs them with the tests, and what they call changes its name."""
    assert import_module(f"tests.benchmarks.{benchmark}").__doc__
