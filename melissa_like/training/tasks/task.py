"""The contract of a task, and what a task may offer besides: to predict one sample, to roll out."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.models import Problem
from melissa_like.records import Window
from melissa_like.training.normalization import Normalization

__all__ = ["Compared", "Predicts", "RollsOut", "Task", "TaskFactory"]

#: Predictions and targets by target field: normalized, [B, C, *grid], or [B, K, C, *grid] for K time steps.
Compared: TypeAlias = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]


class Task(Protocol):
    """Between the samples of a study and a network.

    Fields are [B, *shape] in a batch, and [B, L, *shape] if a sample is a window of L time steps. A network knows no
    such axis: [B, C, *grid], with several time steps stacked into the components, those of the earliest step first.
    What is compared in a loss and what is restored may have an axis of K predicted time steps behind that of the
    samples; the loss of a sample is then the mean over these steps.

    On an extent the points of all samples follow one another in the first axis, in place of the samples, and an axis of
    components is always there: [ΣN, C], or [ΣN, L, C] and [ΣN, K, C] with time steps. `Batch` says more.
    """

    @property
    def window(self) -> Window | None:
        """What a sample holds: several steps of a simulation, or one (None)."""

    @property
    def problem(self) -> Problem:
        """What the network is built from: what it is given in one call, and returns."""

    @property
    def quantities(self) -> Mapping[str, int]:
        """What is normalized, by name, with its components. One that bears the name of a field has its bounds."""

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """The quantities of a batch in original units, [n, C, *grid]: their statistics are taken from these."""

    def compare(self, network: nn.Module, scale: Normalization, batch: Batch, progress: float) -> Compared:
        """What a training step compares: predictions that depend on the weights, and what they should have been.

        Args:
            network: may be called several times, and without gradient; one call with gradient at least.
            scale: of the quantities, the parameters and the time.
            batch: of this rank, which may differ in size from that of another.
            progress: share of the study's samples delivered, 0 to 1, equal on all ranks.
        """

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """What the network predicts for a batch, by target field: normalized, [B, C, *grid] or [B, K, C, *grid].

        Every step of it is predicted from what the solver sent, so that its error is that of one call.
        """

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """What `advance` should give, in the same shapes."""

    def restore(self, scale: Normalization, batch: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The target fields in original units, [B, *shape] or [B, K, *shape], from what `advance` or `targets` gave."""

    def truth(self, batch: Batch) -> Mapping[str, Tensor]:
        """What `restore` should give for a batch, as the solver sent it: float32, in the same shapes."""


@runtime_checkable
class Predicts(Protocol):
    """A task that can be asked for one sample."""

    @property
    def request(self) -> Callable[..., Batch]:
        """`request(parameters, **asked)`: the batch of one, on the CPU, that `predict` with these arguments stands for.

        Raises:
            ValueError: a parameter is missing or unknown, or what is asked has another shape.
        """


@runtime_checkable
class RollsOut(Protocol):
    """A task that goes on from some time steps as far as one likes.

    Time steps are those of a window, `stride` apart in the numbers of the solver.
    """

    @property
    def history(self) -> int:
        """Time steps that it begins with."""

    @property
    def stride(self) -> int:
        """Distance of its time steps in those of the solver."""

    @property
    def longest(self) -> int | None:
        """Time steps that it has learned to predict behind the history; None: any number."""

    def one_call(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Tensor]:
        """What one call predicts, in original units, [B, k, *shape] by target: what an export is made of.

        Args:
            network: called once.
            scale: as in training.
            batch: with nothing but what the call is given.
        """

    def begin(
        self,
        fields: Mapping[str, npt.ArrayLike],
        parameters: Mapping[str, float],
        num_steps: int,
        *,
        step: int = 0,
        static: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Batch:
        """The batch of one, on the CPU, that a roll-out begins with.

        Args:
            fields: by name, in original units, [history, *shape], or [*shape] if that is one; of fields that are
                inputs only also the time steps that follow.
            parameters: by name, in original units.
            num_steps: to be predicted.
            step: number of the first time step that is given.
            static: what the network is given of a simulation's static data, by name: [*grid] or [components, *grid].

        Raises:
            ValueError: a parameter, a field or static data is missing or unknown, or has another shape.
        """

    def roll_out(
        self, network: nn.Module, scale: Normalization, batch: Batch, num_steps: int
    ) -> Iterator[Mapping[str, Tensor]]:
        """The time steps that follow on the history, in order, in original units: pieces [B, k, *shape] by target.

        Args:
            network: is given nothing that the solver sent after the history, but fields that are inputs only.
            scale: as in training.
            batch: its first `history` time steps are the history.
            num_steps: of all pieces together.
        """


#: Called with `layout` and its own options.
TaskFactory: TypeAlias = Callable[..., Task]
