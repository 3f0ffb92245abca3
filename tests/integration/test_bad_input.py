"""Each mistake ends within seconds, with an exit code, one clear message and nothing left running."""

import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.studies import COMMAND, environment, marked, melissa_like


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["buffer.capcity=10"], ["buffer.capcity", "did you mean buffer.capacity?"]),
        (["+buffer.capcity=10"], ["buffer.capcity", "did you mean buffer.capacity?"]),
        (["--dryrun"], ["unknown option '--dryrun'", "did you mean --dry-run"]),
        (["--config-dir", "no-such-folder"], ["--config-dir", "no-such-folder", "solver/, model/"]),
        (["solver=3"], ["must be a string", "int"]),
        (["+training.gradient_clip.a=1"], ["training.gradient_clip"]),
        (["buffer.watermark=many"], ["buffer.watermark", "many"]),
        (["buffer.watermark=600", "buffer.capacity=500"], ["buffer.watermark is 600 but buffer.capacity is 500"]),
        (["training.batch_size=5000"], ["training.batch_size is 5000", "holds only 4000"]),
        (["study.num_simulations=0"], ["study.num_simulations is 0"]),
        (["solver.parameters.left_temperature.low=900"], ["left_temperature", "900", "500", "below"]),
        (["solver.parameters.left_temperature=5"], ["solver.parameters.left_temperature is 5", "_target_"]),
        (["solver.fields.temperature=5"], ["solver.fields.temperature is 5", "shape"]),
        (
            ["+solver.fields.temperature.shpe=[5]"],
            ["temperature.shpe", "did you mean solver.fields.temperature.shape?"],
        ),
        (["solver.fields.temperature.shape=[null,3]"], ["'temperature'", "null", "as in [num_points]"]),
        (
            ["solver.fields.temperature.shape=[num_points]", "buffer.capacity=100"],
            ["buffer.capacity is 100", "num_points", "bytes as text ('2 GiB')"],
        ),
        (["+solver.fields.temperature.components=2"], ["'temperature'", "2 components", "[2, 64, 64]"]),
        (["+solver.solve.gridsize=5"], ["gridsize", "grid_size"]),
        (["solver.command=[./mine]"], ["exactly one of solver.solve", "solver.command"]),
        (["solver.launch='no-such-mpiexec -n {num_ranks}'"], ["no-such-mpiexec"]),
        (["solver.solve._target_=melissa_like.solvers.nowhere.solve"], ["melissa_like.solvers.nowhere.solve"]),
        (["buffer=fifo", "buffer.watermark=10"], ["watermark"]),
        (["sampling=list", "sampling.design.path=no-such.csv"], ["no-such.csv"]),
        (["sampling.design._target_=tests.plugins.unfit.NoDesign"], ["sampling.design", "KeyError: 'table'"]),
        (
            ["solver.parameters.left_temperature._target_=numpy.random.uniform"],
            ["solver.parameters.left_temperature", "gave a float and no distribution"],
        ),
        (["solver.fields.temperature.bounds=[1e299,1e300]"], ["field 'temperature' has the bounds", "3.403e+38"]),
        (["solver.solve.grid_size=2000", "buffer.capacity=100000"], ["buffer.capacity is 100000", "are free here"]),
    ],
)
def test_refused_before_anything_starts(tmp_path: Path, overrides: list[str], words: list[str]) -> None:
    ran = melissa_like(tmp_path / "study", *overrides, timeout_s=30)
    assert ran.code != 0
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err
    assert not (tmp_path / "study" / "journal.jsonl").exists()


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    overrides = ["solver=empty", "solver.name=none", "solver.command=[./no-such-solver]", "solver.launch=''"]
    overrides += ["solver.num_ranks=1"]
    overrides += [
        "+solver.fields.f.shape=[4]",
        "+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:0,high:1}",
    ]
    ran = melissa_like(tmp_path / "study", *overrides, timeout_s=30)
    assert ran.code != 0
    assert "no-such-solver" in ran.err


UNFIT: list[tuple[list[str], str]] = [
    (["model._target_=nowhere.Net"], "model is 'nowhere.Net', which cannot be imported"),
    (["model._target_=tests.plugins.unfit.OneColumn", "~model.hidden"], "shape (4, 1, 1) for the target 'mark'"),
    (["training.optimizer._target_=torch.optim.Adm"], "torch.optim has no 'Adm' (the nearest: Adam"),
    (["+training.consumers.mine._target_=tests.plugins.unfit.no_consumer"], "has no reserve, take, forget, close"),
]
PLACES = ("run", "inline", "--dry-run", "check")


@pytest.mark.parametrize(
    ("overrides", "words", "where"),
    [
        pytest.param(*unfit, where, marks=() if i == k else pytest.mark.slow)  # each once, and each place
        for i, unfit in enumerate(UNFIT)
        for k, where in enumerate(PLACES)
    ],
)
def test_what_only_a_server_rank_can_build_is_refused_before_a_job_starts(
    tmp_path: Path, overrides: list[str], words: str, where: str
) -> None:
    place = "launcher=inline" if where == "inline" else "solver.launch=''"
    options = ["--dry-run"] if where == "--dry-run" else []
    command = "check" if where == "check" else "run"
    ran = melissa_like(
        tmp_path / "study", *marked("raises"), place, *overrides, *options, command=command, timeout_s=60
    )
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert "Newton" not in ran.err
    assert ran.code == (1 if where in ("run", "inline") else 2)
    assert not list((tmp_path / "study").glob("logs/job-*"))


def test_layers_that_two_server_ranks_cannot_join_are_named(tmp_path: Path) -> None:
    network = ["model._target_=tests.plugins.unfit.Idle", "~model.hidden", "launcher.num_server_ranks=2"]
    ran = melissa_like(tmp_path / "study", *marked(), "solver.launch=''", *network, timeout_s=60)
    assert ran.code == 1
    assert "take no part in the loss (spare.weight, spare.bias)" in ran.err
    assert "Traceback" not in ran.err
    assert not list((tmp_path / "study").glob("logs/job-*"))


@pytest.mark.parametrize(
    ("server_ranks", "held_out"),
    [pytest.param(1, 0, marks=pytest.mark.slow), (1, 1), pytest.param(2, 0, marks=pytest.mark.slow)],
)
def test_a_solver_whose_values_are_not_finite_has_failed(tmp_path: Path, server_ranks: int, held_out: int) -> None:
    overrides = [*marked("not_finite"), "solver.launch=''", f"launcher.num_server_ranks={server_ranks}"]
    overrides += [f"study.num_validation_simulations={held_out}", "launcher.max_attempts=2"]
    ran = melissa_like(tmp_path / "study", *overrides, timeout_s=60)
    assert ran.code == 1
    (failed,) = ran.report["failed_simulations"]
    what = f"time step 5 of simulation {failed['simulation']} is not finite: field 'mark' is nan at [0, 0]"
    for words in ("launcher.max_failed_fraction", what):
        assert words in ran.report["reason"]
    assert "Traceback" not in ran.err
    assert failed["reason"].startswith(what)
    assert (failed["attempts"], list(failed["parameters"])) == (2, ["number"])
    assert failed["purpose"] == ("validation" if failed["simulation"] < held_out else "training")


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("solver", "words"),
    [
        ("exits_at_once", ["no licence for this solver", "exit code", ".log"]),
        ("raises", ["the Newton iteration diverged", "failed"]),
        ("undeclared_field", ["field 'pressure' is not declared", "'mark'"]),
        pytest.param("wrong_dtype", ["field 'mark'", "complex128", "float32"], marks=pytest.mark.slow),
        ("outside", ["field 'mark'", "(1, 0)", "(8, 4)"]),
        pytest.param("same_box_twice", ["mark", "twice"], marks=pytest.mark.slow),
        pytest.param("forgets_to_yield", ["solve returned a NoneType", "yield step"], marks=pytest.mark.slow),
        pytest.param("uneven_ends", ["time step 5", "another rank has sent its last one"], marks=pytest.mark.slow),
        ("too_few_steps", ["after 3 time steps", "solver.num_steps is 6"]),
    ],
)
def test_a_solver_that_breaks_its_contract(tmp_path: Path, solver: str, words: list[str]) -> None:
    ran = melissa_like(tmp_path / "study", *marked(solver, ranks=2), timeout_s=60)
    assert ran.code == 1
    for word in words:
        assert word in ran.err
    assert ran.report["outcome"] == "failed"


def test_a_solver_that_always_dies_is_stopped_in_a_study_of_the_default_size(tmp_path: Path) -> None:
    overrides = [*marked("exits_at_once", simulations=100), "study.num_validation_simulations=5", "solver.launch=''"]
    ran = melissa_like(tmp_path / "study", *overrides, timeout_s=60)
    assert ran.code == 1
    assert "no licence for this solver" in ran.err
    assert len(list((tmp_path / "study" / "logs").glob("job-*.log"))) == 3


def test_a_program_that_disappears_in_mid_study_ends_it_with_a_report(tmp_path: Path) -> None:
    program = tmp_path / "once.sh"
    program.write_text('#!/bin/sh\nrm -- "$0"\nexit 7\n')
    program.chmod(0o755)
    overrides = [override for override in marked() if "solver.solve" not in override]
    ran = melissa_like(tmp_path / "study", *overrides, "solver.launch=''", f"solver.command=[{program}]", timeout_s=60)
    assert ran.code == 1
    assert ran.report["outcome"] == "failed"
    assert f"starts the command '{program}', which is not an executable file" in ran.err


@pytest.mark.mpi
def test_an_mpi_whose_world_is_smaller_than_asked(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "study", *marked(ranks=2), "solver.launch=mpiexec -n 1", timeout_s=60)
    assert ran.code == 1
    assert "MPI world of 1 ranks but solver.num_ranks is 2" in ran.err


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = melissa_like(tmp_path / "study", *marked(), f"transport.port={port}", timeout_s=30)
    assert ran.code != 0
    assert str(port) in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine(tmp_path: Path, host: str) -> None:
    ran = melissa_like(tmp_path / "study", *marked(), f"transport.host={host}", timeout_s=60)
    assert ran.code == 2
    assert "transport.host" in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "study").exists()


def test_a_run_directory_that_holds_a_study(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "journal.jsonl").write_text("precious\n")
    ran = melissa_like(tmp_path / "study", *marked(), timeout_s=30)
    assert ran.code != 0
    assert "already holds a study" in ran.err
    assert (tmp_path / "study" / "journal.jsonl").read_text() == "precious\n"


@pytest.mark.parametrize(("options", "words"), [(["run_dir="], "run_dir is empty"), ([], "buffer.capacity is 0")])
def test_a_study_that_is_refused_leaves_no_folder(tmp_path: Path, options: list[str], words: str) -> None:
    ran = subprocess.run(
        [*COMMAND, "run", *marked(), "buffer.capacity=0", *options],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert words in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_directory_that_cannot_grow(tmp_path: Path) -> None:
    overrides = [*marked(simulations=200), "solver.launch=''", "monitoring.interval_s=5", "model.hidden=[]"]
    run = [*COMMAND, "run", f"run_dir={tmp_path / 'study'}", *overrides]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *run],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"the launcher cannot write to {tmp_path / 'study'} (File too large)" in done.stderr
    assert "samples: 1200 expected" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("broken.py", "def solve(parameters, comm)\n", ["broken.solve", "SyntaxError"]),
        ("broken.py", "1 / 0\n", ["broken.solve", "ZeroDivisionError"]),
        ("broken.py", "def solve(parameters):\n    yield 0, {}\n", ["broken.solve(parameters)", "comm"]),
        ("cfg/solver/mine.yaml", "name: mine\nsolve: {_target_: broken.solve\n", ["mine.yaml, line 3", "expected"]),
    ],
)
def test_a_users_file_that_is_broken(tmp_path: Path, file: str, text: str, words: list[str]) -> None:
    (tmp_path / "cfg" / "solver").mkdir(parents=True)
    (tmp_path / "cfg" / "solver" / "mine.yaml").write_text(
        "name: mine\nsolve: {_target_: broken.solve}\nfields: {f: {shape: [4]}}\n"
        "parameters: {a: {_target_: melissa_like.sampling.Uniform, low: 0, high: 1}}\n"
    )
    (tmp_path / file).write_text(text)
    ran = melissa_like(tmp_path / "study", "--config-dir", str(tmp_path / "cfg"), "solver=mine", timeout_s=30)
    assert ran.code == 2
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err
