"""`BufferState`: which samples a buffer holds and what it counts, as a checkpoint keeps it; without the samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.buffer.loads import nbytes_of
from melissa_like.buffer.slots import SlotArray

__all__ = ["BufferState"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BufferState:
    """A buffer at one moment. Draws whose training step had not ended then count as not made.

    Attributes:
        keys: [n, 2], simulation and step of each sample, in the order in which a restart must add them.
        seen: [n], whether a training step on it has ended.
        num_draws: [n], draws of each, where samples are removed after some.
        puts: samples put.
        draws: draws made.
        evicted: samples that have given way.
        removed: samples that draws have removed.
        loads: [n, 4], what each takes, as `loads` has it; None: all take the same.
        rng: state of the generator of the choices; None: begin with that of a new buffer.
    """

    keys: SlotArray
    seen: npt.NDArray[np.bool_]
    num_draws: SlotArray
    puts: int
    draws: int
    evicted: int
    removed: int
    loads: SlotArray | None = None
    rng: Mapping[str, Any] | None = None

    @property
    def size(self) -> int:
        """Samples held."""
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes that they take, static fields among them, where sizes differ; else 0."""
        return 0 if self.loads is None else nbytes_of(self.loads)

    @property
    def unseen_keys(self) -> SlotArray:
        """[u, 2]: the samples that no training step has ended on."""
        return self.keys[~self.seen]

    def without_samples(self) -> "BufferState":
        """The same without samples: those that were seen have given way, the others were never put."""
        num_seen = int(self.seen.sum())
        return BufferState(
            keys=self.keys[:0],
            seen=self.seen[:0],
            num_draws=self.num_draws[:0],
            puts=self.puts - (self.size - num_seen),
            draws=self.draws,
            evicted=self.evicted + num_seen,
            removed=self.removed,
            loads=None if self.loads is None else self.loads[:0],
            rng=self.rng,
        )

    def as_dict(self) -> dict[str, Any]:
        """For `torch.save`: arrays as tensors."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {n: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for n, value in values.items()}

    @classmethod
    def of_dict(cls, state: Mapping[str, Any]) -> "BufferState":
        """What `as_dict` gave."""
        values: dict[str, Any] = {n: v.numpy() if isinstance(v, torch.Tensor) else v for n, v in state.items()}
        return cls(**values)
