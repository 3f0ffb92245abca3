"""The contract of a task."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import Problem
from melissa_like.records import Window
from melissa_like.training.normalization import Normalization

__all__ = ["Task", "TaskFactory"]


class Task(Protocol):
    """Between the samples of a study and a network. Fields are [B, *shape] in a batch, [B, C, *grid] for a network."""

    @property
    def window(self) -> Window | None:
        """What a sample holds: several steps of a simulation, or one (None)."""

    @property
    def problem(self) -> Problem:
        """What the network is built from."""

    @property
    def quantities(self) -> Mapping[str, int]:
        """What is normalized, by name, with its components. One that bears the name of a field has its bounds."""

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """The quantities of a batch in original units, [B, C, *grid]: their statistics are taken from these."""

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """What the network should return, by target field: normalized, [B, C, *grid]."""

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """What the network makes of a batch, by target field: normalized, [B, C, *grid].

        Args:
            network: may be called several times.
            scale: of the quantities, the parameters and the time.
            batch: its targets are not looked at, or only as inputs of a later call.
            progress: share of the study's samples delivered, 0 to 1; 1 when it predicts.
        """

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The target fields in original units, [B, *shape], from what `advance` or `targets` gave for the batch."""

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """What `restore` should give for a batch, as the solver sent it: float32, [B, *shape]."""

    @property
    def request(self) -> Callable[..., Batch]:
        """`request(parameters, **asked)`: the batch of one, on the CPU, that `predict` with these arguments stands for.

        Raises:
            ValueError: a parameter is missing or unknown, or what is asked has another shape.
        """


#: Called with `layout` and its own options.
TaskFactory: TypeAlias = Callable[..., Task]
