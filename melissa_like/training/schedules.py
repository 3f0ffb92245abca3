"""Learning rates: a factor as a function of progress, or a scheduler of torch.

Online, the number of training steps is not known in advance, the number of samples to come is. So the default measures
progress by samples delivered: 0 at the start, 1 when the last one has arrived, equal on all ranks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = [
    "Constant",
    "Cosine",
    "LearningRate",
    "LearningRateFactory",
    "Linear",
    "Schedule",
    "Warmup",
    "by_scheduler",
    "on_batches",
    "on_samples",
]

#: From progress in [0, 1] to a factor of the optimizer's learning rate.
Schedule: TypeAlias = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Constant:
    """Factor 1 throughout."""

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """From 1 straight down to `floor`: 1 − (1 − floor) p.

    Raises:
        ValueError: a floor outside [0, 1].
    """

    floor: float = 0.01

    def __post_init__(self) -> None:
        _check_share("floor", self.floor)

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return 1 - (1 - self.floor) * progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """From 1 down to `floor` along half a cosine: floor + (1 − floor)(1 + cos πp) / 2.

    Raises:
        ValueError: a floor outside [0, 1].
    """

    floor: float = 0.01

    def __post_init__(self) -> None:
        _check_share("floor", self.floor)

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """Rises linearly from `start` to 1 over the first `share` of the progress, then runs a schedule over the rest.

    Good values: a share of 0.01 to 0.1.

    Raises:
        ValueError: a number outside its range.
    """

    then: Schedule
    share: float = 0.05
    start: float = 0.01

    def __post_init__(self) -> None:
        _check_share("start", self.start)
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}: write a number between 0 and 1, both excluded")

    def __call__(self, progress: float) -> float:
        """The factor at this progress."""
        if progress < self.share:
            return self.start + (1 - self.start) * progress / self.share
        return self.then((progress - self.share) / (1 - self.share))


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}: write a number from 0 to 1")


class LearningRate(Protocol):
    """Sets the learning rate of an optimizer around each training step."""

    def before_step(self, progress: float, batches: int) -> None:
        """A training step begins: share of the samples delivered, training steps done before."""

    def after_step(self) -> None:
        """The optimizer has stepped."""

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""


LearningRateFactory: TypeAlias = Callable[[Optimizer], LearningRate]


class _Scheduled:
    """Multiplies the optimizer's own learning rates by a schedule's factor."""

    def __init__(self, optimizer: Optimizer, schedule: Schedule, max_batches: int | None) -> None:
        self._optimizer = optimizer
        self._schedule = schedule
        self._max_batches = max_batches
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]

    def before_step(self, progress: float, batches: int) -> None:
        if self._max_batches is not None:
            progress = min(1.0, batches / self._max_batches)
        factor = self._schedule(progress)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def after_step(self) -> None:
        """The next step sets it anew."""

    def state_dict(self) -> dict[str, Any]:
        return {"rates": list(self._rates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rates = list(state["rates"])


class _Stepped:
    """Steps a scheduler of torch after each training step; one that has an end keeps its last learning rate then."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self._scheduler = scheduler
        # OneCycleLR raises behind its last step, and nobody knows exactly how many a study will have.
        self._num_steps: int | None = getattr(scheduler, "total_steps", None)

    def before_step(self, progress: float, batches: int) -> None:
        """The scheduler counts for itself."""

    def after_step(self) -> None:
        if self._num_steps is None or self._scheduler.last_epoch < self._num_steps - 1:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return self._scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scheduler.load_state_dict(state)


def on_samples(schedule: Schedule) -> LearningRateFactory:
    """A schedule over the share of the expected samples delivered."""
    return lambda optimizer: _Scheduled(optimizer, schedule, None)


def on_batches(schedule: Schedule, max_batches: int) -> LearningRateFactory:
    """A schedule over the share of the training steps done.

    Raises:
        ValueError: `max_batches` below 1.
    """
    if max_batches < 1:
        raise ValueError(f"max_batches is {max_batches}: the schedule needs at least 1 training step")
    return lambda optimizer: _Scheduled(optimizer, schedule, max_batches)


def by_scheduler(scheduler: Callable[[Optimizer], LRScheduler]) -> LearningRateFactory:
    """A scheduler of torch, called with the optimizer and stepped once per training step, to its end if it has one."""
    return lambda optimizer: _Stepped(scheduler(optimizer))
