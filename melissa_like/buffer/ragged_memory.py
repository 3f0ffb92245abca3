"""`RaggedMemory`: reused memory of a batch of samples whose sizes differ."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from melissa_like.buffer.batch_memory import BatchMemory
from melissa_like.buffer.labels import num_labels
from melissa_like.buffer.packing import packed
from melissa_like.buffer.ragged_space import Mesh
from melissa_like.records import FieldSpec, Layout

__all__ = ["RaggedForm", "RaggedMemory"]

#: Bytes that every tensor begins at a multiple of.
_ALIGNMENT = 64
#: Memory that is too small is made larger than needed by this factor, so that it is soon large enough for good.
_GROWTH = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RaggedForm:
    """What batches of a study have in common.

    Attributes:
        layout: of the study.
        window_length: time steps L of a sample; None: one, without an axis for it.
    """

    layout: Layout
    window_length: int | None = None

    @property
    def num_labels(self) -> int:
        """Columns of the labels."""
        return num_labels(self.layout, self.window_length)

    def mesh(self, digest: bytes, extents: Mapping[str, int]) -> Mesh:
        """What follows from the sizes of a simulation.

        Args:
            digest: of its sizes and static fields.
            extents: its sizes.
        """
        return Mesh(
            digest=digest,
            extents=extents,
            sample=packed(self.layout.fields, extents, self.window_length),
            static=packed(self.layout.static, extents),
        )

    def shape_of(self, spec: FieldSpec, num_rows: int, points: Mapping[str, int], *, static: bool) -> tuple[int, ...]:
        """Of a field of a batch."""
        lengths = () if static or self.window_length is None else (self.window_length,)
        if spec.extent is None:
            return (num_rows, *lengths, *spec.shape)
        return (points[spec.extent], *lengths, spec.components)


def batch_dtype(spec: FieldSpec) -> str:
    """Numbers of points are int64 in a batch, because they count through it."""
    return "int64" if isinstance(spec.indexes, str) else spec.dtype


class RaggedMemory:
    """One stretch of bytes that holds the tensors of a batch one after the other; it grows when a batch needs more.

    One stretch, so that a batch goes to a device in one copy. The tensors are those of the batch that `lay_out` was
    told last.

    Args:
        form: of the batches.
        device: where it lies.
        pinned: host memory that a CUDA device can copy from by itself.
    """

    def __init__(self, form: RaggedForm, *, device: torch.device, pinned: bool = False) -> None:
        self.form = form
        self.device = device
        self._pinned = pinned
        self._bytes = self._allocate(_ALIGNMENT)
        self.lay_out(0, dict.fromkeys(form.layout.extents, 0))

    def like_on(self, device: torch.device) -> "RaggedMemory":
        """Memory for the same batches elsewhere."""
        return RaggedMemory(self.form, device=device)

    def lay_out(self, num_rows: int, points: Mapping[str, int]) -> None:
        """Make room for a batch; what was there is lost.

        Args:
            num_rows: samples B.
            points: of all samples together, by extent.
        """
        form, layout = self.form, self.form.layout
        self.num_rows, self.points = num_rows, dict(points)
        self._used = 0
        places = [self._place("int64", (num_rows, form.num_labels))]
        places += [self._place("int64", (num_rows + 1,)) for _ in layout.extents]
        for static, specs in ((False, layout.fields), (True, layout.static)):
            for spec in specs:
                places.append(self._place(batch_dtype(spec), form.shape_of(spec, num_rows, points, static=static)))
        if self._used > len(self._bytes):
            self._bytes = self._allocate(int(_GROWTH * self._used))
        tensors = iter([self._tensor(*place) for place in places])
        self._labels = next(tensors)
        self.offsets = {extent: next(tensors) for extent in layout.extents}
        self.fields = {spec.name: next(tensors) for spec in layout.fields}
        self.static = {spec.name: next(tensors) for spec in layout.static}

    def copy_from(self, other: "RaggedMemory", num_rows: int) -> None:
        """Copy the batch of another memory, in one stretch; from pinned memory to a device it returns at once."""
        assert num_rows == other.num_rows, "a batch is copied whole"
        self.lay_out(num_rows, other.points)
        self.used.copy_(other.used, non_blocking=True)

    @property
    def labels(self) -> torch.Tensor:
        """int64 [B, 2 + L + P], as in `BatchMemory`."""
        return self._labels

    @property
    def rows(self) -> BatchMemory:
        """Labels and fields: of those with an extent the first axis is of points."""
        return BatchMemory(labels=self._labels, fields=self.fields, window_length=self.form.window_length)

    @property
    def used(self) -> torch.Tensor:
        """The bytes of all tensors."""
        return self._bytes[: self._used]

    def _place(self, dtype: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...], int]:
        first = self._used
        self._used += -(-math.prod(shape) * np.dtype(dtype).itemsize // _ALIGNMENT) * _ALIGNMENT
        return dtype, shape, first

    def _tensor(self, dtype: str, shape: tuple[int, ...], first: int) -> torch.Tensor:
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        return self._bytes[first : first + nbytes].view(getattr(torch, dtype)).view(shape)

    def _allocate(self, nbytes: int) -> torch.Tensor:
        if self._pinned or self.device.type != "cpu":
            return torch.empty(nbytes, dtype=torch.uint8, device=self.device, pin_memory=self._pinned)
        return torch.from_numpy(np.empty(nbytes, np.uint8))  # as in `allocate`
