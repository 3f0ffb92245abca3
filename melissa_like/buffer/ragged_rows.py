"""`RaggedRows`: some ragged samples and static fields as one stretch of bytes, as a checkpoint keeps them.

    2 numbers    rows, meshes
    a row each   labels; digest of its mesh (16 bytes); bytes of the sample
    a mesh each  digest; rows of the whole file that refer to it; bytes of its static fields; its extents
    the samples, one after the other, then the static fields of the meshes, as `packing` has them

All numbers are int64. A mesh comes with the first row of a file that refers to it, and with no other.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import msgspec
import numpy as np
import torch

from melissa_like.buffer.batch_memory import BatchMemory
from melissa_like.buffer.packing import Bytes
from melissa_like.buffer.ragged_memory import RaggedForm
from melissa_like.buffer.ragged_space import Mesh
from melissa_like.buffer.slots import SlotArray

__all__ = ["RaggedRows", "RowsToRead", "RowsToWrite", "SavedMesh", "SavedMeshes", "num_within"]

#: Columns of a row behind its labels, and of a mesh before its extents.
_ROW, _MESH = 3, 4


class SavedMesh(msgspec.Struct, kw_only=True, eq=False):
    """A mesh as it was saved.

    Attributes:
        num_rows: that refer to it and were not restored yet.
        memory: the packed static fields.
    """

    digest: bytes
    extents: dict[str, int]
    num_rows: int
    memory: Bytes


class RaggedRows:
    """Some samples, each by its labels, its mesh and its packed fields.

    Args:
        form: of the study.
        memory: all bytes.
        chosen: positions of the samples that count; None: all.
    """

    def __init__(self, form: RaggedForm, memory: Bytes, chosen: SlotArray | None = None) -> None:
        self._form = form
        self._memory = memory
        self._chosen = chosen

    @property
    def rows(self) -> tuple[Bytes, ...]:
        """All bytes, to be written or to be filled."""
        return (self._memory,)

    @property
    def labels(self) -> torch.Tensor:
        """int64 [B, 2 + L + P], as in `BatchMemory`; of the chosen ones."""
        return torch.from_numpy(self._table[self.positions, : self._form.num_labels])

    @property
    def labelled(self) -> BatchMemory:
        """The samples without their fields."""
        return BatchMemory(labels=self.labels, fields={}, window_length=self._form.window_length)

    @cached_property
    def positions(self) -> SlotArray:
        """Of the samples that count."""
        return np.arange(len(self._table)) if self._chosen is None else self._chosen

    def choose(self, chosen: SlotArray) -> "RaggedRows":
        """Only some of the samples; what it says of meshes stays."""
        return RaggedRows(self._form, self._memory, self.positions[chosen])

    def digest(self, position: int) -> bytes:
        """Of the mesh of the sample at a position."""
        return self._table[position, self._form.num_labels : self._form.num_labels + 2].tobytes()

    @property
    def digests(self) -> list[bytes]:
        """Of the meshes of all samples, also of those that do not count."""
        return [self.digest(position) for position in range(len(self._table))]

    def packed(self, position: int) -> Bytes:
        """The packed fields of the sample at a position."""
        return self._memory[self._ends[position] : self._ends[position + 1]]

    @cached_property
    def meshes(self) -> tuple[SavedMesh, ...]:
        """Those that come here first."""
        extents, ends = self._form.layout.extents, self._ends[len(self._table) :]
        return tuple(
            SavedMesh(
                digest=row[:2].tobytes(),
                extents=dict(zip(extents, row[_MESH:].tolist(), strict=True)),
                num_rows=int(row[2]),
                memory=self._memory[first:end],
            )
            for row, (first, end) in zip(self._mesh_table, pairwise(ends.tolist()), strict=True)
        )

    @cached_property
    def _table(self) -> SlotArray:
        return self._numbers(2, self._counts[0], self._form.num_labels + _ROW)

    @cached_property
    def _mesh_table(self) -> SlotArray:
        return self._numbers(2 + self._table.size, self._counts[1], _MESH + len(self._form.layout.extents))

    @cached_property
    def _ends(self) -> SlotArray:
        """Where samples and static fields begin and end."""
        first = 8 * (2 + self._table.size + self._mesh_table.size)
        return first + np.cumsum([0, *self._table[:, -1], *self._mesh_table[:, 3]], dtype=np.int64)

    @property
    def _counts(self) -> list[int]:
        counts: list[int] = self._memory[:16].view(np.int64).tolist()
        return counts

    def _numbers(self, first: int, num_rows: int, num_columns: int) -> SlotArray:
        behind = first + num_rows * num_columns
        return self._memory[8 * first : 8 * behind].view(np.int64).reshape(num_rows, num_columns)


class RowsToWrite:
    """Makes the pieces of a file one after the other.

    Args:
        form: of the study.
        meshes: of all samples that will be written.
    """

    def __init__(self, form: RaggedForm, meshes: Sequence[Mesh]) -> None:
        self._form = form
        self._num_rows = Counter(mesh.digest for mesh in meshes)

    def begin(self, labels: SlotArray, meshes: Sequence[Mesh]) -> tuple[RaggedRows, tuple[int, ...]]:
        """A piece whose samples and static fields are still to be filled in.

        Args:
            labels: of the samples.
            meshes: of the samples.

        Returns:
            The piece, and for each of its meshes the position of a sample that has it.
        """
        new = {mesh.digest: position for position, mesh in enumerate(meshes) if self._num_rows.get(mesh.digest)}
        table = np.empty((len(meshes), self._form.num_labels + _ROW), np.int64)
        table[:, : self._form.num_labels] = labels
        for row, mesh in zip(table, meshes, strict=True):
            row[-_ROW:-1] = np.frombuffer(mesh.digest, np.int64)
            row[-1] = mesh.sample.nbytes
        mesh_table = np.empty((len(new), _MESH + len(self._form.layout.extents)), np.int64)
        for row, (digest, position) in zip(mesh_table, new.items(), strict=True):
            row[:2] = np.frombuffer(digest, np.int64)
            row[2:_MESH] = self._num_rows.pop(digest), meshes[position].static.nbytes
            row[_MESH:] = [*meshes[position].extents.values()]
        head = np.concatenate([[len(table), len(mesh_table)], table.ravel(), mesh_table.ravel()]).view(np.uint8)
        memory = np.empty(len(head) + int(table[:, -1].sum() + mesh_table[:, 3].sum()), np.uint8)
        memory[: len(head)] = head
        return RaggedRows(self._form, memory), tuple(new.values())


def num_within(meshes: Sequence[Mesh], nbytes: int) -> int:
    """So many of the first samples take no more than this, each with its static fields; at least one."""
    ends = np.cumsum([mesh.sample.nbytes + mesh.static.nbytes for mesh in meshes])
    return max(1, int(np.searchsorted(ends, nbytes, side="right")))


class RowsToRead:
    """Memory that pieces are read into, each into its own.

    Args:
        form: of the study.
    """

    def __init__(self, form: RaggedForm) -> None:
        self._form = form

    def for_piece(self, num_rows: int, nbytes: int) -> RaggedRows:
        """Memory of one piece, to be filled."""
        return RaggedRows(self._form, np.empty(nbytes, np.uint8))


class SavedMeshes:
    """The meshes that rows of later pieces refer to, while a file is restored; no longer than they do."""

    def __init__(self) -> None:
        self._meshes: dict[bytes, SavedMesh] = {}

    def add(self, rows: RaggedRows) -> None:
        """Before the rows of a piece are restored."""
        for mesh in rows.meshes:
            if mesh.digest in self._meshes:  # another file has it too
                self._meshes[mesh.digest].num_rows += mesh.num_rows
            else:
                self._meshes[mesh.digest] = mesh

    def of(self, digest: bytes) -> SavedMesh:
        """A mesh of the rows of the piece."""
        return self._meshes[digest]

    def release(self, rows: RaggedRows) -> None:
        """After they were; the memory of the piece is not referred to any more."""
        for digest in rows.digests:
            mesh = self._meshes[digest]
            mesh.num_rows -= 1
            if not mesh.num_rows:
                del self._meshes[digest]
        for mesh in rows.meshes:
            if self._meshes.get(mesh.digest) is mesh:
                mesh.memory = mesh.memory.copy()
