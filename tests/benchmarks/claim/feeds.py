"""The buffers benchmark as runs: the same training steps, fed by three buffers and from disk, at two paces."""

from dataclasses import dataclass

from tests.benchmarks.claim.runs import Run

__all__ = ["BUFFER_CASES", "BufferCase", "Pace"]


_NUM_VALIDATIONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast samples come, and how fast they are trained on.

    Attributes:
        name: of the production, in the table: slower or faster than the training.
        steps_per_s: time steps of each of the two solver jobs.
        batches_per_s: training steps.
    """

    name: str
    steps_per_s: float
    batches_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferCase:
    """A solver, a task, a network and a recipe, and how much is produced for them.

    The reservoir and a firo that draws each sample `views` times learn from as many simulations as offline does; fifo,
    and a firo that draws each once, need `views` times as many for the same training steps.

    Attributes:
        name: on the command line.
        surrogate: network and task, for the table.
        overrides: of the default study.
        solve: import path of the solver.
        num_batches: training steps, the same for all.
        num_simulations: that offline, the reservoir and the first firo are trained on.
        views: draws of each of their samples.
        capacity: of each buffer, in samples.
        paces: of the production and the training.
    """

    name: str
    surrogate: str
    overrides: tuple[str, ...]
    solve: str
    num_batches: int
    num_simulations: int
    views: int
    capacity: int
    paces: tuple[Pace, ...]

    def runs(self, seed: int) -> list[Run]:
        """Offline, then the buffers at each pace."""
        offline = Run(
            arm="offline",
            seed=seed,
            num_simulations=self.num_simulations,
            is_online=False,
            settings=self._settings(self.num_simulations, seed),
        )
        return [offline, *(run for pace in self.paces for run in self._online(pace, seed))]

    def _online(self, pace: Pace, seed: int) -> list[Run]:
        few, many = self.num_simulations, self.num_simulations * self.views
        watermark = f"buffer.watermark={self.capacity // 4}"
        feeds = {
            "fifo": (many, ("buffer=fifo", "buffer.views_per_sample=null")),
            "firo": (many, ("buffer=firo", "buffer.views_per_sample=null", watermark)),
            f"firo-{self.views}-views": (
                few,
                ("buffer=firo", "buffer.views_per_sample=null", watermark, f"buffer.pseudo_epochs={self.views}"),
            ),
            f"reservoir-{self.views}-views": (
                few,
                ("buffer=reservoir", watermark, f"buffer.views_per_sample={self.views}"),
            ),
        }
        return [
            Run(
                arm=f"{pace.name}-{name}",
                seed=seed,
                num_simulations=size,
                is_online=True,
                settings=(*self._settings(size, seed), *buffer, *self._paced(pace)),
            )
            for name, (size, buffer) in feeds.items()
        ]

    def _settings(self, num_simulations: int, seed: int) -> tuple[str, ...]:
        return (
            *self.overrides,
            "sampling=monte_carlo",
            "solver.num_ranks=1",
            "launcher.max_jobs=2",
            f"study.num_simulations={num_simulations}",
            f"study.seed={seed}",
            f"buffer.capacity={self.capacity}",
            f"training.max_batches={self.num_batches}",
            f"training.validation_interval={self.num_batches // _NUM_VALIDATIONS}",
            "training.schedule=null",
            "monitoring.figures=false",
            "monitoring.tensorboard=false",
        )

    def _paced(self, pace: Pace) -> tuple[str, ...]:
        return (
            "solver.solve._target_=tests.benchmarks.paced.paced",
            f"+solver.solve.solve={self.solve}",
            f"+solver.solve.rate={pace.steps_per_s}",
            "training.loop._target_=tests.benchmarks.paced.train_paced",
            f"+training.loop.rate={pace.batches_per_s}",
        )


BUFFER_CASES = (
    BufferCase(
        name="heat",
        surrogate="MLP, direct",
        overrides=(
            "study.num_validation_simulations=10",
            "training.batch_size=10",
            "training.optimizer.lr=1e-3",
            "training.optimizer.weight_decay=1e-4",
        ),
        solve="melissa_like.solvers.heat2d.solve",
        num_batches=4000,
        num_simulations=40,
        views=10,
        capacity=1000,
        paces=(
            Pace(name="slow", steps_per_s=200.0, batches_per_s=400.0),
            Pace(name="fast", steps_per_s=1000.0, batches_per_s=100.0),
        ),
    ),
    BufferCase(
        name="pde1d",
        surrogate="message passing, autoregressive, 25 steps at once",
        overrides=("experiment=icml23_pde1d", "study.num_validation_simulations=10"),
        solve="melissa_like.solvers.pde1d.solve",
        num_batches=360,
        num_simulations=64,
        views=10,
        capacity=400,
        paces=(
            Pace(name="slow", steps_per_s=500.0, batches_per_s=20.0),
            Pace(name="fast", steps_per_s=2000.0, batches_per_s=4.0),
        ),
    ),
)
