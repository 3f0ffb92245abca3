"""`KeptHeldOut`: held-out samples on their way into a checkpoint."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer import BatchMemory
from melissa_like.buffer.batch_memory import allocate, rows_within
from melissa_like.records import Layout
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

    def pieces(self, most_nbytes: int) -> Iterator[BatchMemory]:
        """Copies, each piece in the same memory.

        Args:
            most_nbytes: of a piece; one sample at least.
        """
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
