"""The client alone, in a solver's own environment with the oldest packages that are promised to work."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from melissa_like.transport.zmq_transport import ZmqTransport
from tests.contract.parts import receive
from tests.integration.studies import ROOT, marked, melissa_like

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OLDEST = [re.sub(r">=([\d.]+)", r"==\1.*", needed) for needed in PROJECT["project"]["dependencies"]]
MAIN = """
import sys
from importlib.metadata import distributions

import numpy as np
from melissa_like.client import connect

installed = {distribution.metadata["Name"] for distribution in distributions()}
assert installed == {"melissa-like", "msgspec", "numpy", "pyzmq", "setuptools"}, installed
with connect() as session:
    for step in range(6):
        session.send(step, {"mark": np.full((8, 4), session.parameters["number"])}, step / 6)
    session.close(6)
"""

GENERATOR = """
from importlib.util import find_spec

import numpy as np

if find_spec("rich"):
    raise RuntimeError("the launcher imports what needs another environment")


def solve(parameters, comm):
    assert comm.size == 1
    for step in range(6):
        yield step, {"mark": np.full((8, 4), parameters["number"])}, step / 6
"""

SENDER = """
import sys
from melissa_like.transport.zmq_transport import ZmqTransport

sender = ZmqTransport().part_sender([sys.argv[1]], budget_bytes=2**22)
for nbytes in eval(sys.argv[2]):
    def fill(memory):
        memory[:] = bytes([nbytes % 251]) * nbytes
    assert sender.send(0, b"h", nbytes, fill, 20.0)
    sender.push()
assert sender.flush(20.0)
sender.close(20.0)
"""


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment in which nothing but a client is installed."""
    folder = tmp_path_factory.mktemp("client")
    source, made = folder / "source", folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.parents[1]], check=True, timeout=60)
    fetched = pip(made, "install", "--retries=0", "--timeout=10", "--only-binary=:all:", *OLDEST, "setuptools>=77")
    if fetched.returncode:
        pytest.skip(f"there is no package index here, or it lacks these: {fetched.stderr.splitlines()[-1]}")
    source.mkdir()
    for name in ("melissa_like", "launcher", "solvers", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    installed = pip(made, "install", "--no-index", "--no-build-isolation", str(source))
    assert installed.returncode == 0, installed.stderr
    return made


@pytest.mark.slow
def test_a_solver_with_a_client_alone_streams_into_a_study(python: Path, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    own = [f"solver.command=[{python},-P,{tmp_path}/main.py]", "solver.launch=''", "~solver.solve._target_"]
    ran = melissa_like(tmp_path / "study", *marked(), *own, "+solver.environment.PYTHONPATH=''")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["delivered"] == 8 * 6


@pytest.mark.slow
def test_a_generator_runs_in_an_environment_of_its_own(python: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(GENERATOR)
    own = ["solver.solve._target_=alone.solve", f"solver.python={python}", "solver.launch=''"]
    ran = melissa_like(tmp_path / "study", *marked(), *own, "+solver.environment.PYTHONPATH=''")
    assert ran.code == 0, ran.err
    assert ran.report["samples"]["delivered"] == 8 * 6


@pytest.mark.slow
@pytest.mark.parametrize("shares_memory", [True, False])
def test_parts_of_every_size_arrive_from_a_client_alone(python: Path, shares_memory: bool) -> None:
    sizes = [0, 1, 1000, 100_000, 2**20, 2**22, 5, 3_000_001, 0] * 3
    with closing(ZmqTransport(shares_memory=shares_memory)) as transport:
        receiver = transport.part_receiver(queue_length=8)
        client = subprocess.Popen([python, "-P", "-c", SENDER, receiver.endpoint, str(sizes)])
        for nbytes in sizes:
            received, payload = receive(receiver, nbytes)
            assert received is not None
            assert received.fault is None
            assert payload == bytes([nbytes % 251]) * nbytes
        assert client.wait(60) == 0
        receiver.close()


def command(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [python.with_name("melissa-like"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
def test_what_a_solver_in_c_or_fortran_compiles_is_in_the_wheel(python: Path) -> None:
    ran = command(python, "native", "--source", "--fortran-source", "--cmake-dir", "--examples")
    assert ran.returncode == 0, ran.stderr
    source, module, cmake, examples = map(Path, ran.stdout.split())
    assert source.is_relative_to(python.parents[1])
    for installed, own in (
        (source.parent, ROOT / "melissa_like" / "client" / "native"),
        (cmake, ROOT / "melissa_like" / "client" / "native" / "cmake"),
        (examples, ROOT / "solvers" / "heat2d" / "native"),
    ):
        assert {file.name for file in own.iterdir() if file.name != "__pycache__"} <= {
            *map(os.path.basename, installed.iterdir())
        }
    assert source.is_file()
    assert module.is_file()


@pytest.mark.slow
def test_the_command_of_a_client_alone_says_what_to_install(python: Path) -> None:
    ran = command(python, "run")
    assert ran.returncode == 2
    assert re.fullmatch(r"melissa-like: .* pip install 'melissa-like\[all\]'\n", ran.stderr)
