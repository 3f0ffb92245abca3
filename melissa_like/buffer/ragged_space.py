"""`RaggedSpace`: the bytes that ragged samples and static fields take, decided purely.

The buffer holds its lock around every change. Whoever copies out of a slot that is pinned may look it up without.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from melissa_like.buffer.free_space import FreeSpace, Stretch, whole_units
from melissa_like.buffer.loads import NUM_COLUMNS
from melissa_like.buffer.packing import Packed
from melissa_like.buffer.slots import SlotArray

__all__ = ["HeldMesh", "HeldSample", "Load", "Mesh", "RaggedSpace"]

#: Of each field the stretches that it lies in, as views of the memory.
Pieces = tuple[list[Any], ...]


class Mesh(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The sizes of a simulation, and what follows from them for its samples.

    Attributes:
        digest: differs between different sizes or static fields.
        extents: the size of each, by name.
        sample: how its samples are packed.
        static: how its static fields are.
    """

    digest: bytes
    extents: Mapping[str, int]
    sample: Packed
    static: Packed


class HeldMesh(msgspec.Struct, kw_only=True, eq=False):
    """A mesh whose static fields have a place.

    Attributes:
        num_samples: held samples that refer to it.
        pieces: None: the fields do not lie in their place yet.
    """

    mesh: Mesh
    stretches: tuple[Stretch, ...]
    num_samples: int = 0
    pieces: Pieces | None = None


class HeldSample(msgspec.Struct, kw_only=True, eq=False):
    """A sample that has a place."""

    static: HeldMesh
    stretches: tuple[Stretch, ...]
    pieces: Pieces = ()


class Load(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a sample takes.

    Attributes:
        nbytes: of itself, in whole units.
        static_nbytes: of the static fields, in whole units; held once for all samples that have the same.
    """

    mesh: Mesh
    nbytes: int
    static_nbytes: int

    @classmethod
    def of(cls, mesh: Mesh) -> "Load":
        """Of a sample on this mesh."""
        return cls(mesh=mesh, nbytes=whole_units(mesh.sample.nbytes), static_nbytes=whole_units(mesh.static.nbytes))


class RaggedSpace:
    """What lies where in an arena. Static fields lie there once, as long as a sample refers to them.

    Args:
        nbytes: of the arena, in whole units.
        num_slots: that samples can have.
    """

    def __init__(self, nbytes: int, num_slots: int) -> None:
        self._nbytes = nbytes
        self._free = FreeSpace(nbytes)
        self._samples: list[HeldSample | None] = [None] * num_slots
        self._meshes: dict[bytes, HeldMesh] = {}

    @property
    def nbytes(self) -> int:
        """Of the arena."""
        return self._nbytes

    @property
    def used_nbytes(self) -> int:
        """Bytes of the samples and the static fields."""
        return self._nbytes - self._free.nbytes

    @property
    def static_nbytes(self) -> int:
        """Of these, those of the static fields."""
        return sum(end - start for held in [*self._meshes.values()] for start, end in held.stretches)

    def mesh(self, digest: bytes, make: Callable[[], Mesh]) -> Mesh:
        """The mesh with this digest: the one that is held, or a new one."""
        held = self._meshes.get(digest)
        return make() if held is None else held.mesh

    def fits(self, load: Load) -> bool:
        """Whether there is room for a sample, with its static fields if they are not held."""
        is_new = load.mesh.digest not in self._meshes
        return load.nbytes + is_new * load.static_nbytes <= self._free.nbytes

    def take(self, slot: int, load: Load) -> None:
        """Give a slot's sample its place; there must be room."""
        assert self._samples[slot] is None, "the slot holds a sample"
        held = self._meshes.get(load.mesh.digest)
        if held is None:
            held = HeldMesh(mesh=load.mesh, stretches=self._free.take(load.static_nbytes))
            self._meshes[load.mesh.digest] = held
        held.num_samples += 1
        self._samples[slot] = HeldSample(static=held, stretches=self._free.take(load.nbytes))

    def give_back(self, slot: int) -> None:
        """The place of a slot's sample is free again, and that of its static fields if no other refers to them."""
        sample, self._samples[slot] = self.held(slot), None
        self._free.give_back(sample.stretches)
        held = sample.static
        held.num_samples -= 1
        if not held.num_samples:
            self._free.give_back(held.stretches)
            del self._meshes[held.mesh.digest]

    def loads(self, slots: SlotArray) -> SlotArray:
        """What samples take, as `loads` has it."""
        table = np.empty((len(slots), NUM_COLUMNS), np.int64)
        for row, slot in zip(table, slots.tolist(), strict=True):
            held = self.held(slot)
            load = Load.of(held.static.mesh)
            row[:2] = np.frombuffer(load.mesh.digest, np.int64)
            row[2:] = load.nbytes, load.static_nbytes
        return table

    def held(self, slot: int) -> HeldSample:
        """What a slot holds, which must hold something."""
        sample = self._samples[slot]
        assert sample is not None, f"slot {slot} holds no sample"
        return sample
