"""One run: all that decides what it gives, and its result, from a file if it has finished before."""

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import OmegaConf

from tests.benchmarks.claim.results import Folder, Result
from tests.benchmarks.streams import composed

__all__ = ["Run", "Trainer", "chosen", "configuration_of", "finished", "run_missing"]

#: What an experiment or a group may say about a run besides the overrides.
_DECIDES = (
    "model",
    "solver.solve",
    "solver.fields",
    "solver.parameters",
    "solver.num_steps",
    "sampling",
    "training.task",
    "training.loss",
    "training.optimizer",
    "training.schedule",
    "training.batch_size",
    "training.gradient_clip",
    "buffer.capacity",
    "buffer.window",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training, online or offline.

    Attributes:
        arm: what it belongs to, in the table.
        seed: of the study.
        num_simulations: unique ones that it is trained on.
        is_online: they come through a buffer while it trains; else from disk.
        settings: overrides of the default study; offline takes the recipe, the sampler and the numbers from it.
    """

    arm: str
    seed: int
    num_simulations: int
    is_online: bool
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.arm}-seed-{self.seed}"


def configuration_of(run: Run) -> dict[str, Any]:
    """All that decides what a run gives, as the configuration is composed now."""
    seedless = tuple(setting for setting in run.settings if not setting.startswith("study.seed="))
    return {**asdict(run), "settings": list(run.settings), "composed": _composed(seedless)}


@functools.cache
def _composed(settings: tuple[str, ...]) -> dict[str, Any]:
    config = composed(*settings)
    chosen = {key: OmegaConf.select(config, key) for key in _DECIDES}
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in chosen.items()
    }


def chosen(runs: Sequence[Run], arms: Sequence[str] | None) -> list[Run]:
    """The runs of the arms that are named; None: all.

    Raises:
        ValueError: a name that no arm has.
    """
    known = list(dict.fromkeys(run.arm for run in runs))
    unknown = [arm for arm in arms or () if arm not in known]
    if unknown:
        raise ValueError(f"--only is {', '.join(unknown)}, and the table has {', '.join(known)}: name one of these")
    return [run for run in runs if not arms or run.arm in arms]


Trainer = Callable[[Run], Result]


def run_missing(kept: Folder[Result], runs: Iterable[Run], *, online: Trainer, offline: Trainer) -> None:
    """Run what has not finished yet, one after another; each result is kept at once."""
    for run in runs:
        configuration = configuration_of(run)
        if kept.find(run.name, configuration) is None:
            sys.stdout.write(f"{run.name}\n")
            sys.stdout.flush()
            kept.keep(run.name, configuration, (online if run.is_online else offline)(run))


def finished(kept: Folder[Result], runs: Iterable[Run]) -> dict[str, list[Result]]:
    """Results that are there and not stale, by arm; an arm without any is left out."""
    found: dict[str, list[Result]] = {}
    for run in runs:
        result = kept.find(run.name, configuration_of(run))
        if result is not None:
            found.setdefault(run.arm, []).append(result)
    return found
