"""Who may be at fault when a training does not work: what the configuration names, by key."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import nn

from melissa_like.training.blame import blaming

__all__ = ["LOOP", "LOSS", "MODEL", "OPTIMIZER", "TASK", "Suspects"]

MODEL, TASK, LOSS, OPTIMIZER, LOOP = "model", "training.task", "training.loss", "training.optimizer", "training.loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """Import paths by the key that names them.

    Attributes:
        names: of everything that takes part.
        rate: the key that names the course of the learning rate, `training.schedule` or `training.scheduler`.
    """

    names: Mapping[str, str]
    rate: str = "training.schedule"

    def of(self, key: str) -> str:
        """A key with what it names, for a sentence."""
        return f"{key} ({self.names[key]})" if key in self.names else key

    def blame(
        self, key: str, doing: str, network: nn.Module | None = None, *, outside: str | None = None, remedy: str = ""
    ) -> AbstractContextManager[None]:
        """What is raised inside is told as the fault of a key; see `blaming`.

        Args:
            key: at fault.
            doing: what goes on inside.
            network: in whose layers it may happen; then the layer is named.
            outside: the key at fault if it happens in none of these; None: the same.
            remedy: what to do about it.
        """
        outside = None if outside is None else self.of(outside)
        return blaming(self.of(key), doing, network, outside=outside, remedy=remedy)
