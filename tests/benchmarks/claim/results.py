"""Finished runs as files: one each, with what it was configured by, so that none is mixed with a stale one."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["Curve", "Errors", "Folder", "Result", "fingerprint"]

#: Counted up when what a run measures has changed: older results are then stale.
_VERSION = 1
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Relative L2 errors of a surrogate over the samples of some simulations.

    Attributes:
        mean: of one step (direct: of the whole field), over samples and fields.
        median: likewise.
        p99: likewise; of 100 samples one is worse.
        max: likewise.
        mse: the loss in original units, mean squared error unless the case has another.
        rollout: mean over simulations at each step of a roll-out from the first one; empty for a direct surrogate.
    """

    mean: float
    median: float
    p99: float
    max: float
    mse: float
    rollout: tuple[float, ...] = ()

    @property
    def over_rollout(self) -> float:
        """Mean over the steps of the roll-out; NaN without one."""
        return sum(self.rollout) / len(self.rollout) if self.rollout else math.nan


@dataclass(frozen=True, slots=True)
class Curve:
    """Validation loss over wall time, production included.

    Attributes:
        seconds: since the production began.
        losses: of the held-out samples, original units.
    """

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def add(self, seconds: float, loss: float) -> None:
        """One more validation."""
        self.seconds.append(seconds)
        self.losses.append(loss)

    def loss_at(self, seconds: float) -> float:
        """The last loss by then; infinite before the first validation."""
        reached = [loss for second, loss in zip(self.seconds, self.losses, strict=True) if second <= seconds]
        return reached[-1] if reached else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run gave.

    Attributes:
        arm: its name.
        seed: of the study.
        num_simulations: unique ones that it was trained on.
        num_batches: training steps.
        held_out: errors on held-out simulations.
        training: errors on some that it was trained on.
        curve: of the validations.
        production_s: of the simulations, where they were written before the training; else 0.
        seconds: from the start of the production to the end of the training.
        bytes_written: to disk, by the simulations or by the study.
        input_wait: share of the training that waited for batches.
        load: of the machine when it began and when it ended: processes that wanted a core, over a minute.
        date: when it ended.
    """

    arm: str
    seed: int
    num_simulations: int
    num_batches: int
    held_out: Errors
    training: Errors
    curve: Curve
    production_s: float
    seconds: float
    bytes_written: int
    input_wait: float
    load: tuple[float, float]
    date: str


def fingerprint(configuration: Mapping[str, Any]) -> str:
    """Of all that decides what a run gives."""
    text = json.dumps({"version": _VERSION, **configuration}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Folder(Generic[Kept]):
    """The results of one table; a run that is there with the configuration that it would have now is finished.

    Args:
        path: made when the first result is written.
        kind: of a result, a dataclass.
    """

    def __init__(self, path: Path, kind: type[Kept]) -> None:
        self._path = path
        self._kind = kind

    def find(self, name: str, configuration: Mapping[str, Any]) -> Kept | None:
        """The result of a run; None: there is none, or it was configured otherwise."""
        try:
            kept = json.loads((self._path / f"{name}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if kept["fingerprint"] != fingerprint(configuration):
            return None
        return msgspec.convert(kept["result"], self._kind)

    def keep(self, name: str, configuration: Mapping[str, Any], result: Kept) -> None:
        """Write a result, whole or not at all; an older one of this name is replaced."""
        self._path.mkdir(parents=True, exist_ok=True)
        kept = {"fingerprint": fingerprint(configuration), "configuration": configuration, "result": asdict(result)}
        aside = self._path / f".{name}.{os.getpid()}"
        aside.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        aside.rename(self._path / f"{name}.json")

    def stale(self, names: Iterable[str], finished: Iterable[str]) -> list[str]:
        """Names of which there is a file that does not count."""
        done = set(finished)
        return [name for name in names if name not in done and (self._path / f"{name}.json").exists()]
