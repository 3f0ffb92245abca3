"""Simulations on disk: HDF5, one file each, one chunk per time step, uncompressed; files are kept open.

That is the fair twin of a stream: a sample costs as much to read as it holds, and nothing is decoded.
"""

import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch

from melissa_like.client import Part
from melissa_like.client.runner import SolverCall
from melissa_like.client.team import SerialCommunicator
from melissa_like.config import Config, layout_of
from melissa_like.launcher.rundir import solver_call_of
from melissa_like.loading import Batch
from melissa_like.records import Layout, Window, num_samples

__all__ = ["Samples", "Shuffled", "write_all", "write_simulation"]

_DEADLINE_S = 3600.0


def write_all(folder: Path, config: Config, rows: Mapping[int, Sequence[float]]) -> int:
    """Run simulations and write them, as many at once as the study has jobs.

    Args:
        folder: to write to.
        config: of the study.
        rows: parameters of each simulation, by number.

    Returns:
        Bytes written.
    """
    call = solver_call_of(config)
    assert call is not None
    assert config.solver.num_steps is not None
    layout = layout_of(config.solver)
    write = partial(write_simulation, folder, call, layout, config.solver.num_steps)
    with multiprocessing.get_context("spawn").Pool(config.launcher.max_jobs) as pool:
        pool.map_async(write, list(rows.items()), chunksize=1).get(_DEADLINE_S)
    return sum(_path(folder, number).stat().st_size for number in rows)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.h5"


def write_simulation(
    folder: Path, call: SolverCall, layout: Layout, num_steps: int, simulation: tuple[int, Sequence[float]]
) -> None:
    """Run and write one simulation, without MPI.

    Args:
        folder: to write to.
        call: the solver, a generator plug-in.
        layout: of the study.
        num_steps: that it yields, numbered from 0.
        simulation: its number and its parameters.
    """
    number, row = simulation
    steps = call.resolve()(dict(zip(layout.parameters, row, strict=True)), SerialCommunicator(), **call.options)
    with h5py.File(_path(folder, number), "w") as file:
        file.attrs["parameters"] = np.array(row, np.float64)
        times = file.create_dataset("times", (num_steps,), "f8")
        fields = {
            spec.name: file.create_dataset(
                f"fields/{spec.name}", (num_steps, *spec.shape), spec.numpy_dtype, chunks=(1, *spec.shape)
            )
            for spec in layout.fields
        }
        for item in steps:
            step, values = item[:2]
            times[step] = item[2] if len(item) > 2 else math.nan
            for name, array in values.items():
                fields[name][step] = array.array if isinstance(array, Part) else array


class Samples(torch.utils.data.Dataset[Batch]):
    """Samples of simulations on disk; several indices at once give a batch.

    Args:
        folder: of their files.
        layout: of the study.
        simulations: their numbers.
        num_steps: of each.
        window: what a sample holds; None: one step.
    """

    def __init__(
        self, folder: Path, layout: Layout, simulations: Sequence[int], num_steps: int, window: Window | None
    ) -> None:
        self._folder = folder
        self._layout = layout
        self._simulations = simulations
        self._window = window
        self._per_simulation = num_samples(num_steps, window)
        self._open: dict[int, tuple[h5py.File, np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._simulations) * self._per_simulation

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        keys = [self._key(index) for index in indices]
        files = [self._file(simulation) for simulation, _ in keys]
        places = [self._place(first) for _, first in keys]
        times = np.stack([times[place] for (_, _, times), place in zip(files, places, strict=True)])
        return Batch(
            simulations=torch.tensor([simulation for simulation, _ in keys]),
            steps=torch.tensor([first for _, first in keys]),
            times=torch.from_numpy(times),
            parameters=torch.from_numpy(np.stack([parameters for _, parameters, _ in files])),
            fields={
                spec.name: torch.from_numpy(
                    np.stack([file[f"fields/{spec.name}"][at] for (file, _, _), at in zip(files, places, strict=True)])
                )
                for spec in self._layout.fields
            },
        )

    def _key(self, index: int) -> tuple[int, int]:
        position, number = divmod(index, self._per_simulation)
        return self._simulations[position], number * (1 if self._window is None else self._window.hop)

    def _place(self, first: int) -> int | slice:
        if self._window is None:
            return first
        return slice(first, first + self._window.span, self._window.stride)

    def _file(self, simulation: int) -> tuple[h5py.File, np.ndarray, np.ndarray]:
        if simulation not in self._open:
            file = h5py.File(_path(self._folder, simulation), "r")
            self._open[simulation] = (file, file.attrs["parameters"], file["times"][:])
        return self._open[simulation]


class Shuffled(torch.utils.data.Sampler[list[int]]):
    """Indices of so many batches, pass after pass in a new order; a batch may reach over the end of a pass.

    Args:
        num_samples: of a pass.
        batch_size: of each batch, the last one of a pass too.
        num_batches: altogether.
        seed: of the orders.
    """

    def __init__(self, num_samples: int, *, batch_size: int, num_batches: int, seed: int) -> None:
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._num_batches = num_batches
        self._seed = seed

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng(self._seed)
        waiting: list[int] = []
        for _ in range(self._num_batches):
            while len(waiting) < self._batch_size:
                waiting += generator.permutation(self._num_samples).tolist()
            yield waiting[: self._batch_size]
            del waiting[: self._batch_size]
