"""`melissa-like native`: where the files of the client for C, C++ and Fortran are."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import melissa_like
from melissa_like.client.native import native
from tests.integration.studies import COMMAND, ROOT, environment

HERE = Path(melissa_like.__path__[0]) / "client" / "native"


def said(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert native(options) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1, "one line, fit for $(...)"
    return out.split()


def test_one_word_for_each_file_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    files = [Path(word) for word in said(capsys, "--fortran-source", "--cmake-dir", "--examples")]
    assert [file.name for file in files] == ["melissa_like.f90", "cmake", "native"]
    assert files[0].is_file()
    assert (files[1] / "melissa_like-config.cmake").is_file()
    assert {"heat2d.c", "heat2d.f90", "CMakeLists.txt"} <= {file.name for file in files[2].iterdir()}


def test_flags_for_one_rank_and_for_mpi(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--cflags")[0] == f"-I{HERE}"
    assert "-DML_WITH_MPI" not in said(capsys, "--cflags")
    assert "-DML_WITH_MPI" in said(capsys, "--mpi", "--cflags")
    words = said(capsys, "--source", "--cflags", "--libs")
    assert words.index(f"-I{HERE}") < words.index("-lzmq"), "a linker looks into libraries for what came before"


def test_a_machine_without_pkg_config(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert said(capsys, "--cflags", "--libs") == [f"-I{HERE}", "-lzmq", "-lm"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cflag"], "unknown option '--cflag': write some of --source, --fortran-source, --cflags"),
        ([], "nothing was asked for"),
        (["--mpi"], "nothing was asked for"),
    ],
)
def test_what_cannot_be_answered(capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert native(options) == 2
    told = capsys.readouterr()
    assert told.out == "", "a compiler is told nothing"
    assert words in told.err


@pytest.mark.parametrize("command", [[*COMMAND, "native"], [sys.executable, "-m", "melissa_like.client.native"]])
def test_as_a_command(command: list[str]) -> None:
    done = subprocess.run(
        [*command, "--cmake-dir"], env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{HERE}/cmake\n"
    assert done.stderr == ""


def test_cmake_knows_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    told = (HERE / "cmake" / "melissa_like-config-version.cmake").read_text()
    assert re.findall(r"set\(PACKAGE_VERSION (\S+)\)", told) == [version]
