"""`RaggedStorage`: samples whose sizes differ, and the static fields that they share, in one arena of bytes.

Also where all sizes are fixed, but each simulation has static fields of its own.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from melissa_like.buffer.arenas import Arena, DeviceArena, HostArena
from melissa_like.buffer.free_space import whole_units
from melissa_like.buffer.labels import write_label
from melissa_like.buffer.ragged_memory import RaggedForm, RaggedMemory
from melissa_like.buffer.ragged_rows import RaggedRows, RowsToWrite, SavedMeshes, num_within
from melissa_like.buffer.ragged_space import HeldSample, Load, RaggedSpace
from melissa_like.buffer.slots import SlotArray
from melissa_like.buffer.storage import SampleFields
from melissa_like.errors import ConfigurationError
from melissa_like.records import FloatArray, Layout, SampleKey, StaticFields

__all__ = ["RaggedStorage"]

_HOST = torch.device("cpu")
#: Simulations whose shapes are remembered: more than send at once.
_KNOWN_SIZES = 256


class RaggedStorage:
    """Slots for samples of any size; samples are assembled in memory of their own and packed when they are written.

    Args:
        layout: of the study.
        num_slots: samples at most.
        nbytes: of the arena, which samples and static fields share.
        device: where it lies.
        window_length: time steps of a sample; None: one, without an axis for it.
    """

    def __init__(
        self,
        layout: Layout,
        num_slots: int,
        nbytes: int,
        *,
        device: torch.device = _HOST,
        window_length: int | None = None,
    ) -> None:
        self.layout = layout
        self.num_slots = num_slots
        self.window_length = window_length
        self.space = RaggedSpace(whole_units(nbytes), num_slots)
        nbytes = self.space.nbytes
        on_host = device.type == "cpu"
        self._arena: Arena = HostArena(nbytes) if on_host else DeviceArena(nbytes, device)
        self.device = self._arena.device
        self._form = RaggedForm(layout=layout, window_length=window_length)
        self._labels = np.empty((num_slots, self._form.num_labels), np.int64)  # of the host wherever the arena is
        self._numbers = self._labels.view(np.float64)
        self._saved = SavedMeshes()
        self._arrays_of = lru_cache(_KNOWN_SIZES)(self._find_arrays)

    # -- putting ------------------------------------------------------------------------------------------------------

    def open(self, slot: int | None, extents: Mapping[str, int] | None = None) -> SampleFields:
        """See `Storage`: memory of its own."""
        assert extents is not None, "a ragged sample was reserved before its simulation said its sizes"
        return tuple([np.empty(shape, dtype) for shape, dtype in self._arrays_of(tuple(extents.items()))])

    def load_of(self, static: StaticFields | None) -> Load:
        """See `Storage`."""
        assert static is not None, "a ragged sample came without its sizes"
        mesh = self.space.mesh(static.digest, lambda: self._form.mesh(static.digest, static.extents))
        load = Load.of(mesh)
        if load.nbytes + load.static_nbytes > self.space.nbytes:
            raise ConfigurationError(
                f"a sample with the extents {dict(mesh.extents)} takes {load.nbytes} bytes and its static fields "
                f"{load.static_nbytes}, but the buffer of a server rank has {self.space.nbytes}: raise buffer.capacity"
            )
        return load

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
        """See `Storage`: the slot has been given its place."""
        assert not opened, "ragged samples are assembled in memory of their own"
        assert static is not None, "a ragged sample came without its sizes"
        held = self.space.held(slot)
        mesh = held.static
        self._arena.write(mesh.mesh.sample, fields, held.stretches)
        if mesh.pieces is None:
            self._arena.write(mesh.mesh.static, static.arrays.values(), mesh.stretches)
        self._find(held)
        write_label(self._labels[slot], self._numbers[slot], key, time, parameters, self.window_length)

    # -- drawing ------------------------------------------------------------------------------------------------------

    def batch_memory(self, num_rows: int, *, pinned: bool) -> RaggedMemory:
        """See `Storage`: it grows as it must."""
        return RaggedMemory(self._form, device=self.device, pinned=pinned)

    def host_memory(self, num_rows: int) -> RaggedMemory:
        """See `Storage`."""
        return RaggedMemory(self._form, device=_HOST)

    def gather(self, slots: SlotArray, out: RaggedMemory) -> None:
        """See `Storage`: the points of the samples one after the other, in the order of the slots."""
        held = [self.space.held(slot) for slot in slots.tolist()]
        ends = {
            extent: np.cumsum([0, *[sample.static.mesh.extents[extent] for sample in held]], dtype=np.int64)
            for extent in self.layout.extents
        }
        with self._arena.going():
            # Here, because memory that grows on a stream is not used again by what waits for another.
            out.lay_out(len(held), {extent: int(some[-1]) for extent, some in ends.items()})
            out.labels.copy_(torch.from_numpy(self._labels[slots]))
            for extent, some in ends.items():
                out.offsets[extent].copy_(torch.from_numpy(some))
            for number, target in enumerate(out.fields.values()):
                self._arena.join([piece for sample in held for piece in sample.pieces[number]], target.view(-1))
            static = [sample.static.pieces or () for sample in held]
            for number, (spec, target) in enumerate(zip(self.layout.static, out.static.values(), strict=True)):
                pieces = [each[number] for each in static]
                if isinstance(spec.indexes, str):
                    self._arena.join_numbers(pieces, ends[spec.indexes][:-1].tolist(), target.view(-1))
                else:
                    self._arena.join([piece for some in pieces for piece in some], target.view(-1))

    def read(self, slots: SlotArray, out: RaggedMemory) -> None:
        """See `Storage`."""
        if self.device.type == "cpu":
            self.gather(slots, out)
            return
        gathered = self.batch_memory(len(slots), pinned=False)
        self.gather(slots, gathered)
        out.lay_out(gathered.num_rows, gathered.points)
        out.used.copy_(gathered.used)

    def keys(self, slots: SlotArray) -> SlotArray:
        """See `Storage`."""
        return self._labels[slots, :2]

    # -- saving -------------------------------------------------------------------------------------------------------

    def copying(self, slots: SlotArray, most_nbytes: int) -> "RaggedCopying":
        """See `Storage`."""
        return RaggedCopying(self._form, self._labels, self.space, self._arena, slots)

    def restore(self, first: int, rows: RaggedRows) -> None:
        """See `Storage`; the pieces of a file in their order, each with the rows that are wanted of it.

        Raises:
            ConfigurationError: they do not fit.
        """
        self._saved.add(rows)
        for slot, (position, label) in enumerate(zip(rows.positions.tolist(), rows.labels.numpy(), strict=True), first):
            saved = self._saved.of(rows.digest(position))
            load = Load.of(self.space.mesh(saved.digest, partial(self._form.mesh, saved.digest, saved.extents)))
            if not self.space.fits(load):
                raise ConfigurationError(
                    f"the samples of the checkpoint do not fit into the buffer of a server rank, which has "
                    f"{self.space.nbytes} bytes: raise buffer.capacity"
                )
            self.space.take(slot, load)
            held = self.space.held(slot)
            self._arena.write_bytes(rows.packed(position), held.stretches)
            if held.static.pieces is None:
                self._arena.write_bytes(saved.memory, held.static.stretches)
            self._find(held)
            self._labels[slot] = label
        self._saved.release(rows)

    def _find_arrays(self, extents: tuple[tuple[str, int], ...]) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each field of a sample of these sizes."""
        lengths = () if self.window_length is None else (self.window_length,)
        specs = [spec.sized(dict(extents)) for spec in self.layout.fields]
        return [((*lengths, *spec.shape), spec.numpy_dtype) for spec in specs]

    def _find(self, held: HeldSample) -> None:
        """Look up where the fields of a sample lie, and its static fields. Two that do this at once do the same."""
        mesh = held.static
        held.pieces = self._arena.pieces(mesh.mesh.sample, held.stretches)
        if mesh.pieces is None:
            mesh.pieces = self._arena.pieces(mesh.mesh.static, mesh.stretches)


class RaggedCopying:
    """Copies of some slots on the host, piece by piece: see `Copying`.

    Args:
        form: of the study.
        labels: of all slots.
        space: where they lie.
        arena: in which.
        slots: all that will be copied.
    """

    def __init__(self, form: RaggedForm, labels: SlotArray, space: RaggedSpace, arena: Arena, slots: SlotArray) -> None:
        self._labels = labels
        self._space = space
        self._arena = arena
        self._writing = RowsToWrite(form, [space.held(slot).static.mesh for slot in slots.tolist()])

    def num_within(self, slots: SlotArray, nbytes: int) -> int:
        """See `Copying`; static fields count with each sample that refers to them."""
        return num_within([self._space.held(slot).static.mesh for slot in slots.tolist()], nbytes)

    def copy(self, slots: SlotArray) -> RaggedRows:
        """See `Copying`."""
        held = [self._space.held(slot) for slot in slots.tolist()]
        piece, having = self._writing.begin(self._labels[slots], [sample.static.mesh for sample in held])
        for position, sample in enumerate(held):
            self._arena.read_bytes(sample.stretches, piece.packed(position))
        for position, mesh in zip(having, piece.meshes, strict=True):
            self._arena.read_bytes(held[position].static.stretches, mesh.memory)
        return piece
