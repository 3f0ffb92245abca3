"""`RestoredHeldOut`: held-out samples on their way out of a checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.buffer import BatchMemory, SavedRows
from melissa_like.buffer.ragged_memory import RaggedForm
from melissa_like.buffer.ragged_rows import RaggedRows, SavedMeshes
from melissa_like.records import Layout, Purpose, Sample, SampleKey, StaticFields, Window
from melissa_like.training.validation.extracts import HeldOutSample

__all__ = ["RestoredHeldOut"]


class RestoredHeldOut:
    """Makes samples of saved rows again, each in memory of its own; simulations have their static fields once.

    Args:
        layout: of the study.
        window: what a sample is; None: one time step.
    """

    def __init__(self, layout: Layout, window: Window | None) -> None:
        self._layout = layout
        self._window = window
        self._form = RaggedForm(layout=layout, window_length=None if window is None else window.length)
        self._saved = SavedMeshes()
        self._static: dict[tuple[int, bytes], StaticFields] = {}

    def samples(
        self, rows: SavedRows, attempts: npt.NDArray[np.int64], owned: Callable[[SampleKey], bool]
    ) -> Iterator[tuple[SampleKey, HeldOutSample]]:
        """The samples of a piece that are wanted.

        Args:
            rows: the piece; those of a file come in their order.
            attempts: those that their time steps are of, [rows, steps of one].
            owned: whether a sample is wanted.
        """
        if isinstance(rows, RaggedRows):
            self._saved.add(rows)
        for number, (simulation, first) in enumerate(rows.labels[:, :2].tolist()):
            key = SampleKey(simulation, first)
            if owned(key):
                yield key, self._sample(rows, number, key, attempts[number].tolist())
        if isinstance(rows, RaggedRows):
            self._saved.release(rows)

    def _sample(self, rows: SavedRows, number: int, key: SampleKey, attempts: Sequence[int]) -> HeldOutSample:
        if isinstance(rows, RaggedRows):
            labelled, fields, static = rows.labelled, *self._ragged(rows, number, key.simulation)
        else:
            assert isinstance(rows, BatchMemory), "saved rows are of one of two kinds"
            labelled, static = rows, None
            fields = [values[number].numpy() for values in rows.fields.values()]
        steps = (key.step,) if self._window is None else tuple(self._window.steps_from(key.step))
        times = labelled.times[number].reshape(-1).tolist()
        parameters = labelled.parameters[number].numpy().copy()
        return tuple(
            Sample(
                key=SampleKey(key.simulation, step),
                attempt=attempts[position],
                purpose=Purpose.VALIDATION,
                time=times[position],
                parameters=parameters,
                fields=tuple((values if self._window is None else values[position]).copy() for values in fields),
                static=static,
            )
            for position, step in enumerate(steps)
        )

    def _ragged(
        self, rows: RaggedRows, number: int, simulation: int
    ) -> tuple[Sequence[npt.NDArray[Any]], StaticFields]:
        position = int(rows.positions[number])
        saved = self._saved.of(rows.digest(position))
        mesh = self._form.mesh(saved.digest, saved.extents)
        static = self._static.get((simulation, saved.digest))
        if static is None:
            names = [spec.name for spec in self._layout.static]
            arrays = {n: values.copy() for n, values in zip(names, mesh.static.read(saved.memory), strict=True)}
            for values in arrays.values():
                values.flags.writeable = False
            static = self._static[simulation, saved.digest] = StaticFields(
                extents=dict(saved.extents),
                arrays=arrays,
                nbytes=sum(values.nbytes for values in arrays.values()),
                digest=saved.digest,
            )
        return mesh.sample.read(rows.packed(position)), static
