"""Exported surrogates: the same numbers for any number of samples, without this library."""

import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from melissa_like.loading import Moments
from melissa_like.models import MLP, UNet
from melissa_like.records import FieldSpec, Layout
from melissa_like.training import Autoregressive, Direct, Operator, Surrogate, build_surrogate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
LAYOUT = Layout(
    fields=(
        FieldSpec(name="u", shape=(8,), dtype="float64"),
        FieldSpec(name="v", shape=(2, 8), components=2, bounds=(-1.0, 3.0)),
    ),
    parameters=("a", "b"),
)


def surrogate(task: object, model: object = MLP, num_steps: int | None = 10) -> Surrogate:
    torch.manual_seed(0)
    bounds = {"a": (0.0, 2.0), "b": (5.0, 6.0)}
    built = build_surrogate(layout=LAYOUT, model=model, task=task, parameter_bounds=bounds, num_steps=num_steps)
    one = Moments(count=1, mean=2.0, std=3.0)
    built.normalization.freeze({name: (one,) * components for name, components in built.task.quantities.items()})
    return built


@pytest.mark.slow
def test_a_direct_surrogate_is_loaded_in_two_lines_without_this_library(tmp_path: Path) -> None:
    built = surrogate(Direct)
    built.export(tmp_path / "surrogate.pt2")
    assert built.training
    script = """
import sys, torch
program = torch.export.load("surrogate.pt2").module()
made = program(torch.tensor([[0.5, 5.5]], dtype=torch.float64), torch.tensor([3]), {})
assert not any(name.startswith("melissa_like") for name in sys.modules)
torch.save(made, "made.pt")
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=60)
    made, expected = torch.load(tmp_path / "made.pt"), built.predict({"a": 0.5, "b": 5.5}, step=3)
    for name, values in expected.items():
        np.testing.assert_allclose(made[name][0].numpy(), values, rtol=1e-5, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.pt", "surrogate.pt2"]


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [1, 4])
def test_one_call_of_an_autoregressive_surrogate_gives_the_steps_that_follow(tmp_path: Path, num_samples: int) -> None:
    built = surrogate(
        partial(Autoregressive, history=2, bundle=3, inputs=["v"], time=True),
        partial(UNet, channels=4, multipliers=(1, 2)),
    )
    built.export(tmp_path / "surrogate.pt2")
    program = torch.export.load(tmp_path / "surrogate.pt2").module()
    parameters = torch.tensor([[1.0, 5.0]] * num_samples, dtype=torch.float64)
    fields = {"u": torch.rand(num_samples, 2, 8, dtype=torch.float64), "v": torch.rand(num_samples, 2, 2, 8)}
    made = program(parameters, torch.full((num_samples,), 4), fields)
    assert {name: tuple(values.shape) for name, values in made.items()} == {"u": (num_samples, 3, 8)}
    start = {name: values[-1].numpy() for name, values in fields.items()}
    expected = built.rollout(start, {"a": 1.0, "b": 5.0}, 3, step=4)
    np.testing.assert_allclose(made["u"][-1].numpy(), expected["u"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_operator_is_exported_for_any_later_step(tmp_path: Path) -> None:
    built = surrogate(partial(Operator, initial=["u"], inputs=["v"], targets=["u"], window={"length": 5}))
    built.export(tmp_path / "surrogate.pt2")
    program = torch.export.load(tmp_path / "surrogate.pt2").module()
    fields = {"u": torch.rand(4, 1, 8, dtype=torch.float64), "v": torch.rand(1, 1, 2, 8).expand(4, 1, 2, 8)}
    made = program(torch.tensor([[1.0, 5.0]] * 4, dtype=torch.float64), torch.arange(1, 5), fields)
    start = {"u": fields["u"][2, 0].numpy(), "v": fields["v"][:1].expand(5, 1, 2, 8)[:, 0].numpy()}
    expected = built.rollout(start, {"a": 1.0, "b": 5.0}, 4)
    np.testing.assert_allclose(made["u"][2, 0].numpy(), expected["u"][2], rtol=1e-4, atol=1e-4)


def test_a_network_that_is_not_given_the_time_needs_nothing_that_the_time_is_scaled_from(tmp_path: Path) -> None:
    surrogate(Autoregressive, num_steps=None).export(tmp_path / "surrogate.pt2")
    assert (tmp_path / "surrogate.pt2").exists()


class Branching(MLP):
    """Looks at values to decide what to compute."""

    def forward(self, **given: object) -> dict[str, Tensor]:
        made = super().forward(**given)
        return made if float(made["u"].sum()) > 0 else {name: -values for name, values in made.items()}


class Random(MLP):
    """Is random when it predicts."""

    def forward(self, **given: object) -> dict[str, Tensor]:
        return {name: values + torch.rand_like(values) for name, values in super().forward(**given).items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Branching, "torch.export cannot export the network Branching with Direct: .*no branch on values"),
        (Random, "gives other values for 'u' of 3 samples, by .* random when it predicts"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path: Path, model: type[nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        surrogate(Direct, model).export(tmp_path / "surrogate.pt2")
    assert not list(tmp_path.iterdir())


class Walled(Autoregressive):
    """Does not roll out."""

    one_call = None


def test_what_there_is_nothing_to_export_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give it the suffix \.pt2"):
        surrogate(Direct).export(tmp_path / "surrogate.onnx")
    with pytest.raises(TypeError, match="Walled learns from windows and has no one_call"):
        surrogate(Walled).export(tmp_path / "surrogate.pt2")
    untrained: Mapping[str, object] = {"layout": LAYOUT, "model": MLP, "num_steps": 3}
    with pytest.raises(ValueError, match="not normalized yet"):
        surrogate(partial(Autoregressive, time=True), num_steps=None).export(tmp_path / "x.pt2")
    with pytest.raises(ValueError, match="not normalized yet"):
        build_surrogate(**untrained, parameter_bounds={"a": (0.0, 2.0), "b": (5.0, 6.0)}).export(tmp_path / "x.pt2")
