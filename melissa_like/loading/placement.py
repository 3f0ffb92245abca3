"""Where a batch lies: slots of reused memory on the host, on a CUDA device, or on one behind pinned memory.

A slot goes round: the loader's thread gathers into `memory` and calls `send`, which gives the batch; the trainer's
thread calls `take`, trains, and calls `give_back`. Memory that lies where the trainer wants it is passed straight
through. From the host to a CUDA device the copy runs on a side stream while the trainer computes; events order the two,
and no thread waits for the device unless it would overwrite what is still being copied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch

from melissa_like.buffer import BatchMemory, RaggedMemory, SampleBuffer
from melissa_like.loading.axes import BatchAxes
from melissa_like.loading.batch import Batch
from melissa_like.records import Layout

__all__ = ["CudaSlot", "HostSlot", "InCommon", "ResidentSlot", "Slot", "batch_of", "make_slots"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InCommon:
    """What all batches of a study have in common.

    Attributes:
        axes: what runs along the first axes.
        static: what is the same in all simulations, by name, where the batches lie.
    """

    axes: BatchAxes = field(default_factory=BatchAxes)
    static: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, layout: Layout, device: torch.device) -> Self:
        """Of a study, on a device."""
        static = {wide.spec.name: torch.tensor(wide.values, device=device) for wide in layout.study_wide}
        return cls(axes=BatchAxes.of(layout), static=static)


class Slot(Protocol):
    """Reused memory of one batch, with its way to the device."""

    @property
    def memory(self) -> BatchMemory | RaggedMemory:
        """The buffer's kind of memory to gather into, after `prepare`."""

    def prepare(self) -> None:
        """Loader's thread, before the gather: blocks until all earlier work on `memory` has ended."""

    def send(self, size: int) -> Batch:
        """Loader's thread, after the gather: start to move the first `size` samples to where the batch lies.

        Does not block. The batch may be used after `take`.
        """

    def take(self) -> None:
        """Trainer's thread: work launched from now on finds the batch in its place. Does not block."""

    def give_back(self) -> None:
        """Trainer's thread: the batch is not used any more by work launched later. Does not block."""


class HostSlot:
    """A slot whose memory is the batch."""

    def __init__(self, memory: BatchMemory | RaggedMemory, common: InCommon) -> None:
        self.memory = memory
        self._common = common

    def prepare(self) -> None:
        """Nothing to wait for."""

    def send(self, size: int) -> Batch:
        """Nothing to move."""
        return batch_of(self.memory, size, self._common)

    def take(self) -> None:
        """It is in its place."""

    def give_back(self) -> None:
        """Nothing to order."""


class ResidentSlot:
    """A slot whose memory is the batch, on a CUDA device, gathered there from a buffer that lies there too."""

    def __init__(self, memory: BatchMemory | RaggedMemory, device: torch.device, common: InCommon) -> None:
        self.memory = memory
        self._common = common
        self._device = device
        self._given_back = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def prepare(self) -> None:
        """Block until the training step on the last batch has ended on the device."""
        self._given_back.synchronize()

    def send(self, size: int) -> Batch:
        """Nothing to move: the gather had ended when it returned."""
        return batch_of(self.memory, size, self._common)

    def take(self) -> None:
        """It is in its place."""

    def give_back(self) -> None:
        """Mark the end of the work launched so far on this slot's memory."""
        self._given_back.record(torch.cuda.current_stream(self._device))


class CudaSlot:
    """A slot with pinned memory, device memory and the stream that copies between them."""

    def __init__(
        self, memory: BatchMemory | RaggedMemory, device: torch.device, stream: torch.cuda.Stream, common: InCommon
    ) -> None:
        self.memory = memory
        self._on_device: Any = memory.like_on(device)  # of the same kind
        self._stream = stream
        self._common = common
        self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._given_back = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def prepare(self) -> None:
        """Block until the last copy out of the pinned memory has ended."""
        self._sent.synchronize()

    def send(self, size: int) -> Batch:
        """Copy on the side stream, after the trainer's last work on this slot's device memory."""
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._given_back)
            self._on_device.copy_from(self.memory, size)
            self._sent.record(self._stream)
        return batch_of(self._on_device, size, self._common)

    def take(self) -> None:
        """Work launched from now on waits for the copy."""
        torch.cuda.current_stream(self._stream.device).wait_event(self._sent)

    def give_back(self) -> None:
        """Mark the end of the work launched so far on this slot's device memory."""
        self._given_back.record(torch.cuda.current_stream(self._stream.device))


def make_slots(buffer: SampleBuffer, batch_size: int, count: int, device: torch.device) -> Sequence[Slot]:
    """Slots of one ring.

    Args:
        buffer: makes the memory.
        batch_size: samples that a slot can hold.
        count: number of slots.
        device: where the batches shall lie, of type cpu or cuda; that of the buffer if that lies on a device.

    Raises:
        ValueError: a device of another type, or another than the buffer's.
    """
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"the device is {device}: batches can be placed on cpu or cuda")
    home, common = buffer.device, InCommon.of(buffer.layout, device)
    if home.type == "cpu" and device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return [CudaSlot(buffer.batch_memory(batch_size, pinned=True), device, stream, common) for _ in range(count)]
    if home.type != device.type or device.index not in (None, home.index):
        raise ValueError(f"the buffer lies on {home} but the batches are wanted on {device}: make both the same device")
    memories = [buffer.batch_memory(batch_size, pinned=False) for _ in range(count)]
    if home.type == "cpu":
        return [HostSlot(memory, common) for memory in memories]
    return [ResidentSlot(memory, home, common) for memory in memories]


def batch_of(memory: BatchMemory | RaggedMemory, size: int, common: InCommon) -> Batch:
    """The first samples of a memory as a batch; where sizes differ, all that it was filled with.

    Views made afresh: whoever changes one, as by requiring its gradient, changes no other batch.
    """
    if isinstance(memory, RaggedMemory):
        return _ragged_batch_of(memory, size, common)
    return Batch(
        simulations=memory.simulations[:size],
        steps=memory.steps[:size],
        times=memory.times[:size],
        parameters=memory.parameters[:size],
        fields={name: values[:size] for name, values in memory.fields.items()},
        static=common.static,
        axes=common.axes,
    )


def _ragged_batch_of(memory: RaggedMemory, size: int, common: InCommon) -> Batch:
    assert size == memory.num_rows, "a batch of another size was gathered"
    rows = memory.rows
    return Batch(
        simulations=rows.simulations,
        steps=rows.steps,
        times=rows.times,
        parameters=rows.parameters,
        fields=dict(memory.fields),
        offsets=dict(memory.offsets),
        static={**common.static, **memory.static},
        axes=common.axes,
    )
