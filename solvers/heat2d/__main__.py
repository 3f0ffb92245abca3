"""Runs heat2d without a launcher: prints how the temperature evolves and, if asked to, draws the last field.

python -m melissa_like.solvers.heat2d --grid-size 64 --top 500 --plot field.png
mpiexec -n 2 python -m mpi4py -m melissa_like.solvers.heat2d

With `python -m mpi4py` an exception on one rank ends the whole job instead of leaving the others to wait.
"""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from melissa_like.solvers.communicator import FloatArray
from melissa_like.solvers.heat2d.heat_equation import HeatEquation
from melissa_like.solvers.heat2d.solve import PARAMETERS, heat_equation

__all__ = ["main"]

_TEMPERATURES = dict(zip(PARAMETERS, (300.0, 150.0, 450.0, 200.0, 350.0), strict=True))


@dataclass(frozen=True, slots=True)
class _Alone:
    """The communicator where mpi4py is not installed."""

    rank: int = 0
    size: int = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print and draw; every rank calls it.

    Args:
        arguments: as on the command line, which is the default.

    Raises:
        SystemExit: an argument that is not known, or `--plot` without matplotlib.
        ValueError: an option that cannot work.
    """
    options = _parser().parse_args(arguments)
    if options.plot is not None and find_spec("matplotlib") is None:
        raise SystemExit("--plot needs matplotlib, which is not installed: pip install matplotlib, or leave --plot out")
    comm = _communicator()
    heat = heat_equation(
        {name: getattr(options, name) for name in PARAMETERS},
        comm,
        grid_size=options.grid_size,
        time_step=options.time_step,
        diffusivity=options.diffusivity,
        tolerance=options.tolerance,
    )
    _run(heat, comm, options)
    if options.plot is not None:
        blocks = _on_rank_0(comm, heat.temperature)
        if comm.rank == 0:
            _draw(np.concatenate(blocks), options.plot)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m melissa_like.solvers.heat2d",
        description="The heat equation on a square with five temperatures.",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    for name, value in _TEMPERATURES.items():
        option = f"--{name.removesuffix('_temperature')}"
        parser.add_argument(option, dest=name, type=float, default=value, metavar="K", help=name.replace("_", " "))
    parser.add_argument("--grid-size", type=int, default=32, metavar="N", help="interior points along a side")
    parser.add_argument("--num-steps", type=int, default=100, metavar="N", help="time steps")
    parser.add_argument("--time-step", type=float, default=0.01, metavar="DT", help="length of a time step")
    parser.add_argument("--diffusivity", type=float, default=1.0, metavar="A", help="diffusivity")
    parser.add_argument("--tolerance", type=float, default=1e-8, metavar="E", help="relative error of a solution")
    parser.add_argument("--every", type=int, default=10, metavar="N", help="print each N-th step, and the last")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the last field into this file")
    return parser


def _communicator() -> Any:
    if find_spec("mpi4py") is None:
        return _Alone()
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _run(heat: HeatEquation, comm: Any, options: Namespace) -> None:
    total_iterations = 0
    _write(comm, f"{'step':>6} {'time':>8} {'min/K':>9} {'mean/K':>9} {'max/K':>9} {'iterations':>11}")
    for step in range(options.num_steps):
        num_iterations = heat.advance()
        total_iterations += num_iterations
        if step % options.every == 0 or step == options.num_steps - 1:
            low, mean, high = _summary(comm, heat.temperature)
            time = (step + 1) * options.time_step
            _write(comm, f"{step:6d} {time:8.4g} {low:9.3f} {mean:9.3f} {high:9.3f} {num_iterations:11d}")
    _write(comm, f"{total_iterations / max(options.num_steps, 1):.1f} conjugate-gradient iterations per step")


def _summary(comm: Any, rows: FloatArray) -> tuple[float, float, float]:
    """Minimum, mean and maximum of the whole field, on rank 0; elsewhere of nothing, as NaN."""
    blocks = _on_rank_0(comm, np.array([rows.min(), rows.sum(), rows.max(), rows.size]))
    if not blocks:
        return np.nan, np.nan, np.nan
    lows, sums, highs, sizes = np.stack(blocks, axis=1)
    return float(lows.min()), float(sums.sum() / sizes.sum()), float(highs.max())


def _on_rank_0(comm: Any, array: FloatArray) -> list[FloatArray]:
    """Every rank's array, in rank order; on the other ranks nothing."""
    if comm.size == 1:
        return [array]
    return comm.gather(array, root=0) or []


def _write(comm: Any, line: str) -> None:
    if comm.rank == 0:
        sys.stdout.write(f"{line}\n")


def _draw(field: FloatArray, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(field, origin="lower", extent=(0, 1, 0, 1), cmap="inferno")
    axes.set(xlabel="x", ylabel="y")
    figure.colorbar(image, label="temperature / K")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
