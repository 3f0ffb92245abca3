"""One training step: forward, loss, gradients over all ranks, optimizer.

The gradient of a step is the sum over the samples of all ranks divided by their number, however they are spread: two
ranks with uneven batches step as one rank with the joined batch, and a rank without samples adds zero. DDP averages
over R ranks, so the summed loss of a rank is weighed by R / num_samples_global (DESIGN §3, rule 6).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from melissa_like.loading import Batch, Turn
from melissa_like.training.objective import PRECISIONS

__all__ = ["Optimization", "TrainingStep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """How a step computes.

    Attributes:
        precision: of the network's forward and backward pass, `float32` or `bf16` (autocast; weights and loss stay
            float32).
        compile: compile the network with `torch.compile`.
        gradient_clip: largest norm of the gradient; None: as it is.

    Raises:
        ValueError: an unknown precision, or a norm that is not positive.
    """

    precision: str = "float32"
    compile: bool = False
    gradient_clip: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}: write one of {', '.join(PRECISIONS)}")
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise ValueError(f"gradient_clip is {self.gradient_clip}: write a norm above 0, or null for none")


class TrainingStep:
    """Takes one training step per turn.

    Args:
        objective: of all ranks, from a batch and the progress to the loss of each sample.
        optimizer: of the weights.
        weights: whose gradient is clipped.
        num_ranks: that the objective joins.
        gradient_clip: largest norm of the gradient; None: as it is.
        observe: told the loss of each sample of this rank; None: nobody asks.
    """

    def __init__(
        self,
        objective: nn.Module,
        optimizer: Optimizer,
        *,
        weights: Iterable[nn.Parameter],
        num_ranks: int,
        gradient_clip: float | None = None,
        observe: Callable[[Batch, Tensor], None] | None = None,
    ) -> None:
        self._objective = objective
        self._optimizer = optimizer
        self._weights = list(weights)
        self._num_ranks = num_ranks
        self._clip = gradient_clip
        self._observe = observe

    def __call__(self, turn: Turn) -> Tensor:
        """Take one training step; blocks in the all-reduce of the gradients until every rank has come.

        Returns:
            The summed loss of this rank's samples, a scalar on the device; zero without samples.
        """
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._objective(turn.batch, turn.progress)
        summed: Tensor = losses.sum()
        torch.autograd.backward(summed * (self._num_ranks / turn.num_samples_global))
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._weights, self._clip)
        self._optimizer.step()
        if self._observe is not None and turn.batch is not None:
            self._observe(turn.batch, losses.detach())
        return summed.detach()
