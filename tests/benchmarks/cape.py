"""Networks that are told parameters in different ways, on parameters that they were not trained on.

The claim of CAPE (Takamoto et al., ICML 2023): with parameter-guided channel attention a network generalizes better to
parameters outside the range of its training. Here on u_t + (α u² - β u_x + γ u_xx)_x = 0, without forcing: each of α,
β, γ is trained on in the middle half of the range of Brandstetter et al. (E3); outside are draws from the whole range
of which at least one lies beyond that half. All arms of a network have the same data, in memory, the same recipe and
number of training steps. Each finished run is a file below runs/benchmarks/cape, so that an interrupted table goes on
where it stopped.
"""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from melissa_like.config import Config, layout_of
from melissa_like.launcher.run import prepare
from melissa_like.launcher.rundir import solver_call_of
from melissa_like.loading import Batch, Turn
from melissa_like.records import Purpose
from melissa_like.server.build_training import make_loop, make_stream, make_surrogate, window_of
from melissa_like.training import Surrogate, ValidationSet, run_loop
from tests.benchmarks.claim.errors import errors_of, validation_set
from tests.benchmarks.claim.offline import turns_of
from tests.benchmarks.claim.results import Errors, Folder
from tests.benchmarks.claim.simulations import Samples, Shuffled, write_simulation
from tests.benchmarks.claim.verdict import spread
from tests.benchmarks.measure import Row, print_rows
from tests.benchmarks.streams import composed

RESULTS = Path("runs/benchmarks/cape")
#: Whole range of each coefficient; trained on in its middle half.
RANGES = {"alpha": (0.0, 3.0), "beta": (0.0, 0.4), "gamma": (0.0, 1.0)}
SETTINGS = (
    "solver=pde1d",
    "solver.solve.num_points=64",
    "solver.num_steps=41",
    "+solver.solve.forced=false",
    "launcher.max_jobs=2",
    "sampling=monte_carlo",
    "study.num_simulations={num_training}",
    "study.num_validation_simulations={num_held_out}",
    "training.task._target_=melissa_like.training.Autoregressive",
    "training.batch_size=32",
    "training.optimizer.lr=2e-3",
    "training.schedule_on=batches",
    "training.max_batches={num_batches}",
)
_TOLD = "+training.task.parameters=[alpha,beta,gamma]"
CONDITIONINGS = {
    "not told": ("+training.task.parameters=false", "model.conditioning._target_=melissa_like.models.ConstantChannels"),
    "constant channels": (_TOLD, "model.conditioning._target_=melissa_like.models.ConstantChannels"),
    "scale and shift": (_TOLD, "model.conditioning._target_=melissa_like.models.ScaleAndShift"),
    "CAPE": (_TOLD, "model.conditioning._target_=melissa_like.models.CAPE"),
}
NETWORKS = ("fno", "unet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Of a machine.

    Attributes:
        num_training: simulations that are trained on.
        num_held_out: others inside, and as many outside.
        num_batches: training steps.
    """

    num_training: int
    num_held_out: int
    num_batches: int


#: Two cores of a laptop; a minute of them, to see it work.
SCALES = {
    "cores": Scale(num_training=128, num_held_out=32, num_batches=1600),
    "minute": Scale(num_training=4, num_held_out=2, num_batches=40),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training.

    Attributes:
        scale: of the machine.
        network: of the configuration's group.
        conditioning: of `CONDITIONINGS`.
        seed: of the study: weights, order, and which simulations.
    """

    scale: Scale
    network: str
    conditioning: str
    seed: int

    @property
    def settings(self) -> tuple[str, ...]:
        """Overrides of the default study."""
        middle = [
            f"+solver.parameters.{name}={{_target_:melissa_like.sampling.Uniform,low:{low},high:{high}}}"
            for name, (low, high) in middle_halves().items()
        ]
        chosen = (f"model={self.network}", *CONDITIONINGS[self.conditioning], f"study.seed={self.seed}")
        sizes = asdict(self.scale)
        return (*(setting.format(**sizes) if "{num" in setting else setting for setting in SETTINGS), *middle, *chosen)

    @property
    def configuration(self) -> dict[str, object]:
        """All that decides what it gives."""
        sizes = {"training": self.scale.num_training, "held_out": self.scale.num_held_out}
        return {"settings": list(self.settings), **sizes}

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.network}-{self.conditioning.replace(' ', '-')}-seed-{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run gave.

    Attributes:
        training: errors on simulations that it was trained on.
        inside: on others of the same range.
        outside: on others beyond it.
        num_weights: of the network.
        seconds: of its training, of one thread's processor time.
    """

    training: Errors
    inside: Errors
    outside: Errors
    num_weights: int
    seconds: float


def main(arguments: Sequence[str] = ()) -> None:
    """Run what is missing, and show the table."""
    asked = _parser().parse_args(arguments)
    networks, scale = asked.network or NETWORKS, SCALES[asked.scale]
    kept = Folder(asked.results / asked.scale, Result)
    runs = [
        Run(scale=scale, network=network, conditioning=conditioning, seed=seed)
        for seed in range(asked.seeds)
        for network in networks
        for conditioning in CONDITIONINGS
    ]
    if not asked.show:
        for run in runs:
            if kept.find(run.name, run.configuration) is None:
                sys.stdout.write(f"{run.name}\n")
                sys.stdout.flush()
                kept.keep(run.name, run.configuration, _measured(run))
    for network in networks:
        _show(kept, network, [run for run in runs if run.network == network])


def _show(kept: Folder[Result], network: str, runs: Sequence[Run]) -> None:
    found: dict[str, list[Result]] = {}
    for run in runs:
        result = kept.find(run.name, run.configuration)
        if result is not None:
            found.setdefault(run.conditioning, []).append(result)
    scale = runs[0].scale
    title = f"{network}: relative L2, {scale.num_training} simulations, {scale.num_batches} training steps"
    print_rows(title, [_row(conditioning, results) for conditioning, results in found.items()])


def _row(conditioning: str, results: Sequence[Result]) -> Row:
    def shown(values: Sequence[float]) -> str:
        return spread(values, "{:.2%}".format)

    return Row(
        {
            "told by": conditioning,
            "seeds": str(len(results)),
            "weights": str(results[0].num_weights),
            "one step, trained on": shown([result.training.mean for result in results]),
            "inside": shown([result.inside.mean for result in results]),
            "outside": shown([result.outside.mean for result in results]),
            "p99 outside": shown([result.outside.p99 for result in results]),
            "roll-out inside": shown([result.inside.over_rollout for result in results]),
            "roll-out outside": shown([result.outside.over_rollout for result in results]),
            "training s": spread([result.seconds for result in results]),
        }
    )


def _measured(run: Run) -> Result:
    """Simulate, train, measure."""
    torch.set_num_threads(1)
    config, samplers = prepare(composed(*run.settings))
    num_held_out = run.scale.num_held_out
    trained_on = range(run.scale.num_training)
    inside = range(trained_on.stop, trained_on.stop + num_held_out)
    outside = range(inside.stop, inside.stop + num_held_out)
    rows = dict(zip(trained_on, samplers.next(Purpose.TRAINING, trained_on), strict=True))
    rows |= dict(zip(inside, samplers.next(Purpose.VALIDATION, inside), strict=True))
    rows |= dict(zip(outside, beyond(run.seed, num_held_out), strict=True))
    with TemporaryDirectory() as folder:
        _write(Path(folder), config, rows)

        def held(simulations: range) -> ValidationSet:
            return validation_set(config, _samples(Path(folder), config, simulations, windowed=False))

        windows = _samples(Path(folder), config, trained_on, windowed=True)
        everything = windows.__getitems__(range(len(windows)))
        sets = [held(simulations) for simulations in (trained_on[:num_held_out], inside, outside)]
    surrogate = make_surrogate(config, torch.device("cpu"))
    begun = time.process_time()
    run_loop(make_loop(config), make_stream(config, _turns(config, surrogate, everything), surrogate=surrogate))
    seconds = time.process_time() - begun
    training, near, far = (errors_of(config, surrogate, some) for some in sets)
    return Result(
        training=training,
        inside=near,
        outside=far,
        num_weights=sum(weight.numel() for weight in surrogate.network.parameters()),
        seconds=seconds,
    )


def _write(folder: Path, config: Config, rows: Mapping[int, Sequence[float]]) -> None:
    call, num_steps = solver_call_of(config), config.solver.num_steps
    assert call is not None
    assert num_steps is not None
    for simulation in rows.items():  # one after another: starting processes would take longer
        write_simulation(folder, call, layout_of(config.solver), num_steps, simulation)


def middle_halves() -> dict[str, tuple[float, float]]:
    return {name: (low + (high - low) / 4, high - (high - low) / 4) for name, (low, high) in RANGES.items()}


def beyond(seed: int, count: int) -> list[tuple[float, ...]]:
    """Parameters of so many simulations outside: a seed of the initial condition, and the coefficients."""
    generator, lows = np.random.default_rng([seed, 1]), np.array(list(RANGES.values()))
    halves = np.array(list(middle_halves().values()))
    found: list[tuple[float, ...]] = []
    while len(found) < count:
        drawn = generator.uniform(lows[:, 0], lows[:, 1])
        if ((drawn < halves[:, 0]) | (drawn > halves[:, 1])).any():
            found.append((generator.random(), *drawn.tolist()))
    return found


def _samples(folder: Path, config: Config, simulations: range, *, windowed: bool) -> Samples:
    window = window_of(config) if windowed else None
    return Samples(folder, layout_of(config.solver), simulations, config.solver.num_steps or 0, window)


def _turns(config: Config, surrogate: Surrogate, everything: Batch) -> Iterator[Turn]:
    num_batches = config.training.max_batches
    assert num_batches is not None
    orders = Shuffled(
        everything.size, batch_size=config.training.batch_size, num_batches=num_batches, seed=config.study.seed
    )
    batches = (_some(everything, torch.tensor(indices)) for indices in orders)
    return turns_of(batches, surrogate, everything, num_batches=num_batches)


def _some(batch: Batch, indices: torch.Tensor) -> Batch:
    return Batch(
        simulations=batch.simulations[indices],
        steps=batch.steps[indices],
        times=batch.times[indices],
        parameters=batch.parameters[indices],
        fields={name: values[indices] for name, values in batch.fields.items()},
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m tests.benchmarks cape", description=__doc__)
    parser.add_argument(
        "--network", action="append", choices=NETWORKS, help="one of them; again for more; default: all"
    )
    parser.add_argument("--scale", choices=list(SCALES), default="cores", help="of the machine")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each arm")
    parser.add_argument("--show", action="store_true", help="run nothing: show what has finished")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="of the files of finished runs")
    return parser
