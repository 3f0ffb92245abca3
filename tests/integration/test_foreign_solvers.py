"""The folders of solvers/foreign: what the README of each says is done in a copy of it, and a study completes."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from melissa_like.config import Config, as_config, check
from tests.integration.pages import play, sections
from tests.integration.studies import ROOT

HERE = ROOT / "solvers" / "foreign"
FOLDERS = [pytest.param(page.parent, id=page.parent.name) for page in sorted(HERE.glob("*/README.md"))]
PACKAGES = "Debian packages"
SOURCE = ("melissa_like", "launcher", "solvers", "configs", "pyproject.toml", "README.md", "LICENSE")
#: For an installation that compiles.
LONGEST_S = 900


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip builds in a folder stays in it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def missing_packages(page: str) -> list[str]:
    """Those of Debian that the page wants and that are not installed."""
    blocks = sections(page).get(PACKAGES, [])
    wanted = [word for block in blocks for word in re.sub(r"apt-get install( -\S+)*", "", block.text).split()]
    if wanted and shutil.which("dpkg-query") is None:
        return wanted
    return [name for name in wanted if subprocess.run(["dpkg-query", "-W", name], capture_output=True).returncode]


@pytest.mark.foreign
@pytest.mark.mpi
@pytest.mark.timeout(2 * LONGEST_S)
@pytest.mark.parametrize("folder", FOLDERS)
def test_ten_simulations_in_an_environment_of_their_own(folder: Path, clone: Path, tmp_path: Path) -> None:
    page = (folder / "README.md").read_text()
    missing = missing_packages(page)
    if missing:
        pytest.skip(f"needs Debian packages: apt-get install -y --no-install-recommends {' '.join(missing)}")
    copy = shutil.copytree(folder, tmp_path / folder.name)
    for title in ("Install", "Run"):
        if title in sections(page):
            play(page, title, copy, longest_s=LONGEST_S, variables={"CLONE": str(clone)})
    report = json.loads((copy / "runs" / "ten" / "report.json").read_text())
    (solver,) = (yaml.safe_load(file.read_text()) for file in folder.glob("solver/*.yaml"))
    assert report["outcome"] == "completed"
    assert report["samples"]["lost"] == 0
    window = report["samples"]["expected"] // 10
    assert window in (solver["num_steps"], solver["num_steps"] - 1)  # of single steps, or of pairs
    assert report["samples"]["delivered"] == report["samples"]["trained_on"] == 10 * window


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_files_compose_and_are_as_short_as_the_table_says(folder: Path) -> None:
    (file,) = folder.glob("solver/*.yaml")
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "configs")):
        search = f"hydra.searchpath=[file://{folder}]"
        check(as_config(compose("config", overrides=["run_dir=there", f"solver={file.stem}", search])))
    num_lines = sum(lines_of_code(path.read_text()) for path in folder.glob("*.py"))
    assert num_lines <= 60
    table = (HERE / "README.md").read_text()
    told = re.search(rf"^\| \[{folder.name}\].*\| (\d+) \| (?:\d+|–) \|$", table, re.MULTILINE)
    assert told is not None
    assert int(told[1]) == num_lines


def lines_of_code(text: str) -> int:
    """Lines that are not blank, no comment and no docstring."""
    no_code = {number for number, line in enumerate(text.splitlines(), 1) if not line.strip().partition("#")[0]}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            no_code |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(text.splitlines()) - len(no_code)
