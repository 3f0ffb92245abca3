"""The Fourier neural operator, and its convolution against torch's own transform."""

import itertools

import pytest
import torch

from melissa_like.models import FNO, FieldShape, Problem, ScaleAndShift
from melissa_like.models.spectral import SpectralConvolution
from tests.unit.families import forced, inputs_of, smooth


def on(grid: tuple[int, ...]) -> Problem:
    return Problem(fields={"u": FieldShape(1, grid)}, targets={"u": FieldShape(1, grid)})


@pytest.mark.parametrize(
    ("grid", "modes"), [((9,), (4,)), ((8,), (4,)), ((10, 9), (5, 3)), ((7, 8), (4, 4)), ((6, 5, 8), (2, 3, 4))]
)
def test_the_convolution_is_that_of_the_whole_transform(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    convolution = SpectralConvolution(2, 3, grid, modes)
    values = torch.randn(4, 2, *grid)
    axes = tuple(range(2, 2 + len(grid)))
    given = torch.fft.fftn(values.double(), dim=axes, norm="forward")
    made = torch.zeros(4, 3, *grid, dtype=torch.complex128)
    real, imaginary = convolution.weight.double()
    # Modes lie as the transform leaves them: the last axis first, from 0, the others from -(m - 1).
    axes_of_modes = [range(modes[-1]), *(range(1 - kept, kept) for kept in reversed(modes[:-1]))]
    for matrix, numbers in zip(torch.complex(real, imaginary), itertools.product(*axes_of_modes), strict=True):
        at = (slice(None), slice(None), *reversed(numbers))
        made[at] = given[at] @ matrix
    # A real field has the conjugate at the negative wave number, which is the half that is not stored.
    twice = torch.ones(grid[-1], dtype=torch.float64)
    twice[1:] = 2
    expected = torch.fft.ifftn(made * twice, dim=axes, norm="forward").real
    torch.testing.assert_close(convolution(values).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(16,), (9, 12), (6, 7, 8)])
def test_on_a_periodic_grid_it_commutes_with_translations(grid: tuple[int, ...]) -> None:
    network = FNO(on(grid), modes=3, channels=8, layers=2)
    values = torch.randn(2, 1, *grid)
    shifts, axes = tuple(range(1, len(grid) + 1)), tuple(range(2, len(grid) + 2))
    moved = network(fields={"u": values.roll(shifts, axes)})["u"]
    torch.testing.assert_close(moved, network(fields={"u": values})["u"].roll(shifts, axes), rtol=1e-4, atol=1e-5)


def test_weights_of_one_grid_serve_another() -> None:
    """A smooth field on a finer grid gives the same result at the points that both grids have."""
    coarse, fine = FNO(on((32,)), modes=4, channels=8, layers=1), FNO(on((64,)), modes=4, channels=8, layers=1)
    fine.load_state_dict(coarse.state_dict())
    values = smooth(2, 1, (64,))
    torch.testing.assert_close(
        fine(fields={"u": values})["u"][..., ::2], coarse(fields={"u": values[..., ::2]})["u"], rtol=1e-4, atol=1e-5
    )


def test_a_grid_that_is_not_periodic_has_an_inside_and_an_outside() -> None:
    network = FNO(on((16,)), modes=3, channels=8, layers=2, periodic=False)
    values = torch.randn(2, 1, 16)
    made, moved = network(fields={"u": values})["u"], network(fields={"u": values.roll(4, 2)})["u"]
    assert made.shape == (2, 1, 16)
    assert not torch.allclose(moved, made.roll(4, 2), atol=1e-3)


def test_scale_and_shift_takes_the_place_of_constant_channels() -> None:
    problem = forced((16,))
    constant = FNO(problem, modes=3, channels=8)
    modulated = FNO(problem, modes=3, channels=8, conditioning=ScaleAndShift)
    assert constant.lifting.in_features == 3 + 3  # fields, parameters and time
    assert modulated.lifting.in_features == 3
    given = inputs_of(problem, 2)
    other = given | {"parameters": given["parameters"] + 1}
    assert not torch.allclose(modulated(**given)["u"], modulated(**other)["u"], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "grid", "message"),
    [
        ({"modes": 9}, (16,), "keep 9 modes .*at most 8"),
        ({"modes": [3, 6]}, (16, 10), "at most 8, 5"),
        ({"modes": [3]}, (16, 16), "one per axis"),
        ({"layers": 0}, (32,), "0 layers"),
        ({}, (2, 2, 2, 2), "1, 2 or 3 axes"),
        ({}, (), "1, 2 or 3 axes"),
        ({"conditioning": ScaleAndShift}, (32,), "neither: leave `conditioning` out"),
    ],
)
def test_what_it_cannot_do_is_refused(options: dict[str, object], grid: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FNO(on(grid), **options)
