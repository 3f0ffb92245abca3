"""One training step: forward, loss, gradients over all ranks, optimizer.

The gradient of a step is the sum over the samples of all ranks divided by their number, however they are spread: two
ranks with uneven batches step as one rank with the joined batch, and a rank without samples adds zero. DDP averages
over R ranks, so the summed loss of a rank is weighed by R / num_samples_global (DESIGN §3, rule 6).
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from melissa_like.loading import Batch, Turn
from melissa_like.training.losses import Loss, per_sample
from melissa_like.training.modes import evaluating
from melissa_like.training.surrogate import Surrogate

__all__ = ["Optimization", "TrainingStep"]

_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


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
        if self.precision not in _DTYPES:
            raise ValueError(f"precision is {self.precision!r}: write one of {', '.join(_DTYPES)}")
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise ValueError(f"gradient_clip is {self.gradient_clip}: write a norm above 0, or null for none")


class TrainingStep:
    """Trains a surrogate's network by one turn at a time.

    Args:
        surrogate: on the device of the batches.
        loss: one value per sample, applied in normalized units.
        optimizer: of the network's parameters.
        num_ranks: with more than 1, the default process group must be up, on every rank.
        optimization: how to compute.
    """

    def __init__(
        self, surrogate: Surrogate, loss: Loss, optimizer: Optimizer, *, num_ranks: int, optimization: Optimization
    ) -> None:
        self._surrogate = surrogate
        self._loss = loss
        self._optimizer = optimizer
        self._num_ranks = num_ranks
        self._clip = optimization.gradient_clip
        self._dtype = _DTYPES[optimization.precision]
        if optimization.compile:
            surrogate.network.compile()
        self._network = _joined(surrogate.network, surrogate.device) if num_ranks > 1 else surrogate.network

    def __call__(self, turn: Turn) -> torch.Tensor:
        """Take one training step; blocks in the all-reduce of the gradients until every rank has come.

        Returns:
            The summed loss of this rank's samples, a scalar on the device; zero without samples.
        """
        self._optimizer.zero_grad(set_to_none=True)
        summed = self._nothing() if turn.batch is None else self._summed_loss(turn.batch)
        torch.autograd.backward(summed * (self._num_ranks / turn.num_samples_global))
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._surrogate.network.parameters(), self._clip)
        self._optimizer.step()
        return summed.detach()

    def _summed_loss(self, batch: Batch) -> torch.Tensor:
        inputs, targets = self._surrogate.examples(batch)
        predictions = self._predict(self._surrogate.input_normalization(inputs))
        return per_sample(self._loss, predictions, self._surrogate.output_normalization(targets)).sum()

    def _nothing(self) -> torch.Tensor:
        """A zero that depends on every weight, so that DDP reduces all gradients; batch statistics stay untouched."""
        with evaluating(self._network):
            centre = torch.zeros_like(self._surrogate.input_normalization.shift).unsqueeze(0)
            return self._predict(centre).sum() * 0.0

    def _predict(self, normalized_inputs: torch.Tensor) -> torch.Tensor:
        enabled = self._dtype != torch.float32
        with torch.autocast(normalized_inputs.device.type, dtype=self._dtype, enabled=enabled):
            predictions: torch.Tensor = self._network(normalized_inputs)
        return predictions.float()


def _joined(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with gradients averaged over the ranks; all start from rank 0's weights."""
    device_ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=device_ids, gradient_as_bucket_view=True)
