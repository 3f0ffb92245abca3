"""What the README shows works when it is copied: a newcomer's solver and YAML, a main of one's own, the three lines."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.integration.studies import COMMAND, ROOT, Ran, environment

README = (ROOT / "README.md").read_text()


def block(language: str, words: str) -> str:
    """The block of a language that contains some words."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if words in text]
    assert len(found) == 1, f"{len(found)} {language} blocks of README.md contain {words!r}"
    return found[0]


def run(folder: Path, *arguments: str) -> Ran:
    """In the user's folder, with nothing of the repository on the path."""
    set_up = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=set_up, capture_output=True, text=True, timeout=100, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr, folder / "runs" / "mine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A newcomer's folder with what the README lets them write."""
    (tmp_path / "wave.py").write_text(block("python", "def solve(parameters, comm, *"))
    (tmp_path / "my_configs" / "solver").mkdir(parents=True)
    (tmp_path / "my_configs" / "solver" / "wave.yaml").write_text(block("yaml", "name: wave"))
    return tmp_path


def command(name: str) -> list[str]:
    """A command of the README, without its comment."""
    (line,) = [line for line in block("bash", "solver=wave").splitlines() if line.startswith(f"melissa-like {name} ")]
    return shlex.split(line, comments=True)[1:]


@pytest.mark.mpi
def test_a_newcomers_solver_is_checked_and_trained_on(folder: Path) -> None:
    checked = run(folder, *command("check"))
    assert checked.code == 0, checked.err
    assert "keeps its contract" in checked.out
    trained = run(folder, *command("run"), "run_dir=runs/mine", "study.num_simulations=20")
    assert trained.code == 0, trained.err
    assert trained.report["samples"]["delivered"] == 20 * 50
    assert trained.report["samples"]["lost"] == 0


@pytest.mark.mpi
def test_a_newcomers_own_main(folder: Path) -> None:
    main = block("python", "session = connect").replace("local_block", "np.zeros(64 // MPI.COMM_WORLD.size)")
    (folder / "main.py").write_text("import numpy as np\n" + main)
    declared = folder / "my_configs" / "solver" / "wave.yaml"
    declared.write_text(re.sub(r"solve: .*", "command: [python, main.py]", declared.read_text()))
    trained = run(folder, *command("run"), "run_dir=runs/mine", "study.num_simulations=3")
    assert trained.code == 0, trained.err
    assert trained.report["samples"]["delivered"] == 150


def test_the_killed_training_of_the_page_goes_on(tmp_path: Path) -> None:
    run_dir = f"runs/demo-{os.getpid()}"  # a name that no other study has: the command ends processes by it
    shown = block("bash", "pkill -9").replace("runs/demo", run_dir)
    shown = shown.replace("melissa-like run", f"{shlex.join(COMMAND)} run study.num_simulations=40")
    (tmp_path / "page.sh").write_text(shown)  # an argument would be found by the command as well
    done = subprocess.run(
        ["bash", "-eu", "page.sh"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    ran = Ran(done.returncode, done.stdout, done.stderr, tmp_path / run_dir)
    assert ran.code == 0, ran.err
    assert ran.report["outcome"] == "completed"
    assert len(ran.report["server_losses"]) == 1
    assert ran.report["samples"]["lost"] == 0


@pytest.mark.parametrize("pattern", [r"`(training\.schedule=null.*?)`", r"`(training\.loop\S+)`"])
def test_a_newcomers_model_and_loss_with_a_torch_scheduler_or_a_loop(folder: Path, pattern: str) -> None:
    (folder / "mine.py").write_text(block("python", "class Net") + block("python", "def loop(stream)"))
    (folder / "my_configs" / "model").mkdir()
    (folder / "my_configs" / "model" / "net.yaml").write_text(block("yaml", "mine.Net"))
    (loss,) = re.findall(r"`(training\.loss\S+)`", README)
    (more,) = re.findall(pattern, README, re.DOTALL)
    trained = run(
        folder,
        *command("run"),
        "run_dir=runs/mine",
        "launcher=inline",
        "solver.num_ranks=1",
        "study.num_simulations=3",
        "model=net",
        loss,
        *more.split(),
    )
    assert trained.code == 0, trained.err
    assert '"_target_":"mine.Net"' in (folder / "runs" / "mine" / "surrogate" / "surrogate.json").read_text().replace(
        " ", ""
    )


def test_the_commands_of_the_sweep_section_compose(tmp_path: Path) -> None:
    for line in block("bash", "experiment=sc23_laptop").splitlines():
        arguments = shlex.split(line, comments=True)[1:]
        if arguments[0] != "run" or "-m" in arguments:
            continue
        ran = run(tmp_path, *arguments, "--dry-run")
        assert ran.code == 0, f"{line}: {ran.err}"
        assert "job-0001: " in ran.out


def test_each_experiment_is_on_the_page() -> None:
    shown = set(re.findall(r"experiment=(\w+)", README))
    assert shown == {path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml")}


def test_the_three_lines_predict(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    trained = run(
        tmp_path, "run", "run_dir=runs/mine", "launcher=inline", "solver.num_ranks=1", "study.num_simulations=2"
    )
    assert trained.code == 0, trained.err
    program = block("python", "runs/mine/surrogate") + "\nassert temperature.shape == (32, 32), temperature.shape\n"
    subprocess.run([COMMAND[0], "-c", program], cwd=tmp_path, check=True, timeout=60)
