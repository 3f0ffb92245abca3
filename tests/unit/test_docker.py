"""What can be seen of the container files without building an image."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*Dockerfile"))
DEFINITIONS = sorted(DOCKER.glob("*.def"))
EXTRAS = re.compile(r"\[(\w+)\]'")


def extras() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    return found


def compose() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return composed


def test_there_are_images_for_servers_and_solvers() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile", "cluster.Dockerfile", "solver.Dockerfile"]
    assert [path.name for path in DEFINITIONS] == ["server.def", "solver.def"]


@pytest.mark.parametrize("path", [*DOCKERFILES, *DEFINITIONS], ids=lambda path: path.name)
def test_an_image_installs_the_tested_versions_of_extras_that_there_are(path: Path) -> None:
    text = path.read_text()
    (installed,) = EXTRAS.findall(text)
    assert installed in extras()
    assert re.search(r"-c \S*constraints\.txt ", text)
    assert (ROOT / "constraints.txt").exists()
    wanted = " ".join(extras()[installed])
    assert ("torch" in wanted or "train" in wanted) == ("solver" not in path.name), "a solver's image has no torch"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_instruction_is_one_and_what_is_copied_is_there(path: Path) -> None:
    lines = path.read_text().replace("\\\n", " ").splitlines()
    instructions = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    known = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions} <= known
    assert instructions[0][0] == "FROM"
    for word, arguments in instructions:
        if word == "COPY":
            *sources, _ = arguments.split()
            assert all((ROOT / source).exists() for source in sources)


def test_the_python_of_the_images_is_one_that_the_package_takes() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    least = tuple(map(int, wanted.removeprefix(">=").split(".")))
    for path in (*DOCKERFILES, *DEFINITIONS):
        for version in re.findall(r"python:(\d+\.\d+)", path.read_text()):
            assert tuple(map(int, version.split("."))) >= least


def test_the_services_are_the_hosts_of_the_cluster() -> None:
    composed, slurm = compose(), (DOCKER / "slurm.conf.in").read_text()
    services = composed["services"]
    assert {service["hostname"] for service in services.values()} == set(services)
    (nodes,) = re.findall(r"NodeName=node\[1-(\d)\]", slurm)
    assert set(services) == {"controller", *(f"node{number}" for number in range(1, int(nodes) + 1))}
    assert "SlurmctldHost=controller" in slurm
    commands = {name: service["command"] for name, service in services.items()}
    assert commands == {name: ["controller" if name == "controller" else "node"] for name in services}
    assert all(service["depends_on"] == ["controller"] for name, service in services.items() if name != "controller")


def test_what_the_services_name_is_there() -> None:
    composed = compose()
    for service in composed["services"].values():
        build = service["build"]
        assert (DOCKER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).exists()
        named = [volume.partition(":")[0] for volume in service["volumes"] if not volume.startswith(".")]
        assert set(named) <= set(composed["volumes"])
    (entry,) = re.findall(r'ENTRYPOINT \["/opt/melissa_like/(.*)"\]', (DOCKER / "cluster.Dockerfile").read_text())
    assert (ROOT / entry).stat().st_mode & 0o111
    places = set(re.findall(r"@(\w+)@", (DOCKER / "slurm.conf.in").read_text()))
    assert places == set(re.findall(r"s\|@(\w+)@\|", (ROOT / entry).read_text()))


def test_the_entry_is_a_sound_script_that_knows_two_words() -> None:
    entry = DOCKER / "entry"
    subprocess.run(["sh", "-n", str(entry)], check=True, timeout=10)


def test_the_packages_of_the_cluster_hold_what_the_entry_starts() -> None:
    installed = (DOCKER / "cluster.Dockerfile").read_text()
    assert all(f" {package}" in installed for package in ("munge", "slurmctld", "slurmd", "slurm-client"))


def test_a_word_that_the_entry_does_not_know_is_refused(tmp_path: Path) -> None:
    refused = subprocess.run(
        [DOCKER / "entry", "worker"],
        env={"CLUSTER": str(tmp_path / "cluster"), "MUNGE": str(tmp_path / "munge"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert refused.returncode == 2
    assert "usage: entry controller | node (received 'worker')" in refused.stderr
    assert list(tmp_path.iterdir()) == []
