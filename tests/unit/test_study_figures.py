"""What is drawn at the end of a study whose simulations have meshes of their own."""

from functools import partial
from pathlib import Path

import pytest

from melissa_like.config import Config
from melissa_like.config.schema import FieldConfig, StaticConfig
from melissa_like.monitoring import Recorder
from melissa_like.server.figures import draw_figures
from melissa_like.training import Autoregressive, Direct, TaskFactory
from tests.unit.test_mesh_learning import filled, surrogate_of


def config() -> Config:
    """Of the fields that the other module learns."""
    made = Config()
    made.solver.fields = {
        "u": FieldConfig(shape=[2, "num_points"], components=2),
        "p": FieldConfig(shape=["num_points"], dtype="float64"),
        "drag": FieldConfig(shape=[1]),
    }
    made.solver.static = {"coordinates": StaticConfig(shape=[2, "num_points"], components=2, dtype="float64")}
    made.training.task = {"_target_": "melissa_like.training.Direct"}
    made.buffer._target_, made.buffer.capacity = "melissa_like.buffer.reservoir", "1 MiB"
    return made


@pytest.mark.parametrize(
    ("task", "num_windows"), [(Direct, 1), (partial(Autoregressive, history=2), 3)], ids=["steps", "roll-out"]
)
def test_each_field_is_drawn_on_the_mesh_of_a_held_out_simulation(
    tmp_path: Path, task: TaskFactory, num_windows: int
) -> None:
    surrogate = surrogate_of(task)
    held_out = filled(surrogate.task.window, num_windows=num_windows)
    draw_figures(config(), tmp_path, surrogate, held_out, Recorder(), [])
    drawn = {path.stem for path in (tmp_path / "figures").iterdir() if path.stat().st_size > 1000}
    assert drawn >= {"u", "p", "drag"}
