"""What a case is: everything but how the network is fed is the same in all arms of a case."""

from dataclasses import dataclass

from tests.benchmarks.claim.runs import Run

__all__ = ["Arm", "Case"]

#: Simulations on disk, in units of the smallest number.
_MULTIPLES = (1, 4, 16)
_NUM_VALIDATIONS = 8


@dataclass(frozen=True, slots=True)
class Arm:
    """How a network is fed.

    Attributes:
        name: in the table, and of its files.
        num_simulations: unique ones that it is trained on.
        is_online: they come through the reservoir while it trains; else from disk.
    """

    name: str
    num_simulations: int
    is_online: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A solver, a task, a network and a recipe, at one scale.

    Attributes:
        name: on the command line.
        scale: of the machine that it is meant for.
        surrogate: network and task, for the table.
        published_gain: per cent, by the paper; None: it gives none.
        overrides: of the default study; the parameters are drawn by Monte Carlo, so that the first N simulations of a
            seed are the same ones in every arm.
        num_batches: training steps, the same in all arms.
        num_offline: N, the smallest number of simulations on disk.
        num_online: fresh simulations.
        views: draws of each sample online.
        reason: why this N.
        num_held_out: simulations that no arm is trained on, the same ones in all.
    """

    name: str
    scale: str
    surrogate: str
    published_gain: int | None
    overrides: tuple[str, ...]
    num_batches: int
    num_offline: int
    num_online: int
    views: int
    reason: str
    num_held_out: int = 20

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Offline with N, 4 N and 16 N, then online."""
        sizes = [self.num_offline * multiple for multiple in _MULTIPLES]
        return (*(Arm(f"offline-{size}", size, False) for size in sizes), Arm("online", self.num_online, True))

    def run(self, arm: Arm, seed: int) -> Run:
        """One run of an arm."""
        return Run(
            arm=arm.name,
            seed=seed,
            num_simulations=arm.num_simulations,
            is_online=arm.is_online,
            settings=self.settings(seed),
        )

    def settings(self, seed: int) -> tuple[str, ...]:
        """Overrides of the study that the online arm is; the offline arms take all that they need from them."""
        return (
            *self.overrides,
            f"study.num_simulations={self.num_online}",
            f"study.num_validation_simulations={self.num_held_out}",
            f"study.seed={seed}",
            f"buffer.views_per_sample={self.views}",
            f"training.max_batches={self.num_batches}",
            "training.schedule_on=batches",
            f"training.validation_interval={self.num_batches // _NUM_VALIDATIONS}",
            "monitoring.figures=false",
            "monitoring.tensorboard=false",
        )
