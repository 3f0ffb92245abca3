"""OpenFOAM's time folders: every form of a list, one process or several, and the program itself if it is installed."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.client.following import Beginning, ScriptedRun
from melissa_like.client.readers import OpenFoamTimes
from melissa_like.client.readers.foam_file import cell_values, label_list
from melissa_like.errors import SolverError
from tests.unit.written import counted, read, writes

HEADER = """/*--- a banner: FoamFiles of 3(1 2 3) ---*/
FoamFile
{
    version     2.0;
    format      %s;
    class       volField;
    arch        "%s";
    location    "0.5";
}
// * * * * * * * * * * * * * //

"""
BEFORE, AFTER = (
    "dimensions      [0 2 -2 0 0 0 0];\n\ninternalField   ",
    "boundaryField\n{\n    lid { value uniform 7; }\n}\n",
)
KINDS = {1: "scalar", 3: "vector", 6: "symmTensor", 9: "tensor"}


def text_of(values: np.ndarray) -> str:
    rows = ["(" + " ".join(map(str, row)) + ")" if len(row) > 1 else str(row[0]) for row in values]
    return f"{len(values)}\n(\n" + "\n".join(rows) + "\n)\n"


def field(values: np.ndarray, dtype: str | None = None) -> bytes:
    """A file of a field: as text, or binary in this type."""
    values = values.reshape(len(values), -1)
    begin = f"{BEFORE}nonuniform List<{KINDS[values.shape[1]]}> \n"
    if dtype is None:
        return (HEADER % ("ascii", "LSB;label=32;scalar=64") + begin + text_of(values) + ";\n\n" + AFTER).encode()
    arch = f"{'MSB' if '>' in dtype else 'LSB'};label=32;scalar={8 * np.dtype(dtype).itemsize}"
    listed = f"{len(values)}\n(".encode() + values.astype(dtype).tobytes() + b")\n;\n\n"
    return (HEADER % ("binary", arch) + begin).encode() + listed + AFTER.encode()


def labels(numbers: list[int], *, binary: bool = False) -> bytes:
    if not binary:
        return (HEADER % ("ascii", "LSB;label=32;scalar=64") + "\n" + text_of(np.array(numbers)[:, None])).encode()
    begin = HEADER % ("binary", "LSB;label=64;scalar=64") + f"\n{len(numbers)}\n("
    return begin.encode() + np.array(numbers, "<i8").tobytes() + b")\n\n// ***** //\n"


@given(
    st.integers(1, 40), st.sampled_from([1, 3, 6, 9]), st.sampled_from([None, "<f8", "<f4", ">f8"]), st.integers(0, 99)
)
def test_every_form_of_values(num_cells: int, components: int, dtype: str | None, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(num_cells, components)).astype(dtype or "f8")
    read_back = cell_values(field(values, dtype))
    np.testing.assert_array_equal(read_back.values, values)
    assert not read_back.is_uniform


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("uniform 1.5;", [[1.5]]),
        ("uniform (1 -2e-3 3);", [[1, -2e-3, 3]]),
        ("nonuniform List<scalar> 3{2.5};", [[2.5]] * 3),
        ("nonuniform List<vector> 2{(1 2 3)};", [[1, 2, 3]] * 2),
        ("nonuniform List<scalar> 3(1 2 3);", [[1], [2], [3]]),
        ("nonuniform List<vector> 2((1 2 3) (4 5 6));", [[1, 2, 3], [4, 5, 6]]),
        ("nonuniform List<vector> 0();", np.empty((0, 3))),
        ("nonuniform List<scalar> 0;", np.empty((0, 1))),
    ],
)
def test_short_forms(text: str, values: Any) -> None:
    read_back = cell_values((HEADER % ("ascii", "LSB") + BEFORE + text + "\n" + AFTER).encode())
    np.testing.assert_array_equal(read_back.values, values)
    assert read_back.is_uniform == text.startswith("uniform")


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1), st.booleans())
def test_lists_of_labels(numbers: list[int], binary: bool) -> None:
    assert label_list(labels(numbers, binary=binary)).tolist() == numbers


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"internalField uniform 3;", "has no header FoamFile, so it is none of OpenFOAM's files"),
        ((HEADER % ("ascii", "LSB")).encode(), "it has no entry internalField"),
        ((HEADER % ("ascii", "LSB") + BEFORE + "$uniform;").encode(), "neither uniform nor a nonuniform List"),
        ((HEADER % ("ascii", "LSB") + BEFORE + "uniform $x;").encode(), "'$x' are no numbers"),
        ((HEADER % ("ascii", "LSB") + BEFORE + "nonuniform List<word> 1(a);").encode(), "of the type word: scalar, "),
        (field(np.zeros((4, 3)))[:320], "it is cut off: a list in it has no end"),
        (field(np.zeros((4, 3)), "<f8")[:380], "it is cut off: there are fewer bytes than those of the 4 values"),
        (field(np.zeros((4, 1))).replace(b"4\n(", b"5\n("), "a list of 5 values of 1 numbers in it has 4 numbers"),
    ],
)
def test_files_that_are_not_right(content: bytes, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        cell_values(content)
    assert told in str(caught.value)


U = [np.arange(18.0).reshape(6, 3) + 100 * step for step in range(4)]
P = [np.arange(6.0) - step for step in range(4)]
SHAPES = {"velocity": (2, 2, 3), "p": (2, 3)}
FIELDS = {"velocity": {"name": "U", "select": ":2"}, "p": None}


def assert_found(found: list[Any], times: list[float]) -> None:
    assert [(f.step, f.time) for f in found] == [*enumerate(times)]
    for each, velocity, pressure in zip(found, U, P, strict=False):
        np.testing.assert_array_equal(each.fields["velocity"], velocity.T[:2].reshape(2, 2, 3))
        np.testing.assert_array_equal(each.fields["p"], pressure.reshape(2, 3))


@pytest.mark.parametrize("dtype", [None, "<f8"])
def test_times_one_by_one(tmp_path: Path, dtype: str | None) -> None:
    """Times in the order of their numbers; the first folder is the input, whatever is in it."""
    done: list[int] = []
    acts = writes(tmp_path / "0/T", field(P[0]), pieces=1)
    for step, time in enumerate(["0.5", "9", "1e+01"]):
        acts += writes(tmp_path / time / "U", field(U[step], dtype), pieces=3)
        acts += writes(tmp_path / time / "phi", b"not looked at", pieces=1)
        acts += writes(tmp_path / time / "p.gz", gzip.compress(field(P[step], dtype)))
    run = ScriptedRun(tmp_path, *(counted(act, done) for act in acts), shapes=SHAPES)
    found = [(len(done), each) for each in OpenFoamTimes(fields=FIELDS)(run)]
    assert_found([each for _, each in found], [0.5, 9, 10])
    assert [look for look, _ in found] == [12, 18, 19]
    assert {path.name for _, each in found for path in each.files} == {"U", "p.gz"}


@pytest.mark.parametrize("binary", [False, True])
def test_pieces_of_processes(tmp_path: Path, binary: bool) -> None:
    cells = {0: [0, 2, 4], 1: [5, 3], 2: [1]}
    for rank, numbers in cells.items():
        case = tmp_path / f"processor{rank}"
        (case / "constant/polyMesh").mkdir(parents=True)
        (case / "constant/polyMesh/cellProcAddressing").write_bytes(labels(numbers, binary=binary))
        for time, step in {"0": 3, "0.5": 0, "1": 1}.items():
            (case / time).mkdir()
            (case / time / "U").write_bytes(field(U[step][numbers], "<f8" if binary else None))
            (case / time / "p").write_bytes(field(P[step][numbers], "<f8" if binary else None))
    assert_found(read(OpenFoamTimes(fields=FIELDS, num_ranks=3), tmp_path, shapes=SHAPES), [0.5, 1])
    shutil.rmtree(tmp_path / "processor2")
    with pytest.raises(SolverError, match="the cells of 2 processes are not all of the mesh: correct num_ranks"):
        read(OpenFoamTimes(fields=FIELDS, num_ranks=2), tmp_path)
    (tmp_path / "processor0/0.5/U").write_bytes(field(U[0]))
    with pytest.raises(SolverError, match="processor0 has 6 cells, and cellProcAddressing has 3: the mesh must stay"):
        read(OpenFoamTimes(fields=FIELDS, num_ranks=2), tmp_path)


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_the_cells_of_a_mesh_are_sent_once(tmp_path: Path, num_ranks: int) -> None:
    """Centres lie in the time folders, of each process its own; neighbours are those of the whole mesh."""
    (tmp_path / "constant/polyMesh").mkdir(parents=True)
    for name, numbers in {"owner": [0, 1, 4, 3], "neighbour": [5, 2]}.items():
        (tmp_path / "constant/polyMesh" / name).write_bytes(labels(numbers))
    cells = {0: [0, 2, 4], 1: [5, 3, 1]} if num_ranks == 2 else {0: [*range(6)]}
    for rank, numbers in cells.items():
        case = tmp_path / f"processor{rank}" if num_ranks == 2 else tmp_path
        (case / "constant/polyMesh").mkdir(parents=True, exist_ok=True)
        (case / "constant/polyMesh/cellProcAddressing").write_bytes(labels(numbers))
        for time, step in {"0": 3, "0.5": 0, "1": 1}.items():
            (case / time).mkdir()
            (case / time / "p").write_bytes(field(P[step][numbers]))
            (case / time / "C").write_bytes(field(U[0][numbers]))
    static = {"x": {"name": "C", "select": ":2"}, "edges": "mesh:edges"}
    reader = OpenFoamTimes(fields=["p"], num_ranks=num_ranks, static=static)
    options = {"shapes": {"p": ("num_cells",)}, "static": {"x": (2, "num_cells"), "edges": (2, "num_faces")}}
    beginning, *steps = reader(ScriptedRun(tmp_path, **options))  # type: ignore[arg-type]
    assert isinstance(beginning, Beginning)
    np.testing.assert_array_equal(beginning.static["x"], U[0].T[:2])
    assert beginning.static["edges"].tolist() == [[0, 1], [5, 2]]
    assert len(steps) == 2
    (tmp_path / ("processor0/1/C" if num_ranks == 2 else "1/C")).write_bytes(field(U[1][cells[0]]))
    with pytest.raises(SolverError, match=r"'C' in time 1 is another than in time 0\.5"):
        list(reader(ScriptedRun(tmp_path, **options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("note", ['note "nPoints:9  nCells:6  nFaces:2";', ""])
def test_a_value_that_all_cells_have(tmp_path: Path, note: str) -> None:
    (tmp_path / "constant/polyMesh").mkdir(parents=True)
    for name, numbers in {"owner": [0, 1, 4], "neighbour": [5, 2]}.items():
        content = labels(numbers).decode().replace("arch ", f"{note}\n    arch ")
        (tmp_path / "constant/polyMesh" / name).write_text(content)
    (tmp_path / "0").mkdir()
    (tmp_path / "0/p").write_text(HEADER % ("ascii", "LSB") + BEFORE + "uniform 2.5;\n" + AFTER)
    (found,) = read(OpenFoamTimes(fields=["p"], initial=True), tmp_path, shapes={"p": (2, 3)})
    np.testing.assert_array_equal(found.fields["p"], np.full((2, 3), 2.5))


@pytest.mark.parametrize(
    ("files", "options", "told"),
    [
        ({"0/p": b""}, {}, "looks for: files p in time folders after the first time; its folder"),
        ({"processor0/1/p": b""}, {"num_ranks": 2}, "files p in time folders of processor0, processor1, ... after the"),
        ({"0/p": b"", "1/p": field(P[0])[:250]}, {}, "1/p cannot be read: it"),
        ({"0/p": b"", "1/p.gz": gzip.compress(field(P[0]))[:90]}, {}, "1/p.gz cannot be read: Compressed file ended"),
        ({"0/p": b"", "1/U": b""}, {}, "looks for: files p in time folders"),
        (
            {"0/p": b"", "1/p": (HEADER % ("ascii", "") + BEFORE + "uniform 1;").encode()},
            {},
            "polyMesh/owner cannot be",
        ),
    ],
)
def test_what_a_program_may_leave(tmp_path: Path, files: dict[str, bytes], options: dict[str, Any], told: str) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SolverError) as caught:
        read(OpenFoamTimes(fields=["p"], **options), tmp_path)
    assert told in str(caught.value)


CASE = Path(__file__).parents[2] / "solvers/foreign/openfoam/case"
DECOMPOSED = """FoamFile { version 2.0; format ascii; class dictionary; object decomposeParDict; }
numberOfSubdomains 2;
method hierarchical;
hierarchicalCoeffs { n (1 2 1); delta 0.001; order xyz; }
"""


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.skipif(shutil.which("icoFoam") is None, reason="needs Debian's package openfoam")
@pytest.mark.parametrize("options", ["writeFormat ascii;", "writeFormat binary;", "writeCompression on;"])
def test_the_program_itself(tmp_path: Path, options: str) -> None:
    """What two processes have written is, cell by cell, what OpenFOAM's own program makes of it."""
    case = tmp_path / "case"
    shutil.copytree(CASE, case)
    for name, placeholder, value in [("constant/transportProperties", "@viscosity@", "0.01"), ("0/U", "@speed@", "1")]:
        (case / name).write_text((case / name).read_text().replace(placeholder, value))
    with (case / "system/controlDict").open("a") as control:
        control.write(f"endTime 0.1;\n{options}\n")
    (case / "system/decomposeParDict").write_text(DECOMPOSED)
    parallel = ["mpirun.openmpi", "--oversubscribe", "-n", "2", "icoFoam", "-parallel"]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    centres = ["postProcess", "-func", "writeCellCentres", "-time", "0"]
    for command in (["blockMesh"], centres, ["decomposePar"], parallel, ["reconstructPar"]):
        environment = os.environ | {"WM_PROJECT_DIR": "/usr/share/openfoam"} | root
        done = subprocess.run(
            command, cwd=case, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    shapes = {"velocity": (2, 20, 20), "p": (20, 20)}
    of_processes = read(OpenFoamTimes(fields=FIELDS, num_ranks=2), case, shapes=shapes)
    of_all = read(OpenFoamTimes(fields=FIELDS), case, shapes=shapes)
    assert [f.time for f in of_processes] == [f.time for f in of_all] == [0.025, 0.05, 0.075, 0.1]
    for one, other in zip(of_processes, of_all, strict=True):
        np.testing.assert_array_equal(one.fields["velocity"], other.fields["velocity"])
        np.testing.assert_array_equal(one.fields["p"], other.fields["p"])
        assert np.abs(one.fields["velocity"]).max() > 0.1
    for num_ranks in (1, 2):
        reader = OpenFoamTimes(fields=FIELDS, num_ranks=num_ranks, static={"x": {"file": "0/C", "select": ":2"}})
        beginning, *_ = reader(ScriptedRun(case, shapes=shapes))
        assert isinstance(beginning, Beginning)
        middles = (np.arange(20) + 0.5) * np.ptp(beginning.static["x"][0]) / 19
        np.testing.assert_allclose(beginning.static["x"], np.stack(np.meshgrid(middles, middles)).reshape(2, -1), 1e-5)
