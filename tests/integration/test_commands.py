"""The commands beside a plain run: sweep, dry run, status, check, and what an interruption leaves."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from melissa_like.launcher.sweep_file import read_sweep
from tests.integration.studies import COMMAND, Ran, environment, marked, melissa_like, processes_of


def status(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "status", str(folder)], capture_output=True, text=True, timeout=30, check=False)


def test_a_sweep_runs_each_study_and_keeps_a_table_of_them(tmp_path: Path) -> None:
    swept = ["buffer=fifo,firo", "study.seed=1,2", "study.num_validation_simulations=1"]
    ran = melissa_like(tmp_path / "sweep", "-m", *marked(), "launcher=inline", *swept)
    assert ran.code == 0, ran.err
    for number in range(4):
        assert Ran(0, "", "", tmp_path / "sweep" / str(number)).report["outcome"] == "completed"
    rows = read_sweep(tmp_path / "sweep")
    assert [row.swept for row in rows] == [
        {"buffer": buffer, "study.seed": seed} for buffer in ("fifo", "firo") for seed in ("1", "2")
    ]
    assert [row.outcome for row in rows] == ["completed"] * 4
    assert all(row.figures["lost"] == 0 and row.figures["relative_l2"] > 0 for row in rows)
    assert (tmp_path / "sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "sweep" / "sweep_seeds.csv").read_text().splitlines()[1].startswith("fifo,2,2,")
    table = ran.out[ran.out.index("studies of this sweep") :]
    assert table.count("completed") >= 4
    assert "study.num_simulations" not in table
    assert "mean ± standard deviation over study.seed" in table
    assert status(tmp_path / "sweep").stdout in ran.out


HOW = {"capture_output": True, "text": True, "timeout": 100, "check": False}


SAME_SECOND = "run_dir=${new_folder:runs/now}"  # as the default, but that the second stands still


def test_studies_that_start_in_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    command = [*COMMAND, "run", *marked(simulations=2), "launcher=inline", SAME_SECOND]
    studies = [subprocess.Popen(command, cwd=tmp_path, env=environment()) for _ in range(2)]
    assert [study.wait(100) for study in studies] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["now", "now_2"]
    for folder in ("now", "now_2"):
        assert Ran(0, "", "", tmp_path / "runs" / folder).report["outcome"] == "completed"


def test_a_sweep_keeps_one_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "runs" / "now").mkdir(parents=True)
    sweep = [*marked(simulations=2), "launcher=inline", SAME_SECOND, "-m", "buffer=fifo,firo"]
    ran = subprocess.run([*COMMAND, "run", *sweep], cwd=tmp_path, env=environment(), **HOW)
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["now", "now_2"]
    for number in ("0", "1"):
        assert Ran(0, "", "", tmp_path / "runs" / "now_2" / number).report["outcome"] == "completed"


def test_a_folder_for_the_study_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    for sweep in ((), ("-m", "buffer=fifo,firo")):
        ran = subprocess.run([*COMMAND, "run", "launcher=inline", *sweep], cwd=tmp_path, env=environment(), **HOW)
        assert ran.returncode == 2
        assert "cannot be made" in ran.stderr
        assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cfg", "job", "study.seed=7"),
        ("study.seed=7", "--cfg", "job"),
        ("study.seed=7", "-c", "job", "study.name=x", "-p", "study"),
        ("study.name=x", "--cfg=job", "--resolve", "study.seed=7"),
        ("--info", "study.seed=7"),
        ("study.seed=7", "-i", "config", "study.name=x"),
    ],
)
def test_options_of_hydra_stand_anywhere(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = subprocess.run([*COMMAND, "run", *arguments], cwd=tmp_path, env=environment(), **HOW)
    assert ran.returncode == 0, ran.stderr
    assert "seed: 7" in ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_refused_study_of_a_sweep_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "sweep", "-m", *marked(), "launcher=inline", "training.batch_size=500,4")
    assert ran.code == 2
    assert "training.batch_size is 500" in ran.err
    assert not (tmp_path / "sweep" / "0").exists()
    assert Ran(0, "", "", tmp_path / "sweep" / "1").report["outcome"] == "completed"
    assert "study 0, refused: training.batch_size is 500" in ran.out
    assert [row.outcome for row in read_sweep(tmp_path / "sweep")] == ["refused", "completed"]
    again = melissa_like(tmp_path / "sweep", "-m", *marked(), "launcher=inline", "training.batch_size=4,8")
    assert again.code == 2
    assert "already holds a sweep" in again.err
    assert [row.outcome for row in read_sweep(tmp_path / "sweep")] == ["refused", "completed"]


def test_an_interrupted_sweep_keeps_its_table(tmp_path: Path) -> None:
    """The second study is interrupted, the third one never begins."""
    solvers = ",".join(f"tests.plugins.solvers.{name}" for name in ("marked", "interrupts", "uneven"))
    overrides = [override for override in marked() if "solver.solve._target_" not in override]
    ran = melissa_like(tmp_path / "sweep", "-m", *overrides, f"+solver.solve._target_={solvers}", "launcher=inline")
    assert ran.code == 130
    assert [row.outcome for row in read_sweep(tmp_path / "sweep")] == ["completed", "stopped", "not run"]
    assert "study 1, stopped: interrupted by SIGINT" in ran.out
    assert "study 2, not run: the sweep was ended before" in status(tmp_path / "sweep").stdout


def test_a_mistake_in_one_study_of_a_sweep_is_told_before_any_runs(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "sweep", "-m", *marked(), "launcher=inline", "model=mlp,mpl")
    assert ran.code == 2
    assert re.search(r"model=mpl: there is no model/mpl.yaml \(the choices of model are .*\bmlp\b", ran.err)
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["multirun.yaml"]  # Hydra's own


def test_a_dry_run_prints_the_jobs_and_starts_nothing(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "my study", "--dry-run", "launcher.num_server_ranks=2", "launcher.max_jobs=3")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *("server-0", "server-1", "job-0001", "job-0002", "job-0003"),
        "training",
    ]
    assert "mpiexec -n 2" in lines[2]
    assert lines[0].endswith(f"'{tmp_path}/my study' server-0")
    assert lines[-1] == "training: tried with batches of 64 and of single samples on cpu: it works"
    assert not (tmp_path / "my study").exists()


def test_what_runs_inside_an_allocation_is_shown_and_written_outside_of_it_but_not_run(tmp_path: Path) -> None:
    steps = ["launcher=slurm_steps", "launcher.max_jobs=3"]
    refused = melissa_like(tmp_path / "study", *steps)
    assert refused.code == 2
    assert "--write-script" in refused.err
    shown = melissa_like(tmp_path / "study", *steps, "--dry-run")
    assert shown.code == 0, shown.err
    assert "srun --exact" in shown.out
    script = tmp_path / "study.sbatch"
    written = melissa_like(tmp_path / "study", "launcher.max_jobs=3", "--write-script", str(script))
    assert written.code == 0, written.err
    assert f"sbatch {script}" in written.out
    assert "#SBATCH --ntasks=7\n" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=10)
    again = melissa_like(tmp_path / "study", "--write-script", str(script))
    assert again.code == 2
    assert "is there already" in again.err
    assert not (tmp_path / "study").exists()


def test_a_dry_run_of_a_sweep_shows_each_study(tmp_path: Path) -> None:
    swept = [*marked(), "launcher=inline", "training.batch_size=4,500,8"]
    ran = melissa_like(tmp_path / "sweep", "-m", "--dry-run", *swept)
    assert ran.code == 2
    assert "training.batch_size is 500" in ran.err
    shown = [line for line in ran.out.splitlines() if line.startswith(("study ", "training: "))]
    assert [line.partition(" with batches")[0] for line in shown] == [
        *("study training.batch_size=4", "training: tried"),
        "study training.batch_size=500",
        *("study training.batch_size=8", "training: tried"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_finished_study_and_of_none(tmp_path: Path) -> None:
    assert melissa_like(tmp_path / "study", *marked(), "launcher=inline").code == 0
    assert "outcome: completed" in status(tmp_path / "study").stdout
    for folder, words in (
        (tmp_path, f"holds no study itself: give one of those below it, such as {tmp_path / 'study'}"),
        (tmp_path / "study" / "logs", "holds no study, and no sweep"),
        (tmp_path / "nowhere", "is no folder"),
    ):
        nothing = status(folder)
        assert nothing.returncode == 2
        assert words in nothing.stderr


@pytest.mark.mpi
def test_check_shows_what_a_solver_sends(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "none", *marked(ranks=2), command="check")
    assert ran.code == 0, ran.err
    assert "8×4" in ran.out
    assert "time steps: 6, numbered 0 to 5" in ran.out
    assert "keeps its contract" in ran.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_check_of_a_field_with_components_does_not_depend_on_the_decomposition(tmp_path: Path, ranks: int) -> None:
    shape = ["solver.fields.mark.shape=[2,7,4]", "+solver.fields.mark.components=2"]
    ran = melissa_like(tmp_path / "none", *marked("vector", ranks=ranks), *shape, command="check")
    assert ran.code == 0, ran.err
    row = next(line.split() for line in ran.out.splitlines() if "2×7×4" in line)
    assert row[1::2] == ["mark", "2×7×4", "float32", "0", "1635", "none"]
    assert "every step covered once" in ran.out


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("solver", "words"),
    [
        pytest.param("undeclared_field", "field 'pressure' is not declared", marks=pytest.mark.slow),
        pytest.param("too_few_steps", "after 3 time steps", marks=pytest.mark.slow),
        pytest.param("not_finite", "not finite", marks=pytest.mark.slow),
        ("gap", "do not cover the field"),
        ("exits_at_once", "no licence for this solver"),
    ],
)
def test_check_names_what_is_wrong(tmp_path: Path, solver: str, words: str) -> None:
    ran = melissa_like(tmp_path / "none", *marked(solver, ranks=2), command="check", timeout_s=60)
    assert ran.code == 1
    assert words in ran.err


@pytest.mark.parametrize(
    ("redirection", "code", "words"),
    [
        ("> /dev/full", 1, "the output could not be written (No space left on device)"),
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_an_output_that_leads_nowhere_is_no_traceback(redirection: str, code: int, words: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, "run", "--help"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("solver", "shown", "said"),
    [
        ("raises", "time steps: 1, numbered 0 to 0", "rank 0, after time step 0: Traceback"),
        ("forgets_to_yield", "time steps: none arrived", "rank 0, before its first time step: solve returned a None"),
        (
            "gap",
            "time steps: none arrived",
            "time step 0: the ranks have sent 28 elements of field 'mark', which has 32",
        ),
    ],
)
def test_a_check_that_fails_says_what_arrived_and_why_and_keeps_what_was_printed(
    tmp_path: Path, solver: str, shown: str, said: str
) -> None:
    ran = melissa_like(tmp_path / "none", *marked(solver), "launcher=inline", command="check", timeout_s=60)
    assert ran.code == 1
    assert shown in ran.out
    assert said in ran.err
    assert "inf" not in ran.out
    assert ran.out.count("–") >= (0 if solver == "raises" else 5)
    folder = ran.err.strip().splitlines()[-1].removeprefix("all that was printed is kept in ")
    assert {path.name for path in Path(folder).iterdir()} == {"job-0001.log", "server-0.log"}


def test_an_interrupted_check_does_not_blame_the_solver(tmp_path: Path) -> None:
    ran = melissa_like(tmp_path / "none", *marked("interrupts"), "launcher=inline", command="check", timeout_s=60)
    assert ran.code == 130
    assert "interrupted by SIGINT" in ran.err
    assert "contract" not in ran.err


def test_an_interruption_before_the_study_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt  # as Ctrl-C while the user's module is imported\n")
    ran = melissa_like(tmp_path / "study", "solver.solve._target_=mine.solve", timeout_s=30)
    assert ran.code == 130
    assert ran.err == "melissa-like: interrupted before anything was started\n"


def _started(run_dir: Path, *overrides: str) -> subprocess.Popen[str]:
    """A study in a process of its own whose first samples have arrived."""
    launcher = subprocess.Popen(
        [*COMMAND, "run", f"run_dir={run_dir}", *overrides],
        cwd=run_dir.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    journal = run_dir / "journal.jsonl"
    while not (journal.exists() and '"Progress"' in journal.read_text()):
        assert launcher.poll() is None, launcher.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return launcher


def test_a_server_rank_that_stands_still_ends_the_study(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    overrides = [*marked("slow", simulations=50, pause_s=0.1), "solver.launch=''", "launcher.server_timeout_s=2"]
    launcher = _started(run_dir, *overrides, "launcher.grace_s=1", "launcher.max_server_restarts=0")
    for pid in processes_of(run_dir):
        if b"melissa_like.server" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGSTOP)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert "server rank 0 is silent: it has reported nothing for launcher.server_timeout_s = 2 s" in err
    assert processes_of(run_dir) == set()


@pytest.mark.mpi
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives_the_launcher(tmp_path: Path, how: signal.Signals) -> None:
    run_dir = tmp_path / "study"
    overrides = [*marked("slow", ranks=2, simulations=50, pause_s=0.2), "launcher.grace_s=1"]
    launcher = _started(run_dir, *overrides)
    deadline = time.monotonic() + 60
    assert len(processes_of(run_dir)) > 3
    launcher.send_signal(how)
    out, err = launcher.communicate(timeout=30)
    while processes_of(run_dir) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(run_dir) == set()
    if how is not signal.SIGKILL:
        assert launcher.returncode == 130
        assert f"interrupted by {how.name}" in out + err
        assert Ran(0, "", "", run_dir).report["outcome"] == "stopped"
