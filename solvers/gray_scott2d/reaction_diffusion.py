"""The Gray-Scott equations from one substep to the next: five-point Laplacian and Heun's method."""

import numpy as np

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.gray_scott2d.blocks import Block

__all__ = ["ReactionDiffusion", "largest_substep"]

#: The fastest decay by reaction, besides feed and kill: v² where no concentration is above 1.
_FASTEST_REACTION = 1.0


def largest_substep(feed: float, kill: float, diffusivity: float, spacing: float) -> float:
    """The largest stable h_t while no concentration is above 1.

    Heun's method is stable where the fastest decay has a rate of at most 2 / h_t. The five-point Laplacian decays by up
    to 8 D / h², reaction and outflow by up to 1 + F + k.
    """
    return 2.0 / (8.0 * diffusivity / spacing**2 + _FASTEST_REACTION + feed + kill)


class ReactionDiffusion:
    """Two concentrations, u and v, that `advance` moves on in time.

    All of it is element by element in float64, in one order, whatever block a point belongs to: the concentrations have
    the same bits on any number of ranks.

    Args:
        initial: this rank's block of u and v at time 0, shape (2, *block.shape); it is copied.
        block: this rank's part of the grid.
        feed: F.
        kill: k.
        diffusivities: of u and of v.
        spacing: h, the distance of grid points.
        substep: h_t, of Heun's method.

    Attributes:
        time: of the concentrations now.

    Raises:
        ValueError: initial concentrations of another shape.
    """

    def __init__(
        self,
        initial: FloatArray,
        block: Block,
        *,
        feed: float,
        kill: float,
        diffusivities: tuple[float, float],
        spacing: float,
        substep: float,
    ) -> None:
        if initial.shape != (2, *block.shape):
            raise ValueError(f"the initial field has shape {initial.shape}: this rank needs (2, *{block.shape})")
        self.time = 0.0
        self._substep = substep
        self._block = block
        self._padded = np.zeros((2, block.shape[0] + 2, block.shape[1] + 2))
        self._now = self._padded[:, 1:-1, 1:-1]
        self._now[:] = initial
        self._before = np.empty(initial.shape)
        self._rate = np.empty(initial.shape)
        self._scratch = np.empty(initial.shape)
        # Rates are computed times h_t. Diffusion, feed and kill together have one coefficient for the point itself.
        self._neighbours = np.reshape(diffusivities, (2, 1, 1)) * (substep / spacing**2)
        self._itself = 4.0 * self._neighbours + substep * np.reshape([feed, feed + kill], (2, 1, 1))
        self._inflow = substep * feed
        self._reaction = substep

    @property
    def concentration(self) -> FloatArray:
        """This rank's block of u and v now, shape (2, *block.shape): a new array, read-only."""
        copy = self._now.copy()
        copy.flags.writeable = False
        return copy

    def advance(self, num_substeps: int) -> None:
        """Move on by some substeps h_t; every rank calls it, and waits for its neighbours in each.

        Raises:
            FloatingPointError: on every rank: a concentration is not finite.
        """
        for _ in range(num_substeps):
            self._take_substep()
        self.time += num_substeps * self._substep
        # All ranks raise if one has to: a rank that went on alone would wait for its neighbours.
        if not self._block.everywhere(bool(np.isfinite(self._now).all())):
            raise FloatingPointError(
                f"the concentrations are not finite at time {self.time:g}: check feed, kill and the diffusivities, or "
                "give more substeps"
            )

    def _take_substep(self) -> None:
        """Heun: y' = y + h_t f(y), then y'' = (y + y' + h_t f(y')) / 2."""
        now, before, rate = self._now, self._before, self._rate
        before[:] = now
        self._compute_rate()
        now += rate
        self._compute_rate()
        now += before
        now += rate
        now *= 0.5

    def _compute_rate(self) -> None:
        """Put h_t f(y) into `rate`."""
        padded, now, rate, scratch = self._padded, self._now, self._rate, self._scratch
        self._block.exchange(padded)
        np.add(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], out=rate)
        np.add(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:], out=scratch)
        rate += scratch
        rate *= self._neighbours
        rate -= np.multiply(now, self._itself, out=scratch)
        consumed, square = scratch
        np.multiply(now[1], now[1], out=square)
        np.multiply(now[0], square, out=consumed)
        consumed *= self._reaction
        rate[1] += consumed
        consumed -= self._inflow
        rate[0] -= consumed
