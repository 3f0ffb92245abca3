"""How parameters and time reach a network on a grid: conditionings, to be chosen by import path.

A network is given a conditioning as a factory and calls it once, with what it is to condition. Two places are open to
it: the channels that the first layer sees, and what each block has made. Yours needs no base class, only the names of
`Conditioning`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor, cat, nn

from melissa_like.models.grids import GridInputs, over_grid

__all__ = [
    "Conditioned",
    "Conditioning",
    "ConditioningFactory",
    "ConstantChannels",
    "ScaleAndShift",
    "require_conditions",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioned:
    """A network that is to be conditioned.

    Attributes:
        num_conditions: parameters and time together.
        num_channels: of what it is given on the grid: fields, then coordinates.
        num_field_channels: of the fields alone.
        grid: points along each axis.
        periodic: whether the grid is.
        widths: channels that each of its blocks makes.
    """

    num_conditions: int
    num_channels: int
    num_field_channels: int
    grid: tuple[int, ...]
    periodic: bool
    widths: tuple[int, ...]

    @classmethod
    def of(cls, inputs: GridInputs, grid: tuple[int, ...], *, periodic: bool, widths: Sequence[int]) -> Self:
        """The network that has these inputs."""
        return cls(
            num_conditions=inputs.num_conditions,
            num_channels=inputs.num_channels,
            num_field_channels=inputs.num_field_channels,
            grid=grid,
            periodic=periodic,
            widths=tuple(widths),
        )


class Conditioning(Protocol):
    """A module that tells a network its parameters and the time.

    Attributes:
        num_channels: that the first layer sees.
    """

    num_channels: int

    def enter(self, channels: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """What the first layer sees, [B, num_channels, *grid], and what `modulate` is to be given, [B, E].

        Args:
            channels: fields, then coordinates, [B, C, *grid].
            conditions: parameters, then time, [B, K].
        """
        ...

    def modulate(self, block: int, hidden: Tensor, embedding: Tensor) -> Tensor:
        """What a block has made before its activation, [B, width, *grid], changed; the block by number."""
        ...


ConditioningFactory = Callable[[Conditioned], Conditioning]


class ConstantChannels(nn.Module):
    """Each parameter, and the time, is a channel of its own that is constant on the grid.

    What most published networks do. It costs nothing, and a problem without parameters is no problem.
    """

    def __init__(self, conditioned: Conditioned) -> None:
        super().__init__()
        self.num_channels = conditioned.num_channels + conditioned.num_conditions

    def enter(self, channels: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Conditioning`: the conditions follow as channels."""
        return cat([channels, over_grid(conditions, tuple(channels.shape[2:]))], dim=1), conditions

    def modulate(self, block: int, hidden: Tensor, embedding: Tensor) -> Tensor:
        """See `Conditioning`: nothing is changed."""
        return hidden


class ScaleAndShift(nn.Module):
    """Each block's channels are scaled and shifted by what is made of the conditions.

    h ← (1 + s) h + b with (s, b) = W e + c per block and the embedding e = σ(W₂ σ(W₁ λ)), one for all blocks. Perez et
    al., "FiLM: Visual Reasoning with a General Conditioning Layer" (AAAI 2018), equation 2; for surrogates of equations
    Gupta and Brandstetter, "Towards Multi-spatiotemporal-scale Generalized PDE Modeling" (TMLR 2023).

    Args:
        conditioned: the network.
        hidden: width of the embedding; good values are 32 to 256.

    Raises:
        ValueError: nothing to condition on, or a width below 1.
    """

    def __init__(self, conditioned: Conditioned, hidden: int = 64) -> None:
        super().__init__()
        require_conditions(conditioned, "ScaleAndShift")
        if hidden < 1:
            raise ValueError(f"the embedding of ScaleAndShift has the width {hidden}: give 1 or more")
        self.num_channels = conditioned.num_channels
        self.embedding = nn.Sequential(
            nn.Linear(conditioned.num_conditions, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )
        self.blocks = nn.ModuleList(nn.Linear(hidden, 2 * width) for width in conditioned.widths)

    def enter(self, channels: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Conditioning`: the channels alone."""
        return channels, self.embedding(conditions)

    def modulate(self, block: int, hidden: Tensor, embedding: Tensor) -> Tensor:
        """See `Conditioning`: scaled and shifted."""
        factors = self.blocks[block](embedding)
        scale, shift = factors[(...,) + (None,) * (hidden.ndim - 2)].chunk(2, dim=1)
        modulated: Tensor = hidden + scale * hidden + shift
        return modulated


def require_conditions(conditioned: Conditioned, name: str) -> None:
    """Refuse a network that is given nothing to condition on.

    Raises:
        ValueError: it has neither parameters nor time.
    """
    if not conditioned.num_conditions:
        raise ValueError(
            f"{name} conditions on parameters or the time, and this problem has neither: leave `conditioning` out, or "
            "let the task give parameters to the network"
        )
