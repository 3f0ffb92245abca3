"""The Fortran module: arrays, sections and strings arrive as meant, errors are told as Fortran tells them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from melissa_like.protocol import control as say
from melissa_like.protocol.wire import Kind
from tests.integration.compiled import FORTRAN, NATIVE, C, needs, run
from tests.integration.native_study import ScriptedStudy
from tests.integration.studies import ROOT

PROGRAMS = ROOT / "tests" / "plugins" / "native"
FIELDS = (
    say.WireField(name="plane", shape=(3, 4), dtype="float64"),
    say.WireField(name="vectors", shape=(2, 3), dtype="float64", components=2),
    say.WireField(name="solid", shape=(2, 3, 4), dtype="int64"),
    say.WireField(name="line", shape=(5,), dtype="int64"),
)
HEIGHT = (say.WireField(name="height", shape=(4,), dtype="float32"),)

pytestmark = needs("gcc", "gfortran")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both programs."""
    folder = tmp_path_factory.mktemp("programs")
    run(["gcc", *C, "-c", NATIVE / "melissa_like.c", "-o", "client.o"], folder)
    run(["gfortran", *FORTRAN, "-c", NATIVE / "melissa_like.f90"], folder)
    for name in ("arrays", "mistaken"):
        checks = ["-fcheck=all", "-g", "-o", name]
        objects = ["melissa_like.o", "client.o"]
        run(["gfortran", *FORTRAN, *checks, PROGRAMS / f"{name}.f90", *objects, "-lzmq", "-lm"], folder)
    return folder


def of(grid: tuple[int, ...]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """What an element of the program's arrays says: 100 k + 10 j + i, i along the last axis of the study."""
    indices = np.indices(grid)[::-1] + 1
    return np.sum([10**axis * index for axis, index in enumerate(indices)], axis=0).astype(float)


def assignment(simulation: int) -> say.Assignment:
    return say.Assignment(simulation=simulation, attempt=1, purpose=0, parameters=(1.0,), delivered_steps=())


def received(study: ScriptedStudy) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """Fields by simulation and step; 0 where nothing came."""
    steps: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    for _, header, values in study.parts:
        if header.kind is Kind.PART:
            fields = steps.setdefault(
                (header.simulation, header.step), {field.name: np.zeros(field.shape) for field in FIELDS}
            )
            fields[FIELDS[header.field_id].name][header.box.slices] = values
    return steps


def test_arrays_of_each_rank_and_kind_with_their_axes_reversed(programs: Path, tmp_path: Path) -> None:
    with ScriptedStudy(tmp_path, assignment(0), assignment(1), welcome={"fields": FIELDS}) as study:
        done = study.run([programs / "arrays"])
    assert done.returncode == 0, done.stderr
    assert study.faults == []
    steps = received(study)
    assert sorted(steps) == [(0, 3), (0, 4), (1, 3), (1, 4)]
    times = {header.step: header.time for _, header, _ in study.parts if header.kind is Kind.PART}
    assert np.isnan(times[3])
    assert times[4] == 0.5
    for simulation in (0, 1):
        section, whole = steps[simulation, 3], steps[simulation, 4]
        np.testing.assert_array_equal(section["plane"], of((6, 8))[5:0:-2, 1::2])
        np.testing.assert_array_equal(whole["plane"], of((6, 8))[:3, :4])
        np.testing.assert_array_equal(section["vectors"], of((2, 3)))
        np.testing.assert_array_equal(whole["vectors"], 2 * of((2, 3)))
        for fields in (section, whole):
            np.testing.assert_array_equal(fields["solid"], of((2, 3, 4)))
            np.testing.assert_array_equal(fields["line"], 10**12 + np.arange(1, 6))
    told = done.stdout.splitlines()
    assert told[0] == "simulation 0, purpose 0, solid 4 3 2"
    assert "'line': first has 2 numbers but the array has 1 axes" in told[1]
    assert told[2] == "T"


@pytest.mark.parametrize("way", ["stop", "stat"])
def test_a_field_that_no_study_declares(programs: Path, tmp_path: Path, way: str) -> None:
    with ScriptedStudy(tmp_path, assignment(0), welcome={"fields": HEIGHT}) as study:
        done = study.run([programs / "mistaken", way])
    assert done.returncode == 1
    told = done.stderr if way == "stop" else done.stdout
    assert "'hieght'" in told
    assert "height" in told, "what the study declares"
    assert len(told.splitlines()) == 1
    (failure,) = study.of(say.Failure)
    assert "'hieght'" in failure.message


def test_a_program_that_no_launcher_has_started(programs: Path, tmp_path: Path) -> None:
    done = subprocess.run([programs / "mistaken"], env={}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "MELISSA_LIKE_RUN_DIR" in done.stderr
