"""The memory that ragged samples lie in: of the host, or of a CUDA device. Neither knows what lies where."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer.free_space import Stretch
from melissa_like.buffer.packing import Bytes, Packed
from melissa_like.buffer.side_stream import side_stream

__all__ = ["Arena", "DeviceArena", "HostArena"]

#: Numbers that are looked at together: 256 KiB, a part of a cache of the second level.
_BLOCK = 2**15


class Arena(Protocol):
    """A stretch of bytes; methods may be called from any thread, and return when what they copy has arrived."""

    @property
    def device(self) -> torch.device:
        """Where it lies."""

    def pieces(self, packed: Packed, stretches: Sequence[Stretch]) -> tuple[list[Any], ...]:
        """Views of each field of what lies in some stretches."""

    def write(self, packed: Packed, arrays: Iterable[npt.NDArray[Any]], stretches: Sequence[Stretch]) -> None:
        """Pack fields into stretches."""

    def write_bytes(self, packed: Bytes, stretches: Sequence[Stretch]) -> None:
        """Copy what is packed."""

    def read_bytes(self, stretches: Sequence[Stretch], out: Bytes) -> None:
        """Copy the first bytes of some stretches, as many as `out` has, to the host."""

    def going(self) -> AbstractContextManager[None]:
        """A context for what reads here and stays on the device: it has ended when the context ends."""

    def join(self, pieces: list[Any], out: torch.Tensor) -> None:
        """Copy pieces one after the other to a tensor of one dimension that lies there too; within `going`."""

    def join_numbers(self, pieces: Sequence[list[Any]], firsts: Sequence[int], out: torch.Tensor) -> None:
        """The same for numbers of points, which count through the batch: to those of each sample its first is added.

        Args:
            pieces: of each sample.
            firsts: the points of the samples before it.
            out: int64.
        """


def _cut(first: int, behind: int, stretches: Sequence[Stretch]) -> list[Stretch]:
    """Where the bytes from `first` to before `behind` of what lies in some stretches are."""
    found, passed = [], 0
    for start, end in stretches:
        inside = max(first, passed), min(behind, passed + end - start)
        if inside[0] < inside[1]:
            found.append((start + inside[0] - passed, start + inside[1] - passed))
        passed += end - start
    return found


class HostArena:
    """Memory of the host.

    Args:
        nbytes: of it.
    """

    def __init__(self, nbytes: int) -> None:
        self.device = torch.device("cpu")
        self._memory = np.empty(nbytes, np.uint8)

    def pieces(self, packed: Packed, stretches: Sequence[Stretch]) -> tuple[list[Any], ...]:
        """See `Arena`."""
        return tuple(
            [self._memory[a:b].view(spec.numpy_dtype) for a, b in _cut(*ends, stretches)]
            for spec, ends in zip(packed.specs, packed.ranges, strict=True)
        )

    def write(self, packed: Packed, arrays: Iterable[npt.NDArray[Any]], stretches: Sequence[Stretch]) -> None:
        """See `Arena`."""
        if len(stretches) == 1:
            start, _ = stretches[0]
            packed.write(arrays, self._memory[start : start + packed.nbytes])
        else:
            scratch = np.empty(packed.nbytes, np.uint8)
            packed.write(arrays, scratch)
            self.write_bytes(scratch, stretches)

    def write_bytes(self, packed: Bytes, stretches: Sequence[Stretch]) -> None:
        """See `Arena`."""
        first = 0
        for start, end in _cut(0, len(packed), stretches):
            self._memory[start:end] = packed[first : first + end - start]
            first += end - start

    def read_bytes(self, stretches: Sequence[Stretch], out: Bytes) -> None:
        """See `Arena`."""
        first = 0
        for start, end in _cut(0, len(out), stretches):
            out[first : first + end - start] = self._memory[start:end]
            first += end - start

    def going(self) -> AbstractContextManager[None]:
        """See `Arena`."""
        return nullcontext()

    def join(self, pieces: list[Any], out: torch.Tensor) -> None:
        """See `Arena`."""
        if pieces:
            np.concatenate(pieces, out=out.numpy())

    def join_numbers(self, pieces: Sequence[list[Any]], firsts: Sequence[int], out: torch.Tensor) -> None:
        """See `Arena`. In blocks, so that numbers are still in the cache when the first is added."""
        numbers, behind = out.numpy(), 0
        for some, first in zip(pieces, firsts, strict=True):
            for piece in some:
                for start in range(0, len(piece), _BLOCK):
                    block = piece[start : start + _BLOCK]
                    copied = numbers[behind : behind + len(block)]
                    copied[...] = block
                    copied += first
                    behind += len(block)


class DeviceArena:
    """Memory of a device; what is written is packed in pinned memory of the host first.

    As in `DeviceStorage`, copies run on streams of their own, and every method waits for its own.

    Args:
        nbytes: of it.
        device: of type cuda; cpu works too, for tests.
    """

    def __init__(self, nbytes: int, device: torch.device) -> None:
        self._memory = torch.empty(nbytes, dtype=torch.uint8, device=device)
        self.device = self._memory.device  # with its index
        self._pinned = device.type == "cuda"
        self._coming, self._going = side_stream(device), side_stream(device)

    def pieces(self, packed: Packed, stretches: Sequence[Stretch]) -> tuple[list[Any], ...]:
        """See `Arena`."""
        return tuple(
            [self._memory[a:b].view(getattr(torch, spec.dtype)) for a, b in _cut(*ends, stretches)]
            for spec, ends in zip(packed.specs, packed.ranges, strict=True)
        )

    def write(self, packed: Packed, arrays: Iterable[npt.NDArray[Any]], stretches: Sequence[Stretch]) -> None:
        """See `Arena`. torch keeps pinned memory that was given back, so that this costs little after a while."""
        scratch = torch.empty(packed.nbytes, dtype=torch.uint8, pin_memory=self._pinned).numpy()
        packed.write(arrays, scratch)
        self.write_bytes(scratch, stretches)

    def write_bytes(self, packed: Bytes, stretches: Sequence[Stretch]) -> None:
        """See `Arena`."""
        source, first = torch.from_numpy(packed), 0
        with self._coming():
            for start, end in _cut(0, len(packed), stretches):
                self._memory[start:end].copy_(source[first : first + end - start], non_blocking=True)
                first += end - start

    def read_bytes(self, stretches: Sequence[Stretch], out: Bytes) -> None:
        """See `Arena`."""
        target, first = torch.from_numpy(out), 0
        with self._going():
            for start, end in _cut(0, len(out), stretches):
                target[first : first + end - start].copy_(self._memory[start:end])
                first += end - start

    def going(self) -> AbstractContextManager[None]:
        """See `Arena`."""
        return self._going()

    def join(self, pieces: list[Any], out: torch.Tensor) -> None:
        """See `Arena`."""
        if pieces:
            torch.cat([piece.to(out.dtype) for piece in pieces], out=out)

    def join_numbers(self, pieces: Sequence[list[Any]], firsts: Sequence[int], out: torch.Tensor) -> None:
        """See `Arena`. All at once: on a device each call costs more than many numbers."""
        self.join([piece for some in pieces for piece in some], out)
        lengths = [sum(len(piece) for piece in some) for some in pieces]
        added, repeats = torch.tensor([firsts, lengths], device=out.device)
        out.add_(added.repeat_interleave(repeats, output_size=len(out)))
