"""`KeptHeldOut`: held-out samples on their way into a checkpoint."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer import BatchMemory, SavedRows
from melissa_like.buffer.batch_memory import allocate, rows_within
from melissa_like.buffer.labels import write_label
from melissa_like.buffer.ragged_memory import RaggedForm
from melissa_like.buffer.ragged_rows import RaggedRows, RowsToWrite, num_within
from melissa_like.buffer.slots import SlotArray
from melissa_like.records import Layout, StaticFields
from melissa_like.training.validation.extracts import HeldOutSample

__all__ = ["KeptHeldOut"]


class KeptHeldOut:
    """Held-out samples of one moment, to be copied out piece by piece: windows whole, as the buffer's."""

    def __init__(self, layout: Layout, samples: Sequence[HeldOutSample], *, window_length: int | None) -> None:
        self._layout = layout
        self._samples = samples
        self._window_length = window_length

    @property
    def attempts(self) -> npt.NDArray[np.int64]:
        """Which attempt each time step is of, [samples, steps of one], in the order of the pieces."""
        return np.array([[step.attempt for step in steps] for steps in self._samples], dtype=np.int64)

    def pieces(self, most_nbytes: int) -> Iterator[SavedRows]:
        """Copies; a piece is good until the next one is asked for.

        Args:
            most_nbytes: of a piece; one sample at least.
        """
        return self._ragged_pieces(most_nbytes) if self._layout.is_ragged else self._equal_pieces(most_nbytes)

    def _equal_pieces(self, most_nbytes: int) -> Iterator[BatchMemory]:
        length = self._window_length
        num_rows = rows_within(self._layout, most_nbytes, window_length=length)
        num_memory = min(num_rows, len(self._samples))
        memory = allocate(self._layout, num_memory, device=torch.device("cpu"), window_length=length)
        for start in range(0, len(self._samples), num_rows):
            chunk = self._samples[start : start + num_rows]
            piece = memory.first(len(chunk))
            for number, steps in enumerate(chunk):
                piece.simulations[number], piece.steps[number] = steps[0].key.simulation, steps[0].key.step
                piece.times[number] = torch.tensor([step.time for step in steps], dtype=torch.float64).view(
                    piece.times[number].shape
                )
                piece.parameters[number] = torch.from_numpy(steps[0].parameters)
                for index, target in enumerate(piece.fields.values()):
                    rows = target[number].numpy().reshape(len(steps), *self._layout.fields[index].shape)
                    for position, step in enumerate(steps):
                        np.copyto(rows[position], step.fields[index])
            yield piece

    def _ragged_pieces(self, most_nbytes: int) -> Iterator[RaggedRows]:
        form = RaggedForm(layout=self._layout, window_length=self._window_length)
        static = [_static_of(steps) for steps in self._samples]
        extents = {each.digest: each.extents for each in static}
        different = {digest: form.mesh(digest, sizes) for digest, sizes in extents.items()}
        meshes = [different[each.digest] for each in static]
        writing, start = RowsToWrite(form, meshes), 0
        while start < len(meshes):
            end = start + num_within(meshes[start:], most_nbytes)
            piece, having = writing.begin(self._labels(form, self._samples[start:end]), meshes[start:end])
            for position, steps in enumerate(self._samples[start:end]):
                meshes[start + position].sample.write(self._fields_of(steps), piece.packed(position))
            for position, saved in zip(having, piece.meshes, strict=True):
                meshes[start + position].static.write(static[start + position].arrays.values(), saved.memory)
            yield piece
            start = end

    def _labels(self, form: RaggedForm, samples: Sequence[HeldOutSample]) -> SlotArray:
        table = np.empty((len(samples), form.num_labels), np.int64)
        for row, steps in zip(table, samples, strict=True):
            times = steps[0].time if self._window_length is None else np.array([step.time for step in steps])
            write_label(
                row, row.view(np.float64), steps[0].key, times, steps[0].parameters, window_length=self._window_length
            )
        return table

    def _fields_of(self, steps: HeldOutSample) -> Sequence[npt.NDArray[Any]]:
        """As a solver has them; of windows with an axis of time steps in front."""
        if self._window_length is None:
            return steps[0].fields
        return [np.stack(values) for values in zip(*(step.fields for step in steps), strict=True)]


def _static_of(steps: HeldOutSample) -> StaticFields:
    static = steps[0].static
    assert static is not None, "a ragged sample came without its sizes"
    return static
