"""The page of the readers does what it says: each program is run, and what its reader finds is what is declared."""

import contextlib
import inspect
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from melissa_like.client import readers
from melissa_like.client.following import Beginning, Found, ScriptedRun
from melissa_like.client.following.mesh import MeshOfRun
from melissa_like.plugins import make

PAGE = (Path(readers.__file__).parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
#: Each program with the settings that follow it.
EXAMPLES = [
    (code, yaml.safe_load(text))
    for (kind, code), (after, text) in pairwise(BLOCKS)
    if (kind, after) == ("python", "yaml")
]
SETTINGS = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]


def target_of(settings: dict[str, Any]) -> str:
    return settings["reader"]["_target_"].rpartition(".")[2]


@pytest.mark.parametrize(("program", "settings"), EXAMPLES, ids=[target_of(settings) for _, settings in EXAMPLES])
def test_an_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, settings: dict[str, Any]) -> None:
    if target_of(settings) == "MeshFiles":
        pytest.importorskip("pyvista", reason="needs the extra readers")
    monkeypatch.chdir(tmp_path)

    def act() -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(program, {})
        return printed.getvalue()

    shapes, static = (
        {name: tuple(field["shape"]) for name, field in settings.get(group, {}).items()}
        for group in ("fields", "static")
    )
    run = ScriptedRun(tmp_path, act, shapes=shapes, static=static)
    mesh = MeshOfRun(shapes, static)
    items = [ready for item in make(settings["reader"], "solver.reader")(run) for ready in mesh.ready(item)]
    found = [item for item in items if isinstance(item, Found)]
    sizes: dict[str, int] = {}
    for beginning in (item for item in items if isinstance(item, Beginning)):
        sizes |= beginning.extents
        assert {name: array.shape for name, array in beginning.static.items()} == sized(static, sizes)
    assert len(found) == settings["num_steps"]
    assert all(each.time is not None for each in found) or target_of(settings) == "TextTables"
    for each in found:
        assert {name: array.shape for name, array in each.fields.items()} == sized(shapes, sizes)


def sized(shapes: dict[str, Any], sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Declared shapes with the sizes of a simulation."""
    return {name: tuple(sizes.get(n, n) for n in shape) for name, shape in shapes.items()}


def test_every_reader_has_an_example_and_every_option_its_words() -> None:
    assert {target_of(settings) for settings in SETTINGS} == set(readers.__all__)
    for settings in SETTINGS:
        make(settings["reader"], "solver.reader")
    for name in readers.__all__:
        documented = inspect.getdoc(getattr(readers, name)) or ""
        for option in inspect.signature(getattr(readers, name)).parameters:
            assert f"{option}:" in documented, f"{name} does not say what {option} is"
            assert f"`{option}" in PAGE or f"`{option}:" in PAGE or f" {option}:" in PAGE, f"the page has no {option}"


def test_the_reader_of_ones_own(tmp_path: Path) -> None:
    code = next(code for kind, code in BLOCKS if kind == "python" and "def read" in code)
    made: dict[str, Any] = {}
    exec(code, made)

    def writes(step: int) -> None:
        (tmp_path / f"load{step}.txt").write_text(str(step))

    run = ScriptedRun(tmp_path, *(lambda step=step: writes(step) for step in range(3)))
    assert [each.fields["load"] for each in made["read"](run, name="load")] == [[0.0], [1.0], [2.0]]
