"""HDF5 files, by three ways in which programs put steps into them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from melissa_like.client.following import Beginning, Found, Run
from melissa_like.client.readers.fields import sources_of
from melissa_like.client.readers.hdf5_file import read_hdf5
from melissa_like.client.readers.hdf5_groups import NumberedDatasets
from melissa_like.client.readers.hdf5_growing import GrowingDatasets
from melissa_like.client.readers.once import StaticSources
from melissa_like.client.readers.own_file import own_file
from melissa_like.client.readers.series import FileSeries

__all__ = ["Hdf5Files"]


class Hdf5Files:
    """Reads HDF5 files through h5py: `pip install h5py`.

    The names of fields are those of datasets, `group/dataset`; an attribute is `group/dataset@attribute`, one of the
    file `@attribute`. Where a file holds several steps, each has a dataset, `T_{step}` or `{step}/T` under `fields`, or
    they lie along an axis, `step_axis`.

    Args:
        files: pattern of the names, as `out_{step}.h5`.
        fields: for each field its dataset, or where it comes from: name, shape, order, select, axes.
        complete: `next`: a file is complete when the next one is there, and in one that grows (`swmr`) a step when the
            next has begun; `renamed`: as soon as it is there; `end`: when the program has ended. The default is `next`
            where the file names have an order, and for `swmr`, else `end`.
        time: name of a dataset or an attribute, the time from one step number to the next, or a list of times.
        num_ranks: ranks that write a file each: `{rank}` in the pattern.
        join: the axis along which the datasets of the ranks follow one another, or the name of the offset in a file.
        step_axis: of the datasets, if a file holds several steps.
        swmr: the program writes one file, in HDF5's mode for one writer and several readers, and its datasets grow
            along `step_axis`; it is read while it grows. A file that grows in any other way cannot be read before it
            is closed.
        static: for each static field its dataset, or where it comes from: as for `fields`, numbers_from, and file, if
            that is not the one of each step, or is the one of all steps.

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self,
        *,
        files: str,
        fields: Any,
        complete: str | None = None,
        time: Any = None,
        num_ranks: int = 1,
        join: int | str = 0,
        step_axis: int | None = None,
        swmr: bool = False,
        static: Any = None,
    ) -> None:
        sources = sources_of(fields)
        common = {"complete": complete, "time": time, "num_ranks": num_ranks, "join": join}
        numbered = any("{" in str(name) for source in sources.values() for name in source.names)
        once = StaticSources(static, own_file(read_hdf5))
        if swmr or numbered:
            once.refuse_beside("and one file holds all steps")
        self._follow: Callable[[Run], Iterator[Found | Beginning]]
        if swmr:
            growing = GrowingDatasets(files, sources, step_axis=step_axis or 0, **common)
            self._follow = lambda run: once.before(run, growing.follow(run))
        elif numbered:
            if step_axis is not None:
                raise ValueError("each step has its own datasets, so there is no step_axis: leave one of them out")
            datasets = NumberedDatasets(files, sources, **common)
            self._follow = lambda run: once.before(run, datasets.follow(run))
        else:
            series = FileSeries(files, sources, step_axis=step_axis, static=once, **common)
            self._follow = partial(series.follow, read=read_hdf5)

    def __call__(self, run: Run) -> Iterator[Found | Beginning]:
        """Each step once it is complete; what is sent once before the first.

        Raises:
            ConfigurationError: h5py is not installed.
            SolverError: nothing found, or a file that cannot be read or lacks a field.
        """
        return self._follow(run)
