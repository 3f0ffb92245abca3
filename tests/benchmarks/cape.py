"""Networks that are told parameters in different ways, on parameters that they were not trained on.

The claim of CAPE (Takamoto et al., ICML 2023): with parameter-guided channel attention a network generalizes better to
parameters outside the range of its training. Here on u_t + (α u² - β u_x + γ u_xx)_x = 0, without forcing: each of α,
β, γ is trained on in the middle half of the range of Brandstetter et al. (E3); outside are draws from the whole range
of which at least one lies beyond that half. All arms of a network have the same data, in memory, the same recipe and
number of training steps. Each finished run is a file below runs/benchmarks/cape, so that an interrupted table goes on
where it stopped.
"""

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import torch

from melissa_like.config import Config, layout_of
from melissa_like.launcher.run import prepare
from melissa_like.loading import Batch, Turn, moments_of
from melissa_like.records import Purpose
from melissa_like.server.build_training import make_loop, make_stream, make_surrogate, window_of
from melissa_like.training import Surrogate, ValidationSet, run_loop
from tests.benchmarks.claim.errors import errors_of, validation_set
from tests.benchmarks.claim.results import Errors, fingerprint
from tests.benchmarks.claim.simulations import Samples, Shuffled, write_all
from tests.benchmarks.claim.verdict import spread
from tests.benchmarks.measure import Row, print_rows
from tests.benchmarks.streams import composed

RESULTS = Path("runs/benchmarks/cape")
#: Whole range of each coefficient; trained on in its middle half.
RANGES = {"alpha": (0.0, 3.0), "beta": (0.0, 0.4), "gamma": (0.0, 1.0)}
NUM_TRAINING, NUM_HELD_OUT, NUM_BATCHES = 128, 32, 1600
SETTINGS = (
    "solver=pde1d",
    "solver.solve.num_points=64",
    "solver.num_steps=41",
    "+solver.solve.forced=false",
    "launcher.max_jobs=2",
    "sampling=monte_carlo",
    f"study.num_simulations={NUM_TRAINING}",
    f"study.num_validation_simulations={NUM_HELD_OUT}",
    "training.task._target_=melissa_like.training.Autoregressive",
    "training.batch_size=32",
    "training.optimizer.lr=2e-3",
    "training.schedule_on=batches",
    f"training.max_batches={NUM_BATCHES}",
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
class Run:
    """One training.

    Attributes:
        network: of the configuration's group.
        conditioning: of `CONDITIONINGS`.
        seed: of the study: weights, order, and which simulations.
    """

    network: str
    conditioning: str
    seed: int

    @property
    def settings(self) -> tuple[str, ...]:
        """Overrides of the default study."""
        middle = [
            f"+solver.parameters.{name}={{_target_:melissa_like.sampling.Uniform,low:{low},high:{high}}}"
            for name, (low, high) in _middle_halves().items()
        ]
        chosen = (f"model={self.network}", *CONDITIONINGS[self.conditioning], f"study.seed={self.seed}")
        return (*SETTINGS, *middle, *chosen)

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
    networks = asked.network or NETWORKS
    runs = [
        Run(network=network, conditioning=conditioning, seed=seed)
        for seed in range(asked.seeds)
        for network in networks
        for conditioning in CONDITIONINGS
    ]
    if not asked.show:
        for run in runs:
            if _find(asked.results, run) is None:
                sys.stdout.write(f"{run.name}\n")
                sys.stdout.flush()
                _keep(asked.results, run, _measured(run))
    _show(asked, networks, runs)


def _show(asked: Namespace, networks: Sequence[str], runs: Sequence[Run]) -> None:
    for network in networks:
        rows = []
        for conditioning in CONDITIONINGS:
            own = [
                _find(asked.results, run) for run in runs if (run.network, run.conditioning) == (network, conditioning)
            ]
            done = [result for result in own if result is not None]
            if done:
                rows.append(_row(conditioning, done))
        print_rows(f"{network}: relative L2, {NUM_TRAINING} simulations, {NUM_BATCHES} training steps", rows)


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
    trained_on = range(NUM_TRAINING)
    inside = range(NUM_TRAINING, NUM_TRAINING + NUM_HELD_OUT)
    outside = range(inside.stop, inside.stop + NUM_HELD_OUT)
    rows = dict(zip(trained_on, samplers.next(Purpose.TRAINING, trained_on), strict=True))
    rows |= dict(zip(inside, samplers.next(Purpose.VALIDATION, inside), strict=True))
    rows |= dict(zip(outside, _beyond(run.seed), strict=True))
    with TemporaryDirectory() as folder:
        write_all(Path(folder), config, rows)

        def held(simulations: range) -> ValidationSet:
            return validation_set(config, _samples(Path(folder), config, simulations, windowed=False))

        windows = _samples(Path(folder), config, trained_on, windowed=True)
        everything = windows.__getitems__(range(len(windows)))
        sets = [held(simulations) for simulations in (trained_on[:NUM_HELD_OUT], inside, outside)]
    surrogate = make_surrogate(config, torch.device("cpu"))
    begun = time.process_time()
    run_loop(make_loop(config), make_stream(config, _turns(config, surrogate, everything), surrogate=surrogate))
    seconds = time.process_time() - begun
    training, within, beyond = (errors_of(config, surrogate, some) for some in sets)
    return Result(
        training=training,
        inside=within,
        outside=beyond,
        num_weights=sum(weight.numel() for weight in surrogate.network.parameters()),
        seconds=seconds,
    )


def _middle_halves() -> dict[str, tuple[float, float]]:
    return {name: (low + (high - low) / 4, high - (high - low) / 4) for name, (low, high) in RANGES.items()}


def _beyond(seed: int) -> list[tuple[float, ...]]:
    """A seed of the initial condition and coefficients of each simulation outside."""
    generator, lows = np.random.default_rng([seed, 1]), np.array(list(RANGES.values()))
    halves = np.array(list(_middle_halves().values()))
    found: list[tuple[float, ...]] = []
    while len(found) < NUM_HELD_OUT:
        drawn = generator.uniform(lows[:, 0], lows[:, 1])
        if ((drawn < halves[:, 0]) | (drawn > halves[:, 1])).any():
            found.append((generator.random(), *drawn.tolist()))
    return found


def _samples(folder: Path, config: Config, simulations: range, *, windowed: bool) -> Samples:
    window = window_of(config) if windowed else None
    return Samples(folder, layout_of(config.solver), simulations, config.solver.num_steps or 0, window)


def _turns(config: Config, surrogate: Surrogate, everything: Batch) -> Iterator[Turn]:
    measured = surrogate.task.measure(everything)
    statistics = {name: moments_of(values) for name, values in measured.items()}
    size = config.training.batch_size
    orders = Shuffled(everything.size, batch_size=size, num_batches=NUM_BATCHES, seed=config.study.seed)
    for done, indices in enumerate(orders, start=1):
        yield Turn(
            batch=_some(everything, torch.tensor(indices)),
            num_samples_global=size,
            progress=done / NUM_BATCHES,
            validate=False,
            statistics=statistics if done == 1 else None,
        )


def _some(batch: Batch, indices: torch.Tensor) -> Batch:
    return Batch(
        simulations=batch.simulations[indices],
        steps=batch.steps[indices],
        times=batch.times[indices],
        parameters=batch.parameters[indices],
        fields={name: values[indices] for name, values in batch.fields.items()},
    )


def _fingerprint(run: Run) -> str:
    return fingerprint({"settings": list(run.settings), "training": NUM_TRAINING, "held_out": NUM_HELD_OUT})


def _find(folder: Path, run: Run) -> Result | None:
    """The result of a run; None: there is none, or it was configured otherwise."""
    path = folder / f"{run.name}.json"
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return msgspec.convert(kept["result"], Result) if kept["fingerprint"] == _fingerprint(run) else None


def _keep(folder: Path, run: Run, result: Result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{run.name}"
    aside.write_text(
        json.dumps({"fingerprint": _fingerprint(run), "result": asdict(result)}, indent=1), encoding="utf-8"
    )
    aside.rename(folder / f"{run.name}.json")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m tests.benchmarks cape", description=__doc__)
    parser.add_argument(
        "--network", action="append", choices=NETWORKS, help="one of them; again for more; default: all"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each arm")
    parser.add_argument("--show", action="store_true", help="run nothing: show what has finished")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="of the files of finished runs")
    return parser
