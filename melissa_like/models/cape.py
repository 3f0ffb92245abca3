"""Channel attention guided by the parameters of the equation."""

from torch import Tensor, cat, nn

from melissa_like.models.conditioning import Conditioned, require_conditions
from melissa_like.models.grids import Pointwise, convolution
from melissa_like.models.spectral import SpectralConvolution, modes_of

__all__ = ["CAPE"]


class CAPE(nn.Module):
    """A first estimate of the next fields, made from the given ones and the parameters, is given to the network too.

    Takamoto, Alesiani and Niepert, "Learning Neural PDE Solvers with Parameter-Guided Channel Attention" (ICML 2023,
    arXiv 2304.14118). With the fields u, the conditions λ, and for each kernel k (of width 1, depthwise, spectral:
    values at a point, differences between neighbours, long waves)

        z_k = G_k * (W u),    a_k = MLP_k(λ),    û = u + V σ(Σ_k a_k ⊙ z_k)

    the network sees (u, û). An attention weight multiplies a channel everywhere, as a coefficient of an equation
    multiplies a derivative. Here it may have any size and sign, so that it can grow with the parameters beyond the
    range of the training. Other than in the paper, û has no loss of its own: it learns from the network's.

    Good values: 32 to 64 hidden channels, as many modes as the FNO.

    Args:
        conditioned: the network.
        hidden: channels of each kernel.
        modes: of the spectral kernel, one number for all axes, or one for each.
        kernel: width of the depthwise kernel, odd.
        embedding: width of the hidden layer of each MLP.

    Raises:
        ValueError: no fields to start from, neither parameters nor time, more modes than the grid has, an even kernel,
            or a size below 1.
    """

    def __init__(
        self,
        conditioned: Conditioned,
        hidden: int = 32,
        modes: int | tuple[int, ...] = 12,
        kernel: int = 5,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        require_conditions(conditioned, "CAPE")
        if not conditioned.num_field_channels:
            raise ValueError(
                "CAPE starts from the fields of the step before, and this problem has no input fields: take "
                "ConstantChannels or ScaleAndShift, or a task whose network is given fields"
            )
        if min(hidden, embedding) < 1 or kernel < 1 or kernel % 2 == 0:
            raise ValueError(
                f"CAPE has {hidden} hidden channels, a kernel of width {kernel} and an embedding of {embedding}: give "
                "1 or more, and an odd width"
            )
        grid, dimension, fields = conditioned.grid, len(conditioned.grid), conditioned.num_field_channels
        self.num_channels = conditioned.num_channels + fields
        self.lifting = Pointwise(fields, hidden)
        self.kernels = nn.ModuleList(
            (
                Pointwise(hidden, hidden),
                convolution(hidden, hidden, dimension, kernel=kernel, periodic=conditioned.periodic, groups=hidden),
                SpectralConvolution(hidden, hidden, grid, modes_of(modes, grid, "CAPE")),
            )
        )
        self.attention = nn.ModuleList(
            nn.Sequential(nn.Linear(conditioned.num_conditions, embedding), nn.GELU(), nn.Linear(embedding, hidden))
            for _ in self.kernels
        )
        self.activation = nn.GELU()
        self.projection = Pointwise(hidden, fields)
        self._num_fields = fields

    def enter(self, channels: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Conditioning`: the estimate follows the channels."""
        return cat([channels, self.estimate(channels[:, : self._num_fields], conditions)], dim=1), conditions

    def modulate(self, block: int, hidden: Tensor, embedding: Tensor) -> Tensor:
        """See `Conditioning`: nothing is changed."""
        return hidden

    def estimate(self, fields: Tensor, conditions: Tensor) -> Tensor:
        """û, [B, C, *grid], from fields of that shape and conditions [B, K]."""
        lifted = self.lifting(fields)
        places = (...,) + (None,) * (fields.ndim - 2)
        attended: Tensor = sum(
            attention(conditions)[places] * kernel(lifted)
            for attention, kernel in zip(self.attention, self.kernels, strict=True)
        )
        estimated: Tensor = fields + self.projection(self.activation(attended))
        return estimated
