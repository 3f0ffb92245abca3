"""Which parameters a network is given: all, some of them, or none, such as no seed."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from melissa_like.loading import Batch, moments_of
from melissa_like.records import FieldSpec, Layout
from melissa_like.training import Autoregressive, Normalization, Operator
from melissa_like.training.tasks.parameters import GivenParameters

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("seed", "alpha", "beta"))
ROW = {"seed": 0.3, "alpha": 1.0, "beta": 4.0}
BATCH = Batch(
    simulations=torch.arange(2),
    steps=torch.zeros(2, dtype=torch.int64),
    times=torch.arange(2).double().expand(2, 2),
    parameters=torch.tensor([[0.3, 1.0, 4.0], [0.6, 2.0, 0.0]], dtype=torch.float64),
    fields={"u": torch.arange(16, dtype=torch.float32).view(2, 2, 4) ** 2},
)


class Watched(nn.Module):
    """Keeps the parameters that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor | None] = []

    def forward(
        self, *, fields: dict[str, Tensor], parameters: Tensor | None = None, time: Tensor | None = None
    ) -> dict[str, Tensor]:
        self.seen.append(parameters)
        return {"u": fields["u"]}


def scale_of(task: Any) -> Normalization:
    scale = Normalization(task.quantities, LAYOUT)
    scale.set_inputs([(0.0, 1.0), (0.0, 2.0), (0.0, 4.0)], num_steps=20)
    scale.freeze({name: moments_of(values) for name, values in task.measure(BATCH).items()})
    return scale


@pytest.mark.parametrize(
    ("wanted", "names", "columns"),
    [
        (True, ("seed", "alpha", "beta"), [0, 1, 2]),
        (["beta", "alpha"], ("alpha", "beta"), [1, 2]),
        (["beta"], ("beta",), [2]),
        (False, (), None),
    ],
)
@pytest.mark.parametrize("options", [{}, {"initial": ["u"]}], ids=["autoregressive", "operator"])
def test_a_network_is_given_what_is_wanted(
    options: dict[str, Any], wanted: bool | list[str], names: tuple[str, ...], columns: list[int] | None
) -> None:
    make: Any = Operator if options else Autoregressive
    task = make(LAYOUT, parameters=wanted, **options)
    assert task.problem.parameters == names
    scale, network = scale_of(task), Watched()
    task.advance(network, scale, BATCH)
    (seen,) = network.seen
    if columns is None:
        assert seen is None
    else:
        assert seen is not None
        torch.testing.assert_close(seen, scale.normalize_parameters(BATCH.parameters)[:, columns])


@pytest.mark.parametrize("wanted", [["alpha", "gamma"], [], "alpha"])
def test_names_that_are_no_parameters_are_refused(wanted: Any) -> None:
    with pytest.raises(ValueError, match="those of the solver are seed, alpha, beta: give a list"):
        Autoregressive(LAYOUT, parameters=wanted)


def test_what_is_not_given_may_be_left_out_by_a_user() -> None:
    given = GivenParameters(LAYOUT, ["beta", "alpha"])
    for parameters in (ROW, {"beta": 4.0, "alpha": 1.0}):
        torch.testing.assert_close(given.of(parameters)[:, 1:], torch.tensor([[1.0, 4.0]], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"trained with alpha, beta \(missing: beta\)"):
        given.of({"alpha": 1.0})
    with pytest.raises(ValueError, match=r"trained with alpha, beta \(unknown: gamma\)"):
        given.of({"alpha": 1.0, "beta": 0.0, "gamma": 2.0})
    assert GivenParameters(LAYOUT, False).of({}).shape == (1, 3)
