"""A solver in C as its study sees it: launcher and server ranks are scripted, over ZeroMQ; one process or two."""

import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from melissa_like.protocol import control as say
from melissa_like.protocol.wire import Kind
from tests.integration.compiled import MPICC, MPIEXEC, NATIVE, SANITIZED, C, needs, run
from tests.integration.native_study import ScriptedStudy
from tests.integration.studies import ROOT
from tests.plugins.solvers import marks

ROWS, COLUMNS = np.mgrid[0:8, 0:4]
PLUGINS = ROOT / "tests" / "plugins"
ONE = needs("gcc")

Command = tuple[str | Path, ...]


def assignment(simulation: int = 3, *, attempt: int = 1, delivered: tuple[tuple[int, int], ...] = ()) -> say.Assignment:
    return say.Assignment(
        simulation=simulation,
        attempt=attempt,
        purpose=0,
        parameters=(float(simulation),),
        delivered_steps=delivered,
    )


def build(folder: Path, source: str, *options: str, compiler: str | Path = "gcc") -> Path:
    sources = [PLUGINS / source, NATIVE / "melissa_like.c"]
    program = folder / Path(source).stem
    run([compiler, *C, *SANITIZED, *options, f"-I{NATIVE}", *sources, "-lzmq", "-lm", "-o", program], folder)
    return program


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return (build(tmp_path_factory.mktemp("one"), "marked.c"),)


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return (MPIEXEC, "-n", "2", build(tmp_path_factory.mktemp("two"), "marked.c", "-DML_WITH_MPI", compiler=MPICC))


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return (MPIEXEC, "-n", "2", build(tmp_path_factory.mktemp("mesh"), "mesh.c", "-DML_WITH_MPI", compiler=MPICC))


def assert_marked(study: ScriptedStudy, samples: Sequence[tuple[int, int]]) -> None:
    assembled = study.assembled((8, 4))
    assert sorted(assembled) == sorted((simulation, step, 0) for simulation, step in samples)
    for (simulation, step, _), values in assembled.items():
        np.testing.assert_array_equal(values, marks(simulation, step, ROWS, COLUMNS))
    assert study.faults == []


@ONE
def test_a_job_runs_one_simulation_after_another(one: Command, tmp_path: Path) -> None:
    with ScriptedStudy(tmp_path, assignment(3), assignment(5, attempt=2, delivered=((0, 2), (3, 4)))) as study:
        done = study.run(one)
        assert (done.returncode, done.stderr) == (0, "")
        assert_marked(study, [*((3, step) for step in range(6)), (5, 2), (5, 4), (5, 5)])
        assert study.of(say.Goodbye) == [
            say.Goodbye(simulation=3, attempt=1, num_steps=6, parts_sent=(6,)),
            say.Goodbye(simulation=5, attempt=2, num_steps=6, parts_sent=(3,)),
        ]
        assert len(study.of(say.Request)) == 3


@pytest.mark.mpi
@needs(MPICC)
@pytest.mark.parametrize("encryption", ["none", "control", "all"])
@pytest.mark.parametrize("shares_memory", [True, False])
def test_two_ranks_and_two_server_ranks(two: Command, tmp_path: Path, encryption: str, shares_memory: bool) -> None:
    with ScriptedStudy(
        tmp_path, assignment(3), encryption=encryption, num_server_ranks=2, shares_memory=shares_memory
    ) as study:
        done = study.run(two)
        assert done.returncode == 0, done.stderr
        assert_marked(study, [(3, step) for step in range(6)])
        assert {(header.step, rank) for rank, header, _ in study.parts if header.kind is Kind.PART} == {
            (step, (3 + step) % 2) for step in range(6)
        }
        opened = [(rank, header.client_rank) for rank, header, _ in study.parts if header.kind is Kind.OPEN]
        assert sorted(opened) == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert study.of(say.Goodbye) == [say.Goodbye(simulation=3, attempt=1, num_steps=6, parts_sent=(6, 6))]


WIDE = (say.WireField(name="mark", shape=(512, 1024), dtype="float32"),)


@ONE
@pytest.mark.parametrize("shares_memory", [True, False])
def test_a_server_that_holds_back_is_waited_for(one: Command, tmp_path: Path, shares_memory: bool) -> None:
    with ScriptedStudy(
        tmp_path,
        assignment(3),
        welcome={"fields": WIDE, "budget_bytes": 8 * 2**20},
        receives=False,
        shares_memory=shares_memory,
    ) as study:
        with study.start((*one, "flood")) as process:
            study.await_heard(say.Blocked)
            assert process.poll() is None
            study.receive_now()
            assert process.wait(60.0) == 0
        study.settle()
        whole = study.assembled((512, 1024))
        assert sorted(whole) == [(3, step, 0) for step in range(40)]
        assert all((values == step).all() for (_, step, _), values in whole.items())
        (goodbye,) = study.of(say.Goodbye)
        assert goodbye.parts_sent == (sum(header.kind is Kind.PART for _, header, _ in study.parts),)


@ONE
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda welcome: say.Stop(reason="the study is over"), "the study is over"),
        (lambda welcome: say.Welcome(**{**_keys(welcome), "server_incarnation": 2}), "the server ranks were restarted"),
        (lambda welcome: None, "the launcher has not answered for 1 s"),
    ],
    ids=["stop", "restarted", "silent"],
)
def test_a_blocked_send_ends_when_the_study_does(one: Command, tmp_path: Path, answer: object, words: str) -> None:
    welcome = {"fields": WIDE, "budget_bytes": 8 * 2**20, "heartbeat_s": 0.3, "orphan_timeout_s": 1.0}
    with ScriptedStudy(
        tmp_path,
        assignment(3),
        welcome=welcome,
        receives=False,
        answers_blocked=answer,  # type: ignore[arg-type]
        silent_after=say.Blocked if words.endswith("1 s") else None,
    ) as study:
        done = study.run((*one, "flood"))
        assert (done.returncode, words in done.stderr) == (3, True), done.stderr
        assert study.of(say.Failure) == []


def _keys(welcome: say.Welcome) -> dict[str, object]:
    return {name: getattr(welcome, name) for name in welcome.__struct_fields__}


@ONE
def test_a_launcher_that_dies_ends_its_job(one: Command, tmp_path: Path) -> None:
    welcome = {"orphan_timeout_s": 1.0}
    with ScriptedStudy(tmp_path, assignment(3), welcome=welcome, silent_after=say.Goodbye) as study:
        done = study.run(one)
        assert done.returncode == 3
        assert "the launcher has not answered for 1 s" in done.stderr


@ONE
def test_a_refusal_is_the_reason(one: Command, tmp_path: Path) -> None:
    with ScriptedStudy(tmp_path, refuses="job-0001 is not a living job of this study") as study:
        done = study.run(one)
        assert done.returncode == 3
        assert "job-0001 is not a living job of this study" in done.stderr
        assert study.parts == []


@ONE
def test_a_launcher_of_another_version_is_told(one: Command, tmp_path: Path) -> None:
    with ScriptedStudy(tmp_path) as study:
        path = tmp_path / "connection.txt"
        path.write_text(path.read_text().replace("version 2", "version 1"))
        done = study.run(one)
        assert done.returncode == 2
        assert "speaks version 1 of the protocol, this process speaks 2" in done.stderr
        assert study.heard == []


DECLARED = "field 'mark': "
#: Of one rank: what is told, and whether another attempt would do the same.
MISTAKES = {
    "undeclared": ("time step 3: field 'marks' is not declared: solver.fields declares 'mark'", True),
    "another_kind": (DECLARED + "an array of dtype int32 was sent, it is declared float32", True),
    "one_dimension": (DECLARED + "an array of shape (8,) was sent, the declared shape (8, 4) has 2 dimensions", True),
    "outside": (DECLARED + "rank 0 sent a box of shape (8, 4) at offset (5, 0), which is not inside", True),
    "too_large": (
        DECLARED + "rank 0 sent -1e+300 at index (1, 2) of the field, which the declared dtype float32",
        True,
    ),
    "nothing": ("time step 3: no rank has sent field 'mark'", True),
    "leaves": ("time step 3: the program ended before ml_close", False),
}
#: Of two.
OF_TWO = {
    "too_large": ("rank 1, time step 3: field 'mark': rank 1 sent -1e+300 at index (5, 2)", True),
    "gap": (
        "rank 0, time step 3: the ranks have sent 16 elements of field 'mark', which has 32: nothing came for",
        True,
    ),
    "twice": ("48 elements of field 'mark', which has 32: the box at (0, 0) of shape (4, 4) and the box at", True),
    "fails": ("rank 1, time step 3: the solution diverged", False),
    "ends_early": ("sends time step 5 while another rank has sent its last one", True),
    "other_step": ("rank 0 sends time step 3 while rank 1 sends time step 4", True),
}
EVERY_DAY = {"too_large", "gap", "fails"}


def assert_told(study: ScriptedStudy, words: str, breaks_contract: bool) -> None:
    (failure,) = study.of(say.Failure)
    assert words in failure.message
    assert (failure.simulation, failure.attempt, failure.breaks_contract) == (3, 1, breaks_contract)
    assert study.of(say.Goodbye) == []


@ONE
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told(one: Command, tmp_path: Path, mistake: str) -> None:
    with ScriptedStudy(tmp_path, assignment(3)) as study:
        done = study.run((*one, mistake))
        assert_told(study, *MISTAKES[mistake])
        assert done.returncode == (0 if mistake == "leaves" else 1)
        assert {header.step for _, header, _ in study.parts if header.kind is Kind.PART} == {0, 1, 2}


@pytest.mark.mpi
@needs(MPICC)
@pytest.mark.parametrize(
    "mistake", [name if name in EVERY_DAY else pytest.param(name, marks=pytest.mark.slow) for name in OF_TWO]
)
def test_what_one_rank_does_wrong_ends_both(two: Command, tmp_path: Path, mistake: str) -> None:
    with ScriptedStudy(tmp_path, assignment(3)) as study:
        done = study.run((*two, mistake))
        assert done.returncode != 0
        assert_told(study, *OF_TWO[mistake])
        assert {line.split(":")[0] for line in done.stderr.splitlines() if line.startswith("rank")} >= {
            "rank 0",
            "rank 1",
        }


MESH = {
    "fields": (
        say.WireField(name="pressure", shape=(0,), dtype="float64", extent="num_points"),
        say.WireField(name="displacement", shape=(2, 0), dtype="float32", components=2, extent="num_points"),
    ),
    "static": (
        say.WireField(name="coordinates", shape=(2, 0), dtype="float32", components=2, extent="num_points"),
        say.WireField(
            name="edges", shape=(2, 0), dtype="int32", components=2, extent="num_edges", indexes="num_points"
        ),
        say.WireField(name="mask", shape=(4,), dtype="float32"),
    ),
    "extents": ("num_points", "num_edges"),
}


def points_of(study: ScriptedStudy, rank: int, kind: Kind, field: int, num_points: int, step: int) -> np.ndarray:
    """A field put together from what a server rank got by index lists."""
    lists, whole = {}, np.full((2, num_points), np.nan)
    for at, header, values in study.parts:
        if at == rank and header.kind is Kind.INDEX:
            lists[header.client_rank, header.field_id] = values
        elif at == rank and header.kind is kind and (header.field_id, header.step) == (field, step):
            whole[
                -values.reshape(-1, values.shape[-1]).shape[0] :, lists[header.client_rank, header.box.offset[-1]]
            ] = values
    return whole


@pytest.mark.mpi
@needs(MPICC)
@pytest.mark.parametrize("number", [2, pytest.param(140_000, marks=pytest.mark.slow)])
def test_a_mesh_travels_point_by_point(mesh: Command, tmp_path: Path, number: int) -> None:
    n = number + 5
    with ScriptedStudy(tmp_path, assignment(number), welcome=MESH, num_server_ranks=2) as study:
        done = study.run(mesh)
        assert done.returncode == 0, done.stderr
        points = np.arange(n)
        for rank in range(2):
            steps = [step for step in range(3) if (number + step) % 2 == rank]
            opened = [values for at, header, values in study.parts if at == rank and header.kind is Kind.OPEN]
            assert [list(values) for values in opened] == [[number, n, n]] * 2
            np.testing.assert_array_equal(points_of(study, rank, Kind.STATIC_SCATTER, 0, n, 0), [points, -points])
            edges, mask = np.full((2, n), -1), np.full(4, -1.0)
            for at, header, values in study.parts:
                if at == rank and header.kind is Kind.STATIC:
                    (edges if header.field_id == 1 else mask)[header.box.slices] = values
            np.testing.assert_array_equal(edges, [points, (points + 1) % n])
            np.testing.assert_array_equal(mask, [1, 0, 1, 1])
            for step in steps:
                pressure = points_of(study, rank, Kind.SCATTER, 0, n, step)[1]
                np.testing.assert_array_equal(pressure, 10.0 * points + step)
                np.testing.assert_array_equal(
                    points_of(study, rank, Kind.SCATTER, 1, n, step),
                    np.asarray([pressure + 0.25, pressure + 0.5], np.float32),
                )
        (goodbye,) = study.of(say.Goodbye)
        sent = [sum(at == rank and header.kind is not Kind.OPEN for at, header, _ in study.parts) for rank in range(2)]
        assert goodbye.parts_sent == tuple(sent)


@pytest.mark.mpi
@needs(MPICC)
def test_many_components_make_shorter_pieces(mesh: Command, tmp_path: Path) -> None:
    """Each of the two ranks has 550 points, of 4 KiB: a message has 512 of them."""
    n = 1100
    modes = say.WireField(name="modes", shape=(512, 0), dtype="float64", components=512, extent="num_points")
    welcome = {**MESH, "fields": (*MESH["fields"], modes)}
    with ScriptedStudy(tmp_path, assignment(n - 5), welcome=welcome) as study:
        done = study.run((*mesh, "wide"))
        assert done.returncode == 0, done.stderr
        assert [header.kind for _, header, _ in study.parts].count(Kind.INDEX) == 2 * 2
        assert max(values.nbytes for _, _, values in study.parts) == 2 * 2**20
        lists = {(h.client_rank, h.field_id): values for _, h, values in study.parts if h.kind is Kind.INDEX}
        whole = np.full((512, n), np.nan)
        for _, header, values in study.parts:
            if header.kind is Kind.SCATTER and (header.field_id, header.step) == (2, 2):
                whole[:, lists[header.client_rank, header.box.offset[-1]]] = values
        np.testing.assert_array_equal(whole, np.arange(n) + 0.001 * np.arange(512)[:, None])


@pytest.mark.mpi
@needs(MPICC)
@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("sizes", "the ranks give the extent 'num_points' different sizes"),
        pytest.param("gap", "the ranks have sent 12 elements of field 'edges', which has 14", marks=pytest.mark.slow),
        pytest.param("list", "list 1, which is none of this simulation", marks=pytest.mark.slow),
    ],
)
def test_a_mesh_that_contradicts_itself(mesh: Command, tmp_path: Path, mistake: str, words: str) -> None:
    with ScriptedStudy(tmp_path, assignment(2), welcome=MESH) as study:
        done = study.run((*mesh, mistake))
        assert done.returncode != 0
        (failure,) = study.of(say.Failure)
        assert words in failure.message
        assert failure.breaks_contract


@ONE
@pytest.mark.parametrize(
    ("mistake", "words", "breaks_contract"),
    [
        ("too_large", "time step 3: field 'mark': rank 0 sent -1e+300 at index (1, 2)", True),
        ("out_of_order", "time step 3: time step 4 begins before step 3 has ended: call ml_step_end", False),
    ],
)
def test_an_error_ends_the_program_if_asked(
    one: Command, tmp_path: Path, mistake: str, words: str, breaks_contract: bool
) -> None:
    with ScriptedStudy(tmp_path, assignment(3)) as study:
        done = study.run((*one, mistake, "abort"))
        assert done.returncode == 1
        assert done.stderr.startswith("melissa_like: ")
        assert words.partition(": ")[2] in done.stderr
        assert_told(study, words, breaks_contract)


@ONE
def test_an_end_of_the_study_ends_the_program_if_asked(one: Command, tmp_path: Path) -> None:
    with ScriptedStudy(tmp_path, refuses="not of this study") as study:
        done = study.run((*one, "persistent", "abort"))
        assert (done.returncode, done.stderr) == (3, "melissa_like: not of this study\n")
        assert study.of(say.Request) == []


@pytest.mark.slow
@pytest.mark.mpi
@needs(MPICC)
def test_an_error_of_one_rank_ends_both_if_asked(two: Command, tmp_path: Path) -> None:
    with ScriptedStudy(tmp_path, assignment(3)) as study:
        done = study.run((*two, "out_of_order", "abort"))
        assert done.returncode != 0
        first = study.of(say.Failure)[0]  # the first counts; MPI may let the other rank end by itself, and say so
        assert "rank 1, time step 3: time step 4 begins before step 3 has ended" in first.message
        assert study.of(say.Goodbye) == []


@pytest.mark.slow
@pytest.mark.mpi
@needs(MPICC)
def test_a_rank_that_the_others_wait_for_elsewhere_tells_its_error_alone(two: Command, tmp_path: Path) -> None:
    """Rank 0 is in a barrier of the solver's own, rank 1 has failed: nobody comes, and the launcher ends the job."""
    with ScriptedStudy(tmp_path, assignment(3)) as study, study.start((*two, "waits")) as process:
        try:
            study.await_heard(say.Failure)
            assert_told(study, "rank 1, time step 3: field 'mark': rank 1 sent 1e+300 at index (5, 2)", True)
            assert process.poll() is None
        finally:
            process.terminate()  # as a launcher does; mpiexec ends its ranks
            process.wait(30.0)


@ONE
def test_a_child_that_was_forked_can_use_nothing_and_ends_nothing(one: Command, tmp_path: Path) -> None:
    with ScriptedStudy(tmp_path, assignment(3)) as study:
        done = study.run((*one, "forks"))
        assert done.returncode == 0, done.stderr
        assert "child: -8: process " in done.stderr
        assert "which has connected, and cannot use its connection: connect in the process that sends" in done.stderr
        assert "child: -8, -8" in done.stderr
        assert_marked(study, [(3, step) for step in range(6)])
        assert len(study.of(say.Goodbye)) == 1


@ONE
def test_a_study_over_ipv6(one: Command, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"this machine has no IPv6: {error}")
    with ScriptedStudy(tmp_path, assignment(3), host="::1", shares_memory=False) as study:
        assert "tcp://[::1]:" in study.connection.endpoint
        done = study.run(one)
        assert (done.returncode, done.stderr) == (0, "")
        assert_marked(study, [(3, step) for step in range(6)])
