"""What is compared: everything but how the network is fed is the same in all arms of a case."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.claim.runs import Run

__all__ = ["CASES", "SCALES", "Arm", "Case", "case_named"]

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
        scale: of the machine that it is meant for, one of `SCALES`.
        surrogate: network and task, for the table.
        published_gain: per cent, by the paper; None: it gives none.
        overrides: of the default study.
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


_RATIO = (
    "the large study of SC'23 trained on 20,000 simulations online and on 250 from disk, 80 times as many; 80 times "
    "fewer than come online here"
)
#: Drawn by Monte Carlo: the first N simulations of a seed are the same ones in every arm.
_HEAT = ("experiment=icml23_heat",)

_GRAY_SCOTT = (
    "solver=gray_scott2d",
    "model=unet",
    "model.multipliers=[1,2]",
    "solver.solve.grid_size=32",
    "training.task._target_=melissa_like.training.Autoregressive",
    "training.batch_size=16",
    "training.optimizer.lr=1e-3",
)
_NAVIER_STOKES = (
    "solver=navier_stokes2d",
    "model=fno",
    "model.channels=24",
    "solver.solve.grid_size=32",
    "training.task._target_=melissa_like.training.Autoregressive",
    "training.batch_size=16",
    "training.optimizer.lr=1e-3",
)
_PDE1D = (
    "solver=pde1d",
    "model=message_passing",
    "training.task._target_=melissa_like.training.Autoregressive",
    "+training.task.history=25",
    "+training.task.bundle=25",
    "+training.task.horizon=2",
    "+training.task.curriculum={_target_:melissa_like.training.curriculum.Pushforward}",
    "+training.task.parameters=false",
    "buffer.window.hop=25",
    "buffer.capacity=1000",
    "training.batch_size=16",
    "training.optimizer.lr=1e-3",
)
_CORES = ("sampling=monte_carlo", "launcher.max_jobs=2")

CASES = (
    Case(
        name="heat",
        scale="cores",
        surrogate="MLP, direct",
        published_gain=68,
        overrides=_HEAT,
        num_batches=3000,
        num_offline=12,
        num_online=960,
        views=2,
        reason=_RATIO,
    ),
    Case(
        name="heat",
        scale="gpu",
        surrogate="MLP, direct",
        published_gain=68,
        overrides=(
            *_HEAT,
            "solver.num_ranks=4",
            "solver.solve.grid_size=256",
            "model.hidden=[512,512]",
            "launcher.max_jobs=16",
            "buffer.capacity=20000",
            "training.device=cuda",
        ),
        num_batches=25_000,
        num_offline=100,
        num_online=8000,
        views=2,
        reason=_RATIO,
        num_held_out=50,
    ),
    Case(
        name="navier_stokes",
        scale="cores",
        surrogate="FNO, autoregressive",
        published_gain=16,
        overrides=(*_NAVIER_STOKES, *_CORES),
        num_batches=1950,
        num_offline=5,
        num_online=400,
        views=2,
        reason=_RATIO,
    ),
    Case(
        name="gray_scott",
        scale="cores",
        surrogate="U-Net, autoregressive",
        published_gain=None,
        overrides=(*_GRAY_SCOTT, *_CORES),
        num_batches=2340,
        num_offline=6,
        num_online=480,
        views=2,
        reason=_RATIO,
    ),
    Case(
        name="pde1d",
        scale="cores",
        surrogate="message passing, autoregressive, 25 steps at once",
        published_gain=7,
        overrides=(*_PDE1D, *_CORES),
        num_batches=960,
        num_offline=12,
        num_online=960,
        views=2,
        reason=_RATIO,
    ),
    Case(
        name="gray_scott",
        scale="minute",
        surrogate="U-Net, autoregressive",
        published_gain=None,
        overrides=(
            *_GRAY_SCOTT,
            *_CORES,
            "solver.solve.grid_size=16",
            "solver.num_steps=11",
            "model.channels=8",
            "buffer.capacity=200",
        ),
        num_batches=80,
        num_offline=2,
        num_online=64,
        views=2,
        reason=_RATIO,
        num_held_out=4,
    ),
    Case(
        name="heat",
        scale="minute",
        surrogate="MLP, direct",
        published_gain=68,
        overrides=(*_HEAT, "solver.solve.grid_size=8", "solver.num_steps=20"),
        num_batches=100,
        num_offline=2,
        num_online=160,
        views=2,
        reason=_RATIO,
        num_held_out=4,
    ),
)
#: Two cores of a laptop; a node with a GPU; a minute of two cores, to see it work.
SCALES = ("cores", "gpu", "minute")


def case_named(name: str, scale: str, cases: Sequence[Case] = CASES) -> Case:
    """One case.

    Raises:
        ValueError: there is none of this name at this scale.
    """
    for case in cases:
        if (case.name, case.scale) == (name, scale):
            return case
    known = ", ".join(dict.fromkeys(case.name for case in cases if case.scale == scale))
    raise ValueError(f"the case is {name!r} and the scale {scale!r}: there the cases are {known}")
