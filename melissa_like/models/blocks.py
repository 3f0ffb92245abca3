"""What a U-Net is made of: residual blocks, attention over all points, and the ways between its levels."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn, unflatten
from torch.nn import functional

from melissa_like.models.conditioning import Conditioning
from melissa_like.models.grids import Pointwise, convolution

__all__ = ["Attention", "ResidualBlock", "Up"]


def _group_norm(groups: int | None, channels: int) -> nn.Module:
    return nn.Identity() if groups is None else nn.GroupNorm(groups, channels)


class ResidualBlock(nn.Module):
    """x ↦ S x + K₂ σ(m(N₂ K₁ σ(N₁ x))): two convolutions K of width 3 behind norms N and activations σ.

    m is what the conditioning does; S is the identity where the number of channels does not change. The order is that
    of He et al., "Identity Mappings in Deep Residual Networks" (ECCV 2016), figure 1b.

    Args:
        before: channels that it is given.
        after: channels that it returns.
        dimension: axes of the grid.
        number: of the block, for the conditioning.
        periodic: whether the grid is.
        groups: of channels that are normalized together; None: no normalization.
        activation: called once.
    """

    def __init__(
        self,
        before: int,
        after: int,
        dimension: int,
        *,
        number: int,
        periodic: bool,
        groups: int | None,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.first_norm = _group_norm(groups, before)
        self.first = convolution(before, after, dimension, kernel=3, periodic=periodic)
        self.second_norm = _group_norm(groups, after)
        self.second = convolution(after, after, dimension, kernel=3, periodic=periodic)
        self.skip = nn.Identity() if before == after else Pointwise(before, after)
        self.activation = activation()
        self._number = number

    def forward(self, values: Tensor, conditioning: Conditioning, embedding: Tensor) -> Tensor:
        """From [B, before, *grid] to [B, after, *grid]; the embedding is what the conditioning is given back."""
        hidden = self.second_norm(self.first(self.activation(self.first_norm(values))))
        hidden = conditioning.modulate(self._number, hidden, embedding)
        added: Tensor = self.skip(values) + self.second(self.activation(hidden))
        return added


class Attention(nn.Module):
    """Every point attends to every other: Vaswani et al., "Attention Is All You Need" (NeurIPS 2017), equation 1.

    Memory and time grow with the square of the number of points: for coarse grids.

    Args:
        channels: of the grid.
        heads: as many as the channels can be cut into.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.project = Pointwise(channels, 3 * channels)
        self.back = Pointwise(channels, channels)
        self.heads = heads

    def forward(self, values: Tensor) -> Tensor:
        """[B, channels, *grid], added to what was given."""
        query, key, value = (
            unflatten(self.project(self.norm(values)).flatten(2), 1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        )
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(-1, -2).flatten(1, 2)
        added: Tensor = values + self.back(unflatten(seen, 2, values.shape[2:]))
        return added


class Up(nn.Module):
    """From a coarse grid to a finer one: the channels are mapped, then each value is repeated.

    Args:
        before: channels that it is given.
        after: channels that it returns.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.map = Pointwise(before, after)

    def forward(self, values: Tensor, grid: Sequence[int]) -> Tensor:
        """From [B, before, *coarse] to [B, after, *grid]."""
        return functional.interpolate(self.map(values), size=list(grid), mode="nearest")
