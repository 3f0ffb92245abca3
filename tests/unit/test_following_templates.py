"""Input files and arguments from templates: what is filled in, what stays as it is, what is refused."""

from pathlib import Path
from typing import Any

import pytest

from melissa_like.client.following.call import FollowCall, seed_of
from melissa_like.client.following.inputs import read_inputs, write_inputs
from melissa_like.client.following.templates import Delimiters, Template
from melissa_like.errors import ConfigurationError, SolverError

BRACES = Delimiters.of("{name}")
VALUES = {"load": 1.5, "number": 3.0, "case": "plate", "seed": 7}


def rendered(text: str, placeholder: str = "{name}") -> str:
    delimiters = Delimiters.of(placeholder)
    template = Template.of(text, "input.template", delimiters)
    template.require_known(VALUES, delimiters)
    return template.rendered(VALUES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load={load}", "load=1.5"),
        ("&plate load={load:12.4e}, n={number:d}/", "&plate load=  1.5000e+00, n=3/"),
        ("{load:.3f}{load:+d}"[:10], "1.500"),
        ("seed {seed:05d} of {case}", "seed 00007 of plate"),
        # An OpenFOAM dictionary, JSON, TeX, a shell, C: braces that are none of ours.
        ("inlet\n{\n    value uniform ({load} 0 0);\n}", "inlet\n{\n    value uniform (1.5 0 0);\n}"),
        ('{"load": {load}, "list": [{}, {"a": 1}]}', '{"load": 1.5, "list": [{}, {"a": 1}]}'),
        ("for i in ${HOME} ${load}; do { echo {load}; }; done", "for i in ${HOME} ${load}; do { echo 1.5; }; done"),
        ("int a[] = {1, 2}; struct s b = {{1}, {2}};", "int a[] = {1, 2}; struct s b = {{1}, {2}};"),
        (r"\begin{{figure}} {{load:.2f}} {load}", r"\begin{figure} {load:.2f} 1.5"),
        ("{ load } {9} {load", "{ load } {9} {load"),
    ],
)
def test_only_what_looks_like_a_placeholder_is_one(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize("placeholder", ["@name@", "<<name>>", "${name}", "%name%", "[[name]]"])
def test_placeholders_may_look_otherwise(placeholder: str) -> None:
    before, after = placeholder.split("name")
    text = f"{{load}} {before}load:.1f{after} {before}{before}load{after}{after}"
    assert rendered(text, placeholder) == f"{{load}} 1.5 {before}load{after}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "a\nb {laod}",
            r"line 2: \{laod\} stands for nothing \(the nearest: load\): there are \{load\}",
        ),
        (
            r"\begin{figure}",
            r"write \{\{figure\}\}, or .* \(solver.placeholder='@name@'\)",
        ),
        ("{load:.3q}", r"\{load:.3q\} cannot be written"),
        ("{case:.3f}", r"\{case:.3f\} cannot be written"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        rendered(text)


def test_a_fraction_is_not_written_as_a_whole_number() -> None:
    template = Template.of("n = {n:d}", "input.template", BRACES)
    template.require_known({"n": 1.0}, BRACES)
    with pytest.raises(SolverError, match=r"\{n:d\} cannot be written \(2.5 is no whole number\)"):
        template.rendered({"n": 2.5})


@pytest.mark.parametrize("placeholder", ["name", "{name", "xnamex", "{x}", "_name_"])
def test_an_example_of_a_placeholder_has_signs_on_both_sides(placeholder: str) -> None:
    with pytest.raises(ConfigurationError, match=r"solver.placeholder is '.*': write how the placeholder"):
        Delimiters.of(placeholder)


def test_a_folder_of_templates_becomes_a_folder(tmp_path: Path) -> None:
    case = tmp_path / "case"
    (case / "0").mkdir(parents=True)
    (case / "0" / "U").write_text("value ({load} 0 0);\n")
    (case / "mesh.bin").write_bytes(b"\0{nobody}\xff")
    (case / "latin.txt").write_bytes(b"Stra\xdfe {load}\r\n")
    (case / "run.sh").write_text("#!/bin/sh\n{{load}}\n")
    (case / "run.sh").chmod(0o755)
    inputs = read_inputs({".": "case", "constant/more.txt": "case/0/U"}, tmp_path, BRACES)
    folder = tmp_path / "simulation"
    folder.mkdir()
    write_inputs(inputs, folder, VALUES)
    made = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert made == {
        "0/U": b"value (1.5 0 0);\n",
        "mesh.bin": b"\0{nobody}\xff",
        "latin.txt": b"Stra\xdfe 1.5\r\n",
        "run.sh": b"#!/bin/sh\n{load}\n",
        "constant/more.txt": b"value (1.5 0 0);\n",
    }
    assert (folder / "run.sh").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"input.txt": "missing.txt"}, r"the template 'missing.txt', which cannot be read \(No such file"),
        ({"../input.txt": "a.txt"}, "'../input.txt', which is not in the simulation's folder"),
        ({"/input.txt": "a.txt"}, "'/input.txt', which is not in the simulation's folder"),
        ({"a.txt": "a.txt", ".": "case"}, "makes 'a.txt' from both"),
    ],
)
def test_files_that_cannot_be_made_are_refused(files: dict[str, str], words: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "a.txt").write_text("a")
    with pytest.raises(ConfigurationError, match=words):
        read_inputs(files, tmp_path, BRACES)


def call(tmp_path: Path, **changes: Any) -> FollowCall:
    told: dict[str, Any] = {
        "command": ("./plate", "{load:.2f}"),
        "launch": ("mpiexec", "-n", "2"),
        "num_processes": 2,
        "files": {},
        "placeholder": "{name}",
        "reader": {"_target_": "tests.plugins.readers.numbered"},
        "work_dir": None,
        "keep_files": "failed",
        "remove_sent_files": False,
        "max_pending_bytes": 2**20,
        "num_steps": None,
        "started_in": str(tmp_path),
        "parameters": ("load",),
        "shapes": {"v": (4,)},
        "static": {},
        "seed": 0,
        "grace_s": 5.0,
        "environment": {},
    }
    return FollowCall(**{**told, **changes})


def test_the_command_has_the_start_command_in_front_and_the_parameters_in_it(tmp_path: Path) -> None:
    told = call(
        tmp_path, command=("./plate", "{load:.2f}", "{simulation:03d}", "-n={num_processes}", "{started_in}/mesh")
    )
    values = told.values({"load": 1.0}, simulation=12, attempt=1, folder=tmp_path)
    assert told.recipe().command(values) == (
        *("mpiexec", "-n", "2", "./plate", "1.00", "012", "-n=2", f"{tmp_path}/mesh"),
    )


def test_a_parameter_that_stands_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("{load}")
    call(tmp_path, command=("./plate",), files={"input.txt": "a.txt"}).recipe()
    with pytest.raises(ConfigurationError, match=r"'speed' stands neither in solver.command nor .* \(input.txt\)"):
        call(tmp_path, files={"input.txt": "a.txt"}, parameters=("load", "speed")).recipe()


def test_a_parameter_goes_before_a_word_of_the_same_name(tmp_path: Path) -> None:
    told = call(tmp_path, command=("./plate", "{seed:d}"), parameters=("seed",))
    assert told.recipe().command(told.values({"seed": 5.0}, simulation=1, attempt=1, folder=tmp_path))[-1] == "5"


def test_the_seed_of_a_simulation_depends_on_the_study_and_its_number_only() -> None:
    seeds = {seed_of(seed, simulation) for seed in range(10) for simulation in range(100)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of(3, 4) == seed_of(3, 4)


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        ({"_target_": "tests.plugins.readers.nothing_here"}, "has no 'nothing_here'"),
        ({"_target_": "tests.plugins.readers.numbered", "patern": "x"}, "takes none of that name"),
        ({"_target_": "tests.plugins.readers.PATTERN"}, "which is a str"),
    ],
)
def test_a_reader_that_cannot_be_made_is_refused(reader: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=words):
        call(tmp_path, reader=reader).recipe()
