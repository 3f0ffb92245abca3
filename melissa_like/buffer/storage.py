"""Where the samples lie: one preallocated, contiguous tensor per field, one row per slot.

`HostStorage` keeps them in the memory of the host, `DeviceStorage` on a CUDA device. Either knows nothing of who may
use which row when.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer.batch_memory import BatchMemory, allocate
from melissa_like.buffer.copying import Copying, RowCopying
from melissa_like.buffer.labels import write_label
from melissa_like.buffer.ragged_space import Load, RaggedSpace
from melissa_like.buffer.side_stream import side_stream
from melissa_like.buffer.slots import SlotArray
from melissa_like.records import FloatArray, Layout, SampleKey, StaticFields

__all__ = ["DeviceStorage", "HostStorage", "SampleFields", "Storage"]

#: An array per field, in the order of the layout, global shape.
SampleFields: TypeAlias = tuple[npt.NDArray[Any], ...]


class Storage(Protocol):
    """Rows for samples; all methods may be called from any thread, and return when what they copy has arrived."""

    @property
    def layout(self) -> Layout:
        """What a time step consists of."""

    @property
    def window_length(self) -> int | None:
        """Time steps of a sample; None: one, without an axis for it."""

    @property
    def num_slots(self) -> int:
        """Rows."""

    @property
    def device(self) -> torch.device:
        """Where `batch_memory` lies."""

    @property
    def space(self) -> RaggedSpace | None:
        """What its samples take, where that differs; None: all take the same, and a slot has room for each."""

    def open(self, slot: int | None, extents: Mapping[str, int] | None = None) -> SampleFields:
        """Writable host memory to assemble a sample in: of this slot, or of its own.

        Args:
            slot: where it will lie; None: nobody knows yet.
            extents: the sizes of its simulation, where they differ.
        """

    def load_of(self, static: StaticFields | None) -> Load | None:
        """What a sample takes of the space whose simulation has these sizes and static fields; None without a space.

        Raises:
            ConfigurationError: more than there is.
        """

    def write(
        self,
        slot: int,
        fields: SampleFields,
        key: SampleKey,
        time: float | FloatArray,
        parameters: FloatArray,
        *,
        opened: bool,
        static: StaticFields | None = None,
    ) -> None:
        """Make a complete sample the one of a slot.

        Args:
            slot: where it shall lie.
            fields: what `open` returned.
            key: of the sample.
            time: of the sample; of a window the times of its steps, [L].
            parameters: of its simulation.
            opened: whether they were opened for this slot.
            static: the sizes and the static fields of its simulation, where it has any.
        """

    def batch_memory(self, num_rows: int, *, pinned: bool) -> Any:
        """Memory that `gather` can fill; pinned, if it is the host's: that needs a CUDA device."""

    def host_memory(self, num_rows: int) -> Any:
        """Memory that `read` can fill."""

    def gather(self, slots: SlotArray, out: Any) -> None:
        """Copy rows to the beginning of `out`: one gather per field, without the interpreter lock."""

    def read(self, slots: SlotArray, out: Any) -> None:
        """Copy rows to the beginning of `out`, which lies in host memory."""

    def copying(self, slots: SlotArray, most_nbytes: int) -> Copying:
        """What copies these slots on the host, piece by piece.

        Args:
            slots: all that will be copied.
            most_nbytes: of a piece; one sample at least.
        """

    def keys(self, slots: SlotArray) -> SlotArray:
        """[n, 2]: simulation and step of rows."""

    def restore(self, first: int, rows: Any) -> None:
        """Write rows that were read, in host memory, to the slots from `first` on: for a restart."""


class HostStorage:
    """Rows in host memory; samples are assembled in place.

    Args:
        layout: of the study.
        num_slots: rows.
        window_length: time steps of a sample; None: one, without an axis for it.
    """

    def __init__(self, layout: Layout, num_slots: int, *, window_length: int | None = None) -> None:
        self.space = None
        self.layout = layout
        self.num_slots = num_slots
        self.window_length = window_length
        self.device = torch.device("cpu")
        self._memory = allocate(layout, num_slots, device=self.device, window_length=window_length)
        self._rows = self._memory.rows
        self._fields = tuple(tensor.numpy() for tensor in self._memory.fields.values())
        self._keys = self._memory.labels.numpy()
        self._numbers = self._keys.view(np.float64)

    def open(self, slot: int | None, extents: Mapping[str, int] | None = None) -> SampleFields:
        """See `Storage`."""
        if slot is None:
            return tuple(np.empty(rows.shape[1:], rows.dtype) for rows in self._fields)
        return tuple([rows[slot] for rows in self._fields])

    def load_of(self, static: StaticFields | None) -> None:
        """See `Storage`."""

    def write(
        self,
        slot: int,
        fields: SampleFields,
        key: SampleKey,
        time: float | FloatArray,
        parameters: FloatArray,
        *,
        opened: bool,
        static: StaticFields | None = None,
    ) -> None:
        """See `Storage`."""
        if not opened:
            for rows, values in zip(self._fields, fields, strict=True):
                np.copyto(rows[slot], values)
        write_label(self._keys[slot], self._numbers[slot], key, time, parameters, self.window_length)

    def batch_memory(self, num_rows: int, *, pinned: bool) -> BatchMemory:
        """See `Storage`."""
        return allocate(self.layout, num_rows, device=self.device, pinned=pinned, window_length=self.window_length)

    def host_memory(self, num_rows: int) -> BatchMemory:
        """See `Storage`."""
        return allocate(self.layout, num_rows, device=torch.device("cpu"), window_length=self.window_length)

    def gather(self, slots: SlotArray, out: BatchMemory) -> None:
        """See `Storage`."""
        for source, target in zip(self._rows, out.rows, strict=True):
            source.take(slots, 0, target[: len(slots)], "clip")  # the other modes copy twice

    def read(self, slots: SlotArray, out: BatchMemory) -> None:
        """See `Storage`."""
        self.gather(slots, out)

    def copying(self, slots: SlotArray, most_nbytes: int) -> RowCopying:
        """See `Storage`."""
        return RowCopying(self, len(slots), most_nbytes)

    def keys(self, slots: SlotArray) -> SlotArray:
        """See `Storage`."""
        return self._keys[slots, :2]

    def restore(self, first: int, rows: BatchMemory) -> None:
        """See `Storage`."""
        for target, source in zip(self._memory.tensors, rows.tensors, strict=True):
            target[first : first + len(source)].copy_(source)


class DeviceStorage:
    """Rows on a device; samples are assembled in pinned host memory and copied when they are written.

    Copies run on streams of their own, beside the training: one for what comes in, one for what goes out. Each method
    waits for its own copies, off the training thread and without the interpreter lock, so that nobody needs to know of
    these streams: a written row can be gathered, and a gathered batch used, on any.

    Args:
        layout: of the study.
        num_slots: rows.
        device: of type cuda; cpu works too, for tests.
        window_length: time steps of a sample; None: one, without an axis for it.
    """

    def __init__(
        self, layout: Layout, num_slots: int, *, device: torch.device, window_length: int | None = None
    ) -> None:
        self.space = None
        self.layout = layout
        self.num_slots = num_slots
        self.window_length = window_length
        self._memory = allocate(layout, num_slots, device=device, window_length=window_length)
        self.device = self._memory.labels.device  # with its index
        self._pinned = device.type == "cuda"
        self._coming, self._going = side_stream(device), side_stream(device)

    def open(self, slot: int | None, extents: Mapping[str, int] | None = None) -> SampleFields:
        """See `Storage`. torch keeps pinned memory that was given back, so that this costs little after a while."""
        return tuple(
            torch.empty(rows.shape[1:], dtype=rows.dtype, pin_memory=self._pinned).numpy()
            for rows in self._memory.fields.values()
        )

    def load_of(self, static: StaticFields | None) -> None:
        """See `Storage`."""

    def write(
        self,
        slot: int,
        fields: SampleFields,
        key: SampleKey,
        time: float | FloatArray,
        parameters: FloatArray,
        *,
        opened: bool,
        static: StaticFields | None = None,
    ) -> None:
        """See `Storage`."""
        label = np.empty(self._memory.labels.shape[1], np.int64)
        write_label(label, label.view(np.float64), key, time, parameters, self.window_length)
        with self._coming():
            for rows, values in zip(self._memory.tensors, (label, *fields), strict=True):
                rows[slot].copy_(torch.from_numpy(values), non_blocking=True)

    def batch_memory(self, num_rows: int, *, pinned: bool) -> BatchMemory:
        """See `Storage`."""
        return allocate(self.layout, num_rows, device=self.device, window_length=self.window_length)

    def host_memory(self, num_rows: int) -> BatchMemory:
        """See `Storage`."""
        return allocate(self.layout, num_rows, device=torch.device("cpu"), window_length=self.window_length)

    def gather(self, slots: SlotArray, out: BatchMemory) -> None:
        """See `Storage`."""
        with self._going():
            index = torch.from_numpy(slots).to(self.device)
            for source, target in zip(self._memory.tensors, out.tensors, strict=True):
                torch.index_select(source, 0, index, out=target[: len(slots)])

    def read(self, slots: SlotArray, out: BatchMemory) -> None:
        """See `Storage`. Row by row, so that the device needs no memory for it."""
        with self._going():
            for source, target in zip(self._memory.tensors, out.tensors, strict=True):
                for number, slot in enumerate(slots.tolist()):
                    target[number].copy_(source[slot])

    def copying(self, slots: SlotArray, most_nbytes: int) -> RowCopying:
        """See `Storage`."""
        return RowCopying(self, len(slots), most_nbytes)

    def keys(self, slots: SlotArray) -> SlotArray:
        """See `Storage`."""
        with self._going():
            index = torch.from_numpy(slots).to(self.device)
            keys: SlotArray = self._memory.labels[index, :2].cpu().numpy()
        return keys

    def restore(self, first: int, rows: BatchMemory) -> None:
        """See `Storage`."""
        with self._coming():
            for target, source in zip(self._memory.tensors, rows.tensors, strict=True):
                target[first : first + len(source)].copy_(source)
