"""A mistake in a key, a choice, a value or a file is named, with what was perhaps meant."""

from pathlib import Path

import pytest

from melissa_like.config import as_config
from melissa_like.config.mistakes import nearest
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.mistakes import explain_refusal
from tests.unit.test_config import composed

SOLVER = """
name: wave
solve: {_target_: wave.solve}
fields: {height: {shape: [4]}}
parameters: {a: {_target_: melissa_like.sampling.Uniform, low: 0, high: 1}}
"""


def refusal(*overrides: str, folder: Path | None = None) -> str:
    """What the command would say, as it composes the configuration and reads it."""
    own = [] if folder is None else [f"hydra.searchpath=[file://{folder}]"]
    try:
        as_config(composed(*own, *overrides))
    except ConfigurationError as error:
        return str(error)
    except Exception as error:
        return explain_refusal(error, [] if folder is None else [folder])
    raise AssertionError(f"{overrides} was not refused")


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("buffer.capcity=10", "buffer.capacity"),
        ("+buffer.capcity=10", "buffer.capacity"),
        ("++buffer.capcity=10", "buffer.capacity"),
        ("~study.sed", "study.seed"),
        ("Study.seed=3", "study.seed"),
        ("bufer.capacity=10", "buffer.capacity"),
        ("batch_size=3", "training.batch_size"),
        ("seed=3", "study.seed"),
        ("launcher.max_job=3", "launcher.max_jobs"),
        ("study.numsimulations=3", "study.num_simulations"),
        ("optimizer.lr=3", "training.optimizer.lr"),
        ("+optimizer.momentum=3", "training.optimizer.momentum"),
        ("training.optimzer.lr=3", "training.optimizer.lr"),
        ("training.optimizer.lrr=3", "training.optimizer.lr"),
        ("solver.parameters.left_temp.low=3", "solver.parameters.left_temperature.low"),
        ("solver.fields.temprature.shape=[3]", "solver.fields.temperature.shape"),
        ("+solver.fields.temperature.shpe=[3]", "solver.fields.temperature.shape"),
        ("+solver.static.x.shpe=[3]", "solver.static.x.shape"),
        ("bufer=fifo", "buffer"),
        ("+bufer=fifo", "buffer"),
        ("buffer=resevoir", "reservoir"),
        ("experiment=sc23_latop", "sc23_laptop"),
        ("study.name=${solver.nme}", "solver.name"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(override: str, meant: str) -> None:
    said = refusal(override)
    assert override.partition("=")[0].lstrip("+~") in said
    assert f"did you mean {meant}" in said
    assert "+" not in said
    assert "append" not in said


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("buffer.xyz=1", ["buffer.xyz is no key", "there are buffer._target_, buffer.capacity"]),
        ("xyz.abc=1", ["xyz.abc is no key", "the groups are study, solver"]),
        ("model=zzz", ["there is no model/zzz.yaml", "the choices of model are ", "mlp", "--config-dir FOLDER"]),
        ("training.optimizer.momentum=1", ["training.optimizer.weight_decay", "+training.optimizer.momentum=..."]),
        ("training.batch_size=abc", ["training.batch_size", "'abc'", "write a whole number, 1 or more"]),
        ("training.compile=maybe", ["training.compile", "write true or false"]),
        ("+solver.fields.temperature.components=abc", ["temperature.components", "write a whole number, 1 or more"]),
        ("study.num_simulations=null", ["study.num_simulations", "write a whole number"]),
        ("training.schedule=Cosine", ["training.schedule", "write a mapping, or null"]),
        ("study.name=${nowhere}", ["study.name", "'nowhere' not found"]),
        ("solver=empty", ["solver.name has no value"]),
        ("solver=3", ["as in buffer=fifo"]),
        (
            "solver.fields.temperature.fill_value=0",
            ["temperature.fill_value is not set so far: write +solver.fields.t"],
        ),
        ("solver.parameters.left_temperature=[0,1]", ["is a list", "solver.parameters.left_temperature.KEY=VALUE"]),
        ("solver.fields.temperature=[64,64]", ["solver.fields.temperature is a list", "a mapping is needed"]),
        ("+solver.static.x.components=abc", ["solver.static.x.components", "write a whole number, 1 or more"]),
        ("+solver.static.x=3", ["solver.static.x is 3: write a mapping"]),
        ("+solver.fields=[u]", ["solver.fields is a list", "write {KEY: VALUE}"]),
        ("study.seed", ["'study.seed'", "KEY=VALUE"]),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(override: str, words: list[str]) -> None:
    said = refusal(override)
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SOLVER + "nam_steps: 5\n", ["solver/mine.yaml", "solver.nam_steps", "did you mean solver.num_steps?"]),
        (SOLVER + "num_steps: many\n", ["solver/mine.yaml", "solver.num_steps", "'many'", "whole number"]),
        (SOLVER.replace("shape", "shpe"), ["solver.fields.height.shpe", "did you mean solver.fields.height.shape?"]),
        (SOLVER + "num_steps: ${solver.nam}\n", ["solver.num_steps", "'solver.nam' not found"]),
        (SOLVER + "command: [\n", ["solver/mine.yaml, line 7, column 1"]),
        (SOLVER + "\tcommand: x\n", ["solver/mine.yaml, line 6, column 1"]),
        (SOLVER + "name: twice\n", ["solver/mine.yaml, line 6", "duplicate key name"]),
        ("- a list\n", ["solver/mine.yaml"]),
        ("5\n", ["solver/mine.yaml", "keys and values"]),
        (b"name: \xff\n", ["solver/mine.yaml", "UTF-8"]),
    ],
)
def test_a_mistake_in_a_users_file_names_the_file_or_the_key(
    tmp_path: Path, text: str | bytes, words: list[str]
) -> None:
    (tmp_path / "solver").mkdir()
    (tmp_path / "solver" / "mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    said = refusal("solver=mine", folder=tmp_path)
    for word in words:
        assert word in said


def test_a_folder_that_is_no_group(tmp_path: Path) -> None:
    for group in ("solvers", "mine"):
        (tmp_path / group).mkdir()
        (tmp_path / group / "x.yaml").write_text(SOLVER)
    assert "solvers is no group of the configuration: did you mean solver?" in refusal("solvers=x", folder=tmp_path)
    assert "choose from it with a plus, +mine=" in refusal("mine=x", folder=tmp_path)


def test_a_key_in_the_wrong_group_is_found_and_a_far_one_is_not() -> None:
    assert nearest("launcher.batch_size", ["training.batch_size", "buffer.capacity"]) == ["training.batch_size"]
    assert nearest("launcher.colour", ["training.batch_size", "buffer.capacity"]) == []
