"""The convolution of the Fourier neural operator, on 1, 2 or 3 axes.

Only a few modes are kept, so the transforms are products with small matrices of cosines and sines instead of a fast
transform of everything: on these sizes several times faster, real numbers throughout (they export, and ranks average
their gradients as those of any other weight), and any number of points.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["SpectralConvolution", "modes_of"]


def modes_of(modes: int | Sequence[int], grid: tuple[int, ...], family: str) -> tuple[int, ...]:
    """Modes along each axis, checked.

    Args:
        modes: one number for all axes, or one for each.
        grid: points along each axis.
        family: of networks, for the message.

    Raises:
        ValueError: as many numbers as no grid has, or modes that so few points cannot tell apart.
    """
    each = (modes,) * len(grid) if isinstance(modes, int) else tuple(modes)
    most = tuple((points + 1) // 2 for points in grid)
    if len(each) != len(grid) or any(not 1 <= kept <= limit for kept, limit in zip(each, most, strict=False)):
        raise ValueError(
            f"{family} is to keep {modes} modes on the grid {grid}: give one number, or one per axis, from 1 to at "
            f"most {', '.join(map(str, most))} (half of the points)"
        )
    return each


class SpectralConvolution(nn.Module):
    """v ↦ F⁻¹(R · F v), equation 4 of Li et al. (ICLR 2021): a matrix over the channels for each mode that is kept.

    Kept are the wave numbers -(m - 1) .. m - 1 along each axis, all others are zero afterwards. The grid is taken as
    periodic. Weights do not depend on the number of points.

    Args:
        before: channels that it is given.
        after: channels that it returns.
        grid: points along each axis.
        modes: m along each axis; `modes_of` checks it.
    """

    def __init__(self, before: int, after: int, grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
        super().__init__()
        *first, last = modes
        self.before, self.after = before, after
        self.num_modes = last * math.prod(2 * kept - 1 for kept in first)
        # Real and imaginary part of R, by mode. With this spread, what comes out is as large as what goes in.
        self.weight = nn.Parameter(torch.randn(2, self.num_modes, before, after) / math.sqrt(2 * before))
        for axis, (points, kept) in enumerate(zip(grid, modes, strict=True)):
            matrices = _real_axis(points, kept) if axis == len(grid) - 1 else _complex_axis(points, kept)
            for name, matrix in zip(("analysis", "synthesis"), matrices, strict=True):
                self.register_buffer(f"{name}_{axis}", matrix, persistent=False)
        self._num_axes = len(grid)

    def forward(self, values: Tensor) -> Tensor:
        """From [B, before, *grid] to [B, after, *grid]; computed in single precision also under autocast."""
        with torch.autocast(values.device.type, enabled=False):
            return self._synthesize(self._mix(self._analyze(values.to(self.weight.dtype))))

    def _analyze(self, values: Tensor) -> Tensor:
        """[B, C, n₁ .. n_d] to [B, C, k_d .. k₂, 2, k₁], the last axis first."""
        last = self._num_axes - 1
        values = torch.unflatten(values @ self._matrix("analysis", last), -1, (2, -1))
        for axis in reversed(range(last)):
            # [.., n_axis, done.., 2, k] to [.., done.., k, 2, n_axis]
            place = 2 + axis
            values = values.movedim(place, -1).transpose(-2, -3).flatten(-2)
            values = torch.unflatten(values @ self._matrix("analysis", axis), -1, (2, -1))
        return values

    def _mix(self, values: Tensor) -> Tensor:
        """Multiply each mode with its complex matrix, as one real matrix of twice the size."""
        modes, samples = values.shape[2:-2] + values.shape[-1:], values.shape[0]
        values = values.movedim((0, 1, -2), (-3, -1, -2)).reshape(self.num_modes, samples, 2 * self.before)
        real, imaginary = self.weight
        both = torch.cat([torch.cat([real, imaginary], dim=2), torch.cat([-imaginary, real], dim=2)], dim=1)
        mixed = torch.bmm(values, both).view(*modes, samples, 2, self.after)
        return mixed.movedim((-3, -1, -2), (0, 1, -2))

    def _synthesize(self, values: Tensor) -> Tensor:
        """The way back of `_analyze`."""
        last = self._num_axes - 1
        for axis in range(last):
            values = torch.unflatten(values.flatten(-2) @ self._matrix("synthesis", axis), -1, (2, -1))
            # [.., done.., k, 2, n_axis] to [.., n_axis, done.., 2, k]
            values = values.transpose(-2, -3).movedim(-1, 2 + axis)
        return values.flatten(-2) @ self._matrix("synthesis", last)

    def _matrix(self, name: str, axis: int) -> Tensor:
        return self.get_buffer(f"{name}_{axis}")


def _angles(points: int, wave_numbers: Tensor) -> Tensor:
    """2π k x of each point and wave number, [points, K], reduced in whole numbers: exact for any size."""
    steps = torch.outer(torch.arange(points), wave_numbers) % points
    return (2 * math.pi / points) * steps.double()


def _real_axis(points: int, kept: int) -> tuple[Tensor, Tensor]:
    """Of real values: [points, (2, kept)] forth, [(2, kept), points] back; the other half is the conjugate."""
    angles = _angles(points, torch.arange(kept))
    weights = torch.full((kept,), 2.0, dtype=torch.float64)
    weights[0] = 1
    forth = torch.cat([torch.cos(angles), -torch.sin(angles)], dim=1) / points
    back = torch.cat([weights * torch.cos(angles), -weights * torch.sin(angles)], dim=1).T
    return forth.float().contiguous(), back.float().contiguous()


def _complex_axis(points: int, kept: int) -> tuple[Tensor, Tensor]:
    """Of complex values, real parts first: [(2, points), (2, K)] forth and [(2, K), (2, points)] back."""
    angles = _angles(points, torch.arange(1 - kept, kept))
    cosine, sine = torch.cos(angles), torch.sin(angles)
    forth = torch.cat([torch.cat([cosine, -sine], dim=1), torch.cat([sine, cosine], dim=1)]) / points
    back = torch.cat([torch.cat([cosine.T, sine.T], dim=1), torch.cat([-sine.T, cosine.T], dim=1)])
    return forth.float().contiguous(), back.float().contiguous()
