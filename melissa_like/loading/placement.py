"""Where a batch lies: slots of reused memory on the host, or on a CUDA device behind pinned memory.

A slot goes round: the loader's thread gathers into `memory` and calls `send`; the trainer's thread calls `take`,
trains, and calls `give_back`. Host memory is passed straight through. On a CUDA device the copy runs on a side stream
while the trainer computes; events order the two, and no thread waits for the device unless it would overwrite what is
still being copied.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from melissa_like.buffer import BatchMemory, SampleBuffer
from melissa_like.loading.batch import Batch

__all__ = ["CudaSlot", "HostSlot", "Slot", "make_slots"]


class Slot(Protocol):
    """Reused memory of one batch, with its way to the device."""

    @property
    def memory(self) -> BatchMemory:
        """Host memory to gather into, after `prepare`."""

    def prepare(self) -> None:
        """Loader's thread, before the gather: blocks until an earlier copy out of `memory` has ended."""

    def send(self, size: int) -> None:
        """Loader's thread, after the gather: start to move the first `size` samples. Does not block."""

    def take(self, size: int) -> Batch:
        """Trainer's thread: the batch of the first `size` samples, usable on the current stream. Does not block."""

    def give_back(self) -> None:
        """Trainer's thread: the batch is not used any more by work launched later. Does not block."""


class HostSlot:
    """A slot whose memory is the batch."""

    def __init__(self, memory: BatchMemory) -> None:
        self.memory = memory

    def prepare(self) -> None:
        """Nothing to wait for."""

    def send(self, size: int) -> None:
        """Nothing to move."""

    def take(self, size: int) -> Batch:
        """Views of the memory."""
        return _batch(self.memory.columns, self.memory.fields, size)

    def give_back(self) -> None:
        """Nothing to order."""


class CudaSlot:
    """A slot with pinned memory, device memory and the stream that copies between them."""

    def __init__(self, memory: BatchMemory, device: torch.device, stream: torch.cuda.Stream) -> None:
        self.memory = memory
        self._stream = stream
        self._columns = _like(memory.columns, device)
        self._fields = _like(memory.fields, device)
        self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._given_back = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def prepare(self) -> None:
        """Block until the last copy out of the pinned memory has ended."""
        self._sent.synchronize()

    def send(self, size: int) -> None:
        """Copy on the side stream, after the trainer's last work on this slot's device memory."""
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._given_back)
            _copy(self._columns, self.memory.columns, size)
            _copy(self._fields, self.memory.fields, size)
            self._sent.record(self._stream)

    def take(self, size: int) -> Batch:
        """Views of the device memory; work launched from now on waits for the copy."""
        torch.cuda.current_stream(self._stream.device).wait_event(self._sent)
        return _batch(self._columns, self._fields, size)

    def give_back(self) -> None:
        """Mark the end of the work launched so far on this slot's device memory."""
        self._given_back.record(torch.cuda.current_stream(self._stream.device))


def make_slots(buffer: SampleBuffer, batch_size: int, count: int, device: torch.device) -> Sequence[Slot]:
    """Slots of one ring.

    Args:
        buffer: makes the memory.
        batch_size: samples that a slot can hold.
        count: number of slots.
        device: where the batches shall lie, of type cpu or cuda.

    Raises:
        ValueError: a device of another type.
    """
    if device.type == "cpu":
        return [HostSlot(buffer.batch_memory(batch_size, pinned=False)) for _ in range(count)]
    if device.type != "cuda":
        raise ValueError(f"the device is {device}: batches can be placed on cpu or cuda")
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return [CudaSlot(buffer.batch_memory(batch_size, pinned=True), device, stream) for _ in range(count)]


def _batch(columns: Mapping[str, torch.Tensor], fields: Mapping[str, torch.Tensor], size: int) -> Batch:
    return Batch(
        simulations=columns["simulations"][:size],
        steps=columns["steps"][:size],
        times=columns["times"][:size],
        parameters=columns["parameters"][:size],
        fields={name: values[:size] for name, values in fields.items()},
    )


def _like(tensors: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: torch.empty_like(tensor, device=device) for name, tensor in tensors.items()}


def _copy(targets: Mapping[str, torch.Tensor], sources: Mapping[str, torch.Tensor], size: int) -> None:
    for name, target in targets.items():
        target[:size].copy_(sources[name][:size], non_blocking=True)
